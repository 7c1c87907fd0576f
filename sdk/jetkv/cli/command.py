"""Makes commands: each has the options that all have, and ends with the exit code of its error.

@command(app, "get")
def get(session: Session, bucket: BucketName, key: Key) -> None:
    '''Print the value of a key.'''
"""

import functools
import inspect
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any, Concatenate, ParamSpec

import typer

from jetkv.cli import completion
from jetkv.cli.exits import CommandError, Exit, exit_of, line_of
from jetkv.cli.output import Format, Output
from jetkv.cli.profiles import connection
from jetkv.cli.session import Session, leave_a_broken_pipe, say
from jetkv.errors import JetKVError

__all__ = ["BucketName", "DryRun", "Filter", "Key", "Keys", "Prefix", "Yes", "command"]

P = ParamSpec("P")

BucketName = Annotated[str, typer.Argument(help="The bucket.", autocompletion=completion.buckets)]
Key = Annotated[str, typer.Argument(help="The key.", autocompletion=completion.keys)]
Keys = Annotated[
    list[str] | None,
    typer.Argument(metavar="key", help="The keys.", autocompletion=completion.keys),
]
Filter = Annotated[
    str | None,
    typer.Argument(
        metavar="filter",
        help="Only keys that match: 'user.*' one token between dots, 'user.>' all below, 'user:' a "
        "prefix, or a key.",
        autocompletion=completion.keys,
    ),
]
Prefix = Annotated[
    str | None, typer.Option(help="All keys that begin with this text, without wildcards.")
]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would be done, and do nothing.")]


def _shared(
    output: Annotated[
        Format | None,
        typer.Option(
            "--output",
            "-o",
            help="table on a terminal; elsewhere value, or ndjson where there is no bare value.",
            rich_help_panel="Output",
        ),
    ] = None,
    json: Annotated[
        bool, typer.Option("--json", help="The same as -o json.", rich_help_panel="Output")
    ] = False,
    quiet: Annotated[
        bool,
        typer.Option("--quiet", "-q", help="Print data and errors only.", rich_help_panel="Output"),
    ] = False,
    url: Annotated[
        str | None,
        typer.Option(
            help="Address of the gateway, or of NATS (nats://…). Default: JETKV_URL, a profile, or "
            "http://localhost:9123.",
            rich_help_panel="Connection",
        ),
    ] = None,
    profile: Annotated[
        str | None,
        typer.Option(
            help="A profile of ~/.config/jetkv/profiles.toml. Default: JETKV_PROFILE.",
            rich_help_panel="Connection",
            autocompletion=completion.profiles,
        ),
    ] = None,
    token_file: Annotated[
        Path | None,
        typer.Option(
            help="File with the token. Default: JETKV_TOKEN, JETKV_TOKEN_FILE, or the profile.",
            rich_help_panel="Connection",
        ),
    ] = None,
    timeout: Annotated[
        float | None,
        typer.Option(
            help="Seconds for each call, retries included. Default: 10, for a list 60.",
            rich_help_panel="Connection",
        ),
    ] = None,
) -> Session:
    if json and output not in (None, Format.JSON):
        raise CommandError(f"either --json or -o {output}, not both", Exit.USAGE)

    def connect() -> Any:
        return connection(
            os.environ,
            url=url,
            profile=profile,
            token_file=token_file,
            timeout=timeout,
            warn=lambda text: say(f"warning: {text}"),
        )

    return Session(connect, Output(Format.JSON if json else output, quiet))


_SHARED = inspect.signature(_shared).parameters
_OF_THE_OUTPUT = ("output", "json", "quiet")


def command(
    app: typer.Typer,
    name: str,
    options: Callable[..., Any] | None = None,
    *,
    prints: bool = True,
    **settings: Any,
) -> Callable[[Callable[Concatenate[Session, P], None]], Callable[Concatenate[Session, P], None]]:
    """Register a function as a command.

    The function's first argument is a session; the others are its own arguments and options. Typer
    sees these, followed by the options that every command has.

    Args:
        app: the group of commands.
        name: the name of the command.
        options: a function whose parameters are further options. The command gets its result as the
            argument `options`.
        prints: whether it prints data, and so has the options of the output.
        settings: further arguments of `typer.Typer.command`.
    """

    def register(
        function: Callable[Concatenate[Session, P], None],
    ) -> Callable[Concatenate[Session, P], None]:
        call: Callable[..., None] = function
        own = list(inspect.signature(function, eval_str=True).parameters.values())[1:]
        more = {} if options is None else inspect.signature(options, eval_str=True).parameters
        common = {
            name: one for name, one in _SHARED.items() if prints or name not in _OF_THE_OUTPUT
        }
        parameters = [
            one.replace(kind=inspect.Parameter.KEYWORD_ONLY)
            for one in (*own, *more.values(), *common.values())
            if one.name != "options"
        ]

        def run(**values: Any) -> None:
            shared = {name: values.pop(name, one.default) for name, one in _SHARED.items()}
            given = {name: values.pop(name) for name in more}

            def body(session: Session) -> None:
                further = {} if options is None else {"options": options(**given)}
                call(session, **further, **values)

            _guarded(functools.partial(_shared, **shared), body)

        run.__name__ = name
        run.__doc__ = function.__doc__
        run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined] # for typer
        run.__annotations__ = {one.name: one.annotation for one in parameters}
        app.command(name, **settings)(run)
        return function

    return register


def _guarded(open_session: Callable[[], Session], body: Callable[[Session], None]) -> None:
    """Run a command. Whatever goes wrong is one line, and the exit code says which kind it is."""
    session: Session | None = None
    try:
        session = open_session()
        body(session)
        session.output.flush()
    except BrokenPipeError:
        leave_a_broken_pipe()
        raise typer.Exit(Exit.BROKEN_PIPE) from None
    except KeyboardInterrupt:
        writing = session.writing if session is not None else ""
        say(f"interrupted; {writing} may have been applied" if writing else "interrupted")
        raise typer.Exit(Exit.INTERRUPTED) from None
    except (JetKVError, CommandError) as error:
        _say(line_of(error))
        raise typer.Exit(exit_of(error)) from None
    except OSError as error:
        _say(f"{error.strerror or error}{f': {error.filename}' if error.filename else ''}")
        raise typer.Exit(Exit.LOCAL) from None
    finally:
        if session is not None:
            session.close()


def _say(text: str) -> None:
    # What was printed so far comes first, unless nobody reads it.
    with suppress(BrokenPipeError):
        say(text)

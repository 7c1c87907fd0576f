"""The root of the command line: the SDK's own commands, and those of plugins."""

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from typing import Annotated, Any

import typer
from typer.core import TyperGroup
from typer.main import get_group

from jetkv._version import __version__
from jetkv.cli import completion_scripts

__all__ = ["app", "command"]

_UsageError: Any = typer.BadParameter.__mro__[1]
"""What typer raises for a wrong command line. It has no public name of its own."""

GROUPS = {"kv": "jetkv.cli.kv", "bucket": "jetkv.cli.bucket"}
"""The module of each group, whose `app` has the commands. It is imported when its group is asked
for: `jetkv serve` needs no client."""

COMMANDS = {
    **dict.fromkeys(("copy", "export", "import"), "jetkv.cli.transfer"),
    "mcp": "jetkv.cli.mcp",
}
"""The same for commands that are in no group."""


class _Root(TyperGroup):
    """Loads groups when they are asked for, and plugins when a command is in none of these."""

    plugins: Mapping[str, Callable[[], Any]] = {}

    def make_context(self, *args: Any, **extra: Any) -> Any:
        with _one_line():
            return super().make_context(*args, **extra)

    def invoke(self, ctx: Any) -> Any:
        with _one_line():
            return super().invoke(ctx)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        if cmd_name in GROUPS or cmd_name in COMMANDS:
            self._import(cmd_name)
        elif cmd_name not in self.commands:
            self._load()
        return super().get_command(ctx, cmd_name)

    def list_commands(self, ctx: Any) -> list[str]:
        for name in (*GROUPS, *COMMANDS):
            self._import(name)
        self._load()
        return [*GROUPS, *(name for name in super().list_commands(ctx) if name not in GROUPS)]

    def _import(self, name: str) -> None:
        if name in COMMANDS:
            group = get_group(import_module(COMMANDS[name]).app)
            self.commands.setdefault(name, group.commands[name])
        elif name not in self.commands:
            self.commands[name] = get_group(import_module(GROUPS[name]).app)
            self.commands[name].name = name

    def _load(self) -> None:
        plugins, self.plugins = self.plugins, {}
        for load in plugins.values():
            added = typer.Typer()
            added.callback()(_nothing)  # without one, a single command is no group
            load()(added)
            for name, one in get_group(added).commands.items():
                self.commands.setdefault(name, one)


@contextmanager
def _one_line() -> Iterator[None]:
    """Print a wrong command line as one line, as every other error."""
    try:
        yield
    except _UsageError as error:
        from jetkv.cli.exits import Exit
        from jetkv.cli.session import say  # `jetkv serve` needs no client

        text = error.format_message().replace("Value error, ", "")
        if "\n" in text:
            raise  # `jetkv` without a command: the text is its help
        asked = error.ctx.command_path if error.ctx else "jetkv"
        say(f"{text[:1].lower()}{text[1:].rstrip('.')}; see `{asked} --help`")
        raise typer.Exit(Exit.USAGE) from None


def _nothing() -> None: ...


app = typer.Typer(
    name="jetkv",
    cls=_Root,
    help="Key-value buckets on NATS JetStream over HTTP, compatible with the Ironflow KV API.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


def _version(requested: bool) -> None:
    if requested:
        typer.echo(f"jetkv {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None: ...


completion_scripts.register(app)


def command(plugins: Mapping[str, Callable[[], Any]]) -> Callable[..., Any]:
    """Return the command line with the commands of plugins; call it to run it."""
    if completion_scripts.is_asked(os.environ):
        completion_scripts.prepare()
    root = get_group(app)
    assert isinstance(root, _Root)
    root.plugins = plugins
    return root

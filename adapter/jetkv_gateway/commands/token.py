"""`jetkv token`: creates, lists and withdraws tokens, over NATS or by a gateway."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import orjson
import typer

from jetkv_gateway.auth.tokens import new_token, token_line
from jetkv_gateway.commands.common import EXIT_INPUT, Config, fail, read_settings
from jetkv_gateway.commands.options import with_settings
from jetkv_gateway.commands.token_places import (
    Limits,
    Place,
    PlaceError,
    TokenRow,
    place_of,
    seconds_of,
)
from jetkv_gateway.configuration.about import Panel
from jetkv_gateway.kv.errors import GatewayError, InvalidArgument
from jetkv_gateway.kv.keys import check_bucket, check_text
from jetkv_gateway.kv.scopes import ScopeVerb, parse_scopes

__all__ = ["app"]

app = typer.Typer(
    help="Create, list and withdraw tokens: over NATS, or with --url by a gateway.",
    no_args_is_help=True,
)

_EXIT_FAILED = 1
_EXIT_NO = 1

_Name = Annotated[str, typer.Argument(help="Name of the token.")]
_Url = Annotated[
    str | None,
    typer.Option(
        help="Address of a gateway to ask instead of NATS; needs a token with *:*, in "
        "JETKV_TOKEN or --token-file."
    ),
]
_TokenFile = Annotated[
    Path | None, typer.Option(help="File with the token for --url.", show_default=False)
]
_Allow = Annotated[
    list[str],
    typer.Option(help="A scope, such as read,write:sessions/user.*; repeatable. *:* is all."),
]
_Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]

_nats = with_settings(Panel.NATS, names=("bucket_prefix",))


@app.command("create")
@_nats
def create(
    flags: dict[str, Any],
    name: _Name,
    allow: _Allow,
    expires: Annotated[
        str | None, typer.Option(help="Time until it expires, such as 90d, 12h or 30m.")
    ] = None,
    rate: Annotated[int | None, typer.Option(help="Requests per second that it allows.")] = None,
    max_buckets: Annotated[
        int | None, typer.Option(help="Buckets that its caller may create.")
    ] = None,
    max_stored_bytes: Annotated[
        int | None, typer.Option(help="Bytes that these buckets may have.")
    ] = None,
    url: _Url = None,
    token_file: _TokenFile = None,
    config: Config = None,
) -> None:
    """Create a token, and print it alone. It is not stored anywhere: keep it.

    Without --url, it is created over NATS. That is how the first token comes to be.
    """
    try:
        seconds = None if expires is None else seconds_of(expires)
    except ValueError as error:
        fail(error, EXIT_INPUT)
    with _place(flags, config, url, token_file) as place:
        limits = Limits(seconds, rate, max_buckets, max_stored_bytes)
        secret = place.create(name, allow, limits)
    typer.echo(secret)


@app.command("list")
@_nats
def show_all(
    flags: dict[str, Any],
    json: _Json = False,
    url: _Url = None,
    token_file: _TokenFile = None,
    config: Config = None,
) -> None:
    """List the tokens: name, expiry, last use, scopes."""
    with _place(flags, config, url, token_file) as place:
        rows = place.tokens()
    if json:
        typer.echo(orjson.dumps([row.as_json() for row in rows], option=orjson.OPT_INDENT_2))
        return
    for row in rows:
        typer.echo("\t".join([row.name, row.expiry, row.last_use, " ".join(row.scopes)]))


@app.command("show")
@_nats
def show(
    flags: dict[str, Any],
    name: _Name,
    url: _Url = None,
    token_file: _TokenFile = None,
    config: Config = None,
) -> None:
    """Print what is known of a token, as JSON. Nobody knows the token itself."""
    with _place(flags, config, url, token_file) as place:
        row = _find(place, name)
    typer.echo(orjson.dumps(row.as_json(), option=orjson.OPT_INDENT_2))


@app.command("revoke")
@_nats
def revoke(
    flags: dict[str, Any],
    name: _Name,
    url: _Url = None,
    token_file: _TokenFile = None,
    config: Config = None,
) -> None:
    """Withdraw a token, in all gateways, within two seconds."""
    with _place(flags, config, url, token_file) as place:
        place.remove(name)


@app.command("can")
@_nats
def can(
    flags: dict[str, Any],
    name: _Name,
    verb: Annotated[ScopeVerb, typer.Argument(help="What to do.")],
    bucket: Annotated[str, typer.Argument(help="In which bucket; * for metrics.")],
    key: Annotated[str | None, typer.Argument(help="On which key; without it, on all.")] = None,
    url: _Url = None,
    token_file: _TokenFile = None,
    config: Config = None,
) -> None:
    """Tell whether a token allows something. Exit code 0: it does, 1: it does not."""
    try:
        if verb is not ScopeVerb.METRICS:
            check_bucket(bucket)
        if key is not None:
            check_text(key, "key")
    except InvalidArgument as error:
        fail(error, EXIT_INPUT)
    with _place(flags, config, url, token_file) as place:
        row = _find(place, name)
    if row.expired:
        typer.echo("no: the token has expired")
        raise typer.Exit(_EXIT_NO)
    scope = parse_scopes(row.scopes).scope_for(verb, bucket, key)
    typer.echo("no: no scope allows it" if scope is None else f"yes: {scope.text}")
    raise typer.Exit(_EXIT_NO if scope is None else 0)


@app.command("new")
def new(name: _Name, allow: _Allow) -> None:
    """Create a token for the file of --auth-tokens: print it, and the line for the file."""
    token = new_token()
    try:
        parse_scopes(allow)
        line = token_line(name, token, allow)
    except InvalidArgument as error:
        fail(error.message, EXIT_INPUT)
    typer.echo(f"token  {token}\nline   {line}")


@contextmanager
def _place(
    flags: dict[str, Any], config: Path | None, url: str | None, token_file: Path | None
) -> Iterator[Place]:
    """Yield where the tokens are. An error ends the program with a line."""
    try:
        with place_of(read_settings(flags, config), url, token_file) as place:
            yield place
    except PlaceError as error:
        fail(error, error.exit_code)
    except InvalidArgument as error:
        fail(f"{error.message}; {error.hint}" if error.hint else error.message, EXIT_INPUT)
    except GatewayError as error:
        fail(error.message, _EXIT_FAILED)


def _find(place: Place, name: str) -> TokenRow:
    """Return a token by its name, or end the program."""
    found = [row for row in place.tokens() if row.name == name]
    if not found:
        fail(f"no token has the name {name}", _EXIT_FAILED)
    return found[0]

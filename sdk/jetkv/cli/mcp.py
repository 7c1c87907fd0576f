"""`jetkv mcp`: a server of the Model Context Protocol."""

import asyncio
import os
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from jetkv import AsyncClient
from jetkv.cli.command import command
from jetkv.cli.exits import CommandError, Exit
from jetkv.cli.session import Session, say

__all__ = ["app"]

BEARER_TOKEN = "JETKV_MCP_BEARER_TOKEN"  # noqa: S105 - the name of a variable
_FEWEST_CHARACTERS = 16
_MOST_VALUE_BYTES = 16 * 1024 * 1024
_EXTRA = 'pip install "jetkv[mcp]"'

app = typer.Typer(pretty_exceptions_enable=False)


@app.callback()
def _group() -> None: ...  # without one, a single command is no group


class Transport(StrEnum):
    """How clients reach the server."""

    STDIO = "stdio"
    STREAMABLE_HTTP = "streamable-http"


def mcp(
    session: Session,
    allow_writes: Annotated[
        bool, typer.Option("--allow-writes", help="Let models write values, by kv_put.")
    ] = False,
    tool_prefix: Annotated[
        str,
        typer.Option(
            help="What the names of the tools begin with. ironflow_ gives the names of Ironflow's "
            "own server."
        ),
    ] = "",
    max_value_bytes: Annotated[
        int,
        typer.Option(help="The largest value that a model gets.", min=1, max=_MOST_VALUE_BYTES),
    ] = 64 * 1024,
    transport: Annotated[
        Transport, typer.Option(help="How clients reach the server.")
    ] = Transport.STDIO,
    host: Annotated[
        str, typer.Option(help="For streamable-http: the address of loopback to listen on.")
    ] = "127.0.0.1",
    port: Annotated[
        int, typer.Option(help="For streamable-http: the port; 0 for any.", min=0, max=65535)
    ] = 0,
    port_file: Annotated[
        Path | None, typer.Option(help="For streamable-http: write the port to this file.")
    ] = None,
) -> None:
    """Serve buckets to language models, by the Model Context Protocol.

    Models read only, unless you pass --allow-writes. The token of the gateway decides which keys
    they see: give it one with few scopes. streamable-http needs a bearer token of its own, in
    JETKV_MCP_BEARER_TOKEN.
    """
    try:
        from jetkv.mcp.server import Options, make_server
    except ModuleNotFoundError as error:
        if error.name is not None and error.name.startswith("jetkv"):
            raise
        raise CommandError(
            f"{error.name} is not installed", Exit.USAGE, hint=f"install the extra: {_EXTRA}"
        ) from error
    if not all(one.isascii() and (one.isalnum() or one in "_-") for one in tool_prefix):
        raise CommandError(
            "--tool-prefix may have letters, digits, _ and - only", Exit.USAGE, hint="try ironflow_"
        )
    found = session.reach()
    client = partial(
        AsyncClient,
        found.url,
        token=found.token,
        timeout=session.timeout if found.timeout is None else found.timeout,
        ssl_context=found.ssl_context,
    )
    server = make_server(client, Options(allow_writes, tool_prefix, max_value_bytes))
    if transport is Transport.STDIO:
        from mcp.server.stdio import stdio_server

        async def run() -> None:
            async with stdio_server() as (incoming, outgoing):
                await server.run(incoming, outgoing, server.create_initialization_options())

        asyncio.run(run())
        return

    from jetkv.mcp.http import is_loopback, serve

    if not is_loopback(host):
        raise CommandError(
            f"--host {host} is not an address of loopback",
            Exit.USAGE,
            hint="use 127.0.0.1, and a proxy with TLS where other machines should reach it",
        )

    def started(url: str, bound: int) -> None:
        if port_file is not None:
            port_file.write_text(f"{bound}\n")
        say(f"serves {url}")

    serve(server, host, port, _bearer_token(), started)


def _bearer_token() -> str:
    token = os.environ.get(BEARER_TOKEN, "")
    if not token:
        raise CommandError(
            f"streamable-http needs a bearer token in {BEARER_TOKEN}",
            Exit.USAGE,
            hint=f'export {BEARER_TOKEN}="$(openssl rand -hex 32)"',
        )
    if len(token) < _FEWEST_CHARACTERS or not token.isascii() or not token.isprintable():
        raise CommandError(
            f"{BEARER_TOKEN} must have at least {_FEWEST_CHARACTERS} printable ASCII characters",
            Exit.USAGE,
        )
    return token


command(app, "mcp", prints=False)(mcp)

"""`jetkv token`: tokens for `--auth tokens`."""

from typing import Annotated

import typer

from jetkv_gateway.auth.tokens import new_token, token_line
from jetkv_gateway.commands.common import EXIT_INPUT, fail
from jetkv_gateway.kv.errors import InvalidArgument

__all__ = ["app"]

app = typer.Typer(help="Create tokens for --auth tokens.", no_args_is_help=True)


@app.command("new")
def new(name: Annotated[str, typer.Argument(help="Name of the caller.")]) -> None:
    """Create a token that may do everything. Put the line into the file of --auth-tokens."""
    token = new_token()
    try:
        line = token_line(name, token, ["*:*"])
    except InvalidArgument as error:
        fail(error, EXIT_INPUT)
    typer.echo(f"token  {token}\nline   {line}")

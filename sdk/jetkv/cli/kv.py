"""`jetkv kv`: keys and their values."""

import typer

from jetkv.cli import kv_edit, kv_read, kv_watch, kv_write

__all__ = ["app"]

app = typer.Typer(
    help="Read, write and watch keys.", no_args_is_help=True, pretty_exceptions_enable=False
)
for group in (kv_read, kv_write, kv_edit, kv_watch):
    group.register(app)

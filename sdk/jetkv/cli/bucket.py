"""`jetkv bucket`: buckets and their settings."""

import typer

from jetkv.cli import bucket_apply, bucket_read, bucket_write

__all__ = ["app"]

app = typer.Typer(
    help="Create, describe and change buckets.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
for group in (bucket_read, bucket_write, bucket_apply):
    group.register(app)

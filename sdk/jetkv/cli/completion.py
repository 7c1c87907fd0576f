"""Completes names of profiles, buckets and keys in a shell."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import typer

from jetkv import Client, Retry
from jetkv.cli.exits import CommandError, Exit
from jetkv.cli.native import is_nats
from jetkv.cli.profiles import connection, profile_names
from jetkv.errors import JetKVError

__all__ = ["buckets", "keys", "profiles"]

_SECONDS = 2.0
_KEYS = 100
"""More keys than these would not help to choose one."""


def profiles(incomplete: str) -> list[str]:
    """Return the names of the profiles that begin with a text."""
    try:
        return [name for name in profile_names(os.environ) if name.startswith(incomplete)]
    except CommandError:
        return []


def buckets(ctx: typer.Context, incomplete: str) -> list[str]:
    """Return the names of the buckets that begin with a text; none if the gateway does not say."""
    try:
        with _client(ctx.params) as client:
            names = [found.name for found in client.kv().buckets()]
    except (JetKVError, CommandError):
        return []
    return [name for name in names if name.startswith(incomplete)]


def keys(ctx: typer.Context, incomplete: str) -> list[str]:
    """Return the keys of the command's bucket that begin with a text."""
    bucket = ctx.params.get("bucket")
    if not isinstance(bucket, str):
        return []
    try:
        with _client(ctx.params) as client:
            pages = client.kv().bucket(bucket).pages(prefix=incomplete or None, limit=_KEYS)
            return list(next(pages).keys)
    except (JetKVError, CommandError):
        return []


@contextmanager
def _client(params: dict[str, Any]) -> Iterator[Client]:
    """Return a client that gives up soon: the one who pressed Tab waits for it."""
    token_file = params.get("token_file")
    found = connection(
        os.environ,
        url=params.get("url"),
        profile=params.get("profile"),
        token_file=None if token_file is None else Path(token_file),
    )
    if is_nats(found.url):
        raise CommandError("a gateway takes too long to start", Exit.USAGE)
    with Client(
        found.url,
        token=found.token,
        timeout=_SECONDS,
        retry=Retry(attempts=1),
        ssl_context=found.ssl_context,
    ) as client:
        yield client

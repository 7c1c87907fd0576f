"""The TTLs of single values in requests (docs/http-api.md#ttl-per-key)."""

from datetime import timedelta
from typing import Literal

from jetkv.errors import InvalidArgumentError
from jetkv.models import NEVER, TTL

__all__ = ["MAX_SECONDS", "ttl_headers", "ttl_seconds"]

MAX_SECONDS = 3_153_600_000
"""The longest TTL of a value: 100 years of 365 days."""


def ttl_seconds(ttl: TTL) -> int | Literal["never"]:
    """Return a TTL in the form of the API's `ttl_seconds`.

    Raises:
        InvalidArgumentError: the TTL is neither `NEVER` nor whole seconds from 1 to `MAX_SECONDS`.
    """
    if ttl is NEVER:
        return "never"
    seconds: object = ttl
    if isinstance(ttl, timedelta):
        whole, rest = divmod(ttl, timedelta(seconds=1))
        seconds = None if rest else whole
    if isinstance(seconds, bool) or not isinstance(seconds, int) or seconds < 1:
        raise InvalidArgumentError(
            f"a ttl must be whole seconds from 1, not {ttl!r}",
            hint="for example 30, timedelta(minutes=5) or jetkv.NEVER",
        )
    if seconds > MAX_SECONDS:
        raise InvalidArgumentError(
            f"a ttl must be at most {MAX_SECONDS:,} seconds, which is 100 years",
            hint="use jetkv.NEVER for a value that does not expire",
        )
    return seconds


def ttl_headers(ttl: TTL | None) -> dict[str, str]:
    """Return the headers of a write with a TTL; no headers for None.

    Raises:
        InvalidArgumentError: as in `ttl_seconds`.
    """
    return {} if ttl is None else {"JetKV-TTL-Seconds": str(ttl_seconds(ttl))}

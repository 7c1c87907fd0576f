"""Times as text: RFC 3339 in UTC, as nats-server writes them. Pure."""

from datetime import UTC, datetime
from functools import lru_cache

__all__ = ["nanoseconds_of", "rfc3339", "rfc3339_second"]

_SECOND = 1_000_000_000


def rfc3339(nanoseconds: int) -> str:
    """Return a time since 1970 as text with as few digits as possible (Go's RFC3339Nano)."""
    seconds, rest = divmod(nanoseconds, _SECOND)
    if not rest:
        return _second(seconds) + "Z"
    return f"{_second(seconds)}.{rest:09d}".rstrip("0") + "Z"


def rfc3339_second(seconds: float) -> str:
    """Return a time since 1970 as text, without a fraction."""
    return _second(int(seconds)) + "Z"


@lru_cache(maxsize=4096)
def nanoseconds_of(moment: str) -> int:
    """Return nanoseconds since 1970 of an RFC 3339 time in UTC.

    Raises:
        ValueError: it is not one.
    """
    second, _, fraction = moment.removesuffix("Z").removesuffix("+00:00").partition(".")
    whole = datetime.strptime(second, "%Y-%m-%dT%H:%M:%S").replace(tzinfo=UTC)
    return int(whole.timestamp()) * _SECOND + int(fraction.ljust(9, "0")[:9])


@lru_cache(maxsize=4096)
def _second(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")

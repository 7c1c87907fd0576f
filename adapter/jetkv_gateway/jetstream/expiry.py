"""Decides when a value has expired, by the clock of the server that holds it.

Servers remove expired values with a timer: 2.10 about one second late, later versions a few tenths.
Until then they return the value. The gateway does not. It judges by times that the server itself
wrote: the time in the message, and the time in the last info about the stream.
"""

import math
from base64 import b64decode, b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Any

from jetkv_gateway.jetstream.headers import read_headers
from jetkv_gateway.kv.timestamps import rfc3339

__all__ = ["Lifetime", "lifetime_of", "may_have_ttl", "own_ttl", "seconds_of", "ttl_of"]

_TTL = "Nats-TTL"
_TTL_BYTES = _TTL.encode()
_TTL_CODED = tuple(
    # By where it begins among the groups of three; what its neighbours share is cut off.
    b64encode(bytes(place) + _TTL_BYTES)[-(-place * 4 // 3) : (place + len(_TTL)) * 4 // 3].decode()
    for place in range(3)
)
"""How base64 that has the name in it looks."""
_NEVER = "never"
_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0}


def seconds_of(text: str) -> float:
    """Parse an RFC 3339 time as seconds since 1970; digits below a microsecond are cut off."""
    return datetime.fromisoformat(text).timestamp()


@dataclass(frozen=True, slots=True)
class Lifetime:
    """How long a bucket's values live.

    Attributes:
        max_age: the limit for every value in seconds; infinite if there is none.
        own: whether values can have their own TTL (ADR-43).
        clock: the server's time minus the event loop's. It is behind by the transit time of the
            reply, so no value counts as expired too early.
    """

    max_age: float
    own: bool
    clock: float

    def concerns(self, headers: str | bytes | None) -> bool:
        """Return whether a message's time can ever be up: a quick look, for what is read often.

        Args:
            headers: base64 as the API has them, or the block itself.
        """
        return self.max_age != math.inf or may_have_ttl(headers)

    def is_expired(
        self, stored: float, headers: Mapping[str, str] | str | bytes | None, now: float
    ) -> bool:
        """Return whether a message has expired.

        Args:
            stored: the time of the message by the server, in seconds since 1970.
            headers: parsed headers, base64 as in the API, or the raw block.
            now: the event loop's time.
        """
        return now + self.clock - stored >= self.lasts(self._ttl(headers))

    def is_over(self, stored_at: int, ttl: float | None, now: float) -> bool:
        """Return whether the time of a message with this TTL is up.

        Args:
            stored_at: the time of the message by the server, in nanoseconds since 1970.
            ttl: the message's own, as `ttl_of` returns it.
            now: the event loop's time.
        """
        return now + self.clock - stored_at / 1e9 >= self.lasts(ttl if self.own else None)

    def expires_at(
        self, stored_at: int, headers: Mapping[str, str] | str | bytes | None
    ) -> int | None:
        """Return when a message's time is up, None where it does not expire.

        Args:
            stored_at: nanoseconds since 1970, by the server; so is what is returned.
            headers: as for `is_expired`.
        """
        seconds = self.lasts(self._ttl(headers))
        return None if seconds == math.inf else stored_at + round(seconds * 1e9)

    def expires_at_text(
        self, stored_at: int, headers: Mapping[str, str] | str | bytes | None
    ) -> str | None:
        """Return `expires_at` as an RFC 3339 time in UTC."""
        end = self.expires_at(stored_at, headers)
        return None if end is None else rfc3339(end)

    def lasts(self, ttl: float | None) -> float:
        """Return how long a value lives, in seconds, infinite for ever.

        Args:
            ttl: the value's own, in seconds; infinite outlives the bucket's.
        """
        if ttl is None or ttl == math.inf:
            return ttl or self.max_age
        return min(ttl, self.max_age)

    def _ttl(self, headers: Mapping[str, str] | str | bytes | None) -> float | None:
        if not self.own or not headers:
            return None
        return own_ttl(headers) if isinstance(headers, str | bytes) else ttl_of(headers)


def may_have_ttl(headers: str | bytes | None) -> bool:
    """Return whether a message may have its own TTL: a quick look, for what is read often.

    Args:
        headers: base64 as the API has them, or the block itself.
    """
    if not headers:
        return False
    if isinstance(headers, bytes):
        return _TTL_BYTES in headers
    zero, one, two = _TTL_CODED
    return zero in headers or one in headers or two in headers


def own_ttl(headers: str | bytes | None) -> float | None:
    """Return a message's own TTL in seconds, infinite for `never`, None where it has none.

    Args:
        headers: base64 as the API has them, or the block itself.
    """
    return _coded_ttl(headers) if headers else None


def lifetime_of(info: Mapping[str, Any], now: float) -> Lifetime | None:
    """Read from STREAM.INFO how long values live; None if none expires.

    Args:
        now: the event loop's time when the reply arrived.
    """
    config = info["config"]
    max_age, own = config.get("max_age", 0), bool(config.get("allow_msg_ttl"))
    if not (max_age or own) or "ts" not in info:
        return None
    return Lifetime(max_age / 1e9 or math.inf, own, seconds_of(info["ts"]) - now)


@lru_cache(maxsize=1024)
def _coded_ttl(headers: str | bytes) -> float | None:
    return ttl_of(read_headers(b64decode(headers) if isinstance(headers, str) else headers))


def ttl_of(headers: Mapping[str, str]) -> float | None:
    """Return a message's own TTL in seconds, infinite for `never`, None if it has none.

    An invalid TTL counts as none; the server then decides a moment later.
    """
    text = headers.get(_TTL, "")
    if text == _NEVER:
        return math.inf
    number, unit = (text, 1.0) if text[-1:].isdigit() else (text[:-1], _UNITS.get(text[-1:], 0.0))
    if not (number.isascii() and number.isdigit()) or not unit:
        return None
    return int(number) * unit or None

"""The TTL of a single key: its syntax, and which buckets can store it. Pure.

The rules are those of docs/http-api.md#ttl-per-key and of NATS (ADR-43).
"""

import math
import re
from typing import NamedTuple

from jetkv_gateway.kv.errors import BucketUnsuitable, InvalidArgument

__all__ = ["MAX_TTL_SECONDS", "NEVER", "TtlRules", "read_ttl", "written_ttl"]

MAX_TTL_SECONDS = 3_153_600_000
"""A hundred years."""

NEVER = 0
"""The TTL of a value that the bucket's TTL does not remove."""

_NEVER_TEXT = "never"
_SECONDS = re.compile(r"[1-9][0-9]{0,9}")


def read_ttl(text: str, part: str) -> int:
    """Return a TTL in seconds, or `NEVER`.

    Args:
        part: the part of the request, for the error.

    Raises:
        InvalidArgument: it is neither `never` nor a whole number from 1 to `MAX_TTL_SECONDS`.
    """
    if text == _NEVER_TEXT:
        return NEVER
    if _SECONDS.fullmatch(text) is not None and int(text) <= MAX_TTL_SECONDS:
        return int(text)
    raise InvalidArgument(
        f"{part} must be whole seconds from 1 to {MAX_TTL_SECONDS}, or {_NEVER_TEXT}"
    )


class TtlRules(NamedTuple):
    """What a bucket allows.

    Attributes:
        history: the number of revisions that it keeps of a key.
        shortest: the shortest TTL in seconds that NATS does not change; None if values cannot have
            one.
        expires: whether the bucket has a TTL.
        since: the first version of nats-server with TTLs if the bucket's server is older; else
            None.
        markers: for how many seconds expiry markers would stay if they were switched on now.
    """

    history: int
    shortest: int | None
    expires: bool = False
    since: str | None = None
    markers: float = math.inf

    def check(self, ttl: int, *, drops_history: bool) -> None:
        """Check that a value can have this TTL.

        Args:
            drops_history: whether the write removes older revisions of the key, as a create does.

        Raises:
            BucketUnsuitable: it cannot; the text says why.
        """
        if self.since is not None:
            raise BucketUnsuitable(f"a TTL for one key needs nats-server {self.since} or newer")
        if self.shortest is None:
            raise BucketUnsuitable(
                "the bucket does not allow a TTL for one key",
                hint="allow it with PATCH: the setting is key_ttl",
            )
        if self.history > 1 and not drops_history:
            raise BucketUnsuitable(
                f"a TTL on this write would show an older value again once it expires: the bucket "
                f"keeps {self.history} revisions of a key",
                hint="create the key, or touch it: both drop its older revisions",
            )
        if ttl == NEVER and self.expires and self.history > 1:
            raise BucketUnsuitable(
                "a value that never expires would show again once a newer value or a delete "
                f"expires: the bucket has a TTL and keeps {self.history} revisions of a key",
                hint="store such a value in a bucket with a history of 1",
            )
        if ttl != NEVER and ttl < self.shortest:
            raise BucketUnsuitable(
                f"NATS would store a TTL of {self.shortest} seconds: the bucket keeps its expiry "
                "markers for that long",
                hint=self._cure,
                details={"shortest_ttl_seconds": self.shortest},
            )

    @property
    def _cure(self) -> str:
        longer = f"use a TTL of {self.shortest} seconds or more"
        if self.shortest is None or self.markers >= self.shortest:
            return longer
        return (
            f"{longer}, or PATCH expiry_markers to false and then to true: new markers stay for "
            f"{self.markers:.0f} seconds"
        )


def written_ttl(ttl: int) -> str:
    """Return a TTL in the syntax of NATS's message headers."""
    return _NEVER_TEXT if ttl == NEVER else str(ttl)

"""The data types of buckets and entries. Plain values, no I/O."""

from collections.abc import Hashable, Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple

from pybase64 import b64decode, b64encode_as_string

__all__ = [
    "MAX_REVISION",
    "MUST_NOT_EXIST",
    "RETRY_HORIZON",
    "BucketState",
    "Change",
    "Consistency",
    "Entry",
    "KeyMeta",
    "Operation",
    "SilentLoss",
    "share",
]

MAX_REVISION = 2**63 - 1

MUST_NOT_EXIST = 0
"""The expected revision of a create: the key has no live value (docs/http-api.md#conditions)."""

RETRY_HORIZON = 60.0
"""Seconds after a write in which its caller may send it again with the same idempotency key
(docs/http-api.md#idempotency-keys). A bucket has to remember the key for as long. Clients stop
earlier, the SDK after 10 seconds."""


class Operation(StrEnum):
    """The kind of a revision: a value, or one of the two kinds of tombstone."""

    PUT = "put"
    DELETE = "delete"
    PURGE = "purge"


class Consistency(StrEnum):
    """Who answers a read: the stream's leader or any replica (docs/http-api.md#consistency)."""

    STRONG = "strong"
    EVENTUAL = "eventual"


@dataclass(slots=True)
class Entry:
    """One revision of a key. Reads of the same revision may share one object.

    Attributes:
        key: decoded.
        data: the value in the form in which JetStream delivered it: bytes, or standard padded
            base64. It is empty for an empty value and for a tombstone. The other form is computed
            only on demand.
        revision: the stream sequence, unique within the bucket.
        created_at: RFC 3339, UTC, as the server wrote it.
        operation: put, delete or purge.
        content_type: of the PUT, or None (other NATS clients store none).
        content_encoding: of the PUT, or None.
        consistency: who answered the read.
        expires_at: RFC 3339, UTC: when the value expires, by its own TTL or the bucket's, whichever
            comes first; None if it does not expire.
        shown: what answers show of it so far, so that each form is created only once. None while
            only one read has it: nobody would look at them again.
    """

    key: str
    data: bytes | str
    revision: int
    created_at: str
    operation: Operation
    content_type: str | None
    content_encoding: str | None = None
    consistency: Consistency = Consistency.STRONG
    expires_at: str | None = None
    shown: dict[Hashable, tuple[bytes, bytes]] | None = field(
        default=None, repr=False, compare=False
    )

    @property
    def value(self) -> bytes:
        data = self.data
        return data if isinstance(data, bytes) else b64decode(data, validate=True)

    @property
    def base64(self) -> str:
        """The value, standard padded base64."""
        data = self.data
        return data if isinstance(data, str) else to_base64(data)

    @property
    def size(self) -> int:
        """Length of the value in bytes."""
        data = self.data
        if isinstance(data, bytes):
            return len(data)
        return len(data) // 4 * 3 - data[-2:].count("=")

    @property
    def live(self) -> bool:
        return self.operation is Operation.PUT


class KeyMeta(NamedTuple):
    """A live key without its value. A listing creates one for each key.

    Attributes:
        key: decoded.
        revision: the stream sequence.
        stored_at: nanoseconds since 1970, by the server.
        size: of the value, in bytes.
        content_type: of the PUT, or None.
        expires_at: the expiry in nanoseconds since 1970, or None.
    """

    key: str
    revision: int
    stored_at: int
    size: int
    content_type: str | None = None
    expires_at: int | None = None


@dataclass(slots=True, eq=False)
class Change:
    """One revision of a key, as watchers see it. All watchers share one object.

    Attributes:
        key: decoded.
        value: the bytes; empty for a tombstone.
        revision: the stream sequence.
        expired: whether the tombstone marks an expired value.
        content_type: of the PUT, or None.
        content_encoding: of the PUT, or None.
        expires_at: as in an `Entry`.
        traceparent: the span of the write, as its message names it, or None.
        shown: the encoded forms so far, so that each form is created only once. None while only one
            watcher gets the change: nobody would look at them again.
    """

    key: str
    value: bytes
    revision: int
    operation: Operation
    expired: bool = False
    content_type: str | None = None
    content_encoding: str | None = None
    expires_at: str | None = None
    traceparent: str | None = None
    shown: dict[Hashable, bytes] | None = field(default=None, repr=False)

    @property
    def live(self) -> bool:
        return self.operation is Operation.PUT


def share(changes: Iterable[Change]) -> None:
    """Let changes keep their encoded forms. Call it before several watchers get them."""
    for change in changes:
        if change.shown is None:
            change.shown = {}


@dataclass(frozen=True, slots=True)
class SilentLoss:
    """How a bucket can lose revisions without a trace.

    A newer revision of the key is a trace, and so is an expiry marker.

    Attributes:
        after: seconds that a revision, or its last trace, is kept at least.
        oldest_first: whether all revisions after a stored one are still there or have left a trace.
            This holds if all values have the same limit, and not if each value can have its own.
    """

    after: float
    oldest_first: bool


@dataclass(frozen=True, slots=True)
class BucketState:
    """The state of a bucket's revisions, from its leader.

    Attributes:
        created_at: RFC 3339. If it changes, the bucket is a new one of the same name.
        age: seconds since then.
        now: the server's clock, in seconds since 1970.
        first: the first stored revision; `last` + 1 if nothing is stored.
        first_age: seconds since that revision was stored.
        last: the newest revision that was ever assigned.
        history: the number of revisions kept for each key.
        silent_loss: how revisions can disappear without a trace; None if they cannot.
    """

    created_at: str
    age: float
    now: float
    first: int
    first_age: float
    last: int
    history: int
    silent_loss: SilentLoss | None


def to_base64(value: bytes) -> str:
    return b64encode_as_string(value)

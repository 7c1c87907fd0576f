"""What a bucket holds and how it is described. Plain values, no I/O."""

import binascii
from base64 import b64decode
from collections.abc import Hashable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple

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
]

MAX_REVISION = 2**63 - 1

MUST_NOT_EXIST = 0
"""The expected revision of a create: the key has no live value (docs/http-api.md#conditions)."""

RETRY_HORIZON = 60.0
"""Seconds after a write for which its caller may send it again under the same idempotency key
(docs/http-api.md#idempotency-keys): a bucket has to know it for as long. Clients give up sooner;
the SDK after 10."""


class Operation(StrEnum):
    """What a revision of a key is: a value, or one of the two kinds of tombstone."""

    PUT = "put"
    DELETE = "delete"
    PURGE = "purge"


class Consistency(StrEnum):
    """Who answers a read: the stream's leader, or any replica (docs/http-api.md#consistency)."""

    STRONG = "strong"
    EVENTUAL = "eventual"


@dataclass(slots=True)
class Entry:
    """One revision of a key.

    Attributes:
        key: decoded.
        data: the value as JetStream has handed it over, the bytes or standard padded base64;
            empty for an empty value and for a tombstone. Either form is made of the other only
            where it is asked for.
        revision: stream sequence, unique within the bucket.
        created_at: RFC 3339, UTC, as the server wrote it.
        operation: put, delete or purge.
        content_type: of the PUT, or None (other NATS clients store none).
        content_encoding: of the PUT: how the value is coded, or None where it is not.
        consistency: who answered.
    """

    key: str
    data: bytes | str
    revision: int
    created_at: str
    operation: Operation
    content_type: str | None
    content_encoding: str | None = None
    consistency: Consistency = Consistency.STRONG

    @property
    def value(self) -> bytes:
        data = self.data
        return data if isinstance(data, bytes) else b64decode(data)

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
    """What is known of a live key without its value. A listing makes one for each key.

    Attributes:
        key: decoded.
        revision: stream sequence.
        stored_at: nanoseconds since 1970, by the server.
        size: of the value, in bytes.
        content_type: of the PUT, or None.
        expires_at: nanoseconds since 1970 when its time is up, None where it does not expire.
    """

    key: str
    revision: int
    stored_at: int
    size: int
    content_type: str | None = None
    expires_at: int | None = None


@dataclass(slots=True, eq=False)
class Change:
    """One revision of a key, as watchers see it. One object for all who watch.

    Attributes:
        key: decoded.
        value: the bytes; empty for a tombstone.
        revision: stream sequence.
        expired: whether the tombstone is the mark of a value that ran out of time.
        content_type: of the PUT, or None.
        content_encoding: of the PUT, or None.
        shown: what was made of it so far, by whoever made it: each form is made once.
    """

    key: str
    value: bytes
    revision: int
    operation: Operation
    expired: bool = False
    content_type: str | None = None
    content_encoding: str | None = None
    shown: dict[Hashable, bytes] = field(default_factory=dict, repr=False)

    @property
    def live(self) -> bool:
        return self.operation is Operation.PUT


@dataclass(frozen=True, slots=True)
class SilentLoss:
    """How a bucket loses revisions without a trace: a newer one of the key, or an expiry marker.

    Attributes:
        after: seconds that a revision, or the last trace of it, is kept at least.
        oldest_first: whether a revision that is still stored vouches for all that came after it.
            It does where all share one limit; not where each value can have a time of its own.
    """

    after: float
    oldest_first: bool


@dataclass(frozen=True, slots=True)
class BucketState:
    """Where a bucket's revisions stand, by its leader.

    Attributes:
        created_at: RFC 3339; another one means another bucket of the same name.
        age: seconds since then.
        now: the server's clock, seconds since 1970.
        first: the first stored revision; `last` + 1 when nothing is stored.
        first_age: seconds since that one was stored.
        last: the newest revision that was ever given.
        history: how many revisions of a key are kept.
        silent_loss: how revisions can go without a trace, or None where none does.
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
    return binascii.b2a_base64(value, newline=False).decode("ascii")

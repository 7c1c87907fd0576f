"""What the HTTP side asks of a backend, as small protocols. JetStream carries them out.

`retries` counts what is tried again for one request; where it is None, nobody counts.

Any method can raise `Unavailable` (nothing was applied); reads also `DeadlineExceeded`, writes
`OutcomeUnknown`. Methods that name a bucket raise `InvalidBucketName`, `BucketNotFound`, and
`BucketUnsuitable` where a stream of that name is no bucket or, as configured, cannot do it; those
that name a key raise `InvalidArgument` for a key that breaks a rule (docs/http-api.md#keys).
"""

from collections.abc import AsyncGenerator, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from jetkv_gateway.kv.batches import BatchGet, Snapshot
from jetkv_gateway.kv.buckets import BucketInfo, BucketSpec
from jetkv_gateway.kv.commands import Delete, Get, History, ListKeys, Put
from jetkv_gateway.kv.filters import EVERYTHING, Filter
from jetkv_gateway.kv.model import (
    BucketState,
    Change,
    Entry,
)
from jetkv_gateway.kv.retries import Retries

__all__ = [
    "Batch",
    "Batches",
    "Buckets",
    "Changes",
    "Entries",
    "Feed",
    "Health",
    "Listings",
    "Newest",
    "Stamp",
    "Store",
]


class Entries(Protocol):
    """Single keys."""

    async def get(self, command: Get, retries: Retries) -> Entry:
        """Return the live entry, or the one of `revision` if that was a put of this key.

        Raises:
            KeyNotFound: there is none.
        """
        ...

    async def put(self, command: Put, retries: Retries) -> int:
        """Store a value and return its revision; of a retry, that of the first time.

        Raises:
            IdempotencyConflict: another write bears the same idempotency key.
            KeyExists: a create found a live value.
            RevisionMismatch: another revision stands, or none.
            ValueTooLarge, BucketFull: nothing was stored.
        """
        ...

    async def delete(self, command: Delete, retries: Retries) -> int:
        """Delete a key, and return the revision of the tombstone.

        Without a live value nothing is written, and the revision is 0.

        Raises:
            IdempotencyConflict: another write bears the same idempotency key.
            RevisionMismatch: the live value has another revision than the one expected.
        """
        ...

    def history(self, command: History, retries: Retries) -> AsyncGenerator[Entry, None]:
        """Yield the stored revisions of a key, tombstones included, oldest first.

        Each counts as held until the next one is asked for: close the generator when done.

        Raises:
            KeyNotFound: nothing is stored under the key.
            TooManyRequests: too much is held by others.
        """
        ...


class Batches(Protocol):
    """Several keys of a bucket at once."""

    def snapshot(
        self, command: BatchGet, retries: Retries
    ) -> AbstractAsyncContextManager[Snapshot]:
        """Read keys as of one moment, which is not before this call.

        What is large counts as held until the context is left.

        Raises:
            AnswerTooLarge: the values are more than one answer may have.
            TooManyRequests: too much is held by others.
        """
        ...


class Listings(Protocol):
    """Keys of a bucket."""

    async def keys(self, command: ListKeys) -> list[str]:
        """Return the live keys that the filter accepts, sorted by their UTF-8 bytes.

        Every key that is live throughout the call is in the list, whatever is written meanwhile.

        Raises:
            TooManyRequests: too many listings run already.
        """
        ...


class Batch(NamedTuple):
    """What a feed has delivered since it was read last.

    Attributes:
        changes: in revision order; may be empty.
        reached: every change up to this revision that the feed is to deliver was delivered.
        as_of: all that was stored before this moment, by the event loop's clock, was delivered.
    """

    changes: list[Change]
    reached: int
    as_of: float


class Stamp(NamedTuple):
    """A stored revision, and when it was stored: the server's clock, seconds since 1970."""

    revision: int
    stored_at: float


class Newest(NamedTuple):
    """The newest revision that a bucket still holds, and under which name."""

    revision: int
    tokens: str


class Feed(Protocol):
    """The changes of a bucket from some revision on, as they happen."""

    async def read(self) -> Batch:
        """Wait for the next changes, or for word that there are none, which comes each second.

        Nothing is fetched while nobody reads.

        Raises:
            Unavailable: the feed is at its end, by a gap, silence or loss; open another one after
                what was read last.
        """
        ...


class Changes(Protocol):
    """What watches are made of."""

    async def state(self, bucket: str) -> BucketState:
        """Return where a bucket's revisions stand."""
        ...

    async def newest(self, bucket: str) -> Newest | None:
        """Return the newest stored revision by the leader, None in an empty bucket."""
        ...

    async def first_from(self, bucket: str, revision: int) -> Stamp | None:
        """Return the first stored revision that is not before this one, None without any."""
        ...

    def follow(
        self,
        bucket: str,
        *,
        after: int,
        latest: bool = False,
        filters: Sequence[Filter] = (EVERYTHING,),
        through: Newest | None = None,
        closely: bool = False,
    ) -> AbstractAsyncContextManager[Feed]:
        """Open a feed; leaving the context removes it from the server.

        Args:
            after: the revision before the first one wanted; without meaning where `latest` is set.
            latest: begin with the newest change of each key, then go on as ever.
            filters: keys wanted. More may come: the exact decision is the reader's.
            through: a revision that has to be reached for sure and soon, whatever the filters.
            closely: whether it is to say twice a second that nothing has happened.
        """
        ...

    async def available(self, timeout: float) -> None:
        """Wait until there is a connection again, `timeout` seconds at most."""
        ...


class Buckets(Protocol):
    """Buckets themselves."""

    async def create(self, spec: BucketSpec, retries: Retries | None = None) -> BucketInfo:
        """Create a bucket.

        Raises:
            BucketExists: there is one already, with whatever settings.
        """
        ...

    async def info(self, name: str, retries: Retries | None = None) -> BucketInfo:
        """Return a bucket as it stands."""
        ...

    async def list(self, retries: Retries | None = None) -> list[BucketInfo]:
        """Return all buckets, sorted by name."""
        ...

    async def delete(self, name: str, retries: Retries | None = None) -> None:
        """Delete a bucket with all it holds."""
        ...


class Health(Protocol):
    """Whether the backend works."""

    async def issues(self) -> dict[str, str]:
        """Return what keeps the backend from working, by part; empty when it is ready."""
        ...


@dataclass(frozen=True, slots=True)
class Store:
    """A backend: one object for each protocol."""

    entries: Entries
    batches: Batches
    listings: Listings
    buckets: Buckets
    changes: Changes
    health: Health

"""The interface of a storage backend, as small protocols. `jetstream/` implements them.

`retries` counts the retries of one request; None disables the count.

Every method can raise `Unavailable` (nothing was applied). Reads can also raise `DeadlineExceeded`,
and writes `OutcomeUnknown`. Methods that take a bucket raise `InvalidBucketName` and
`BucketNotFound`, and `BucketUnsuitable` if the stream of that name is not a bucket or its
configuration does not allow the operation. Methods that take a key raise `InvalidArgument` if the
key is invalid (docs/http-api.md#keys).
"""

from collections.abc import AsyncGenerator, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from jetkv_gateway.kv.batches import Applied, BatchGet, BatchWrite, Snapshot
from jetkv_gateway.kv.buckets import BucketInfo, BucketSpec
from jetkv_gateway.kv.commands import (
    Compact,
    Delete,
    DeleteKeys,
    Get,
    History,
    ListKeys,
    ListPage,
    Put,
    ReadKeys,
    Touch,
    Touched,
)
from jetkv_gateway.kv.cursors import Cursor
from jetkv_gateway.kv.filters import EVERYTHING, Filter
from jetkv_gateway.kv.model import (
    BucketState,
    Change,
    Entry,
    KeyMeta,
)
from jetkv_gateway.kv.plans import BucketChange, Changed
from jetkv_gateway.kv.retries import Retries

__all__ = [
    "Batches",
    "BucketChanges",
    "Buckets",
    "BulkDeleteProgress",
    "BulkDeletes",
    "Changes",
    "Entries",
    "Feed",
    "FeedBatch",
    "Health",
    "Listings",
    "NewestRevision",
    "Page",
    "Pages",
    "Reading",
    "Readings",
    "Store",
    "StoredRevision",
]


class Entries(Protocol):
    """Single keys."""

    async def get(self, command: Get, retries: Retries) -> Entry:
        """Return the live entry, or the entry of `revision` if that was a put of this key.

        Raises:
            KeyNotFound: there is no such entry.
        """
        ...

    async def put(self, command: Put, retries: Retries) -> int:
        """Store a value and return its revision; a retry returns the revision of the first try.

        Raises:
            IdempotencyConflict: another write has the same idempotency key.
            KeyExists: a create found a live value.
            RevisionMismatch: the key is at another revision, or has no value.
            ValueTooLarge, BucketFull: nothing was stored.
        """
        ...

    async def delete(self, command: Delete, retries: Retries) -> int:
        """Delete a key and return the revision of the tombstone.

        If the key has no live value, nothing is written and the revision is 0.

        Raises:
            IdempotencyConflict: another write has the same idempotency key.
            RevisionMismatch: the live value has another revision than the expected one.
        """
        ...

    async def touch(self, command: Touch, retries: Retries) -> Touched:
        """Renew the TTL of a live value; of a retry, return what the first time returned.

        Raises:
            KeyNotFound: there is no live value.
            RevisionMismatch: the key is at another revision, or has no value.
            BucketUnsuitable: the value can have no such TTL, or has none to renew.
            IdempotencyConflict: another write bears the same idempotency key.
        """
        ...

    def history(self, command: History, retries: Retries) -> AsyncGenerator[Entry, None]:
        """Yield the stored revisions of a key, oldest first, including tombstones.

        Each entry holds memory credit until you ask for the next one: close the generator when
        you are done.

        Raises:
            KeyNotFound: nothing is stored under the key.
            TooManyRequests: other requests hold too much memory.
        """
        ...


class Batches(Protocol):
    """Several keys of a bucket at once."""

    def snapshot(
        self, command: BatchGet, retries: Retries
    ) -> AbstractAsyncContextManager[Snapshot]:
        """Read keys as of one moment, which is not before this call.

        Large values hold memory credit until you leave the context.

        Raises:
            AnswerTooLarge: the values exceed the limit of one answer.
            TooManyRequests: other requests hold too much memory.
        """
        ...

    async def apply(self, command: BatchWrite, retries: Retries) -> Applied:
        """Apply an atomic batch, all of it or nothing; a retry returns the result of the first try.

        Raises:
            ConditionsFailed: a condition does not hold.
            IdempotencyConflict: another batch has the same idempotency key.
            ValueTooLarge, BucketFull: nothing was stored.
        """
        ...


class Listings(Protocol):
    """Keys of a bucket."""

    async def keys(self, command: ListKeys) -> list[str]:
        """Return the live keys that match the filter, sorted by their UTF-8 bytes.

        The list contains every key that is live during the whole call, even while others write.

        Raises:
            TooManyRequests: too many listings are running.
        """
        ...


class Page(NamedTuple):
    """One page of a listing, sorted by the keys' UTF-8 bytes.

    Attributes:
        items: keys, `KeyMeta` or entries, as the command asks. A page may have fewer items than its
            limit, or none, although more follow.
        following: where the next page begins; None after the last page.
    """

    items: Sequence[str] | Sequence[KeyMeta] | Sequence[Entry]
    following: Cursor | None


class Pages(Protocol):
    """A listing in pages."""

    async def page(self, command: ListPage, retries: Retries) -> Page:
        """Return a page.

        Every key that is live from the first page to the last is in exactly one page.

        Raises:
            CursorExpired: the bucket of the cursor was deleted, or replaced by one of the same
                name.
            TooManyRequests: too many listings are running.
        """
        ...


class Reading(Protocol):
    """A running bulk read of a bucket."""

    @property
    def revision(self) -> int:
        """After the end of `parts`: everything stored up to this revision was delivered."""
        ...

    def parts(self) -> AsyncGenerator[Sequence[KeyMeta] | Sequence[Entry], None]:
        """Yield entries, or `KeyMeta` if no values are wanted, in revision order.

        Nothing is fetched before you take the previous part. A key that is written meanwhile may
        come again with its newer revision. Every key that is live the whole time comes.

        Raises:
            GatewayError: the reading is incomplete.
        """
        ...


class Readings(Protocol):
    """Bulk reads in bounded memory."""

    def read(self, command: ReadKeys) -> AbstractAsyncContextManager[Reading]:
        """Start a reading. Leaving the context removes its consumer from the server.

        Raises:
            TooManyRequests: too many readings are running.
        """
        ...


class BulkDeleteProgress(NamedTuple):
    """The result of a deletion of many keys.

    Attributes:
        matched: the number of live keys that were found.
        deleted: the number of those that were deleted. The others were written since, or were gone.
        revision: of the newest tombstone; without one, of the bucket at the beginning.
    """

    matched: int
    deleted: int
    revision: int


class BulkDeletes(Protocol):
    """Deletes of many keys."""

    def delete_keys(
        self, command: DeleteKeys, retries: Retries
    ) -> AsyncGenerator[BulkDeleteProgress, None]:
        """Delete keys one by one, each at the revision that was read, and yield the progress.

        The last result is the final one. A key that is written after the call began stays.

        Raises:
            OutcomeUnknown: not all keys were deleted.
            GatewayError: a key could not be deleted, or not all keys were found.
        """
        ...

    async def compact(self, command: Compact, retries: Retries) -> int:
        """Remove tombstones of keys without any other message; return the number removed.

        Raises:
            OutcomeUnknown: not all of them were removed.
        """
        ...


class FeedBatch(NamedTuple):
    """The changes that a feed has delivered since the last read.

    Attributes:
        changes: in revision order; may be empty.
        reached: the feed has delivered every change up to this revision.
        as_of: the feed has delivered everything stored before this time of the event loop.
        expired: the revisions of values that had expired when a feed with `through` read them, and
            that the server had not removed yet.
    """

    changes: list[Change]
    reached: int
    as_of: float
    expired: frozenset[int] = frozenset()


class StoredRevision(NamedTuple):
    """A stored revision and its time by the server's clock, in seconds since 1970."""

    revision: int
    stored_at: float


class NewestRevision(NamedTuple):
    """The newest stored revision of a bucket, and its key as NATS stores it."""

    revision: int
    tokens: str


class Feed(Protocol):
    """The changes of a bucket from a revision on, as they happen."""

    async def read(self) -> FeedBatch:
        """Wait for the next changes; return an empty batch once a second when there are no changes.

        The feed fetches nothing between calls.

        Raises:
            Unavailable: the feed ended because of a gap, silence or a lost connection. Open
                another feed after the last revision that you read.
        """
        ...


class Changes(Protocol):
    """Reads that watches use."""

    async def state(self, bucket: str) -> BucketState:
        """Return the state of a bucket's revisions."""
        ...

    async def newest(self, bucket: str) -> NewestRevision | None:
        """Return the newest stored revision as the leader has it; None in an empty bucket."""
        ...

    async def first_at_or_after(self, bucket: str, revision: int) -> StoredRevision | None:
        """Return the first stored revision at or after `revision`; None if there is none."""
        ...

    def follow(
        self,
        bucket: str,
        *,
        after: int,
        latest: bool = False,
        filters: Sequence[Filter] = (EVERYTHING,),
        through: NewestRevision | None = None,
        fast_heartbeat: bool = False,
    ) -> AbstractAsyncContextManager[Feed]:
        """Open a feed. Leaving the context removes its consumer from the server.

        Args:
            after: the feed starts behind this revision; ignored with `latest`.
            latest: start with the newest change of each key, then continue with live changes.
            filters: which keys to deliver. The feed may deliver more: match the keys yourself.
            through: a revision that the feed must reach soon, even if no filter matches its key.
            fast_heartbeat: return an empty batch twice a second, not once, when nothing happens.
        """
        ...

    async def wait_available(self, timeout: float) -> None:
        """Wait for a connection, at most `timeout` seconds."""
        ...


class Buckets(Protocol):
    """Operations on buckets."""

    async def create(self, spec: BucketSpec, retries: Retries | None = None) -> BucketInfo:
        """Create a bucket.

        Raises:
            BucketExists: a bucket of this name exists, with any settings.
        """
        ...

    async def info(self, name: str, retries: Retries | None = None) -> BucketInfo:
        """Return the current state of a bucket."""
        ...

    async def list(self, retries: Retries | None = None) -> list[BucketInfo]:
        """Return all buckets, sorted by name."""
        ...

    async def delete(self, name: str, retries: Retries | None = None) -> None:
        """Delete a bucket and everything in it."""
        ...


class BucketChanges(Protocol):
    """Changes of buckets."""

    async def apply(self, change: BucketChange, retries: Retries | None = None) -> Changed:
        """Give a bucket the wanted settings; send nothing if it has them already.

        If the change is refused, none of it is applied.

        Raises:
            BucketNotFound: the bucket does not exist and is not to be created.
            CannotBeChanged, WouldLoseData, PermissionDenied: see
                docs/http-api.md#changes-of-a-bucket.
        """
        ...


class Health(Protocol):
    """The health of the backend."""

    async def issues(self) -> dict[str, str]:
        """Return the problems of the backend, by component; empty when it is ready."""
        ...


@dataclass(frozen=True, slots=True)
class Store:
    """A backend: one object per protocol."""

    entries: Entries
    batches: Batches
    listings: Listings
    pages: Pages
    readings: Readings
    bulk_deletes: BulkDeletes
    buckets: Buckets
    bucket_changes: BucketChanges
    changes: Changes
    health: Health

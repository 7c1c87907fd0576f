"""What the HTTP side asks of a backend, as small protocols. JetStream carries them out.

Any method can raise `Unavailable` (nothing was applied); reads also `DeadlineExceeded`, writes
`OutcomeUnknown`. Methods that name a bucket raise `InvalidBucketName`, `BucketNotFound`, and
`BucketUnsuitable` where a stream of that name is no bucket or, as configured, cannot do it; those
that name a key raise `InvalidArgument` for a key that breaks a rule of contract 1.2.
"""

from dataclasses import dataclass
from typing import Protocol

from jetkv_gateway.kv.filters import Filter
from jetkv_gateway.kv.model import BucketInfo, BucketSpec, Consistency, Entry

__all__ = ["Buckets", "Entries", "Health", "Listings", "Store"]


class Entries(Protocol):
    """Single keys."""

    @property
    def max_value_bytes(self) -> int:
        """The largest value the server takes, in bytes, whatever a bucket allows."""
        ...

    async def get(
        self,
        bucket: str,
        key: str,
        *,
        revision: int | None = None,
        consistency: Consistency = Consistency.STRONG,
    ) -> Entry:
        """Return the live entry, or the one of `revision` if that was a put of this key.

        Raises:
            KeyNotFound: there is none.
        """
        ...

    async def put(
        self,
        bucket: str,
        key: str,
        value: bytes,
        *,
        content_type: str | None = None,
        expected: int | None = None,
    ) -> int:
        """Store a value and return its revision.

        `expected` is the revision the key must have, `MUST_NOT_EXIST` for a create, None for any.

        Raises:
            KeyExists: a create found a live value.
            RevisionMismatch: another revision stands, or none.
            ValueTooLarge, BucketFull: nothing was stored.
        """
        ...

    async def delete(
        self, bucket: str, key: str, *, purge: bool = False, expected: int | None = None
    ) -> None:
        """Leave a tombstone; with `purge` drop the key's history as well.

        Without a live value nothing is written (contract 1.1).

        Raises:
            RevisionMismatch: `expected` is given and is not the live value's revision.
        """
        ...

    async def history(self, bucket: str, key: str) -> list[Entry]:
        """Return the stored revisions of a key, tombstones included, oldest first.

        Raises:
            KeyNotFound: nothing is stored under the key.
        """
        ...


class Listings(Protocol):
    """Keys of a bucket."""

    async def keys(self, bucket: str, keep: Filter) -> list[str]:
        """Return the live keys that `keep` accepts, sorted by their UTF-8 bytes.

        Every key that is live throughout the call is in the list, whatever is written meanwhile.

        Raises:
            TooManyRequests: too many listings run already.
        """
        ...


class Buckets(Protocol):
    """Buckets themselves."""

    async def create(self, spec: BucketSpec) -> BucketInfo:
        """Create a bucket.

        Raises:
            BucketExists: there is one already, with whatever settings.
        """
        ...

    async def info(self, name: str) -> BucketInfo:
        """Return a bucket as it stands."""
        ...

    async def list(self) -> list[BucketInfo]:
        """Return all buckets, sorted by name."""
        ...

    async def delete(self, name: str) -> None:
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
    listings: Listings
    buckets: Buckets
    health: Health

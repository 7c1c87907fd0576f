"""What tokens in a bucket need from NATS, as protocols. `jetstream/token_store.py` implements them.

The bucket belongs to the gateways: no route leads to it. Every method raises the errors of
`kv.store`.
"""

from contextlib import AbstractAsyncContextManager
from typing import NamedTuple, Protocol

__all__ = ["Record", "Records", "TokenFeed", "TokenStore"]


class Record(NamedTuple):
    """A change of a record. A `value` of None means that it was removed."""

    key: str
    value: bytes | None
    revision: int


class Records(NamedTuple):
    """What a feed has delivered since the last read.

    Attributes:
        changes: in revision order.
        reached: every change up to this revision has been delivered.
        complete: whether all that was stored when the feed was opened has been delivered.
    """

    changes: list[Record]
    reached: int
    complete: bool


class TokenFeed(Protocol):
    """The records of the bucket: first all of them, then each change."""

    async def read(self) -> Records:
        """Wait for changes; return at least once a second.

        Raises:
            Unavailable: the feed ended. Open another one.
        """
        ...


class TokenStore(Protocol):
    """The bucket."""

    async def ensure(self) -> None:
        """Create the bucket if it does not exist. It has one replica then."""
        ...

    async def grow(self) -> bool:
        """Give the bucket three replicas if NATS has servers for them; return whether it has."""
        ...

    def follow(self) -> AbstractAsyncContextManager[TokenFeed]:
        """Open a feed."""
        ...

    async def wait_available(self, timeout: float) -> None:
        """Wait for a connection, at most `timeout` seconds."""
        ...

    async def newest(self) -> int:
        """Return the newest revision as the leader has it, 0 in an empty bucket."""
        ...

    async def create(self, key: str, value: bytes) -> int:
        """Store a record under a new key, and return its revision.

        Raises:
            KeyExists
        """
        ...

    async def put(self, key: str, value: bytes) -> int:
        """Store a record; return its revision."""
        ...

    async def remove(self, key: str, last: int | None = None) -> int:
        """Remove a record; return the revision of the tombstone.

        Args:
            last: fail if the bucket has a newer revision than this.

        Raises:
            RevisionMismatch: it has one.
        """
        ...

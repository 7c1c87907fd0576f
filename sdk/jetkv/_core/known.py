"""What a watch has reported, and how a later snapshot differs from it."""

from typing import Generic, TypeVar

from jetkv._core.answers import Decode
from jetkv.models import Operation, Update

__all__ = ["Known"]

T = TypeVar("T")


class Known(Generic[T]):
    """The keys that were reported as live. A new snapshot is compared with them as it comes.

    Its memory is proportional to their number, some 200 bytes each; values are not kept.

    Attributes:
        healing: a new snapshot is being read, and is not complete.
    """

    def __init__(self, decode: Decode[T], *, deletes: bool) -> None:
        self._decode = decode
        self._deletes = deletes
        # Revision and value in one number: a bucket that was set back gives revisions out again.
        # In the order of their reports, which is that of their revisions.
        self._live: dict[str, int] = {}
        self._seen: set[str] | None = None

    @property
    def healing(self) -> bool:
        return self._seen is not None

    def doubt(self) -> None:
        """Begin to compare: what comes next is a snapshot from its beginning."""
        self._seen = set()

    def is_news(self, update: Update[T | None]) -> bool:
        """Take in an update that came, and return whether it is to be reported."""
        key = update.key
        before = self._live.pop(key, None)
        if update.operation is not Operation.PUT:
            if self._seen is not None:
                self._seen.discard(key)
            return True
        now = self._live[key] = hash((update.revision, update.raw))
        if self._seen is None:
            return True
        self._seen.add(key)
        return now != before

    def complete(self, revision: int) -> list[Update[T | None]]:
        """End the comparison, and return the deletes of the keys that the snapshot has not.

        Args:
            revision: at which the snapshot is complete.
        """
        seen, self._seen = self._seen, None
        if seen is None:
            return []
        gone = [key for key in self._live if key not in seen]
        for key in gone:
            del self._live[key]
        if not self._deletes:
            return []
        return [
            Update(key, b"", revision, Operation.DELETE, self._decode, "vanished") for key in gone
        ]

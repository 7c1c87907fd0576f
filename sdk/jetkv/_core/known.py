"""What a watch has reported, and how a later snapshot differs from it."""

from typing import Any, Generic, TypeVar

from jetkv._core.answers import Decode
from jetkv.models import Operation, Update

__all__ = ["KnownKeys", "KnownRevision"]

T = TypeVar("T")


class KnownKeys(Generic[T]):
    """The keys that were reported as live. A new snapshot is compared with them as it comes.

    Its memory is proportional to their number, some 200 bytes each; values are not kept.

    Attributes:
        healing: a new snapshot is being read, and is not complete.
    """

    def __init__(self, decode: Decode[T]) -> None:
        self._decode = decode
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

    def is_set_back(self, _revision: int) -> bool:
        """Return whether another snapshot is needed, now that one is complete."""
        return False  # values are compared, too

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
        return [
            Update(key, b"", revision, Operation.DELETE, self._decode, "vanished") for key in gone
        ]


class KnownRevision:
    """How far a reader has come who wants no deletes: what is newer is news.

    Nobody says which keys are gone, so to remember them would take ever more memory.

    Attributes:
        healing: as of `KnownKeys`.
    """

    def __init__(self) -> None:
        self.healing = False
        self._newest = 0

    def doubt(self) -> None:
        self.healing = True

    def is_news(self, update: Update[Any]) -> bool:
        if update.revision <= self._newest:
            return False
        self._newest = update.revision
        return True

    def is_set_back(self, revision: int) -> bool:
        """Return whether another snapshot is needed, now that one is complete at `revision`.

        A bucket that was set back, such as to a backup, gives revisions out again: then what is
        older than those that were reported may be news, too.
        """
        if not self.healing or revision >= self._newest:
            return False
        self._newest = 0
        return True

    def complete(self, _revision: int) -> list[Update[Any]]:
        self.healing = False
        return []

"""Remembers the updates that a watch has reported, to compare a new snapshot with them."""

from typing import Any, Generic, TypeVar

from jetkv._core.answers import Decode
from jetkv.models import Operation, Update

__all__ = ["ReportedKeys", "ReportedRevision"]

T = TypeVar("T")


class ReportedKeys(Generic[T]):
    """The keys that a watch has reported as live.

    A new snapshot is compared with them while it arrives. They take about 200 bytes each; values
    are not kept.

    Attributes:
        resyncing: whether a new snapshot is being read and is not complete.
    """

    def __init__(self, decode: Decode[T], bucket: str) -> None:
        self._decode = decode
        self._bucket = bucket
        # A hash of revision and value by key. The revision alone does not do: a bucket that was
        # restored from a backup uses revisions again. Ordered by report, that is by revision.
        self._live: dict[str, int] = {}
        self._in_snapshot: set[str] | None = None

    @property
    def resyncing(self) -> bool:
        return self._in_snapshot is not None

    def start_comparison(self) -> None:
        """Compare what comes next: it is a snapshot from its beginning."""
        self._in_snapshot = set()

    def is_new(self, update: Update[T | None]) -> bool:
        """Record an update, and return whether it differs from what was reported."""
        key = update.key
        before = self._live.pop(key, None)
        if update.operation is not Operation.PUT:
            if self._in_snapshot is not None:
                self._in_snapshot.discard(key)
            return True
        now = self._live[key] = hash((update.revision, update.raw))
        if self._in_snapshot is None:
            return True
        self._in_snapshot.add(key)
        return now != before

    def needs_new_snapshot(self, _revision: int) -> bool:
        """Return whether another snapshot is needed, now that one is complete."""
        return False  # Values are compared, too, so this snapshot has shown every difference.

    def end_comparison(self, revision: int) -> list[Update[T | None]]:
        """End the comparison, and return a delete for each key that the snapshot does not have.

        Args:
            revision: the revision at which the snapshot is complete.
        """
        in_snapshot, self._in_snapshot = self._in_snapshot, None
        if in_snapshot is None:
            return []
        vanished = [key for key in self._live if key not in in_snapshot]
        for key in vanished:
            del self._live[key]
        return [
            Update(
                key, b"", revision, Operation.DELETE, self._decode, "vanished", bucket=self._bucket
            )
            for key in vanished
        ]


class ReportedRevision:
    """The newest revision that a watch without deletes has reported.

    Such a watch is never told which keys are gone. If it remembered keys, they would take more and
    more memory.

    Attributes:
        resyncing: as in `ReportedKeys`.
    """

    def __init__(self) -> None:
        self.resyncing = False
        self._newest = 0

    def start_comparison(self) -> None:
        self.resyncing = True

    def is_new(self, update: Update[Any]) -> bool:
        if update.revision <= self._newest:
            return False
        self._newest = update.revision
        return True

    def needs_new_snapshot(self, revision: int) -> bool:
        """Return whether another snapshot is needed, now that one is complete at `revision`.

        A bucket that was restored from a backup uses revisions again. Then a value can be new
        although its revision is older than those that were reported.
        """
        if not self.resyncing or revision >= self._newest:
            return False
        self._newest = 0
        return True

    def end_comparison(self, _revision: int) -> list[Update[Any]]:
        self.resyncing = False
        return []

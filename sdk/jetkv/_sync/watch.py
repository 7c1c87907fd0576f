# Made from sdk/jetkv/_async/watch.py by `make format`. Edit that file.
"""Watches: iterators over the changes of one bucket, or of several."""

from datetime import datetime
from typing import Generic, Self, TypeVar

from jetkv._core.process import ProcessBound
from jetkv._core.session import SnapshotEnd
from jetkv._sync.watch_reader import WatchReader
from jetkv.errors import ClientClosedError, InvalidArgumentError
from jetkv.models import Update

__all__ = ["MultiWatch", "Watch"]

T = TypeVar("T")


class Changes(ProcessBound, Generic[T]):
    """What a watch of one bucket and a watch of several have in common."""

    def __init__(self, reader: WatchReader[T]) -> None:
        self._reader = reader
        self._reading = False

    @property
    def synced(self) -> bool:
        """Whether the watch has returned all of the snapshot.

        False again while the watch takes a new snapshot.
        """
        return self._reader.synced

    @property
    def filtered(self) -> bool:
        """Whether you may not read all keys that the watch asks for; it leaves those out.

        False until the watch is open.
        """
        return self._reader.filtered

    def snapshot(self) -> list[Update[T | None]]:
        """Return the whole snapshot; a loop then returns what comes after it.

        If a key changes while the snapshot is read, the list may have an older update of the key
        before a newer one, or before a delete.

        Raises:
            InvalidArgumentError: the watch did not start with `snapshot=True`, or has already
                returned its snapshot.
            WatchLostError: the watch cannot go on, as in the loop.
            ClientClosedError: the watch or the client was closed before the snapshot was complete.
        """
        reader = self._reader
        if reader.snapshot_returned or not reader.has_snapshot:
            raise InvalidArgumentError(
                "this watch has no snapshot to return",
                hint="use watch(snapshot=True), and call snapshot() before you iterate",
            )
        updates: list[Update[T | None]] = []
        while not reader.snapshot_returned:
            try:
                item = self._next()
            except StopIteration:
                raise ClientClosedError(
                    "the watch was closed before its snapshot was complete"
                ) from None
            if isinstance(item, Update):
                updates.append(item)
        return updates

    def __enter__(self) -> Self:
        while not (self._reader.opened or self._reader.closed):
            self._reader.step()
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Update[T | None]:
        while True:
            item = self._next()
            if isinstance(item, Update):
                return item

    def close(self) -> None:
        """Close the connection. A loop over the watch ends, in whichever thread or task it is."""
        self._reader.close()

    def _next(self) -> Update[T | None] | SnapshotEnd:
        if self._reading:
            raise InvalidArgumentError(
                "only one thread or task may read a watch at a time", hint="make a watch for each"
            )
        self._reading = True
        try:
            self._reader.fill()
        finally:
            self._reading = False
        return self._reader.pop()


class Watch(Changes[T], Generic[T]):
    """An iterator over updates. `bucket.watch(…)` returns one.

    `with` closes the connection at its end. A loop over a watch that no variable refers to closes
    it, too. `close` (async client: `close`) ends the loop from elsewhere, such as another thread.
    Only one thread or task may read a watch at a time.

    Sometimes the gateway cannot show everything that happened while a connection was down
    (`resync`), because values expired or were removed without a trace. A watch that started with a
    snapshot then takes a new one, and returns the differences from what it has returned before:
    first an update for each key that changed, ordered by revision, then a delete with the reason
    `vanished` for each key that is gone. For this it remembers every live key that it returned,
    about 200 bytes each, unless you set `ignore_deletes=True`.
    """

    @property
    def last_revision(self) -> int | None:
        """The revision to pass as `resume_after` to continue where this watch is.

        It covers the updates that the watch has returned, not those that it has only received. None
        until the watch is open. While the watch returns a new snapshot, it does not change: the
        deletes of that snapshot come last.
        """
        position = self._reader.position
        return position if isinstance(position, int) else None

    @property
    def bucket_created_at(self) -> datetime | None:
        """When the bucket was created that `last_revision` belongs to; None until it is known."""
        return self._reader.created_at


class MultiWatch(Changes[T], Generic[T]):
    """An iterator over the updates of several buckets. `kv.watch(…)` returns one.

    It behaves as `Watch` does. Each update has the name of its `bucket`. Updates are ordered
    within each bucket, not between buckets.

    If changes of one bucket may have been missed, a watch that started with a snapshot takes a new
    one of all its buckets, and returns the differences in each. If one of the buckets is deleted,
    or deleted and created again, the watch ends.
    """

    @property
    def bookmark(self) -> str | None:
        """The bookmark to pass as `resume` to continue where this watch is, in every bucket.

        It covers the updates that the watch has returned. None until the watch is open. While the
        watch returns a new snapshot, it does not change.
        """
        position = self._reader.position
        return position if isinstance(position, str) else None

"""Watches: iterators over the changes of one bucket, or of several."""

from datetime import datetime
from typing import Generic, Self, TypeVar

from jetkv._async.watch_reader import AsyncWatchReader
from jetkv._core.process import ProcessBound
from jetkv._core.session import SnapshotEnd
from jetkv.errors import ClientClosedError, InvalidArgumentError
from jetkv.models import Update

__all__ = ["AsyncMultiWatch", "AsyncWatch"]

T = TypeVar("T")


class AsyncChanges(ProcessBound, Generic[T]):
    """What a watch of one bucket and a watch of several have in common."""

    def __init__(self, reader: AsyncWatchReader[T]) -> None:
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

    async def snapshot(self) -> list[Update[T | None]]:
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
                item = await self._next()
            except StopAsyncIteration:
                raise ClientClosedError(
                    "the watch was closed before its snapshot was complete"
                ) from None
            if isinstance(item, Update):
                updates.append(item)
        return updates

    async def __aenter__(self) -> Self:
        while not (self._reader.opened or self._reader.closed):
            await self._reader.step()
        return self

    async def __aexit__(self, *_exc: object) -> None:
        await self.aclose()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Update[T | None]:
        while True:
            item = await self._next()
            if isinstance(item, Update):
                return item

    async def aclose(self) -> None:
        """Close the connection. A loop over the watch ends, in whichever thread or task it is."""
        self._reader.close()

    async def _next(self) -> Update[T | None] | SnapshotEnd:
        if self._reading:
            raise InvalidArgumentError(
                "only one thread or task may read a watch at a time", hint="make a watch for each"
            )
        self._reading = True
        try:
            await self._reader.fill()
        finally:
            self._reading = False
        return self._reader.pop()


class AsyncWatch(AsyncChanges[T], Generic[T]):
    """An iterator over updates. `bucket.watch(…)` returns one.

    `with` closes the connection at its end. A loop over a watch that no variable refers to closes
    it, too. `close` (async client: `aclose`) ends the loop from elsewhere, such as another thread.
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


class AsyncMultiWatch(AsyncChanges[T], Generic[T]):
    """An iterator over the updates of several buckets. `kv.watch(…)` returns one.

    It behaves as `AsyncWatch` does. Each update has the name of its `bucket`. Updates are ordered
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

"""Watches of several buckets as one (docs/watch.md#several-buckets).

Each bucket keeps a watch of its own, with its own queue and its own order. The merged watch ends
with the first of them.
"""

import asyncio
import copy
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from dataclasses import replace

from jetkv_gateway.kv.errors import GatewayError
from jetkv_gateway.kv.filters import Filter
from jetkv_gateway.watch.bookmarks import Bookmark, Place
from jetkv_gateway.watch.catch_up import WatchRequest
from jetkv_gateway.watch.hub import Hub, Watch
from jetkv_gateway.watch.session import Item, MergedSnapshotEnd, SnapshotEnd

__all__ = ["Marked", "MergedWatch", "merged_request", "watch_buckets"]


Marked = tuple[int, Item | MergedSnapshotEnd, str]
"""The number of a bucket, an item of it, and the bookmark to resume from after that item."""


def merged_request(
    request: WatchRequest, filters: tuple[Filter, ...], place: Place | None
) -> WatchRequest:
    """Return the request of one bucket.

    Args:
        request: what is asked for of all buckets.
        place: to go on from; None begins as `request` says.
    """
    if place is None:
        return replace(request, filters=filters)
    begins = place.in_snapshot and not place.revision
    return replace(
        request,
        filters=filters,
        snapshot=place.in_snapshot,
        resume_after=None if begins else place.revision,
        created_at=place.created_at,
    )


@asynccontextmanager
async def watch_buckets(
    hub: Hub, requests: Mapping[str, WatchRequest], *, address: str = "", token: bytes = b""
) -> AsyncIterator["MergedWatch"]:
    """Open one watch over several buckets; leaving the context ends it.

    Args:
        requests: by bucket.
        address, token: as in `Hub.watch`.

    Raises:
        GatewayError: as `Hub.watch`; `details` names the bucket.
    """
    async with AsyncExitStack() as stack:
        watches = {}
        for bucket, request in requests.items():
            opening = hub.watch(bucket, request, address=address, token=token)
            try:
                watches[bucket] = await stack.enter_async_context(opening)
            except GatewayError as error:
                raise _naming(bucket, error) from error.__cause__
        yield MergedWatch(watches)


class MergedWatch:
    """One watcher of several buckets."""

    def __init__(self, watches: Mapping[str, Watch]) -> None:
        self._buckets = list(watches)
        self._watches = list(watches.values())
        self._places = [self._first_place(watch) for watch in self._watches]
        # Items that were taken from a session and are not sent: the place is behind the session's.
        self._unsent = [False] * len(self._watches)
        self._bookmark = Bookmark(self._buckets)
        for number, place in enumerate(self._places):
            self._bookmark.move(number, place)
        self._snapshots: dict[str, int] = {
            bucket: watch.request.resume_after or 0
            for bucket, watch in watches.items()
            if not watch.request.snapshot
        }

    @staticmethod
    def _first_place(watch: Watch) -> Place:
        if watch.bookmark is not None:
            return Place(watch.bookmark, watch.live_feed.created_at)
        request = watch.request
        return Place(request.resume_after or 0, request.created_at, in_snapshot=request.snapshot)

    @property
    def closed(self) -> bool:
        return any(watch.closed for watch in self._watches)

    @property
    def end(self) -> GatewayError | None:
        """Why it ended; `details` names the bucket."""
        for bucket, watch in zip(self._buckets, self._watches, strict=True):
            if watch.closed and watch.end is not None:
                return _naming(bucket, watch.end)
        return None

    @property
    def bookmark(self) -> str | None:
        """The place to resume from for a watcher that has all that was sent.

        None until each bucket has caught up: until then the frames carry the place.
        """
        for number, watch in enumerate(self._watches):
            revision = watch.bookmark
            if revision is None or self._unsent[number]:
                return None
            if revision > self._places[number].revision:
                self._move(number, revision)
        return self._bookmark.text

    def on_end(self, callback: Callable[[], None]) -> None:
        """Have `callback` called when it ends, whatever is still to be read."""
        for watch in self._watches:
            watch.on_end(callback)

    async def send_all(self, send: Callable[[Iterator[Marked]], Awaitable[None]]) -> None:
        """Send what the watcher is owed until one of the buckets' watches ends.

        `send` is called once at a time. The past of each bucket is read no faster than it returns.
        """
        turn = asyncio.Lock()
        sending = [
            asyncio.create_task(self._send_bucket(number, turn, send))
            for number in range(len(self._watches))
        ]
        try:
            ended, _ = await asyncio.wait(sending, return_when=asyncio.FIRST_COMPLETED)
            # What another bucket is sending now is sent whole.
            async with turn:
                for task in sending:
                    task.cancel()
        finally:
            for task in sending:
                task.cancel()
            await asyncio.gather(*sending, return_exceptions=True)
        for task in ended:
            task.result()

    async def _send_bucket(
        self, number: int, turn: asyncio.Lock, send: Callable[[Iterator[Marked]], Awaitable[None]]
    ) -> None:
        async with aclosing(self._watches[number].items()) as parts:
            async for items in parts:
                self._unsent[number] = True
                async with turn:
                    await send(self._marked(number, items))
                self._unsent[number] = False

    def _marked(self, number: int, items: list[Item]) -> Iterator[Marked]:
        bucket = self._buckets[number]
        for item in items:
            if not isinstance(item, SnapshotEnd):
                self._move(number, item.revision)
                yield number, item, self._bookmark.text
                continue
            self._snapshots[bucket] = item.revision
            self._move(number, max(item.revision, self._places[number].revision), complete=True)
            if len(self._snapshots) == len(self._buckets):
                yield number, MergedSnapshotEnd(self._snapshots), self._bookmark.text

    def _move(self, number: int, revision: int, *, complete: bool = False) -> None:
        in_snapshot = self._places[number].in_snapshot and not complete
        created_at = self._watches[number].live_feed.created_at
        place = self._places[number] = Place(revision, created_at, in_snapshot=in_snapshot)
        self._bookmark.move(number, place)


def _naming(bucket: str, error: GatewayError) -> GatewayError:
    """Return an error that names a bucket. Watches of that bucket alone may get the error, too."""
    named = copy.copy(error)
    named.details = {**(error.details or {}), "bucket": bucket}
    return named

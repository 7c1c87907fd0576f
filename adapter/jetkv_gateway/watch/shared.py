"""The changes of buckets. Watches that start at the same time share their reads.

After a restart, thousands of watches return, and most have missed few changes. With a consumer for
each watch, NATS and the worker would be busy creating and removing consumers. So one consumer reads
for all watches that have missed little, and each watch picks its own changes. The shared read is
bounded. A watch that has missed more, or larger values, continues with its own consumer at its own
pace.
"""

import asyncio
from bisect import bisect_right
from collections.abc import AsyncGenerator, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from math import inf
from typing import NamedTuple

from jetkv_gateway.kv.filters import EVERYTHING, Filter
from jetkv_gateway.kv.model import BucketState, Change, share
from jetkv_gateway.kv.store import Changes, Feed, FeedBatch, NewestRevision, StoredRevision
from jetkv_gateway.watch.coalescing import CoalescedLookups

__all__ = ["SharedChanges"]

_MAX_SHARED_REVISIONS = 4096
"""A watch that has missed more revisions than this reads alone."""

_MAX_FILTERS = 32
"""Filters that are passed to NATS. With more filters, all changes are read."""

_MAX_READ_BYTES = 512 * 1024
"""The limit of one read. The next limit is for all reads that a watch still uses."""
_MAX_KEPT_BYTES = 8 * 1024 * 1024
_CHANGE_OVERHEAD = 512

_TESTS_PER_TURN = 8000
"""Keys tested by simple filters in one turn of the event loop, about three milliseconds."""


class SharedChanges:
    """`kv.store.Changes` that answers equal requests of the same time together."""

    def __init__(self, changes: Changes) -> None:
        self._changes = changes
        self._state: CoalescedLookups[None, BucketState] = CoalescedLookups(
            lambda bucket, _: changes.state(bucket)
        )
        self._newest: CoalescedLookups[None, NewestRevision | None] = CoalescedLookups(
            lambda bucket, _: changes.newest(bucket)
        )
        self._reads: CoalescedLookups[_PastRequest, _SharedRead | None] = CoalescedLookups(
            self._read
        )
        self._kept = 0

    async def state(self, bucket: str) -> BucketState:
        return await self._state.get(bucket, None)

    async def newest(self, bucket: str) -> NewestRevision | None:
        return await self._newest.get(bucket, None)

    async def first_at_or_after(self, bucket: str, revision: int) -> StoredRevision | None:
        return await self._changes.first_at_or_after(bucket, revision)

    async def wait_available(self, timeout: float) -> None:
        await self._changes.wait_available(timeout)

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
        if through is not None and not latest and through.revision - after <= _MAX_SHARED_REVISIONS:
            return self._follow_with_others(bucket, _PastRequest(after, tuple(filters), through))
        return self._changes.follow(
            bucket,
            after=after,
            latest=latest,
            filters=filters,
            through=through,
            fast_heartbeat=fast_heartbeat,
        )

    @asynccontextmanager
    async def _follow_with_others(
        self, bucket: str, request: "_PastRequest"
    ) -> AsyncGenerator[Feed, None]:
        shared_read = await self._reads.get(bucket, request)
        async with AsyncExitStack() as stack:
            if shared_read is None:
                yield await stack.enter_async_context(
                    self._follow_alone(bucket, request, request.after)
                )
                return
            shared_read.readers += 1
            if shared_read.readers == 1:
                self._kept += shared_read.size
            try:
                yield _SharedFeed(self, bucket, request, shared_read, stack)
            finally:
                shared_read.readers -= 1
                if not shared_read.readers:
                    self._kept -= shared_read.size

    def _follow_alone(
        self, bucket: str, request: "_PastRequest", after: int
    ) -> AbstractAsyncContextManager[Feed]:
        return self._changes.follow(
            bucket, after=after, filters=request.filters, through=request.through
        )

    async def _read(self, bucket: str, requests: "list[_PastRequest]") -> "_SharedRead | None":
        """Read the changes that any of the requests needs; None if each should read alone."""
        if len(requests) == 1 or self._kept > _MAX_KEPT_BYTES:
            return None
        after = min(request.after for request in requests)
        through = max((request.through for request in requests), key=lambda newest: newest.revision)
        filters = {one.text: one for request in requests for one in request.filters}
        shared_read = _SharedRead(after)
        async with self._changes.follow(
            bucket,
            after=after,
            filters=tuple(filters.values()) if len(filters) <= _MAX_FILTERS else (EVERYTHING,),
            through=through,
        ) as feed:
            while shared_read.reached < through.revision and shared_read.add(await feed.read()):
                pass
        return shared_read


class _PastRequest(NamedTuple):
    """The missed changes that one watch needs, as for `Changes.follow`."""

    after: int
    filters: tuple[Filter, ...]
    through: NewestRevision


class _SharedRead:
    """The changes that were read for several watches.

    Attributes:
        reached, as_of, expired: as in `FeedBatch`.
        size: approximate bytes.
        readers: watches that still use it.
    """

    def __init__(self, after: int) -> None:
        self.reached = after
        self.as_of = -inf
        self.expired: frozenset[int] = frozenset()
        self.size = 0
        self.readers = 0
        self._changes: list[Change] = []
        self._picked: dict[tuple[str, ...], list[Change]] = {}
        self._by_key: dict[str, list[Change]] | None = None

    def add(self, batch: FeedBatch) -> bool:
        """Add the next batch. Return False if that exceeds the limit."""
        size = sum(_CHANGE_OVERHEAD + len(change.value) for change in batch.changes)
        if self.size + size > _MAX_READ_BYTES:
            return False
        self.size += size
        share(batch.changes)
        self._changes += batch.changes
        self.reached, self.as_of = batch.reached, batch.as_of
        self.expired |= batch.expired
        return True

    async def pick(self, request: _PastRequest) -> list[Change]:
        """Return the changes for one watch, in order."""
        filters = request.filters
        name = tuple([keep.text for keep in filters])
        picked = self._picked.get(name)
        if picked is None:
            # Many watches have the same filters.
            picked = self._picked[name] = await self._pick(filters)
        first = bisect_right(picked, request.after, key=_revision)
        return picked[first:]

    async def _pick(self, filters: tuple[Filter, ...]) -> list[Change]:
        if EVERYTHING in filters:
            return self._changes
        if all(keep.key is not None for keep in filters):
            if self._by_key is None:
                self._by_key = {}
                for change in self._changes:
                    self._by_key.setdefault(change.key, []).append(change)
            keys = {keep.key for keep in filters}
            found = [one for key in keys if key is not None for one in self._by_key.get(key, ())]
            return sorted(found, key=_revision)
        cost, picked = sum(keep.cost for keep in filters), []
        in_a_turn = max(1, _TESTS_PER_TURN // cost)
        for begin in range(0, len(self._changes), in_a_turn):
            if begin:
                await asyncio.sleep(0)
            picked += [
                change
                for change in self._changes[begin : begin + in_a_turn]
                if any(keep.matches(change.key) for keep in filters)
            ]
        return picked


class _SharedFeed:
    """The `kv.store.Feed` of one watch: first the shared read, then its own feed."""

    def __init__(
        self,
        shared: SharedChanges,
        bucket: str,
        request: _PastRequest,
        shared_read: _SharedRead,
        stack: AsyncExitStack,
    ) -> None:
        self._shared = shared
        self._bucket = bucket
        self._request = request
        self._shared_read: _SharedRead | None = shared_read
        self._reached = shared_read.reached
        self._stack = stack
        self._feed: Feed | None = None

    async def read(self) -> FeedBatch:
        shared_read, self._shared_read = self._shared_read, None
        if shared_read is not None:
            return FeedBatch(
                await shared_read.pick(self._request),
                shared_read.reached,
                shared_read.as_of,
                shared_read.expired,
            )
        if self._feed is None:
            after = max(self._request.after, self._reached)
            alone = self._shared._follow_alone(self._bucket, self._request, after)
            self._feed = await self._stack.enter_async_context(alone)
        return await self._feed.read()


def _revision(change: Change) -> int:
    return change.revision

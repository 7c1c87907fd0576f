"""The changes of buckets, where watches that begin at the same time share what they ask for.

After a restart thousands of watches come back, and most have missed little and much the same. With
a consumer for each, NATS and the worker would be busy making and removing consumers. So those that
have missed little are read for together, once, by what any of them wants; each then picks its own
out of that. What is read together is bounded: a watch that has missed more, or larger values, goes
on with a consumer of its own, at its own pace.
"""

import asyncio
from bisect import bisect_right
from collections.abc import AsyncGenerator, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from math import inf
from typing import NamedTuple

from jetkv_gateway.kv.filters import EVERYTHING, Filter
from jetkv_gateway.kv.model import BucketState, Change
from jetkv_gateway.kv.store import Changes, Feed, FeedBatch, NewestRevision, StoredRevision
from jetkv_gateway.watch.coalescing import CoalescedLookups

__all__ = ["SharedChanges"]

_MAX_SHARED_REVISIONS = 4096
"""Revisions that a watch may have missed and still be read for with others."""

_MAX_FILTERS = 32
"""That are told apart by NATS; where there are more, all changes are read."""

_MAX_READ_BYTES = 512 * 1024
"""Of one read; and of all of them, as long as somebody has not taken in his part."""
_MAX_KEPT_BYTES = 8 * 1024 * 1024
_CHANGE_OVERHEAD = 512

_TESTS_A_TURN = 8000
"""Of keys by simple filters: some three milliseconds. Then others have a turn."""


class SharedChanges:
    """`kv.store.Changes`, where those who ask for the same at the same time share the answer."""

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
        """Read for all of them what any of them wants, None where each had better read alone."""
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
    """What one watch wants of the past: as for `Changes.follow`."""

    after: int
    filters: tuple[Filter, ...]
    through: NewestRevision


class _SharedRead:
    """What was read for several watches.

    Attributes:
        reached, as_of: as of a `FeedBatch`.
        size: bytes, about.
        readers: who has not taken in his part.
    """

    def __init__(self, after: int) -> None:
        self.reached = after
        self.as_of = -inf
        self.size = 0
        self.readers = 0
        self._changes: list[Change] = []
        self._picked: dict[tuple[str, ...], list[Change]] = {}
        self._by_key: dict[str, list[Change]] | None = None

    def add(self, batch: FeedBatch) -> bool:
        """Take in what was read next; False where that would be too much."""
        size = sum(_CHANGE_OVERHEAD + len(change.value) for change in batch.changes)
        if self.size + size > _MAX_READ_BYTES:
            return False
        self.size += size
        self._changes += batch.changes
        self.reached, self.as_of = batch.reached, batch.as_of
        return True

    async def pick(self, request: _PastRequest) -> list[Change]:
        """Return what one watch wants of it, in order."""
        filters = request.filters
        name = tuple([keep.text for keep in filters])
        picked = self._picked.get(name)
        if picked is None:
            # Watches that want the same are many.
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
        in_a_turn = max(1, _TESTS_A_TURN // cost)
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
    """`kv.store.Feed` of one watch: what was read for several, then the rest for it alone."""

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
                await shared_read.pick(self._request), shared_read.reached, shared_read.as_of
            )
        if self._feed is None:
            after = max(self._request.after, self._reached)
            alone = self._shared._follow_alone(self._bucket, self._request, after)
            self._feed = await self._stack.enter_async_context(alone)
        return await self._feed.read()


def _revision(change: Change) -> int:
    return change.revision

"""Stand-ins for `kv.store.Changes`: one that answers nothing, and buckets in memory.

`MemoryChanges` passes the same suite as JetStream does: `tests.support.changes_suite`. Its buckets
keep one revision of each key. A value that is written over is gone for a feed that has not read it.
"""

import asyncio
import functools
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from math import inf
from typing import Any

from jetkv_gateway.kv.errors import BucketNotFound, GatewayError, Unavailable
from jetkv_gateway.kv.filters import EVERYTHING, Filter, covers
from jetkv_gateway.kv.keys import encode
from jetkv_gateway.kv.model import BucketState, Change, Operation, SilentLoss
from jetkv_gateway.kv.store import Feed, FeedBatch, NewestRevision, StoredRevision


class Unasked:
    """`kv.store.Changes` that nobody may ask for anything but what a test's own class answers."""

    async def state(self, bucket: str) -> BucketState:
        raise AssertionError("not asked for here")

    async def newest(self, bucket: str) -> NewestRevision | None:
        raise AssertionError("not asked for here")

    async def first_at_or_after(self, bucket: str, revision: int) -> StoredRevision | None:
        raise AssertionError("not asked for here")

    @asynccontextmanager
    async def follow(
        self,
        bucket: str,
        *,
        after: int,
        latest: bool = False,
        filters: Sequence[Filter] = (EVERYTHING,),
        through: NewestRevision | None = None,
        fast_heartbeat: bool = False,
    ) -> AsyncIterator[Feed]:
        raise AssertionError("not asked for here")
        yield

    async def wait_available(self, timeout: float) -> None:
        raise AssertionError("not asked for here")


class MemoryBucket:
    """A bucket of history 1, as a server holds it.

    Attributes:
        history: what it says of itself: with 1, nobody asks for the newest of each key alone.
        log: every change there ever was.
        stored: the newest of each key, in revision order.
        overdue: the revisions of values that have expired and are still stored.
        lazy: whether feeds look at what is new only when they are read, and miss what is written
            over until then, as feeds do that are behind.
    """

    def __init__(self, created_at: str = "2026-01-01T00:00:00Z") -> None:
        self.created_at = created_at
        self.age = 3600.0
        self.last = 0
        self.silent_loss: SilentLoss | None = None
        self.times: dict[int, float] = {}
        self.history = 5
        self.log: list[Change] = []
        self.stored: dict[str, Change] = {}
        self.overdue: set[int] = set()
        self.feeds: set[MemoryFeed] = set()
        self.lazy = False

    @property
    def first(self) -> int:
        return next((change.revision for change in self.stored.values()), self.last + 1)

    def state(self, **changed: Any) -> BucketState:
        now = asyncio.get_running_loop().time()
        state = BucketState(
            created_at=self.created_at,
            age=self.age,
            now=now,
            first=self.first,
            first_age=now - self.times.get(self.first, -self.age),
            last=self.last,
            history=self.history,
            silent_loss=self.silent_loss,
        )
        return replace(state, **changed)

    def put(self, *keys: str) -> int:
        for key in keys:
            self.write(key, b"%d" % (self.last + 1))
        return self.last

    def delete(self, key: str) -> int:
        return self.write(key, b"", Operation.DELETE)

    def expire(self, key: str) -> None:
        """Drop a key without a trace."""
        del self.stored[key]

    def end_feeds(self) -> None:
        for feed in list(self.feeds):
            feed.end()

    def write(self, key: str, value: bytes, operation: Operation = Operation.PUT) -> int:
        self.last += 1
        change = Change(key, value, self.last, operation)
        self.log.append(change)
        self.times[self.last] = asyncio.get_running_loop().time()
        self.stored.pop(key, None)
        self.stored[key] = change
        for feed in self.feeds:
            if not self.lazy:
                feed.look()
            feed.news.set()
        return self.last


class MemoryFeed:
    """`kv.store.Feed`: what a consumer of a bucket delivers."""

    def __init__(
        self, changes: "MemoryChanges", bucket: MemoryBucket, after: int, subjects: Sequence[str]
    ) -> None:
        self.news = asyncio.Event()
        self._changes = changes
        self._bucket = bucket
        self._seen = after
        self._as_of = -inf
        self._subjects = subjects
        self._arrived: list[Change] = []
        self._ended = False

    def look(self) -> None:
        if self._ended:
            return
        for change in self._bucket.stored.values():
            subject = encode(change.key)
            if change.revision > self._seen and any(covers(s, subject) for s in self._subjects):
                self._arrived.append(change)
        self._seen = max(self._seen, self._bucket.last)

    def lose(self) -> None:
        """Lose what was fetched and not read yet."""
        self._arrived.clear()

    def end(self) -> None:
        self._ended = True
        self.news.set()

    async def read(self) -> FeedBatch:
        await self._changes.step()
        self.look()
        if not self._arrived and not self._ended:
            self.news.clear()
            try:
                async with asyncio.timeout(1):
                    await self.news.wait()
            except TimeoutError:
                if not self._arrived:
                    return self._batch([])
            await self._changes.step()
            self.look()
        if not self._arrived:
            if self._ended:
                raise Unavailable("the feed ended")
            return self._batch([])
        count = self._changes.batch()
        if not self._arrived:
            raise Unavailable("the feed ended")
        changes, self._arrived = self._arrived[:count], self._arrived[count:]
        return self._batch(changes)

    def _batch(self, changes: list[Change]) -> FeedBatch:
        """As a server does: a change bears its time, and without one all has come by now."""
        times, expired = self._bucket.times, frozenset(self._bucket.overdue)
        if changes and self._arrived:
            self._as_of = max(self._as_of, times[changes[-1].revision])
            return FeedBatch(changes, changes[-1].revision, self._as_of, expired)
        self._as_of = asyncio.get_running_loop().time()
        return FeedBatch(changes, self._seen, self._as_of, expired)


class MemoryChanges:
    """`kv.store.Changes` in memory.

    Attributes:
        down: what every call raises now, if anything.
        step: awaited wherever a server could be slow.
        batch: how many changes the next read may return.
        after: by method, called when it has its answer and has not returned yet.
        states: what `state` answers next, instead of the truth.
        opened: (bucket, after, latest) of every feed ever opened.
    """

    def __init__(self, **buckets: MemoryBucket) -> None:
        self.buckets = buckets
        self.down: GatewayError | None = None
        self.step: Callable[[], Awaitable[None]] = functools.partial(asyncio.sleep, 0)
        self.batch: Callable[[], int] = lambda: 100
        self.after: dict[str, Callable[[], object]] = {}
        self.states: list[BucketState] = []
        self.opened: list[tuple[str, int, bool]] = []
        self.feeds = 0

    def live_feeds_opened(self) -> list[int]:
        return [after for _, after, latest in self.opened if not latest]

    async def state(self, bucket: str) -> BucketState:
        held = await self._bucket(bucket)
        state = held.state()
        if self.states:
            state = self.states.pop(0)
        await self._answered("state")
        return state

    async def newest(self, bucket: str) -> NewestRevision | None:
        held = await self._bucket(bucket)
        newest = None
        if held.stored:
            change = list(held.stored.values())[-1]
            newest = NewestRevision(change.revision, encode(change.key))
        await self._answered("newest")
        return newest

    async def first_at_or_after(self, bucket: str, revision: int) -> StoredRevision | None:
        held = await self._bucket(bucket)
        found = [change.revision for change in held.stored.values() if change.revision >= revision]
        await self._answered("first_from")
        return StoredRevision(found[0], held.times[found[0]]) if found else None

    @asynccontextmanager
    async def follow(
        self,
        bucket: str,
        *,
        after: int,
        latest: bool = False,
        filters: Sequence[Filter] = (EVERYTHING,),
        through: NewestRevision | None = None,
        fast_heartbeat: bool = False,
    ) -> AsyncIterator[MemoryFeed]:
        held = await self._bucket(bucket)
        subjects = [subject for keep in filters for subject in keep.subjects]
        if through is not None:
            subjects.append(through.tokens)
        feed = MemoryFeed(self, held, 0 if latest else after, subjects)
        held.feeds.add(feed)
        self.feeds += 1
        self.opened.append((bucket, after, latest))
        try:
            await self._answered("follow")
            yield feed
        finally:
            held.feeds.discard(feed)
            self.feeds -= 1
            await asyncio.sleep(0)

    async def wait_available(self, timeout: float) -> None:
        await asyncio.sleep(0)

    @contextmanager
    def outage(self, name: str = "b") -> Iterator[None]:
        """Have no server for a while: the feeds of a bucket end, and every call fails."""
        self.down = Unavailable()
        self.buckets[name].end_feeds()
        yield
        self.down = None

    def delete(self, name: str) -> None:
        self.buckets.pop(name).end_feeds()

    async def _bucket(self, name: str) -> MemoryBucket:
        await self.step()
        if self.down is not None:
            raise self.down
        if name not in self.buckets:
            raise BucketNotFound
        return self.buckets[name]

    async def _answered(self, method: str) -> None:
        call = self.after.get(method)
        if call is not None:
            call()
        await self.step()

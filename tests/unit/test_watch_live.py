"""Live feeds, catching up and the hub, on buckets in memory and a clock of their own.

The buckets keep one revision of each key, as most do: what is written over is gone for whoever has
not read it yet. Time passes only when all tasks wait, so that no test waits and none is a race.
"""

import asyncio
import functools
import selectors
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from dataclasses import replace
from functools import partial
from itertools import pairwise
from math import inf
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jetkv_gateway.kv.errors import (
    BucketDeleted,
    BucketNotFound,
    BucketUnsuitable,
    GatewayError,
    InternalError,
    Resync,
    SlowConsumer,
    TooManyRequests,
    Unavailable,
)
from jetkv_gateway.kv.filters import EVERYTHING, Filter, compile_filter, covers
from jetkv_gateway.kv.keys import encode
from jetkv_gateway.kv.model import BucketState, Change, Forgetting, Operation
from jetkv_gateway.kv.store import Batch, Newest, Stamp
from jetkv_gateway.watch import live
from jetkv_gateway.watch.catch_up import WatchRequest
from jetkv_gateway.watch.hub import Hub, Watch, WatchLimits
from jetkv_gateway.watch.session import Item, Limits, SnapshotEnd

# --- a clock that does not wait


_HOURS_ENOUGH = 6 * 3600


class _Clock(selectors.SelectSelector):
    now = 0.0

    def select(self, timeout: float | None = None) -> list:
        assert timeout is not None, "every task waits for ever"
        self.now += max(timeout, 0)
        assert self.now < _HOURS_ENOUGH, "a task waits for ever"
        return super().select(0)


def _loop() -> asyncio.AbstractEventLoop:
    clock = _Clock()
    loop = asyncio.SelectorEventLoop(clock)
    loop.time = lambda: clock.now
    return loop


def run(main: Coroutine[Any, Any, None]) -> None:
    with asyncio.Runner(loop_factory=_loop) as runner:
        runner.run(main)


def simulated(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    @functools.wraps(test)
    def in_a_loop(*args: Any, **kwargs: Any) -> None:
        run(test(*args, **kwargs))

    return in_a_loop


async def eventually(condition: Callable[[], object], seconds: float = 60) -> None:
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 - nobody tells of it
            await asyncio.sleep(0.01)


# --- buckets in memory


class Bucket:
    """A bucket of history 1, as a server holds it.

    Attributes:
        history: what it says of itself: with 1, nobody asks for the newest of each key alone.
        log: every change there ever was.
        stored: the newest of each key, in revision order.
        lazy: whether feeds look at what is new only when they are read, and miss what is written
            over until then, as feeds do that are behind.
    """

    def __init__(self, created_at: str = "2026-01-01T00:00:00Z") -> None:
        self.created_at = created_at
        self.age = 3600.0
        self.last = 0
        self.forgets: Forgetting | None = None
        self.times: dict[int, float] = {}
        self.history = 5
        self.log: list[Change] = []
        self.stored: dict[str, Change] = {}
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
            forgets=self.forgets,
        )
        return replace(state, **changed)

    def put(self, *keys: str) -> int:
        for key in keys:
            self._write(key, b"%d" % (self.last + 1), Operation.PUT)
        return self.last

    def delete(self, key: str) -> int:
        return self._write(key, b"", Operation.DELETE)

    def expire(self, key: str) -> None:
        """Drop a key without a trace."""
        del self.stored[key]

    def end_feeds(self) -> None:
        for feed in list(self.feeds):
            feed.end()

    def _write(self, key: str, value: bytes, operation: Operation) -> int:
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
        self, changes: "MemoryChanges", bucket: Bucket, after: int, subjects: Sequence[str]
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

    async def read(self) -> Batch:
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

    def _batch(self, changes: list[Change]) -> Batch:
        """As a server does: a change bears its time, and without one all has come by now."""
        times = self._bucket.times
        if changes and self._arrived:
            self._as_of = max(self._as_of, times[changes[-1].revision])
            return Batch(changes, changes[-1].revision, self._as_of)
        self._as_of = asyncio.get_running_loop().time()
        return Batch(changes, self._seen, self._as_of)


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

    def __init__(self, **buckets: Bucket) -> None:
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

    async def newest(self, bucket: str) -> Newest | None:
        held = await self._bucket(bucket)
        newest = None
        if held.stored:
            change = list(held.stored.values())[-1]
            newest = Newest(change.revision, encode(change.key))
        await self._answered("newest")
        return newest

    async def first_from(self, bucket: str, revision: int) -> Stamp | None:
        held = await self._bucket(bucket)
        found = [change.revision for change in held.stored.values() if change.revision >= revision]
        await self._answered("first_from")
        return Stamp(found[0], held.times[found[0]]) if found else None

    @asynccontextmanager
    async def follow(
        self,
        bucket: str,
        *,
        after: int,
        latest: bool = False,
        filters: Sequence[Filter] = (EVERYTHING,),
        through: Newest | None = None,
        closely: bool = False,
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

    async def available(self, timeout: float) -> None:
        await asyncio.sleep(0)

    def delete(self, name: str) -> None:
        self.buckets.pop(name).end_feeds()

    async def _bucket(self, name: str) -> Bucket:
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


# --- watchers


class Seen:
    """What a watcher has got so far."""

    def __init__(self, watch: Watch) -> None:
        self.watch = watch
        self.items: list[Item] = []
        self.over = False

    @property
    def revisions(self) -> list[int]:
        return [change.revision for change in self.changes]

    @property
    def changes(self) -> list[Change]:
        return [item for item in self.items if isinstance(item, Change)]

    @property
    def ends(self) -> list[int]:
        return [item.revision for item in self.items if isinstance(item, SnapshotEnd)]

    @property
    def end(self) -> GatewayError | None:
        return self.watch.session.end

    def in_snapshot(self) -> list[Change]:
        index = next(i for i, item in enumerate(self.items) if isinstance(item, SnapshotEnd))
        return [item for item in self.items[:index] if isinstance(item, Change)]

    async def got(self, *revisions: int) -> None:
        await eventually(lambda: self.over or len(self.revisions) >= len(revisions))
        assert self.revisions == list(revisions)

    async def closed(self) -> GatewayError:
        await eventually(lambda: self.over)
        assert self.end is not None
        return self.end

    async def read(self) -> None:
        async for items in self.watch.items():
            self.items += items
        self.over = True


@asynccontextmanager
async def watching(
    hub: Hub, request: WatchRequest | None = None, *, bucket: str = "b", address: str = ""
) -> AsyncIterator[Seen]:
    async with hub.watch(bucket, request or WatchRequest(), address=address) as watch:
        seen = Seen(watch)
        reading = asyncio.create_task(seen.read())
        try:
            yield seen
        finally:
            reading.cancel()
            await asyncio.wait({reading})
            if not reading.cancelled():
                reading.result()


@asynccontextmanager
async def a_hub(changes: MemoryChanges, **limits: Any) -> AsyncIterator[Hub]:
    hub = Hub(changes, WatchLimits(**limits))
    try:
        yield hub
    finally:
        await hub.close()
        assert changes.feeds == 0
        assert asyncio.all_tasks() == {asyncio.current_task()}


def at_batch(changes: MemoryChanges, number: int, call: Callable[[], object]) -> None:
    """Let feeds return one change at a time, and call something at one of these."""
    count = 0

    def batch() -> int:
        nonlocal count
        count += 1
        if count == number:
            call()
        return 1

    changes.batch = batch


def fold(known: dict[str, bytes], changes: Sequence[Change]) -> dict[str, bytes]:
    known = dict(known)
    for change in changes:
        if change.live:
            known[change.key] = change.value
        else:
            known.pop(change.key, None)
    return known


# --- one feed


@simulated
async def test_one_feed_serves_all_watchers_of_a_bucket() -> None:
    changes = MemoryChanges(b=Bucket())
    async with a_hub(changes) as hub, watching(hub) as one, watching(hub) as two:
        async with watching(hub) as three:
            changes.buckets["b"].put("k")
            for seen in (one, two, three):
                await seen.got(1)
        assert len(changes.opened) == 1
        assert changes.feeds == 1


@simulated
async def test_the_feed_goes_with_the_last_watcher_and_comes_with_the_next() -> None:
    changes = MemoryChanges(b=Bucket())
    async with a_hub(changes) as hub:
        assert changes.opened == []
        async with watching(hub):
            async with watching(hub):
                pass
            await asyncio.sleep(5)
            assert changes.feeds == 1
        await eventually(lambda: changes.feeds == 0)
        async with watching(hub) as seen:
            changes.buckets["b"].put("k")
            await seen.got(1)
        assert len(changes.opened) == 2


@simulated
async def test_each_bucket_has_a_feed_of_its_own() -> None:
    changes = MemoryChanges(b=Bucket(), c=Bucket())
    async with a_hub(changes) as hub, watching(hub) as one, watching(hub, bucket="c") as other:
        changes.buckets["b"].put("k")
        changes.buckets["c"].put("k", "l")
        await one.got(1)
        await other.got(1, 2)
        assert changes.feeds == 2


LIKE_A_1 = ["*.*", "a.*", "*.1", "a.>", "*.1*", "a*.*"]


@asynccontextmanager
async def half_offered(
    monkeypatch: pytest.MonkeyPatch, at_work: Callable[[Hub, list[Seen]], Awaitable[None]]
) -> AsyncIterator[None]:
    """Have a change offered to a group of watchers at a time, and call something in each pause."""
    monkeypatch.setattr(live, "_A_TURN", 0)
    monkeypatch.setattr(live, "_TESTS_A_PART", 0)
    changes = MemoryChanges(b=Bucket())
    async with AsyncExitStack() as stack:
        hub = await stack.enter_async_context(a_hub(changes))
        watchers = [
            await stack.enter_async_context(
                watching(hub, WatchRequest(filters=(compile_filter(text),)))
            )
            for text in LIKE_A_1
        ]
        changes.buckets["b"].put("b", "a.1")
        for _ in range(1000):
            await asyncio.sleep(0)
            come = [2 in seen.revisions for seen in watchers]
            if all(come):
                break
            if any(come):
                await at_work(hub, watchers)
        assert all(come)
        changes.buckets["b"].put("a.1")
        for seen in watchers:
            await seen.got(2, 3)
        yield


@simulated
async def test_others_have_turns_while_many_filters_are_asked_about_a_change(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    turns: list[int] = []

    async def count(_hub: Hub, watchers: list[Seen]) -> None:
        turns.append(sum(2 in seen.revisions for seen in watchers))

    async with half_offered(monkeypatch, count):
        pass
    assert len(set(turns)) > len(LIKE_A_1) // 2, "it came to all of them at once"


@simulated
async def test_no_bookmark_runs_ahead_of_a_change_that_is_being_offered(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ahead: list[Seen] = []
    half = 0

    async def look(_hub: Hub, watchers: list[Seen]) -> None:
        nonlocal half
        without = [seen for seen in watchers if 2 not in seen.revisions]
        half += bool(without)
        ahead.extend(
            seen
            for seen in without
            if (seen.watch.bookmark or 0) >= 2 and seen.watch.session.position < 2
        )

    async with half_offered(monkeypatch, look):
        pass
    assert half
    assert not ahead


@pytest.mark.parametrize(
    "request_",
    [WatchRequest(snapshot=True), WatchRequest(resume_after=1), WatchRequest(resume_after=0)],
    ids=["snapshot", "resume", "resume from the start"],
)
@simulated
async def test_who_joins_while_a_change_is_being_offered_gets_it_once(
    request_: WatchRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    joined: list[Seen] = []
    stack = AsyncExitStack()

    async def join(hub: Hub, _watchers: list[Seen]) -> None:
        joined.append(await stack.enter_async_context(watching(hub, request_)))
        await eventually(lambda: joined[-1].revisions)

    async with half_offered(monkeypatch, join), stack:
        assert joined
        for seen in joined:
            await eventually(lambda seen=seen: 3 in seen.revisions)
            assert [revision for revision in seen.revisions if revision > 1] == [2, 3]


@simulated
async def test_others_have_turns_while_many_filters_are_asked_about_the_past() -> None:
    changes = MemoryChanges(b=Bucket())
    bucket = changes.buckets["b"]
    bucket.put(*(f"k{number}" for number in range(2000)))
    changes.batch = lambda: 2000
    filters = tuple(compile_filter(f"*{number}*") for number in range(60))
    request = WatchRequest(filters=filters, snapshot=True)
    turns = 0
    async with a_hub(changes) as hub, watching(hub, request) as seen:
        for _ in range(1000):
            turns += 1
            await asyncio.sleep(0)
            if seen.ends:
                break
        assert seen.ends
    assert turns > 2000 * 60 // 8000


@simulated
async def test_a_thousand_watches_that_come_back_at_once_look_at_their_bucket_a_few_times() -> None:
    changes = MemoryChanges(b=Bucket())
    changes.buckets["b"].put("a", "b")
    looks = Counter[str]()
    changes.after = {name: partial(looks.update, [name]) for name in ("state", "newest")}
    async with AsyncExitStack() as stack:
        hub = await stack.enter_async_context(a_hub(changes))
        back = [
            stack.enter_async_context(watching(hub, WatchRequest(resume_after=1)))
            for _ in range(1000)
        ]
        for seen in await asyncio.gather(*back):
            await seen.got(2)
    assert looks["state"] < 30
    assert looks["newest"] < 30


@simulated
async def test_watchers_get_what_they_want_only() -> None:
    changes = MemoryChanges(b=Bucket())
    by_key = WatchRequest(filters=(compile_filter("a"), compile_filter("b")))
    by_filter = WatchRequest(filters=(compile_filter("a.*"),))
    async with (
        a_hub(changes) as hub,
        watching(hub) as everything,
        watching(hub, by_key) as keys,
        watching(hub, by_filter) as one,
        watching(hub, by_filter) as two,
    ):
        changes.buckets["b"].put("a", "a.1", "b", "c", "a.2")
        await everything.got(1, 2, 3, 4, 5)
        await keys.got(1, 3)
        await one.got(2, 5)
        await two.got(2, 5)


@simulated
async def test_a_watcher_that_leaves_takes_nothing_from_those_with_its_filters() -> None:
    changes = MemoryChanges(b=Bucket())
    for text in ("a", "a.*"):
        request = WatchRequest(filters=(compile_filter(text),))
        async with a_hub(changes) as hub, watching(hub, request) as stays:
            async with watching(hub, request):
                pass
            revision = changes.buckets["b"].put("a" if text == "a" else "a.1")
            await stays.got(revision)


@simulated
@pytest.mark.parametrize("text", ["a", "a*"])
async def test_a_watcher_that_has_left_is_offered_nothing_more(text: str) -> None:
    changes = MemoryChanges(b=Bucket())
    request = WatchRequest(filters=(compile_filter(text),))
    async with a_hub(changes) as hub, watching(hub) as stays:
        async with hub.watch("b", request) as left:
            pass
        changes.buckets["b"].put("a")
        await stays.got(1)
        assert left.session.idle


@simulated
async def test_all_watchers_get_the_same_object() -> None:
    changes = MemoryChanges(b=Bucket())
    async with a_hub(changes) as hub, watching(hub) as one, watching(hub) as two:
        changes.buckets["b"].put("k")
        await one.got(1)
        await two.got(1)
        assert one.changes[0] is two.changes[0]


@simulated
async def test_nothing_of_before_is_seen_by_a_watcher_of_the_present() -> None:
    changes = MemoryChanges(b=Bucket())
    bucket = changes.buckets["b"]
    bucket.put("before")
    async with a_hub(changes) as hub, watching(hub) as first:
        bucket.put("between")
        async with watching(hub) as second:
            bucket.put("after")
            await first.got(2, 3)
            await second.got(3)


@simulated
async def test_the_bookmark_moves_on_while_nothing_happens_that_is_wanted() -> None:
    changes = MemoryChanges(b=Bucket())
    request = WatchRequest(filters=(compile_filter("a"),))
    async with a_hub(changes) as hub, watching(hub, request) as seen:
        assert seen.watch.bookmark == 0
        changes.buckets["b"].put("x", "y", "z")
        await eventually(lambda: seen.watch.bookmark == 3)
        assert seen.items == []


@simulated
async def test_the_bookmark_moves_on_past_what_is_gone_before_the_feed_looked() -> None:
    changes = MemoryChanges(b=Bucket())
    bucket = changes.buckets["b"]
    bucket.lazy = True
    async with a_hub(changes) as hub, watching(hub) as seen:
        bucket.put("k")
        bucket.expire("k")
        await eventually(lambda: seen.watch.bookmark == 1)
        assert seen.items == []


# --- a feed that ends


@simulated
async def test_a_feed_that_ends_is_opened_again_after_what_was_seen_last() -> None:
    changes = MemoryChanges(b=Bucket())
    bucket = changes.buckets["b"]
    bucket.put("before")
    async with a_hub(changes) as hub, watching(hub) as seen:
        bucket.put("k", "l")
        await seen.got(2, 3)
        bucket.end_feeds()
        bucket.put("m", "n")
        await seen.got(2, 3, 4, 5)
        assert changes.live_feeds_opened() == [1, 3]
        assert changes.feeds == 1


@simulated
async def test_what_happens_while_there_is_no_server_is_seen_afterwards() -> None:
    changes = MemoryChanges(b=Bucket())
    bucket = changes.buckets["b"]
    async with a_hub(changes) as hub, watching(hub) as seen:
        changes.down = Unavailable()
        bucket.end_feeds()
        await asyncio.sleep(30)
        bucket.put("k", "l")
        bucket.delete("l")
        changes.down = None
        await seen.got(1, 3)


@simulated
async def test_a_server_that_is_away_for_long_is_asked_once_a_second_or_two() -> None:
    changes = MemoryChanges(b=Bucket())
    async with a_hub(changes) as hub, watching(hub):
        asked: list[None] = []

        async def step() -> None:
            asked.append(None)

        changes.step = step
        changes.down = Unavailable()
        changes.buckets["b"].end_feeds()
        await asyncio.sleep(100)
        assert 90 < len(asked) < 220


@simulated
async def test_a_bucket_that_is_deleted_ends_all_its_watches() -> None:
    changes = MemoryChanges(b=Bucket(), c=Bucket())
    async with (
        a_hub(changes) as hub,
        watching(hub) as one,
        watching(hub) as two,
        watching(hub, bucket="c") as other,
    ):
        changes.delete("b")
        assert isinstance(await one.closed(), BucketDeleted)
        assert isinstance(await two.closed(), BucketDeleted)
        await asyncio.sleep(5)
        assert not other.over


@simulated
async def test_a_bucket_that_is_made_anew_ends_all_watches_of_the_old_one() -> None:
    changes = MemoryChanges(b=Bucket())
    async with a_hub(changes) as hub, watching(hub) as seen:
        changes.delete("b")
        changes.buckets["b"] = Bucket("2026-02-02T00:00:00Z")
        changes.buckets["b"].put("k", "l")
        assert isinstance(await seen.closed(), BucketDeleted)
        assert seen.items == []


@simulated
async def test_a_bucket_made_anew_between_the_look_and_the_feed_is_noticed() -> None:
    changes = MemoryChanges(b=Bucket())
    async with a_hub(changes) as hub, watching(hub) as seen:
        changes.buckets["b"].put("k", "l")
        await seen.got(1, 2)

        def make_anew() -> None:
            changes.after.clear()
            changes.delete("b")
            changes.buckets["b"] = Bucket("2026-02-02T00:00:00Z")

        changes.after["state"] = make_anew
        changes.buckets["b"].end_feeds()
        assert isinstance(await seen.closed(), BucketDeleted)


@simulated
async def test_a_bucket_that_is_made_anew_can_be_watched_beside_the_end_of_the_old() -> None:
    changes = MemoryChanges(b=Bucket())
    async with a_hub(changes) as hub, watching(hub) as old:
        changes.buckets["b"] = Bucket("2026-02-02T00:00:00Z")
        async with watching(hub) as new:
            assert isinstance(await old.closed(), BucketDeleted)
            changes.buckets["b"].put("k")
            await new.got(1)
            assert not new.over


@simulated
async def test_a_bucket_that_has_lost_what_was_seen_asks_for_a_resync() -> None:
    changes = MemoryChanges(b=Bucket())
    bucket = changes.buckets["b"]
    async with a_hub(changes) as hub, watching(hub) as one, watching(hub) as two:
        bucket.put("k", "l", "m")
        await one.got(1, 2, 3)
        bucket.last = 2
        bucket.expire("m")
        bucket.end_feeds()
        assert isinstance(await one.closed(), Resync)
        assert isinstance(await two.closed(), Resync)


@simulated
async def test_a_leader_that_is_behind_for_a_moment_is_asked_again() -> None:
    changes = MemoryChanges(b=Bucket())
    bucket = changes.buckets["b"]
    async with a_hub(changes) as hub, watching(hub) as seen:
        bucket.put("k", "l", "m")
        await seen.got(1, 2, 3)
        behind = bucket.state(last=2)
        changes.states = [behind, behind]
        bucket.end_feeds()
        bucket.put("n")
        await seen.got(1, 2, 3, 4)
        assert changes.states == []


@simulated
async def test_a_bucket_that_forgot_something_unseen_asks_for_a_resync() -> None:
    changes = MemoryChanges(b=Bucket())
    bucket = changes.buckets["b"]
    bucket.forgets = Forgetting(60, oldest_first=True)
    async with a_hub(changes) as hub, watching(hub) as seen:
        bucket.put("k")
        await seen.got(1)
        changes.down = Unavailable()
        bucket.end_feeds()
        bucket.put("l", "m")
        await asyncio.sleep(61)
        bucket.expire("k")
        bucket.expire("l")
        changes.down = None
        assert isinstance(await seen.closed(), Resync)


@simulated
async def test_a_bucket_that_had_no_time_to_forget_is_watched_on() -> None:
    changes = MemoryChanges(b=Bucket())
    bucket = changes.buckets["b"]
    bucket.forgets = Forgetting(60, oldest_first=True)
    async with a_hub(changes) as hub, watching(hub) as seen:
        bucket.put("k")
        await seen.got(1)
        changes.down = Unavailable()
        bucket.end_feeds()
        bucket.put("l", "l", "k")
        await asyncio.sleep(50)
        changes.down = None
        await seen.got(1, 3, 4)
        await asyncio.sleep(5)
        assert not seen.over


@simulated
async def test_a_bucket_that_keeps_all_its_newest_is_watched_on_after_any_time() -> None:
    changes = MemoryChanges(b=Bucket())
    bucket = changes.buckets["b"]
    async with a_hub(changes) as hub, watching(hub) as seen:
        bucket.put("k")
        await seen.got(1)
        changes.down = Unavailable()
        bucket.end_feeds()
        bucket.put("k", "k")
        await asyncio.sleep(10_000)
        changes.down = None
        await seen.got(1, 3)


@simulated
@pytest.mark.parametrize(
    ("error", "ends_after"),
    [(TooManyRequests("no consumer is left"), 10), (Unavailable("no heartbeat"), 60)],
    ids=["no room", "no sign of life"],
)
async def test_a_bucket_that_answers_and_cannot_be_followed_is_named_and_then_ends_its_watches(
    error: GatewayError, ends_after: float
) -> None:
    changes = MemoryChanges(b=Bucket())
    async with a_hub(changes) as hub, watching(hub) as seen:
        await asyncio.sleep(1)

        def fail() -> None:
            raise error

        changes.after["follow"] = fail
        began = asyncio.get_running_loop().time()
        changes.buckets["b"].end_feeds()
        await eventually(lambda: hub.troubles == [error])
        assert await seen.closed() is error
        assert asyncio.get_running_loop().time() - began == pytest.approx(ends_after, abs=2)
    assert hub.troubles == []


@simulated
async def test_a_bucket_that_does_not_answer_is_waited_for() -> None:
    changes = MemoryChanges(b=Bucket())
    async with a_hub(changes) as hub, watching(hub) as seen:
        await asyncio.sleep(1)
        changes.down = Unavailable("no leader")
        changes.buckets["b"].end_feeds()
        await asyncio.sleep(1000)
        assert hub.troubles == []
        changes.down = None
        changes.buckets["b"].put("k")
        await seen.got(1)


@simulated
async def test_a_feed_that_stands_still_is_replaced() -> None:
    changes = MemoryChanges(b=Bucket())
    bucket = changes.buckets["b"]
    async with a_hub(changes) as hub, watching(hub) as seen:
        await asyncio.sleep(1)
        (feed,) = bucket.feeds
        feed.look = lambda: None  # type: ignore[method-assign] # it lives, and sees nothing
        bucket.put("k")
        await seen.got(1)


@simulated
async def test_a_bucket_that_is_none_any_more_ends_its_watches() -> None:
    changes = MemoryChanges(b=Bucket())
    async with a_hub(changes) as hub, watching(hub) as seen:
        await asyncio.sleep(1)
        changes.down = BucketUnsuitable("its subjects are others")
        assert await seen.closed() is changes.down


@simulated
async def test_a_channel_that_fails_by_a_defect_ends_its_watches_with_a_word(
    caplog: pytest.LogCaptureFixture,
) -> None:
    changes = MemoryChanges(b=Bucket())
    async with a_hub(changes) as hub, watching(hub) as seen:

        def fail() -> int:
            raise ZeroDivisionError

        changes.batch = fail
        changes.buckets["b"].put("k")
        assert isinstance(await seen.closed(), InternalError)
    assert "the feed of bucket b failed" in caplog.text


# --- the first try


@simulated
async def test_a_bucket_that_does_not_exist_cannot_be_watched() -> None:
    changes = MemoryChanges()
    async with a_hub(changes) as hub:
        for _ in range(2):
            with pytest.raises(BucketNotFound):
                async with watching(hub):
                    pytest.fail("it was opened")
        assert hub.watches == 0


@simulated
async def test_a_bucket_that_exists_by_now_can_be_watched() -> None:
    changes = MemoryChanges()
    async with a_hub(changes) as hub:
        with pytest.raises(BucketNotFound):
            async with watching(hub):
                pytest.fail("it was opened")
        changes.buckets["b"] = Bucket()
        async with watching(hub) as seen:
            changes.buckets["b"].put("k")
            await seen.got(1)


@simulated
@pytest.mark.parametrize("error", [Unavailable(), BucketUnsuitable()])
async def test_trouble_at_the_first_try_is_raised(error: GatewayError) -> None:
    changes = MemoryChanges(b=Bucket())
    changes.down = error
    async with a_hub(changes) as hub:
        with pytest.raises(type(error)):
            async with watching(hub):
                pytest.fail("it was opened")


@simulated
async def test_a_patient_watcher_waits_for_the_server() -> None:
    changes = MemoryChanges(b=Bucket())
    bucket = changes.buckets["b"]
    bucket.put("k", "l")
    changes.down = Unavailable()
    request = WatchRequest(resume_after=1, patient=True)
    async with a_hub(changes) as hub, watching(hub, request) as seen:
        await asyncio.sleep(30)
        assert seen.items == []
        changes.down = None
        await seen.got(2)


@simulated
async def test_a_patient_watcher_of_no_bucket_hears_that_there_is_none() -> None:
    changes = MemoryChanges()
    request = WatchRequest(resume_after=1, patient=True)
    async with a_hub(changes) as hub, watching(hub, request) as seen:
        assert isinstance(await seen.closed(), BucketNotFound)


# --- limits


@simulated
async def test_no_more_than_so_many_watches_are_open_at_once() -> None:
    changes = MemoryChanges(b=Bucket())
    async with a_hub(changes, watches=2) as hub, watching(hub):
        async with watching(hub):
            with pytest.raises(TooManyRequests):
                async with watching(hub):
                    pytest.fail("it was opened")
            assert hub.watches == 2
        async with watching(hub):
            assert hub.watches == 2
        assert hub.watches == 1


@simulated
async def test_no_more_than_so_many_watches_are_open_from_an_address() -> None:
    changes = MemoryChanges(b=Bucket())
    async with a_hub(changes, watches_per_address=1) as hub:
        async with watching(hub, address="one"), watching(hub, address="other"):
            with pytest.raises(TooManyRequests):
                async with watching(hub, address="one"):
                    pytest.fail("it was opened")
        async with watching(hub, address="one"):
            assert hub.watches == 1


@simulated
async def test_long_filters_of_all_watches_share_a_budget_and_short_ones_need_none() -> None:
    changes = MemoryChanges(b=Bucket())
    long = WatchRequest(filters=tuple(compile_filter(f"*{n:02}" + "a" * 487) for n in range(64)))
    usual = WatchRequest(filters=(compile_filter("user:*"), compile_filter("k" * 500)))
    async with a_hub(changes, filter_bytes=50_000) as hub:
        for _ in range(3):
            async with watching(hub, long):
                with pytest.raises(TooManyRequests) as refused:
                    async with watching(hub, long):
                        pytest.fail("it was opened")
                assert refused.value.message == "too many watches with long filters"
                async with watching(hub, usual), watching(hub, usual), watching(hub):
                    assert hub.watches == 4
        assert hub.watches == 0


@simulated
async def test_a_watch_that_could_not_be_opened_counts_no_more() -> None:
    changes = MemoryChanges()
    async with a_hub(changes, watches=1, watches_per_address=1) as hub:
        for _ in range(3):
            with pytest.raises(BucketNotFound):
                async with watching(hub):
                    pytest.fail("it was opened")


@simulated
async def test_a_watch_that_is_given_up_while_it_opens_counts_no_more() -> None:
    changes = MemoryChanges(b=Bucket())
    changes.step = functools.partial(asyncio.sleep, 10)
    async with a_hub(changes, watches=1) as hub:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1), watching(hub):
                pytest.fail("it was opened")
        assert hub.watches == 0


# --- ends


@simulated
async def test_closing_the_hub_leaves_no_task_behind_under_open_watches() -> None:
    changes = MemoryChanges(b=Bucket(), c=Bucket())
    hub = Hub(changes, WatchLimits())
    async with hub.watch("b", WatchRequest()), hub.watch("c", WatchRequest()):
        await hub.close()
        assert changes.feeds == 0
        assert asyncio.all_tasks() == {asyncio.current_task()}
    await hub.close()
    assert asyncio.all_tasks() == {asyncio.current_task()}


@simulated
async def test_a_reader_that_does_not_read_is_too_slow_and_its_neighbours_are_not() -> None:
    changes = MemoryChanges(b=Bucket())
    changes.batch = lambda: 3
    async with (
        a_hub(changes, queue=Limits(changes=10)) as hub,
        watching(hub) as reads,
        hub.watch("b", WatchRequest()) as asleep,
    ):
        for number in range(50):
            changes.buckets["b"].put(f"k{number}")
        await reads.got(*range(1, 51))
        assert isinstance(asleep.session.end, SlowConsumer)
        assert asleep.session.idle


@pytest.mark.parametrize(
    "queue", [Limits(changes=8), Limits(bytes=4 * 300)], ids=["changes", "bytes"]
)
@simulated
async def test_a_reader_that_keeps_up_is_not_too_slow_where_more_comes_at_once_than_may_wait(
    queue: Limits,
) -> None:
    changes = MemoryChanges(b=Bucket())
    changes.batch = lambda: 100
    async with a_hub(changes, queue=queue) as hub, watching(hub) as seen:
        changes.buckets["b"].put(*(f"k{number}" for number in range(100)))
        await seen.got(*range(1, 101))
        assert seen.end is None


@simulated
async def test_others_have_turns_while_many_changes_are_offered_to_many(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(live, "_A_TURN", 100)
    changes = MemoryChanges(b=Bucket())
    changes.batch = lambda: 100
    async with AsyncExitStack() as stack:
        hub = await stack.enter_async_context(a_hub(changes))
        watchers = [await stack.enter_async_context(watching(hub)) for _ in range(50)]
        changes.buckets["b"].put(*(f"k{number}" for number in range(100)))
        most, before = 0, 0
        while before < 50 * 100:
            await asyncio.sleep(0)
            come = sum(len(seen.revisions) for seen in watchers)
            most, before = max(most, come - before), come
        assert most <= 2 * 100


@simulated
async def test_the_end_is_told_whatever_is_still_to_be_read() -> None:
    changes = MemoryChanges(b=Bucket())
    async with a_hub(changes) as hub, hub.watch("b", WatchRequest()) as watch:
        told: list[None] = []
        watch.on_end(lambda: told.append(None))
        changes.buckets["b"].put("k")
        await eventually(lambda: not watch.session.idle)
        assert told == []
        changes.delete("b")
        await eventually(lambda: told)
        assert [len(items) async for items in watch.items()] == [1]


@simulated
async def test_the_end_is_told_to_one_who_asks_later() -> None:
    changes = MemoryChanges(b=Bucket())
    async with a_hub(changes) as hub, watching(hub) as seen:
        changes.delete("b")
        await seen.closed()
        told: list[None] = []
        seen.watch.on_end(lambda: told.append(None))
        assert told == [None]


# --- snapshots

SNAPSHOT = WatchRequest(snapshot=True)


@simulated
async def test_a_snapshot_is_the_newest_of_each_key_in_order_and_then_its_end() -> None:
    changes = MemoryChanges(b=Bucket())
    bucket = changes.buckets["b"]
    bucket.put("a", "b", "a", "c")
    bucket.delete("c")
    async with a_hub(changes) as hub, watching(hub, SNAPSHOT) as seen:
        await eventually(lambda: seen.ends)
        assert seen.revisions == [2, 3]
        assert seen.items[-1] == SnapshotEnd(5)
        bucket.put("a")
        bucket.delete("b")
        await seen.got(2, 3, 6, 7)


@simulated
async def test_an_empty_bucket_has_an_empty_snapshot() -> None:
    changes = MemoryChanges(b=Bucket())
    async with a_hub(changes) as hub, watching(hub, SNAPSHOT) as seen:
        await eventually(lambda: seen.ends)
        assert seen.items == [SnapshotEnd(0)]


@simulated
async def test_the_end_of_a_snapshot_names_the_newest_even_where_it_is_not_stored() -> None:
    changes = MemoryChanges(b=Bucket())
    bucket = changes.buckets["b"]
    bucket.put("a", "b", "c")
    bucket.expire("c")
    async with a_hub(changes) as hub, watching(hub, SNAPSHOT) as seen:
        await eventually(lambda: seen.ends)
        assert seen.items[-1] == SnapshotEnd(3)
        assert seen.revisions == [1, 2]


@simulated
async def test_a_snapshot_holds_what_is_wanted_only() -> None:
    changes = MemoryChanges(b=Bucket())
    changes.buckets["b"].put("a.1", "b", "a.2", "c")
    request = WatchRequest(filters=(compile_filter("a.*"),), snapshot=True)
    async with a_hub(changes) as hub, watching(hub, request) as seen:
        await eventually(lambda: seen.ends)
        assert seen.revisions == [1, 3]
        assert seen.ends == [4]


@simulated
async def test_a_key_written_over_while_it_is_read_is_there_before_the_snapshot_ends() -> None:
    changes = MemoryChanges(b=Bucket())
    bucket = changes.buckets["b"]
    bucket.put("k", "l")

    def write_over() -> None:
        changes.after.clear()
        bucket.put("k")

    changes.after["newest"] = write_over
    async with a_hub(changes) as hub, watching(hub, SNAPSHOT) as seen:
        await eventually(lambda: seen.ends)
        assert fold({}, seen.in_snapshot()) == {"k": b"3", "l": b"2"}
        assert seen.ends == [3]


@simulated
async def test_a_key_written_over_again_behind_the_feed_is_there_before_the_snapshot_ends() -> None:
    changes = MemoryChanges(b=Bucket())
    bucket = changes.buckets["b"]
    bucket.lazy = True
    bucket.put("k", "l")
    changes.batch = lambda: 1
    answers = 0

    def write_over() -> None:
        nonlocal answers
        answers += 1
        if answers == 1:
            # While the snapshot's feed is opened: it finds no k up to revision 2.
            bucket.put("k")
        elif answers == 2:
            # While it waits for revision 3, which the live feed has not looked at yet.
            bucket.put("m", "k")

    async with a_hub(changes) as hub, watching(hub) as other:
        changes.after["newest"] = write_over
        feed_asleep = asyncio.Event()

        async def step() -> None:
            task = asyncio.current_task()
            if task is not None and task.get_name() == "watch b" and answers < 2:
                await feed_asleep.wait()
            await asyncio.sleep(0)

        changes.step = step
        async with watching(hub, SNAPSHOT) as seen:
            await eventually(lambda: answers == 2)
            feed_asleep.set()
            await eventually(lambda: seen.ends)
            assert set(fold({}, seen.in_snapshot())) >= {"k", "l"}
        assert not other.over


@simulated
async def test_a_tombstone_of_while_it_is_read_takes_back_what_was_shown() -> None:
    changes = MemoryChanges(b=Bucket())
    bucket = changes.buckets["b"]
    bucket.put("k", "l", "m")
    at_batch(changes, 2, lambda: (bucket.delete("k"), bucket.put("n")))
    async with a_hub(changes) as hub, watching(hub, SNAPSHOT) as seen:
        await eventually(lambda: seen.ends)
        assert seen.in_snapshot()[0].key == "k"
        assert set(fold({}, seen.in_snapshot())) == {"l", "m", "n"}


@simulated
async def test_a_snapshot_under_more_writes_than_are_kept_is_complete_all_the_same() -> None:
    changes = MemoryChanges(b=Bucket())
    bucket = changes.buckets["b"]
    bucket.put("k", "l", "m")
    at_batch(changes, 2, lambda: (bucket.delete("k"), bucket.put("n", "o", "p", "q", "r")))
    async with a_hub(changes, queue=Limits(changes=4)) as hub, watching(hub, SNAPSHOT) as seen:
        await eventually(lambda: seen.ends)
        assert set(fold({}, seen.in_snapshot())) == set("lmnopqr")
        assert seen.revisions == list(range(1, 10))
        assert len(changes.opened) > 2


@simulated
async def test_a_snapshot_goes_on_when_its_feed_ends() -> None:
    changes = MemoryChanges(b=Bucket())
    bucket = changes.buckets["b"]
    bucket.put(*"abcdef")

    def cut() -> None:
        bucket.end_feeds()
        for feed in bucket.feeds:
            feed.lose()

    at_batch(changes, 3, cut)
    async with a_hub(changes) as hub, watching(hub, SNAPSHOT) as seen:
        await eventually(lambda: seen.ends)
        assert seen.revisions == [1, 2, 3, 4, 5, 6]
        assert [latest for _, _, latest in changes.opened].count(True) == 2


@simulated
async def test_a_bucket_made_anew_while_a_snapshot_is_read_ends_it() -> None:
    changes = MemoryChanges(b=Bucket())
    bucket = changes.buckets["b"]
    bucket.put(*"abcdef")

    def make_anew() -> None:
        changes.delete("b")
        changes.buckets["b"] = Bucket("2026-02-02T00:00:00Z")
        changes.buckets["b"].put("other")

    at_batch(changes, 3, make_anew)
    async with a_hub(changes) as hub, watching(hub, SNAPSHOT) as seen:
        assert isinstance(await seen.closed(), BucketDeleted)
        assert "other" not in fold({}, seen.changes)


@simulated
async def test_a_patient_snapshot_of_a_present_bucket_is_a_snapshot() -> None:
    changes = MemoryChanges(b=Bucket())
    changes.buckets["b"].put("k")
    request = WatchRequest(snapshot=True, patient=True)
    async with a_hub(changes) as hub, watching(hub, request) as seen:
        await eventually(lambda: seen.ends)
        assert seen.revisions == [1]


# --- resuming


@simulated
async def test_a_resume_shows_all_that_changed_since_tombstones_included() -> None:
    changes = MemoryChanges(b=Bucket())
    bucket = changes.buckets["b"]
    bucket.put("a", "b", "c", "b", "b")
    bucket.delete("c")
    async with a_hub(changes) as hub, watching(hub, WatchRequest(resume_after=2)) as seen:
        bucket.put("d")
        await seen.got(5, 6, 7)


@simulated
async def test_a_resume_after_the_newest_shows_what_comes() -> None:
    changes = MemoryChanges(b=Bucket())
    bucket = changes.buckets["b"]
    bucket.put("a", "b")
    async with a_hub(changes) as hub, watching(hub, WatchRequest(resume_after=2)) as seen:
        bucket.put("c")
        await seen.got(3)


@simulated
async def test_a_resume_after_nothing_shows_everything() -> None:
    changes = MemoryChanges(b=Bucket())
    changes.buckets["b"].put("a", "b")
    async with a_hub(changes) as hub, watching(hub, WatchRequest(resume_after=0)) as seen:
        await seen.got(1, 2)


@simulated
async def test_a_resume_after_what_has_not_happened_yet_asks_for_a_resync() -> None:
    changes = MemoryChanges(b=Bucket())
    changes.buckets["b"].put("a", "b")
    async with a_hub(changes) as hub, watching(hub, WatchRequest(resume_after=3)) as seen:
        end = await seen.closed()
        assert isinstance(end, Resync)
        assert "future" in end.message


@simulated
async def test_a_resume_is_not_refused_for_a_leader_that_is_behind_for_a_moment() -> None:
    changes = MemoryChanges(b=Bucket())
    bucket = changes.buckets["b"]
    bucket.put("a", "b", "c")
    async with a_hub(changes) as hub, watching(hub):
        behind, now = bucket.state(last=1), bucket.state()
        changes.states = [now, behind]
        async with watching(hub, WatchRequest(resume_after=2)) as seen:
            await seen.got(3)


@simulated
async def test_a_resume_of_another_bucket_of_the_name_asks_for_a_resync() -> None:
    changes = MemoryChanges(b=Bucket())
    changes.buckets["b"].put("a", "b")
    request = WatchRequest(resume_after=1, created_at="2025-01-01T00:00:00Z")
    async with a_hub(changes) as hub, watching(hub, request) as seen:
        assert isinstance(await seen.closed(), Resync)
        assert seen.items == []


@simulated
async def test_a_resume_of_the_very_bucket_goes_on() -> None:
    changes = MemoryChanges(b=Bucket())
    changes.buckets["b"].put("a", "b")
    request = WatchRequest(resume_after=1, created_at=changes.buckets["b"].created_at)
    async with a_hub(changes) as hub, watching(hub, request) as seen:
        await seen.got(2)


@simulated
@pytest.mark.parametrize(
    ("after", "age", "resync"),
    [
        pytest.param(1, 61, True, id="something can be gone"),
        pytest.param(2, 61, False, id="the next is still there"),
        pytest.param(1, 59, False, id="too young to have forgotten anything"),
    ],
)
async def test_a_resume_where_keys_vanish_without_a_trace(
    after: int, age: float, resync: bool
) -> None:
    changes = MemoryChanges(b=Bucket())
    bucket = changes.buckets["b"]
    bucket.put("a", "b", "c", "d")
    bucket.expire("a")
    bucket.expire("b")
    bucket.forgets = Forgetting(60, oldest_first=True)
    bucket.age = age
    async with a_hub(changes) as hub, watching(hub, WatchRequest(resume_after=after)) as seen:
        if resync:
            assert isinstance(await seen.closed(), Resync)
        else:
            await seen.got(3, 4)


@simulated
async def test_a_resume_that_stands_still_longer_than_values_live_asks_for_a_resync() -> None:
    changes = MemoryChanges(b=Bucket())
    bucket = changes.buckets["b"]
    bucket.put(*"abcdef")
    bucket.forgets = Forgetting(60, oldest_first=True)
    changes.batch = lambda: 1
    async with a_hub(changes) as hub, hub.watch("b", WatchRequest(resume_after=0)) as watch:
        async with aclosing(watch.items()) as parts:
            assert [item.revision for item in await anext(parts)] == [1]
            await asyncio.sleep(100)
            for key in "abcde":
                bucket.expire(key)
            for feed in bucket.feeds:
                feed.lose()
            bucket.end_feeds()
            assert [item.revision async for items in parts for item in items] == []
        assert isinstance(watch.session.end, Resync)


@simulated
async def test_a_resume_that_stands_still_for_less_goes_on() -> None:
    changes = MemoryChanges(b=Bucket())
    bucket = changes.buckets["b"]
    bucket.put(*"abcdef")
    bucket.forgets = Forgetting(60, oldest_first=True)
    changes.batch = lambda: 1
    async with a_hub(changes) as hub, hub.watch("b", WatchRequest(resume_after=0)) as watch:
        async with aclosing(watch.items()) as parts:
            assert [item.revision for item in await anext(parts)] == [1]
            bucket.put("a", "b", "c")
            for feed in bucket.feeds:
                feed.lose()
            bucket.end_feeds()
            seen: list[int] = []
            while len(seen) < 6:
                seen += [item.revision for item in await anext(parts)]
        assert seen == [4, 5, 6, 7, 8, 9]


@simulated
async def test_a_bucket_deleted_while_a_resume_is_read_ends_it() -> None:
    changes = MemoryChanges(b=Bucket())
    changes.buckets["b"].put(*"abcdef")
    at_batch(changes, 3, lambda: changes.delete("b"))
    async with a_hub(changes) as hub, watching(hub, WatchRequest(resume_after=0)) as seen:
        assert isinstance(await seen.closed(), BucketDeleted)


# --- at random


class Storm:
    """Writes, and ends feeds, at random moments: wherever a server could be slow."""

    def __init__(
        self, random: Random, bucket: Bucket, *, writes: int, breaks: int = 0, lazy: float = 0
    ) -> None:
        self._random = random
        self._bucket = bucket
        bucket.history = random.choice([1, 5])
        self._writes = writes
        self._breaks = breaks
        self._lazy = lazy

    @property
    def over(self) -> bool:
        return self._writes <= 0

    def write(self) -> None:
        self._writes -= 1
        self._bucket.lazy = self._random.random() < self._lazy
        key = self._random.choice(["a", "a.1", "a.2", "b", "c"])
        if self._random.random() < 0.25:
            self._bucket.delete(key)
        else:
            self._bucket.put(key)

    async def step(self) -> None:
        for _ in range(self._random.choice([0, 0, 1, 1, 2, 5])):
            if self._writes > 0:
                self.write()
        if self._breaks > 0 and self._random.random() < 0.1:
            self._breaks -= 1
            self._random.choice([self._bucket.end_feeds, self._end_one])()
        for _ in range(self._random.choice([0, 1, 1, 3])):
            await asyncio.sleep(0)

    def _end_one(self) -> None:
        for feed in list(self._bucket.feeds)[:1]:
            feed.end()

    def batch(self) -> int:
        return self._random.choice([1, 2, 5, 100])


@settings(max_examples=400)
@given(
    seed=st.integers(0, 2**32),
    kind=st.sampled_from(["live", "snapshot", "resume"]),
    filter=st.sampled_from(["", "a", "a.*"]),
    before=st.integers(0, 12),
    queue=st.sampled_from([4096, 4096, 6]),
    breaks=st.sampled_from([0, 2]),
)
def test_past_and_present_join_without_a_gap_and_without_a_repeat(
    seed: int, kind: str, filter: str, before: int, queue: int, breaks: int
) -> None:
    run(_join(Random(seed), kind, filter, before, queue, breaks))


async def _join(
    random: Random, kind: str, filter: str, before: int, queue: int, breaks: int
) -> None:
    bucket = Bucket()
    changes = MemoryChanges(b=bucket)
    storm = Storm(random, bucket, writes=before + 40, breaks=breaks, lazy=0.3)
    for _ in range(before):
        storm.write()
    keep = compile_filter(filter)
    after = random.randint(0, bucket.last) if kind == "resume" else None
    request = WatchRequest((keep,), snapshot=kind == "snapshot", resume_after=after)
    changes.batch = storm.batch
    async with a_hub(changes, queue=Limits(changes=queue)) as hub:
        changes.step = storm.step
        async with watching(hub, request) as seen:
            opened_at = bucket.last
            while not storm.over:
                await storm.step()
            await eventually(lambda: seen.over or (seen.watch.bookmark or 0) >= bucket.last)
    assert all(one < other for one, other in pairwise(seen.revisions)), seen.revisions
    assert all(keep.matches(change.key) for change in seen.changes)
    if seen.end is not None:
        # Opening takes several turns, in which the storm may write more than may wait.
        assert isinstance(seen.end, SlowConsumer)
        assert queue < 4096
        return
    wanted = [change for change in bucket.log if keep.matches(change.key)]
    base = {"live": opened_at, "snapshot": 0, "resume": after}[kind]
    known = fold({}, [change for change in wanted if change.revision <= base])
    assert fold(known, seen.changes) == fold({}, wanted)
    if kind == "live":
        assert not any(change.revision <= before for change in seen.changes)
    if kind == "resume":
        assert all(change.revision > after for change in seen.changes)
    assert len(seen.ends) == (kind == "snapshot")
    if kind == "snapshot":
        index = next(i for i, item in enumerate(seen.items) if isinstance(item, SnapshotEnd))
        assert all(change.revision <= seen.ends[0] for change in seen.in_snapshot())
        assert all(item.revision > seen.ends[0] for item in seen.items[index + 1 :])


@settings(max_examples=300)
@given(
    seed=st.integers(0, 2**32),
    filter=st.sampled_from(["", "a", "a.*"]),
    before=st.integers(1, 12),
    queue=st.sampled_from([4096, 6]),
)
def test_a_snapshot_ends_with_the_truth_of_its_revision_where_the_feed_keeps_up(
    seed: int, filter: str, before: int, queue: int
) -> None:
    async def main() -> None:
        bucket = Bucket()
        changes = MemoryChanges(b=bucket)
        storm = Storm(Random(seed), bucket, writes=before + 40)
        for _ in range(before):
            storm.write()
        keep = compile_filter(filter)
        changes.batch = storm.batch
        changes.step = storm.step
        request = WatchRequest((keep,), snapshot=True)
        async with (
            a_hub(changes, queue=Limits(changes=queue)) as hub,
            watching(hub, request) as seen,
        ):
            await eventually(lambda: seen.over or seen.ends)
        if seen.over:
            assert isinstance(seen.end, SlowConsumer)
            return
        truth = fold(
            {},
            [c for c in bucket.log if c.revision <= seen.ends[0] and keep.matches(c.key)],
        )
        assert fold({}, seen.in_snapshot()) == truth

    run(main())

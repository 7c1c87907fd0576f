"""One feed of a bucket serves all its watchers."""

import asyncio

import pytest

from jetkv_gateway.kv.filters import compile_filter
from jetkv_gateway.watch.catch_up import WatchRequest
from tests.support.changes import MemoryBucket, MemoryChanges
from tests.support.hubs import a_hub, watching
from tests.support.simulated import eventually, simulated


@simulated
async def test_one_feed_serves_all_watchers_of_a_bucket() -> None:
    changes = MemoryChanges(b=MemoryBucket())
    async with a_hub(changes) as hub, watching(hub) as one, watching(hub) as two:
        async with watching(hub) as three:
            changes.buckets["b"].put("k")
            for seen in (one, two, three):
                await seen.got(1)
        assert len(changes.opened) == 1
        assert changes.feeds == 1


@simulated
async def test_the_feed_goes_with_the_last_watcher_and_comes_with_the_next() -> None:
    changes = MemoryChanges(b=MemoryBucket())
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
    changes = MemoryChanges(b=MemoryBucket(), c=MemoryBucket())
    async with a_hub(changes) as hub, watching(hub) as one, watching(hub, bucket="c") as other:
        changes.buckets["b"].put("k")
        changes.buckets["c"].put("k", "l")
        await one.got(1)
        await other.got(1, 2)
        assert changes.feeds == 2


@simulated
async def test_watchers_get_what_they_want_only() -> None:
    changes = MemoryChanges(b=MemoryBucket())
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
    changes = MemoryChanges(b=MemoryBucket())
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
    changes = MemoryChanges(b=MemoryBucket())
    request = WatchRequest(filters=(compile_filter(text),))
    async with a_hub(changes) as hub, watching(hub) as stays:
        async with hub.watch("b", request) as left:
            pass
        changes.buckets["b"].put("a")
        await stays.got(1)
        assert left.session.idle


@simulated
async def test_all_watchers_get_the_same_object() -> None:
    changes = MemoryChanges(b=MemoryBucket())
    async with a_hub(changes) as hub, watching(hub) as one, watching(hub) as two:
        changes.buckets["b"].put("k")
        await one.got(1)
        await two.got(1)
        assert one.changes[0] is two.changes[0]


@simulated
async def test_nothing_of_before_is_seen_by_a_watcher_of_the_present() -> None:
    changes = MemoryChanges(b=MemoryBucket())
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
    changes = MemoryChanges(b=MemoryBucket())
    request = WatchRequest(filters=(compile_filter("a"),))
    async with a_hub(changes) as hub, watching(hub, request) as seen:
        assert seen.watch.bookmark == 0
        changes.buckets["b"].put("x", "y", "z")
        await eventually(lambda: seen.watch.bookmark == 3)
        assert seen.items == []


@simulated
async def test_the_bookmark_moves_on_past_what_is_gone_before_the_feed_looked() -> None:
    changes = MemoryChanges(b=MemoryBucket())
    bucket = changes.buckets["b"]
    bucket.lazy = True
    async with a_hub(changes) as hub, watching(hub) as seen:
        bucket.put("k")
        bucket.expire("k")
        await eventually(lambda: seen.watch.bookmark == 1)
        assert seen.items == []

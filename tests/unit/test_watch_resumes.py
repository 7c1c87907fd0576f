"""A watch that resumes after a revision."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager

import pytest

from jetkv_gateway.kv.errors import BucketDeleted, Resync
from jetkv_gateway.kv.model import SilentLoss
from jetkv_gateway.watch.catch_up import WatchRequest
from jetkv_gateway.watch.hub import Watch
from jetkv_gateway.watch.session import Item
from tests.support.changes import MemoryBucket, MemoryChanges
from tests.support.hubs import a_hub, at_batch, watching
from tests.support.simulated import simulated


@simulated
async def test_a_resume_shows_all_that_changed_since_tombstones_included() -> None:
    changes = MemoryChanges(b=MemoryBucket())
    bucket = changes.buckets["b"]
    bucket.put("a", "b", "c", "b", "b")
    bucket.delete("c")
    async with a_hub(changes) as hub, watching(hub, WatchRequest(resume_after=2)) as seen:
        bucket.put("d")
        await seen.got(5, 6, 7)


@simulated
async def test_a_resume_shows_a_value_that_has_expired_since_its_key_changed() -> None:
    changes = MemoryChanges(b=MemoryBucket())
    bucket = changes.buckets["b"]
    bucket.put("a", "b", "c")
    bucket.overdue = {2}
    async with a_hub(changes) as hub, watching(hub, WatchRequest(resume_after=1)) as seen:
        await seen.got(2, 3)


@simulated
async def test_a_resume_after_the_newest_shows_what_comes() -> None:
    changes = MemoryChanges(b=MemoryBucket())
    bucket = changes.buckets["b"]
    bucket.put("a", "b")
    async with a_hub(changes) as hub, watching(hub, WatchRequest(resume_after=2)) as seen:
        bucket.put("c")
        await seen.got(3)


@simulated
async def test_a_resume_after_nothing_shows_everything() -> None:
    changes = MemoryChanges(b=MemoryBucket())
    changes.buckets["b"].put("a", "b")
    async with a_hub(changes) as hub, watching(hub, WatchRequest(resume_after=0)) as seen:
        await seen.got(1, 2)


@simulated
async def test_a_resume_after_what_has_not_happened_yet_asks_for_a_resync() -> None:
    changes = MemoryChanges(b=MemoryBucket())
    changes.buckets["b"].put("a", "b")
    async with a_hub(changes) as hub, watching(hub, WatchRequest(resume_after=3)) as seen:
        end = await seen.closed()
        assert isinstance(end, Resync)
        assert "future" in end.message


@simulated
async def test_a_resume_is_not_refused_for_a_leader_that_is_behind_for_a_moment() -> None:
    changes = MemoryChanges(b=MemoryBucket())
    bucket = changes.buckets["b"]
    bucket.put("a", "b", "c")
    async with a_hub(changes) as hub, watching(hub):
        behind, now = bucket.state(last=1), bucket.state()
        changes.states = [now, behind]
        async with watching(hub, WatchRequest(resume_after=2)) as seen:
            await seen.got(3)


@simulated
async def test_a_resume_of_another_bucket_of_the_name_asks_for_a_resync() -> None:
    changes = MemoryChanges(b=MemoryBucket())
    changes.buckets["b"].put("a", "b")
    request = WatchRequest(resume_after=1, created_at="2025-01-01T00:00:00Z")
    async with a_hub(changes) as hub, watching(hub, request) as seen:
        assert isinstance(await seen.closed(), Resync)
        assert seen.items == []


@simulated
async def test_a_resume_of_the_very_bucket_goes_on() -> None:
    changes = MemoryChanges(b=MemoryBucket())
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
    changes = MemoryChanges(b=MemoryBucket())
    bucket = changes.buckets["b"]
    bucket.put("a", "b", "c", "d")
    bucket.expire("a")
    bucket.expire("b")
    bucket.silent_loss = SilentLoss(60, oldest_first=True)
    bucket.age = age
    async with a_hub(changes) as hub, watching(hub, WatchRequest(resume_after=after)) as seen:
        if resync:
            assert isinstance(await seen.closed(), Resync)
        else:
            await seen.got(3, 4)


@asynccontextmanager
async def standing_still() -> AsyncIterator[tuple[MemoryBucket, Watch, AsyncIterator[list[Item]]]]:
    """A resume that has handed out the first of six changes, of which each lives for a minute."""
    changes = MemoryChanges(b=MemoryBucket())
    bucket = changes.buckets["b"]
    bucket.put(*"abcdef")
    bucket.silent_loss = SilentLoss(60, oldest_first=True)
    changes.batch = lambda: 1
    async with (
        a_hub(changes) as hub,
        hub.watch("b", WatchRequest(resume_after=0)) as watch,
        aclosing(watch.items()) as parts,
    ):
        assert [item.revision for item in await anext(parts)] == [1]
        yield bucket, watch, parts


def lose_feeds(bucket: MemoryBucket) -> None:
    for feed in bucket.feeds:
        feed.lose()
    bucket.end_feeds()


@simulated
async def test_a_resume_that_stands_still_longer_than_values_live_asks_for_a_resync() -> None:
    async with standing_still() as (bucket, watch, parts):
        await asyncio.sleep(100)
        for key in "abcde":
            bucket.expire(key)
        lose_feeds(bucket)
        assert [item.revision async for items in parts for item in items] == []
        assert isinstance(watch.session.end, Resync)


@simulated
async def test_a_resume_that_stands_still_for_less_goes_on() -> None:
    async with standing_still() as (bucket, _, parts):
        bucket.put("a", "b", "c")
        lose_feeds(bucket)
        seen: list[int] = []
        while len(seen) < 6:
            seen += [item.revision for item in await anext(parts)]
    assert seen == [4, 5, 6, 7, 8, 9]


@simulated
async def test_a_bucket_deleted_while_a_resume_is_read_ends_it() -> None:
    changes = MemoryChanges(b=MemoryBucket())
    changes.buckets["b"].put(*"abcdef")
    at_batch(changes, 3, lambda: changes.delete("b"))
    async with a_hub(changes) as hub, watching(hub, WatchRequest(resume_after=0)) as seen:
        assert isinstance(await seen.closed(), BucketDeleted)

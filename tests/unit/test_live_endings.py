"""A feed that ends: it is opened again, or the watches of its bucket end with a reason."""

import asyncio

import pytest

from jetkv_gateway.kv.errors import (
    BucketDeleted,
    BucketUnsuitable,
    GatewayError,
    InternalError,
    Resync,
    TooManyRequests,
    Unavailable,
)
from jetkv_gateway.kv.model import SilentLoss
from tests.support.changes import MemoryBucket, MemoryChanges
from tests.support.hubs import a_hub, watching
from tests.support.simulated import eventually, simulated


@simulated
async def test_a_feed_that_ends_is_opened_again_after_what_was_seen_last() -> None:
    changes = MemoryChanges(b=MemoryBucket())
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
    changes = MemoryChanges(b=MemoryBucket())
    bucket = changes.buckets["b"]
    async with a_hub(changes) as hub, watching(hub) as seen:
        with changes.outage():
            await asyncio.sleep(30)
            bucket.put("k", "l")
            bucket.delete("l")
        await seen.got(1, 3)


@simulated
async def test_a_server_that_is_away_for_long_is_asked_once_a_second_or_two() -> None:
    changes = MemoryChanges(b=MemoryBucket())
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
    changes = MemoryChanges(b=MemoryBucket(), c=MemoryBucket())
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
async def test_a_bucket_that_is_created_again_ends_all_watches_of_the_old_one() -> None:
    changes = MemoryChanges(b=MemoryBucket())
    async with a_hub(changes) as hub, watching(hub) as seen:
        changes.delete("b")
        changes.buckets["b"] = MemoryBucket("2026-02-02T00:00:00Z")
        changes.buckets["b"].put("k", "l")
        assert isinstance(await seen.closed(), BucketDeleted)
        assert seen.items == []


@simulated
async def test_a_bucket_created_again_between_the_look_and_the_feed_is_noticed() -> None:
    changes = MemoryChanges(b=MemoryBucket())
    async with a_hub(changes) as hub, watching(hub) as seen:
        changes.buckets["b"].put("k", "l")
        await seen.got(1, 2)

        def create_again() -> None:
            changes.after.clear()
            changes.delete("b")
            changes.buckets["b"] = MemoryBucket("2026-02-02T00:00:00Z")

        changes.after["state"] = create_again
        changes.buckets["b"].end_feeds()
        assert isinstance(await seen.closed(), BucketDeleted)


@simulated
async def test_a_bucket_that_is_created_again_can_be_watched_beside_the_end_of_the_old() -> None:
    changes = MemoryChanges(b=MemoryBucket())
    async with a_hub(changes) as hub, watching(hub) as old:
        changes.buckets["b"] = MemoryBucket("2026-02-02T00:00:00Z")
        async with watching(hub) as new:
            assert isinstance(await old.closed(), BucketDeleted)
            changes.buckets["b"].put("k")
            await new.got(1)
            assert not new.over


@simulated
async def test_a_bucket_that_has_lost_what_was_seen_asks_for_a_resync() -> None:
    changes = MemoryChanges(b=MemoryBucket())
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
    changes = MemoryChanges(b=MemoryBucket())
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
    changes = MemoryChanges(b=MemoryBucket())
    bucket = changes.buckets["b"]
    bucket.silent_loss = SilentLoss(60, oldest_first=True)
    async with a_hub(changes) as hub, watching(hub) as seen:
        bucket.put("k")
        await seen.got(1)
        with changes.outage():
            bucket.put("l", "m")
            await asyncio.sleep(61)
            bucket.expire("k")
            bucket.expire("l")
        assert isinstance(await seen.closed(), Resync)


@simulated
async def test_a_bucket_that_had_no_time_to_forget_is_watched_on() -> None:
    changes = MemoryChanges(b=MemoryBucket())
    bucket = changes.buckets["b"]
    bucket.silent_loss = SilentLoss(60, oldest_first=True)
    async with a_hub(changes) as hub, watching(hub) as seen:
        bucket.put("k")
        await seen.got(1)
        with changes.outage():
            bucket.put("l", "l", "k")
            await asyncio.sleep(50)
        await seen.got(1, 3, 4)
        await asyncio.sleep(5)
        assert not seen.over


@simulated
async def test_a_bucket_that_keeps_all_its_newest_is_watched_on_after_any_time() -> None:
    changes = MemoryChanges(b=MemoryBucket())
    bucket = changes.buckets["b"]
    async with a_hub(changes) as hub, watching(hub) as seen:
        bucket.put("k")
        await seen.got(1)
        with changes.outage():
            bucket.put("k", "k")
            await asyncio.sleep(10_000)
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
    changes = MemoryChanges(b=MemoryBucket())
    async with a_hub(changes) as hub, watching(hub) as seen:
        await asyncio.sleep(1)

        def fail() -> None:
            raise error

        changes.after["follow"] = fail
        began = asyncio.get_running_loop().time()
        changes.buckets["b"].end_feeds()
        await eventually(lambda: hub.errors == [error])
        assert await seen.closed() is error
        assert asyncio.get_running_loop().time() - began == pytest.approx(ends_after, abs=2)
    assert hub.errors == []


@simulated
async def test_a_bucket_that_does_not_answer_is_waited_for() -> None:
    changes = MemoryChanges(b=MemoryBucket())
    async with a_hub(changes) as hub, watching(hub) as seen:
        await asyncio.sleep(1)
        changes.down = Unavailable("no leader")
        changes.buckets["b"].end_feeds()
        await asyncio.sleep(1000)
        assert hub.errors == []
        changes.down = None
        changes.buckets["b"].put("k")
        await seen.got(1)


@simulated
async def test_a_feed_that_stands_still_is_replaced() -> None:
    changes = MemoryChanges(b=MemoryBucket())
    bucket = changes.buckets["b"]
    async with a_hub(changes) as hub, watching(hub) as seen:
        await asyncio.sleep(1)
        (feed,) = bucket.feeds
        feed.look = lambda: None  # type: ignore[method-assign] # it lives, and sees nothing
        bucket.put("k")
        await seen.got(1)


@simulated
async def test_a_stream_that_is_no_longer_a_bucket_ends_its_watches() -> None:
    changes = MemoryChanges(b=MemoryBucket())
    async with a_hub(changes) as hub, watching(hub) as seen:
        await asyncio.sleep(1)
        changes.down = BucketUnsuitable("its subjects are others")
        assert await seen.closed() is changes.down


@simulated
async def test_a_channel_that_fails_by_a_defect_ends_its_watches_with_a_word(
    caplog: pytest.LogCaptureFixture,
) -> None:
    changes = MemoryChanges(b=MemoryBucket())
    async with a_hub(changes) as hub, watching(hub) as seen:

        def fail() -> int:
            raise ZeroDivisionError

        changes.batch = fail
        changes.buckets["b"].put("k")
        assert isinstance(await seen.closed(), InternalError)
    assert "the feed of bucket b failed" in caplog.text

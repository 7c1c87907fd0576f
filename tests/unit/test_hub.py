"""Opening, counting and ending the watches of a hub."""

import asyncio
import functools
from traceback import walk_tb

import pytest

from jetkv_gateway.kv.errors import (
    BucketDeleted,
    BucketNotFound,
    BucketUnsuitable,
    GatewayError,
    SlowConsumer,
    TooManyRequests,
    Unavailable,
)
from jetkv_gateway.kv.filters import compile_filter
from jetkv_gateway.watch.catch_up import WatchRequest
from jetkv_gateway.watch.hub import Hub, Watch, WatchLimits
from jetkv_gateway.watch.merged import watch_buckets
from jetkv_gateway.watch.session import Limits
from tests.support.changes import MemoryBucket, MemoryChanges
from tests.support.hubs import a_hub, watching
from tests.support.simulated import eventually, simulated


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
        changes.buckets["b"] = MemoryBucket()
        async with watching(hub) as seen:
            changes.buckets["b"].put("k")
            await seen.got(1)


@simulated
@pytest.mark.parametrize("error", [Unavailable(), BucketUnsuitable()])
async def test_trouble_at_the_first_try_is_raised(error: GatewayError) -> None:
    changes = MemoryChanges(b=MemoryBucket())
    changes.down = error
    async with a_hub(changes) as hub:
        with pytest.raises(type(error)):
            async with watching(hub):
                pytest.fail("it was opened")


@simulated
async def test_a_patient_watcher_waits_for_the_server() -> None:
    changes = MemoryChanges(b=MemoryBucket())
    bucket = changes.buckets["b"]
    bucket.put("k", "l")
    changes.down = Unavailable()
    request = WatchRequest(resume_after=1, wait_for_nats=True)
    async with a_hub(changes) as hub, watching(hub, request) as seen:
        await asyncio.sleep(30)
        assert seen.items == []
        changes.down = None
        await seen.got(2)


@simulated
async def test_a_patient_watcher_of_no_bucket_hears_that_there_is_none() -> None:
    changes = MemoryChanges()
    request = WatchRequest(resume_after=1, wait_for_nats=True)
    async with a_hub(changes) as hub, watching(hub, request) as seen:
        assert isinstance(await seen.closed(), BucketNotFound)


def frames_kept(watch: Watch) -> list[str]:
    """Return the functions whose frames the error of a watch's feed keeps in memory."""
    error = watch.live_feed.error
    assert error is not None
    return [frame.f_code.co_name for frame, _ in walk_tb(error.__traceback__)]


@simulated
async def test_watchers_that_are_refused_leave_nothing_in_the_error_of_the_feed() -> None:
    changes = MemoryChanges(b=MemoryBucket())
    changes.down = Unavailable("no leader")
    request = WatchRequest(resume_after=1, wait_for_nats=True)
    async with a_hub(changes) as hub, hub.watch("b", request) as patient:
        await patient.live_feed.wait_opened()
        before = frames_kept(patient)
        for _ in range(3):
            with pytest.raises(Unavailable, match="no leader") as refused:
                async with watching(hub):
                    pytest.fail("it was opened")
            assert refused.value is not patient.live_feed.error
        assert frames_kept(patient) == before


@simulated
async def test_a_watcher_that_waits_for_nats_leaves_nothing_in_the_error_of_the_feed() -> None:
    changes = MemoryChanges(b=MemoryBucket())
    changes.down = Unavailable()
    request = WatchRequest(resume_after=1, wait_for_nats=True)
    async with a_hub(changes) as hub, watching(hub, request) as seen:
        await asyncio.sleep(1)
        kept = frames_kept(seen.watch)
        assert "_follow" in kept
        assert "_round" not in kept


@simulated
async def test_no_more_than_so_many_watches_are_open_at_once() -> None:
    changes = MemoryChanges(b=MemoryBucket())
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
    changes = MemoryChanges(b=MemoryBucket())
    async with a_hub(changes, watches_per_address=1) as hub:
        async with watching(hub, address="one"), watching(hub, address="other"):
            with pytest.raises(TooManyRequests):
                async with watching(hub, address="one"):
                    pytest.fail("it was opened")
        async with watching(hub, address="one"):
            assert hub.watches == 1


@simulated
async def test_long_filters_of_all_watches_share_a_budget_and_short_ones_need_none() -> None:
    changes = MemoryChanges(b=MemoryBucket())
    long = WatchRequest(filters=tuple(compile_filter(f"*{n:02}" + "a" * 487) for n in range(64)))
    average_size = WatchRequest(filters=(compile_filter("user:*"), compile_filter("k" * 500)))
    async with a_hub(changes, filter_bytes=50_000) as hub:
        for _ in range(3):
            async with watching(hub, long):
                with pytest.raises(TooManyRequests) as refused:
                    async with watching(hub, long):
                        pytest.fail("it was opened")
                assert refused.value.message == "too many watches with long filters"
                async with watching(hub, average_size), watching(hub, average_size), watching(hub):
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
    changes = MemoryChanges(b=MemoryBucket())
    changes.step = functools.partial(asyncio.sleep, 10)
    async with a_hub(changes, watches=1) as hub:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1), watching(hub):
                pytest.fail("it was opened")
        assert hub.watches == 0


@simulated
async def test_closing_the_hub_leaves_no_task_behind_under_open_watches() -> None:
    changes = MemoryChanges(b=MemoryBucket(), c=MemoryBucket())
    hub = Hub(changes, WatchLimits())
    async with hub.watch("b", WatchRequest()), hub.watch("c", WatchRequest()):
        await hub.close()
        assert changes.feeds == 0
        assert asyncio.all_tasks() == {asyncio.current_task()}
    await hub.close()
    assert asyncio.all_tasks() == {asyncio.current_task()}


@simulated
async def test_a_reader_that_does_not_read_is_too_slow_and_its_neighbours_are_not() -> None:
    changes = MemoryChanges(b=MemoryBucket())
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
    changes = MemoryChanges(b=MemoryBucket())
    changes.batch = lambda: 100
    async with a_hub(changes, queue=queue) as hub, watching(hub) as seen:
        changes.buckets["b"].put(*(f"k{number}" for number in range(100)))
        await seen.got(*range(1, 101))
        assert seen.end is None


@simulated
async def test_the_end_is_told_whatever_is_still_to_be_read() -> None:
    changes = MemoryChanges(b=MemoryBucket())
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
    changes = MemoryChanges(b=MemoryBucket())
    async with a_hub(changes) as hub, watching(hub) as seen:
        changes.delete("b")
        await seen.closed()
        told: list[None] = []
        seen.watch.on_end(lambda: told.append(None))
        assert told == [None]


@simulated
async def test_only_the_watch_of_several_buckets_hears_in_which_of_them_it_ended() -> None:
    changes = MemoryChanges(b=MemoryBucket(), c=MemoryBucket())
    several = {"b": WatchRequest(), "c": WatchRequest()}
    async with (
        a_hub(changes) as hub,
        watching(hub, bucket="c") as one,
        watch_buckets(hub, several) as merged,
    ):
        changes.delete("c")
        await eventually(lambda: merged.closed)
        assert isinstance(merged.end, BucketDeleted)
        assert merged.end.details == {"bucket": "c"}
        assert (await one.closed()).details is None


@simulated
async def test_only_the_watch_of_several_buckets_hears_which_of_them_refused_it() -> None:
    changes = MemoryChanges(b=MemoryBucket())
    changes.down = Unavailable()
    request = WatchRequest(resume_after=1, wait_for_nats=True)
    async with a_hub(changes) as hub, hub.watch("b", request) as patient:
        await patient.live_feed.wait_opened()
        with pytest.raises(Unavailable) as refused:
            async with watch_buckets(hub, {"b": WatchRequest()}):
                pytest.fail("it was opened")
        assert refused.value.details == {"bucket": "b"}
        assert patient.live_feed.error is not None
        assert patient.live_feed.error.details is None

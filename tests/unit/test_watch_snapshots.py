"""A watch that begins with a snapshot."""

import asyncio

from jetkv_gateway.kv.errors import BucketDeleted
from jetkv_gateway.kv.filters import compile_filter
from jetkv_gateway.watch.catch_up import WatchRequest
from jetkv_gateway.watch.session import Limits, SnapshotEnd
from tests.support.changes import MemoryBucket, MemoryChanges
from tests.support.hubs import a_hub, at_batch, fold, watching
from tests.support.simulated import eventually, simulated

SNAPSHOT = WatchRequest(snapshot=True)


@simulated
async def test_a_snapshot_is_the_newest_of_each_key_in_order_and_then_its_end() -> None:
    changes = MemoryChanges(b=MemoryBucket())
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
    changes = MemoryChanges(b=MemoryBucket())
    async with a_hub(changes) as hub, watching(hub, SNAPSHOT) as seen:
        await eventually(lambda: seen.ends)
        assert seen.items == [SnapshotEnd(0)]


@simulated
async def test_the_end_of_a_snapshot_names_the_newest_even_where_it_is_not_stored() -> None:
    changes = MemoryChanges(b=MemoryBucket())
    bucket = changes.buckets["b"]
    bucket.put("a", "b", "c")
    bucket.expire("c")
    async with a_hub(changes) as hub, watching(hub, SNAPSHOT) as seen:
        await eventually(lambda: seen.ends)
        assert seen.items[-1] == SnapshotEnd(3)
        assert seen.revisions == [1, 2]


@simulated
async def test_a_snapshot_leaves_out_a_value_that_has_expired_and_is_still_stored() -> None:
    changes = MemoryChanges(b=MemoryBucket())
    bucket = changes.buckets["b"]
    bucket.put("a", "b", "c")
    bucket.overdue = {2}
    async with a_hub(changes) as hub, watching(hub, SNAPSHOT) as seen:
        await eventually(lambda: seen.ends)
        assert seen.revisions == [1, 3]
        bucket.put("b")
        await seen.got(1, 3, 4)


@simulated
async def test_a_snapshot_holds_what_is_wanted_only() -> None:
    changes = MemoryChanges(b=MemoryBucket())
    changes.buckets["b"].put("a.1", "b", "a.2", "c")
    request = WatchRequest(filters=(compile_filter("a.*"),), snapshot=True)
    async with a_hub(changes) as hub, watching(hub, request) as seen:
        await eventually(lambda: seen.ends)
        assert seen.revisions == [1, 3]
        assert seen.ends == [4]


@simulated
async def test_a_key_written_over_while_it_is_read_is_there_before_the_snapshot_ends() -> None:
    changes = MemoryChanges(b=MemoryBucket())
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
    changes = MemoryChanges(b=MemoryBucket())
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
    changes = MemoryChanges(b=MemoryBucket())
    bucket = changes.buckets["b"]
    bucket.put("k", "l", "m")
    at_batch(changes, 2, lambda: (bucket.delete("k"), bucket.put("n")))
    async with a_hub(changes) as hub, watching(hub, SNAPSHOT) as seen:
        await eventually(lambda: seen.ends)
        assert seen.in_snapshot()[0].key == "k"
        assert set(fold({}, seen.in_snapshot())) == {"l", "m", "n"}


@simulated
async def test_a_snapshot_under_more_writes_than_are_kept_is_complete_all_the_same() -> None:
    changes = MemoryChanges(b=MemoryBucket())
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
    changes = MemoryChanges(b=MemoryBucket())
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
async def test_a_bucket_created_again_while_a_snapshot_is_read_ends_it() -> None:
    changes = MemoryChanges(b=MemoryBucket())
    bucket = changes.buckets["b"]
    bucket.put(*"abcdef")

    def create_again() -> None:
        changes.delete("b")
        changes.buckets["b"] = MemoryBucket("2026-02-02T00:00:00Z")
        changes.buckets["b"].put("other")

    at_batch(changes, 3, create_again)
    async with a_hub(changes) as hub, watching(hub, SNAPSHOT) as seen:
        assert isinstance(await seen.closed(), BucketDeleted)
        assert "other" not in fold({}, seen.changes)


@simulated
async def test_a_patient_snapshot_of_a_present_bucket_is_a_snapshot() -> None:
    changes = MemoryChanges(b=MemoryBucket())
    changes.buckets["b"].put("k")
    request = WatchRequest(snapshot=True, wait_for_nats=True)
    async with a_hub(changes) as hub, watching(hub, request) as seen:
        await eventually(lambda: seen.ends)
        assert seen.revisions == [1]

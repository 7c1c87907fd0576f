"""A watch that begins with a snapshot."""

import asyncio
import base64
import itertools

import pytest

from tests.support.http import Bucket
from tests.support.native import Native
from tests.support.watched import (
    before,
    delete,
    ends,
    put,
    watch,
)
from tests.support.watching import state_of, updates, value_of


async def test_a_snapshot_has_the_live_values_in_revision_order_and_then_its_end(
    bucket: Bucket,
) -> None:
    for key, value in (("a", "old"), ("b", "b"), ("gone", "x"), ("a", "new")):
        await put(bucket, key, value)
    await delete(bucket, "gone")
    async with watch(bucket, "?snapshot=true") as watcher:
        frames = await watcher.until(ends)
        assert updates(frames) == [("b", "put", 2), ("a", "put", 4)]
        assert [value_of(frame) for frame in frames[:-1]] == [b"b", b"new"]
        assert frames[-1] == {"type": "kv_snapshot_end", "revision": 5}


async def test_a_snapshot_of_a_bucket_with_history_has_only_the_newest(make_bucket) -> None:
    bucket = make_bucket(history=10)
    for key, value in (("a", "1"), ("b", "1"), ("a", "2"), ("b", "2")):
        await put(bucket, key, value)
    async with watch(bucket, "?snapshot=true") as watcher:
        frames = await watcher.until(ends)
        assert updates(frames) == [("a", "put", 3), ("b", "put", 4)]


async def test_after_the_snapshot_come_the_changes(bucket: Bucket) -> None:
    await put(bucket, "a")
    async with watch(bucket, "?snapshot=true") as watcher:
        assert len(await watcher.until(ends)) == 2
        await put(bucket, "a")
        await delete(bucket, "a")
        assert updates(await watcher.take(2)) == [("a", "put", 2), ("a", "delete", 3)]


async def test_the_snapshot_of_an_empty_bucket_is_its_end(bucket: Bucket) -> None:
    async with watch(bucket, "?snapshot=true") as watcher:
        assert await watcher.next() == {"type": "kv_snapshot_end", "revision": 0}
        await put(bucket, "k")
        assert (await watcher.next())["revision"] == 1


async def test_the_snapshot_of_a_bucket_with_nothing_but_deletes_is_its_end(
    bucket: Bucket,
) -> None:
    await put(bucket, "k")
    await delete(bucket, "k")
    async with watch(bucket, "?snapshot=true") as watcher:
        assert await watcher.next() == {"type": "kv_snapshot_end", "revision": 2}


@pytest.mark.parametrize("query", ["key=user.*", "key=user.b&key=user.a", "key=user-*&key=user."])
async def test_a_snapshot_has_only_what_the_filters_want(bucket: Bucket, query: str) -> None:
    for key in ("user.a", "x", "user.b", "y"):
        await put(bucket, key)
    async with watch(bucket, f"?snapshot=true&{query}") as watcher:
        frames = await watcher.until(ends)
        assert [frame["key"] for frame in frames[:-1]] == ["user.a", "user.b"]
        assert frames[-1]["revision"] == 4
        await put(bucket, "z")
        await put(bucket, "user.a")
        assert (await watcher.next())["revision"] == 6


async def test_a_snapshot_of_as_many_keys_as_there_can_be_filters(bucket: Bucket) -> None:
    for number in range(66):
        await put(bucket, f"k{number}")
    query = "&".join(f"key=k{number}" for number in range(64))
    async with watch(bucket, f"?snapshot=true&{query}") as watcher:
        frames = await watcher.until(ends)
        assert [frame["revision"] for frame in frames] == [*range(1, 65), 66]


async def test_a_snapshot_that_nothing_matches_still_has_an_end(bucket: Bucket) -> None:
    await put(bucket, "k")
    async with watch(bucket, "?snapshot=true&key=other") as watcher:
        assert await watcher.next() == {"type": "kv_snapshot_end", "revision": 1}


async def test_snapshot_false_is_no_snapshot(bucket: Bucket) -> None:
    await put(bucket, "a")
    async with watch(bucket, "?snapshot=false") as watcher:
        await put(bucket, "b")
        assert (await watcher.next())["key"] == "b"


async def test_a_snapshot_of_many_keys_is_complete(bucket: Bucket, native: Native) -> None:
    kv = await native.kv(bucket.name)
    for number in range(700):
        await kv.put(f"k.{number}", b"%d" % number)
    async with watch(bucket, "?snapshot=true") as watcher:
        frames = await watcher.until(ends)
        assert [frame["revision"] for frame in frames] == [*range(1, 701), 700]


async def test_a_snapshot_taken_while_all_is_written_over_ends_in_the_same_state(
    bucket: Bucket, native: Native
) -> None:
    kv = await native.kv(bucket.name)
    for number in range(100):
        await kv.put(f"k.{number}", b"first")

    async def write() -> None:
        for turn, number in itertools.product(range(5), range(100)):
            if turn == 4 and number % 7 == 0:
                await kv.delete(f"k.{number}")
            else:
                await kv.put(f"k.{number}", f"{turn}".encode())

    writing = asyncio.create_task(write())
    try:
        async with watch(bucket, "?snapshot=true") as watcher:
            await writing
            frames = [*await watcher.until(ends), *await before(watcher, bucket)]
            revisions = [revision for _, _, revision in updates(frames)]
            assert revisions == sorted(set(revisions))
            newest = base64.b64encode(b"4").decode()
            assert state_of(frames) == {f"k.{n}": newest for n in range(100) if n % 7}
    finally:
        writing.cancel()

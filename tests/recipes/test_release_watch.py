"""A release of a lock wakes a waiting `acquire` long before its next poll."""

import asyncio

import pytest

from jetkv.recipes._async.release_watch import AsyncReleaseWatch

LONG = 3600.0


@pytest.fixture
async def release_watch(kv, bucket):
    bucket.put("x", "1")
    found = AsyncReleaseWatch(kv.bucket(bucket.name), "x")
    yield found
    await found.aclose()


async def test_a_wait_ends_when_the_watch_opens_as_a_release_may_be_missed(release_watch) -> None:
    async with asyncio.timeout(10):
        await release_watch.wait(LONG)


async def test_a_wait_ends_when_the_key_is_deleted_and_not_when_it_is_written(
    release_watch, kv, bucket
) -> None:
    async with asyncio.timeout(10):
        await release_watch.wait(LONG)
        waiting = asyncio.create_task(release_watch.wait(LONG))
        bucket.put("x", "2")
        bucket.put("y", "1")
        bucket.delete("y")
        other = AsyncReleaseWatch(kv.bucket(bucket.name), "y")
        await other.wait(LONG)
        await other.aclose()
        assert not waiting.done()
        bucket.delete("x")
        await waiting


async def test_without_a_bucket_a_wait_ends_in_time(kv, bucket_name) -> None:
    release_watch = AsyncReleaseWatch(kv.bucket(bucket_name), "x")
    await release_watch.wait(0.05)
    await release_watch.aclose()

"""What wakes those who wait for a lock, long before they would look again."""

import asyncio

import pytest

from jetkv.recipes._async.release_watch import AsyncReleaseWatch

LONG = 3600.0


@pytest.fixture
async def bell(kv, bucket):
    bucket.put("x", "1")
    found = AsyncReleaseWatch(kv.bucket(bucket.name), "x")
    yield found
    await found.aclose()


async def test_it_rings_once_it_watches_since_what_happened_before_was_not_seen(bell) -> None:
    async with asyncio.timeout(10):
        await bell.wait(LONG)


async def test_it_rings_when_the_key_is_deleted_and_not_when_it_is_written(
    bell, kv, bucket
) -> None:
    async with asyncio.timeout(10):
        await bell.wait(LONG)
        waiting = asyncio.create_task(bell.wait(LONG))
        bucket.put("x", "2")
        bucket.put("y", "1")
        bucket.delete("y")
        other = AsyncReleaseWatch(kv.bucket(bucket.name), "y")
        await other.wait(LONG)
        await other.aclose()
        assert not waiting.done()
        bucket.delete("x")
        await waiting


async def test_without_a_bucket_it_does_not_ring_and_the_wait_ends_in_time(kv, bucket_name) -> None:
    bell = AsyncReleaseWatch(kv.bucket(bucket_name), "x")
    await bell.wait(0.05)
    await bell.aclose()

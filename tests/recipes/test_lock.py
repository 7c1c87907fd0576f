"""A lock: one holder, a time that ends, a word when it is lost."""

import asyncio
from datetime import timedelta

import pytest

from jetkv import (
    AsyncClient,
    InvalidArgumentError,
    LockError,
    LockLostError,
    LockTimeoutError,
    UnavailableError,
)
from jetkv.recipes import AsyncLock, Lock
from tests.recipes.relay import Loss
from tests.support.waiting import eventually, soon, until

TTL = 1


@pytest.fixture
def locks(make_bucket) -> str:
    return make_bucket(ttl_seconds=TTL).name


@pytest.fixture
def lasting(make_bucket) -> str:
    """A bucket in which nothing expires while a test runs."""
    return make_bucket(ttl_seconds=60).name


async def test_an_acquired_lock_is_held_until_it_is_released(kv, lasting) -> None:
    lock = AsyncLock(kv.bucket(lasting), "x")
    assert not lock.held
    await lock.acquire()
    assert lock.held
    lock.check()
    await lock.release()
    assert not lock.held
    assert not await kv.bucket(lasting).exists("x")


async def test_a_lock_that_another_holds_is_not_given_in_time(kv, lasting) -> None:
    bucket = kv.bucket(lasting)
    async with AsyncLock(bucket, "x", holder="ada"):
        other = AsyncLock(bucket, "x")
        with pytest.raises(LockTimeoutError, match=r"lock 'x' .* held by ada"):
            await other.acquire(timeout=0)
        assert not other.held


async def test_a_waiter_is_woken_by_the_release(kv, lasting) -> None:
    bucket = kv.bucket(lasting)
    first, second = AsyncLock(bucket, "x"), AsyncLock(bucket, "x")
    await first.acquire()
    waiting = asyncio.create_task(second.acquire(timeout=10))
    await first.release()
    await waiting
    assert second.held
    await second.release()


async def test_the_fencing_revision_grows_from_holder_to_holder(kv, lasting) -> None:
    bucket = kv.bucket(lasting)
    seen = []
    for _ in range(3):
        async with AsyncLock(bucket, "x") as lock:
            seen.append(lock.fencing)
    assert seen == sorted(set(seen))


async def test_the_heartbeat_keeps_a_lock_for_longer_than_its_ttl(kv, locks) -> None:
    bucket = kv.bucket(locks)
    async with AsyncLock(bucket, "x") as lock:
        fencing = lock.fencing
        first = (await bucket.get("x")).revision

        async def renewed_four_times() -> bool:
            entry = await bucket.get_or_none("x")
            return entry is not None and entry.revision >= first + 4

        await eventually(renewed_four_times, "it was renewed four times, three in each TTL")
        lock.check()
        assert lock.fencing == fencing


async def test_a_holder_whose_client_is_gone_is_followed_by_another(kv, http, locks) -> None:
    client = AsyncClient(http.url)
    crashed = AsyncLock(client.kv().bucket(locks), "x")
    await crashed.acquire()
    await client.aclose()
    async with AsyncLock(kv.bucket(locks), "x", timeout=10) as lock:
        assert not crashed.held
        assert lock.fencing > crashed.fencing
    await crashed.release()


async def test_an_expired_lock_is_found_free_without_expiry_markers(kv, http, bucket_name) -> None:
    await kv.create_bucket(bucket_name, ttl=timedelta(seconds=TTL), expiry_markers=False)
    client = AsyncClient(http.url)
    crashed = AsyncLock(client.kv().bucket(bucket_name), "x")
    await crashed.acquire()
    await client.aclose()
    async with AsyncLock(kv.bucket(bucket_name), "x", timeout=10):
        assert not crashed.held
    await crashed.release()
    await kv.delete_bucket(bucket_name)


async def test_a_holder_that_is_cut_off_knows_by_its_clock_is_told_once_and_stays_without(
    kv, relay, relayed, locks
) -> None:
    told = []
    lock = AsyncLock(relayed.bucket(locks), "x", on_lost=lambda: told.append(lock.held))
    await lock.acquire()
    relay.cut()
    await soon(lambda: told, "on_lost was called")
    with pytest.raises(LockLostError, match=r"lock 'x' .* is lost"):
        lock.check()
    relay.mend()
    async with AsyncLock(kv.bucket(locks), "x", timeout=10) as other:
        assert not lock.held
        await lock.release()
        other.check()
    assert told == [False]


async def test_a_short_cut_does_not_lose_a_lock(kv, relay, relayed, make_bucket) -> None:
    name = make_bucket(ttl_seconds=2).name
    lock = AsyncLock(relayed.bucket(name), "x")
    await lock.acquire()
    first = (await kv.bucket(name).get("x")).revision
    relay.cut()
    tried = len(relay.refused)
    await soon(lambda: len(relay.refused) > tried, "a renewal failed")
    relay.mend()

    async def renewed() -> bool:
        entry = await kv.bucket(name).get_or_none("x")
        return entry is not None and entry.revision > first

    await eventually(renewed, "it was renewed after all")
    lock.check()
    await lock.release()


async def test_a_lock_whose_key_is_deleted_is_lost_before_its_ttl_ends(kv, make_bucket) -> None:
    bucket = kv.bucket(make_bucket(ttl_seconds=4).name)
    told = []

    async def on_lost() -> None:
        told.append(True)

    lock = AsyncLock(bucket, "x", on_lost=on_lost)
    await lock.acquire()
    await bucket.delete("x")
    await soon(lambda: told, "on_lost was called by the next heartbeat", seconds=3.8)
    assert not lock.held
    await lock.release()


async def test_a_release_after_the_loss_leaves_the_next_holder_alone(kv, locks) -> None:
    bucket = kv.bucket(locks)
    lock = AsyncLock(bucket, "x")
    await lock.acquire()
    await bucket.delete("x")
    async with AsyncLock(bucket, "x", timeout=10) as other:
        await lock.release()
        other.check()
        assert await bucket.exists("x")


async def test_a_block_whose_lock_was_lost_ends_with_a_word(kv, lasting) -> None:
    bucket = kv.bucket(lasting)
    with pytest.raises(LockLostError, match="was lost before the end of the block"):
        async with AsyncLock(bucket, "x"):
            await bucket.delete("x")


async def test_what_a_block_raised_is_not_hidden_by_the_loss(kv, lasting) -> None:
    bucket = kv.bucket(lasting)

    async def work() -> None:
        async with AsyncLock(bucket, "x"):
            await bucket.delete("x")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await work()


async def test_a_lock_can_be_acquired_again_after_its_release(kv, lasting) -> None:
    bucket = kv.bucket(lasting)
    lock = AsyncLock(bucket, "x")
    await lock.acquire()
    first = lock.fencing
    await lock.release()
    await lock.acquire()
    assert lock.fencing > first
    await lock.release()


async def test_a_lock_is_not_re_entrant_and_says_so(kv, lasting) -> None:
    async with AsyncLock(kv.bucket(lasting), "x") as lock:
        with pytest.raises(LockError, match=r"already holds lock 'x' "):
            await lock.acquire()
        lock.check()


async def test_a_lock_that_was_never_acquired_has_no_fencing_revision(kv, lasting) -> None:
    lock = AsyncLock(kv.bucket(lasting), "x")
    with pytest.raises(LockError, match="not acquired"):
        _ = lock.fencing
    with pytest.raises(LockLostError, match="not acquired"):
        lock.check()
    await lock.release()


async def test_a_bucket_without_a_ttl_is_refused(kv, bucket) -> None:
    lock = AsyncLock(kv.bucket(bucket.name), "x")
    with pytest.raises(InvalidArgumentError, match="needs a bucket whose keys expire"):
        await lock.acquire()
    assert not await kv.bucket(bucket.name).exists("x")


async def test_a_document_of_another_program_belongs_to_another_owner(kv, lasting) -> None:
    await kv.bucket(lasting, bytes).put("x", b"\xff")
    with pytest.raises(LockTimeoutError, match="held by another holder"):
        await AsyncLock(kv.bucket(lasting), "x").acquire(timeout=0)
    assert (await kv.bucket(lasting, bytes).get("x")).value == b"\xff"


async def test_a_lock_works_in_a_bucket_of_any_type(kv, lasting) -> None:
    async with AsyncLock(kv.bucket(lasting, list[int]), "x") as lock:
        lock.check()


async def test_a_gateway_that_is_away_is_said_at_once(relay, relayed, lasting) -> None:
    lock = AsyncLock(relayed.bucket(lasting), "x")
    relay.cut()
    with pytest.raises(UnavailableError):
        await lock.acquire()
    assert not lock.held


async def test_a_waiter_goes_on_waiting_through_trouble(kv, relay, relayed, locks) -> None:
    first = AsyncLock(kv.bucket(locks), "x")
    second = AsyncLock(relayed.bucket(locks), "x")
    await first.acquire()
    waiting = asyncio.create_task(second.acquire(timeout=20))
    await soon(lambda: relay.served.count("PUT") > 2, "it waits")
    relay.lose("PUT", Loss.REQUEST)
    relay.lose("GET", Loss.REQUEST, Loss.REQUEST)
    await soon(lambda: len(relay.lost) == 3, "its try is lost, and so is the look at what became")
    await first.release()
    await waiting
    assert second.held
    await second.release()


def test_the_heart_of_a_sync_lock_beats_in_a_thread(sync_kv, locks) -> None:
    bucket = sync_kv.bucket(locks)
    with Lock(bucket, "x") as lock:
        first = bucket.get("x").revision
        until(
            lambda: (entry := bucket.get_or_none("x")) and entry.revision >= first + 2,
            "it was renewed twice",
        )
        lock.check()
    assert not bucket.exists("x")

"""A lock whose writes get no answer: what it believes is true."""

import asyncio

import pytest

from jetkv import (
    AsyncClient,
    LockLostError,
    LockTimeoutError,
    OutcomeUnknownError,
    UnavailableError,
)
from jetkv.recipes import AsyncLock
from tests.recipes.relay import Loss
from tests.support.waiting import eventually, soon


@pytest.fixture
def lasting(make_bucket) -> str:
    return make_bucket(ttl_seconds=60).name


@pytest.fixture
def locks(make_bucket) -> str:
    return make_bucket(ttl_seconds=1).name


async def test_an_acquire_that_was_applied_without_an_answer_is_found_and_held(
    kv, relay, relayed, lasting
) -> None:
    relay.lose("PUT", Loss.ANSWER)
    lock = AsyncLock(relayed.bucket(lasting), "x")
    await lock.acquire(timeout=0)
    assert relay.lost == ["ANSWER of PUT"]
    lock.check()
    assert lock.fencing <= (await kv.bucket(lasting).get("x")).revision
    await lock.release()
    assert not await kv.bucket(lasting).exists("x")


async def test_an_acquire_that_never_arrived_is_tried_again(relay, relayed, lasting) -> None:
    relay.lose("PUT", Loss.REQUEST)
    async with AsyncLock(relayed.bucket(lasting), "x") as lock:
        assert relay.lost == ["REQUEST of PUT"]
        lock.check()


async def test_an_acquire_that_arrives_late_does_not_disturb_the_one_that_did(
    kv, relay, relayed, lasting
) -> None:
    relay.lose("PUT", Loss.LATE)
    async with AsyncLock(relayed.bucket(lasting), "x") as lock:
        before = (await kv.bucket(lasting).get("x")).revision
        relay.let_through()
        assert (await kv.bucket(lasting).get("x")).revision == before
        lock.check()


async def test_an_acquire_that_arrives_late_is_not_held_by_a_caller_that_gave_up(
    kv, relay, relayed, locks
) -> None:
    relay.lose("PUT", Loss.LATE, Loss.REQUEST, Loss.REQUEST)
    lock = AsyncLock(relayed.bucket(locks), "x")
    with pytest.raises(OutcomeUnknownError):
        await lock.acquire(timeout=0)
    relay.let_through()
    assert await kv.bucket(locks).exists("x")
    assert not lock.held
    async with AsyncLock(kv.bucket(locks), "x", timeout=10):
        assert not lock.held


async def test_a_lock_of_another_is_not_taken_for_ones_own(kv, relay, relayed, lasting) -> None:
    async with AsyncLock(kv.bucket(lasting), "x") as other:
        relay.lose("PUT", Loss.REQUEST)
        lock = AsyncLock(relayed.bucket(lasting), "x")
        with pytest.raises(LockTimeoutError):
            await lock.acquire(timeout=0)
        assert relay.lost == ["REQUEST of PUT"]
        assert not lock.held
        other.check()


async def test_what_cannot_be_settled_is_said_and_not_held(relay, relayed, lasting) -> None:
    lock = AsyncLock(relayed.bucket(lasting), "x")
    await lock.acquire()
    await lock.release()
    relay.lose("PUT", Loss.ANSWER)
    relay.lose("GET", *[Loss.REQUEST] * 6)
    with pytest.raises(OutcomeUnknownError) as caught:
        await lock.acquire(timeout=0)
    assert isinstance(caught.value.__cause__, UnavailableError)
    assert not lock.held


@pytest.mark.parametrize("loss", [Loss.ANSWER, Loss.REQUEST])
async def test_a_renewal_without_an_answer_does_not_lose_the_lock(
    loss, kv, relay, relayed, make_bucket
) -> None:
    name = make_bucket(ttl_seconds=2).name
    lock = AsyncLock(relayed.bucket(name), "x")
    await lock.acquire()
    first = (await kv.bucket(name).get("x")).revision
    relay.lose("PUT", loss)

    async def renewed() -> bool:
        entry = await kv.bucket(name).get_or_none("x")
        return bool(relay.lost) and entry is not None and entry.revision > first + 1

    await eventually(renewed, "it was renewed after the loss")
    lock.check()
    await lock.release()


async def test_a_renewal_that_arrives_after_the_release_brings_nothing_back(
    kv, relay, relayed, locks
) -> None:
    lock = AsyncLock(relayed.bucket(locks), "x")
    await lock.acquire()
    relay.lose("PUT", Loss.LATE)
    await soon(lambda: relay.lost, "a renewal is late")
    await lock.release()
    relay.let_through()
    assert not await kv.bucket(locks).exists("x")


@pytest.mark.parametrize("loss", [Loss.ANSWER, Loss.REQUEST])
async def test_a_release_without_an_answer_frees_the_lock(
    loss, kv, relay, relayed, lasting
) -> None:
    lock = AsyncLock(relayed.bucket(lasting), "x")
    await lock.acquire()
    relay.lose("DELETE", loss)
    await lock.release()
    assert relay.lost == [f"{loss.name} of DELETE"]
    assert not await kv.bucket(lasting).exists("x")


async def test_a_release_that_cannot_be_done_is_logged_and_left_to_the_ttl(
    kv, relay, relayed, lasting, words
) -> None:
    lock = AsyncLock(relayed.bucket(lasting), "x")
    await lock.acquire()
    relay.cut()
    await lock.release()
    assert not lock.held
    assert words.count("could not be released") == 1
    assert await kv.bucket(lasting).exists("x")


async def test_a_block_whose_release_gets_no_answer_ends_well(relay, relayed, lasting) -> None:
    async with AsyncLock(relayed.bucket(lasting), "x") as lock:
        relay.lose("DELETE", Loss.ANSWER)
    assert relay.lost == ["ANSWER of DELETE"]
    with pytest.raises(LockLostError):
        lock.check()


async def test_a_release_that_gets_no_answer_ends_when_the_ttl_would_end_the_lock(
    relay, locks
) -> None:
    async with AsyncClient(relay.url, timeout=600) as client:
        lock = AsyncLock(client.kv().bucket(locks), "x")
        await lock.acquire()
        relay.lose("DELETE", *[Loss.SILENCE] * 3)
        relay.lose("GET", *[Loss.SILENCE] * 3)
        async with asyncio.timeout(10):
            await lock.release()
        assert not lock.held


async def test_a_renewal_that_gets_no_answer_does_not_delay_the_word_of_the_loss(
    relay, locks
) -> None:
    told = []
    async with AsyncClient(relay.url, timeout=600) as client:
        lock = AsyncLock(client.kv().bucket(locks), "x", on_lost=lambda: told.append(lock.held))
        await lock.acquire()
        relay.lose("PUT", *[Loss.SILENCE] * 20)
        relay.lose("GET", *[Loss.SILENCE] * 20)
        await soon(lambda: told, "on_lost was called")
        assert told == [False]
        relay.cut()
        await lock.release()

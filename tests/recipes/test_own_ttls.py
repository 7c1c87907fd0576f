"""Recipes whose keys have a TTL of their own, in whatever bucket."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from jetkv import (
    NEVER,
    AsyncClient,
    BucketInfo,
    BucketUnsuitableError,
    InvalidArgumentError,
    RevisionMismatchError,
)
from jetkv.recipes import AsyncCommandDedup, AsyncElection, AsyncLock, AsyncSessions, Lock, cached
from jetkv.recipes._lease import KeyTtl, checked_ttl, key_ttl
from tests.support.native import Native
from tests.support.waiting import eventually, soon

MADE = datetime(2026, 11, 25, tzinfo=UTC)
SLACK = 2.0
"""Seconds between two clocks."""


def info(ttl: int | None = None, *, allowed: bool = True, history: int = 1) -> BucketInfo:
    age = None if ttl is None else timedelta(seconds=ttl)
    return BucketInfo("b", 0, 0, history, MADE, ttl=age, key_ttl=allowed)


# --- which TTL applies


@pytest.mark.parametrize(
    ("bucket", "own", "applies"),
    [
        (info(60), None, KeyTtl(60)),
        (info(60, allowed=False), None, KeyTtl(60)),
        (info(), 5, KeyTtl(5, 5)),
        (info(60), 5, KeyTtl(5, 5)),
        (info(history=3), 5, KeyTtl(5, 5, keeps_history=True)),
        # The bucket's TTL does it, on every server.
        (info(60), 60, KeyTtl(60)),
        (info(60, allowed=False, history=3), 60, KeyTtl(60)),
    ],
)
def test_the_ttl_of_a_recipe_wins_over_that_of_its_bucket(
    bucket: BucketInfo, own: int | None, applies: KeyTtl
) -> None:
    assert key_ttl(bucket, own, "a lock") == applies


@pytest.mark.parametrize(
    ("bucket", "own", "says"),
    [
        (info(), None, "keys expire"),
        (info(allowed=False), 5, "allows TTLs of single values"),
        (info(60, allowed=False), 5, "allows TTLs of single values"),
        (info(60), 61, "keeps its keys for as long"),
        (info(history=3), 5, "history of 1"),
    ],
)
def test_a_bucket_that_cannot_keep_the_ttl_is_refused(
    bucket: BucketInfo, own: int | None, says: str
) -> None:
    with pytest.raises(InvalidArgumentError, match=says):
        key_ttl(bucket, own, "a session", replaced=True)


@pytest.mark.parametrize(
    "ttl", [0, -1, 1.5, True, "5", timedelta(0), timedelta(seconds=1.5), NEVER]
)
def test_what_is_no_ttl_of_a_recipe_is_refused(ttl: Any) -> None:
    with pytest.raises(InvalidArgumentError, match="ttl"):
        checked_ttl(ttl, "a lock")


def test_a_ttl_can_be_seconds_or_a_timedelta() -> None:
    assert checked_ttl(30, "a lock") == checked_ttl(timedelta(seconds=30), "a lock") == 30


# --- on a server


@pytest.fixture(autouse=True)
async def _a_server_with_ttls(native: Native) -> None:
    if native.version < (2, 11):
        pytest.skip("this server has no TTLs of single values")


@pytest.fixture(params=[1, 5], ids=["no history", "a history"])
def name(request: pytest.FixtureRequest, make_bucket) -> str:
    """A bucket without a TTL."""
    return make_bucket(history=request.param).name


@pytest.fixture
def plain(make_bucket) -> str:
    """A bucket with neither a TTL nor a history."""
    return make_bucket().name


async def left(kv, name: str, key: str) -> float:
    """Return the seconds until a key expires."""
    at = (await kv.bucket(name).get(key)).expires_at
    assert at is not None
    return (at - datetime.now(UTC)).total_seconds()


async def test_a_lock_has_a_ttl_of_its_own(kv, name) -> None:
    bucket = kv.bucket(name)
    for fencing in (1, 3):
        async with AsyncLock(bucket, "x", ttl=40) as lock:
            assert abs(await left(kv, name, "x") - 40) < SLACK
            assert lock.fencing == fencing
            with pytest.raises(Exception, match="held by"):
                await AsyncLock(bucket, "x", ttl=timedelta(seconds=50)).acquire(timeout=0)
    assert not await bucket.exists("x")


def test_the_sync_lock_has_one_too(sync_kv, name) -> None:
    with Lock(sync_kv.bucket(name), "x", ttl=40) as lock:
        assert lock.held
        assert sync_kv.bucket(name).get("x").expires_at is not None


async def test_a_lock_is_renewed_with_its_own_ttl(kv, plain) -> None:
    async with AsyncLock(kv.bucket(plain), "x", ttl=1) as lock:
        first = lock.fencing

        async def renewed() -> bool:
            assert lock.held
            return bool((await kv.bucket(plain).get("x")).revision > first + 3)

        await eventually(renewed, "the lock was renewed for longer than its TTL")
        assert await left(kv, plain, "x") < 1 + SLACK


async def test_a_renewal_in_a_history_leaves_nothing_to_come_back(kv, make_bucket) -> None:
    name = make_bucket(history=5).name
    bucket = kv.bucket(name)
    async with AsyncLock(bucket, "x", ttl=30) as lock:
        heartbeat = lock._heartbeat
        assert heartbeat is not None
        lease = heartbeat.lease
        renewed = await heartbeat._claimed_key.renew(lease.ownership, lock._fields)
        assert lease.renewed(renewed)
        assert [entry.revision for entry in await bucket.history("x")] == [renewed.revision]
        assert abs(await left(kv, name, "x") - 30) < SLACK


async def test_the_lock_of_a_crashed_holder_is_free_after_its_own_ttl(kv, http, plain) -> None:
    async with AsyncClient(http.url) as doomed:
        lock = AsyncLock(doomed.kv().bucket(plain), "x", ttl=1)
        await lock.acquire()
        assert lock._heartbeat is not None
        await lock._heartbeat._background.stop(0)
    other = AsyncLock(kv.bucket(plain), "x", ttl=60)
    await other.acquire(timeout=10)
    await other.release()


async def test_a_lock_whose_ttl_is_too_short_for_its_bucket_says_so(kv, make_bucket) -> None:
    bucket = kv.bucket(make_bucket(history=5).name)
    with pytest.raises(BucketUnsuitableError) as refused:
        await AsyncLock(bucket, "x", ttl=1).acquire()
    assert refused.value.shortest_ttl == (await bucket.info()).marker_ttl


async def test_an_election_has_a_ttl_of_its_own(kv, plain) -> None:
    async with AsyncElection(kv.bucket(plain), "e", "ada", ttl=40) as election:
        assert await election.leader() == "ada"
        assert abs(await left(kv, plain, "e") - 40) < SLACK


@pytest.fixture
def sessions(kv, plain) -> AsyncSessions[dict[str, int]]:
    return AsyncSessions(kv.bucket(plain), ttl=timedelta(seconds=40))


async def test_a_session_keeps_its_own_ttl_through_all_of_its_life(sessions, kv, plain) -> None:
    id = await sessions.start({"n": 1})
    assert abs(await left(kv, plain, id) - 40) < SLACK
    # As another process does, which has not started one.
    sessions = AsyncSessions(kv.bucket(plain), ttl=50)
    assert await sessions.update(id, lambda data: {"n": data["n"] + 1}) == {"n": 2}
    assert abs(await left(kv, plain, id) - 50) < SLACK
    sessions = AsyncSessions(kv.bucket(plain), ttl=60)
    assert await sessions.touch(id)
    assert abs(await left(kv, plain, id) - 60) < SLACK
    assert await sessions.get(id) == {"n": 2}


async def test_a_session_expires_by_its_own_ttl(kv, plain) -> None:
    sessions = AsyncSessions(kv.bucket(plain), ttl=1)
    id = await sessions.start({})

    async def gone() -> bool:
        return await sessions.get(id) is None

    await eventually(gone, "the session expires")
    assert await sessions.touch(id) is False


async def test_sessions_with_their_own_ttl_need_a_bucket_without_history(kv, make_bucket) -> None:
    sessions = AsyncSessions(kv.bucket(make_bucket(history=5).name), ttl=40)
    with pytest.raises(InvalidArgumentError, match="history of 1"):
        await sessions.start({})


async def test_a_touch_of_a_session_is_one_request(relay, relayed, plain) -> None:
    sessions = AsyncSessions(relayed.bucket(plain), ttl=40)
    id = await sessions.start({})
    relay.served.clear()
    assert await sessions.touch(id)
    assert relay.served == ["POST"]


async def test_a_claim_and_its_result_have_a_ttl_of_their_own(kv, name) -> None:
    dedup = AsyncCommandDedup(kv.bucket(name), ttl=40)
    claim = await dedup.claim("c")
    assert claim.won
    assert abs(await left(kv, name, "c") - 40) < SLACK
    await dedup.finalize(claim, {"charged": 5})
    assert abs(await left(kv, name, "c") - 40) < SLACK
    assert (await dedup.claim("c")).result == {"charged": 5}
    assert len(await kv.bucket(name).history("c")) == 1


async def test_a_claim_that_expired_cannot_be_finalized(kv, plain) -> None:
    dedup = AsyncCommandDedup(kv.bucket(plain), ttl=1)
    claim = await dedup.claim("c")

    async def gone() -> bool:
        return not await kv.bucket(plain).exists("c")

    await eventually(gone, "the claim expires")
    with pytest.raises(RevisionMismatchError):
        await dedup.finalize(claim, 1)


async def test_run_once_has_a_ttl_of_its_own(kv, name) -> None:
    dedup = AsyncCommandDedup(kv.bucket(name), ttl=40)
    assert (await dedup.run_once("today", lambda: 7)).ran
    again = await dedup.run_once("today", lambda: 8)
    assert (again.ran, again.result) == (False, 7)
    assert abs(await left(kv, name, "today") - 40) < SLACK


async def test_a_cached_value_has_a_ttl_of_its_own(kv, plain) -> None:
    asked = []

    @cached(kv.bucket(plain), key="{id}", ttl=1)
    async def load(id: str) -> int:
        asked.append(id)
        return len(asked)

    assert await load("a") == await load("a") == 1
    assert await left(kv, plain, "a") < 1 + SLACK

    async def again() -> bool:
        return await load("a") == 2

    await eventually(again, "the value expires and is computed again")


async def test_a_cache_that_cannot_give_its_values_a_ttl_says_so(kv, make_bucket, words) -> None:
    name = make_bucket(history=5).name

    @cached(kv.bucket(name), key="{id}", ttl=60)
    async def load(id: str) -> int:
        return 1

    assert await load("a") == await load("a") == 1
    assert words.count("caches nothing now") == 1
    assert not await kv.bucket(name).exists("a")


@pytest.mark.parametrize("ttl", [0, -1, 1.5, True, "5", timedelta(0)])
def test_a_cache_refuses_what_is_no_ttl(kv, ttl: Any) -> None:
    with pytest.raises(InvalidArgumentError, match="ttl"):
        cached(kv.bucket("b"), ttl=ttl)


async def test_a_waiter_is_woken_when_the_own_ttl_ends(kv, plain) -> None:
    bucket = kv.bucket(plain)
    await bucket.create("x", {"by": "nobody", "holder": "gone"}, ttl=1)
    lock = AsyncLock(bucket, "x", ttl=60)
    waiting = asyncio.create_task(lock.acquire(timeout=10))
    await soon(lambda: lock.held, "the waiter has the lock")
    await waiting
    await lock.release()

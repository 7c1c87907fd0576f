"""An election: one leads, everybody knows who, and another follows."""

import asyncio
import base64
import json
from concurrent.futures import ThreadPoolExecutor

import pytest

from jetkv import (
    AsyncClient,
    BucketNotFoundError,
    InvalidArgumentError,
    LockError,
    LockLostError,
    LockTimeoutError,
    Retry,
    UnavailableError,
)
from jetkv.recipes import AsyncElection, Election
from tests.sdk.calls import INFO
from tests.support.scripted import http as answer
from tests.support.scripted import scripted
from tests.support.waiting import eventually, soon, until


@pytest.fixture
def lasting(make_bucket) -> str:
    return make_bucket(ttl_seconds=60).name


@pytest.fixture
def short(make_bucket) -> str:
    return make_bucket(ttl_seconds=1).name


async def test_a_candidate_leads_until_it_resigns(kv, lasting) -> None:
    election = AsyncElection(kv.bucket(lasting), "boss", "ada")
    assert (election.is_leader, await election.leader()) == (False, None)
    await election.campaign()
    election.check()
    assert (election.is_leader, await election.leader()) == (True, "ada")
    await election.resign()
    assert (election.is_leader, await election.leader()) == (False, None)


async def test_while_one_leads_no_other_does(kv, lasting) -> None:
    bucket = kv.bucket(lasting)
    async with AsyncElection(bucket, "boss", "ada"):
        bob = AsyncElection(bucket, "boss", "bob")
        with pytest.raises(LockTimeoutError, match="held by ada"):
            await bob.campaign(timeout=0)
        assert not bob.is_leader
        with pytest.raises(LockLostError):
            bob.check()
        assert await bob.leader() == "ada"


async def test_terms_grow_from_leader_to_leader(kv, lasting) -> None:
    bucket = kv.bucket(lasting)
    async with AsyncElection(bucket, "boss", "ada") as ada:
        first = ada.term
    with pytest.raises(LockError):
        _ = ada.term
    async with AsyncElection(bucket, "boss", "bob") as bob:
        assert bob.term > first


async def test_a_leader_that_crashes_is_followed_and_knows_it(kv, http, short) -> None:
    told = []
    client = AsyncClient(http.url)
    ada = AsyncElection(client.kv().bucket(short), "boss", "ada", on_lost=lambda: told.append(1))
    await ada.campaign()
    await client.aclose()
    async with AsyncElection(kv.bucket(short), "boss", "bob") as bob:
        assert not ada.is_leader
        assert bob.is_leader
        await soon(lambda: told, "the old leader was told")
    await ada.resign()


async def next_of(changes) -> str | None:
    async with asyncio.timeout(10):
        return await anext(changes)


async def test_an_observer_sees_who_leads_and_every_change(kv, lasting) -> None:
    bucket = kv.bucket(lasting)
    changes = AsyncElection(bucket, "boss", "observer").observe()
    assert await next_of(changes) is None
    async with AsyncElection(bucket, "boss", "ada"):
        assert await next_of(changes) == "ada"
    assert await next_of(changes) is None
    await changes.aclose()


async def test_an_observer_does_not_see_renewals(kv, short) -> None:
    bucket = kv.bucket(short)
    async with AsyncElection(bucket, "boss", "ada"):
        changes = AsyncElection(bucket, "boss", "observer").observe()
        assert await next_of(changes) == "ada"
        first = (await bucket.get("boss")).revision

        async def renewed() -> bool:
            entry = await bucket.get_or_none("boss")
            return entry is not None and entry.revision > first

        await eventually(renewed, "it was renewed")
    assert await next_of(changes) is None
    await changes.aclose()


async def test_an_observer_of_a_bucket_that_goes_is_told(kv, http, make_bucket) -> None:
    bucket = make_bucket(ttl_seconds=60)
    changes = AsyncElection(kv.bucket(bucket.name), "boss", "observer").observe()
    assert await next_of(changes) is None
    http.delete(bucket.path)
    with pytest.raises(BucketNotFoundError):
        await next_of(changes)


def leads(name: str, revision: int, *more: str) -> bytes:
    """Return an event stream with a snapshot in which somebody leads."""
    value = base64.b64encode(json.dumps({"by": name, "holder": name}).encode()).decode()
    frames = (
        f'{{"type":"kv_update","bucket":"b","key":"boss","value":"{value}",'
        f'"revision":{revision},"operation":"put"}}',
        f'{{"type":"kv_snapshot_end","bucket":"b","revision":{revision}}}',
        *more,
    )
    events = "".join(f"id: {revision}\ndata: {frame}\n\n" for frame in frames)
    return answer(200, events, kind="text/event-stream")


async def test_an_observer_whose_watch_is_lost_waits_for_a_gateway_that_is_away() -> None:
    lost = '{"type":"error","code":"bucket_deleted","message":"the bucket was deleted"}'
    steps = (INFO, leads("ada", 7, lost), None, None, INFO, leads("bob", 3))
    with scripted(*steps) as server:
        async with AsyncClient(server.url, retry=Retry(attempts=1)) as client:
            changes = AsyncElection(client.kv().bucket("b"), "boss", "observer").observe()
            assert await next_of(changes) == "ada"
            assert await next_of(changes) == "bob"
            await changes.aclose()


async def test_an_observer_that_begins_without_a_gateway_is_told() -> None:
    with scripted() as server:
        async with AsyncClient(server.url, retry=Retry(attempts=1)) as client:
            changes = AsyncElection(client.kv().bucket("b"), "boss", "observer").observe()
            with pytest.raises(UnavailableError):
                await next_of(changes)


async def test_a_candidate_without_a_name_is_refused(kv, lasting) -> None:
    with pytest.raises(InvalidArgumentError, match="candidate"):
        AsyncElection(kv.bucket(lasting), "boss", "")


def test_a_sync_observer_sees_who_leads(sync_kv, lasting) -> None:
    bucket = sync_kv.bucket(lasting)
    seen = []
    with Election(bucket, "boss", "ada") as ada, ThreadPoolExecutor(1) as pool:

        def observe() -> None:
            for leader in Election(bucket, "boss", "observer").observe():
                seen.append(leader)
                if leader is None:
                    return

        watching = pool.submit(observe)
        until(lambda: seen == ["ada"], "the leader is seen")
        ada.resign()
        watching.result(10)
    assert seen == ["ada", None]

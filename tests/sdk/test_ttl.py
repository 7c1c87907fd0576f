"""TTLs of single values, and touch, by both clients (docs/http-api.md#ttl-per-key)."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from jetkv import (
    NEVER,
    BucketUnsuitableError,
    InvalidArgumentError,
    KeyExistsError,
    KeyNotFoundError,
    RevisionMismatchError,
    Touched,
)
from tests.support.clients import MakeClient
from tests.support.http import Http
from tests.support.native import Native
from tests.support.waiting import eventually

SLACK = 2.0
"""Seconds between two clocks, the server's timer included."""
MINUTE = timedelta(minutes=1)

BAD_TTLS: dict[str, Any] = {
    "zero": 0,
    "a negative number": -1,
    "a fraction": 1.5,
    "a whole float": 30.0,
    "a truth value": True,
    "a text": "30",
    "a text that the gateway knows": "never",
    "no time": timedelta(0),
    "a negative time": timedelta(seconds=-5),
    "a part of a second": timedelta(seconds=1.5),
    "over a hundred years": 3_153_600_001,
    "the longest time": timedelta.max,
    "2^63": 2**63,
}
every_bad_ttl = pytest.mark.parametrize("ttl", BAD_TTLS.values(), ids=BAD_TTLS)


@pytest.fixture
async def client(make: MakeClient, http: Http, native: Native) -> AsyncIterator[Any]:
    if native.version < (2, 11):
        pytest.skip("this server has no TTLs of single values")
    async with make(http.url) as client:
        yield client


@pytest.fixture
def bucket(client: Any, make_bucket: Any) -> Any:
    return client.kv().bucket(make_bucket().name)


def left(at: datetime | None) -> float:
    """Return the seconds until a moment; there has to be one."""
    assert at is not None
    assert at.tzinfo is UTC
    return (at - datetime.now(UTC)).total_seconds()


def close_to(at: datetime | None, seconds: float) -> bool:
    return abs(left(at) - seconds) <= SLACK


@pytest.mark.parametrize("ttl", [60, MINUTE], ids=["seconds", "timedelta"])
async def test_every_write_takes_a_ttl(bucket: Any, ttl: Any) -> None:
    await bucket.put("put", 1, ttl=ttl)
    await bucket.create("create", 1, ttl=ttl)
    revision = await bucket.put("update", 1)
    await bucket.update("update", 2, revision, ttl=ttl)
    await bucket.modify("modify", lambda _value: 1, ttl=ttl)
    await bucket.get_or_compute("compute", lambda: 1, ttl=ttl)
    for key in ("put", "create", "update", "modify", "compute"):
        assert close_to((await bucket.get(key)).expires_at, 60), key


async def test_a_value_without_a_ttl_does_not_expire(bucket: Any) -> None:
    await bucket.put("k", 1, ttl=60)
    await bucket.put("k", 2)
    assert (await bucket.get("k")).expires_at is None


async def test_a_value_is_gone_when_its_ttl_is_over(bucket: Any) -> None:
    await bucket.put("k", 1, ttl=1)

    async def gone() -> bool:
        return await bucket.get_or_none("k") is None

    await eventually(gone, "the value expires")


async def test_a_value_can_outlive_its_bucket(client: Any, make_bucket: Any) -> None:
    bucket = client.kv().bucket(make_bucket(ttl_seconds=100).name)
    await bucket.put("k", 1)
    await bucket.put("schema", 1, ttl=NEVER)
    assert close_to((await bucket.get("k")).expires_at, 100)
    assert (await bucket.get("schema")).expires_at is None


async def test_every_read_says_when_a_value_expires(client: Any, make_bucket: Any) -> None:
    bucket = client.kv().bucket(make_bucket(history=5).name)
    await bucket.create("k", 1, ttl=90)
    async with bucket.watch(snapshot=True) as watch:
        (update,) = await watch.snapshot()
    entries = [await bucket.get("k"), update, *await bucket.history("k")]
    entries += [(await bucket.get_many(["k"]))["k"]]
    entries += [entry async for entry in bucket.entries()]
    entries += [meta async for meta in bucket.entries(values=False)]
    assert len(entries) == 6
    assert len({entry.expires_at for entry in entries}) == 1
    assert close_to(entries[0].expires_at, 90)


async def test_a_watch_sees_that_a_value_expired(bucket: Any) -> None:
    async with bucket.watch() as watch:
        await bucket.put("k", 1, ttl=1)
        put, gone = [await anext(watch) for _ in range(2)]
    assert close_to(put.expires_at, 1)
    assert (gone.reason, gone.expires_at) == ("expired", None)


async def test_a_touch_renews_a_value_and_changes_nothing_else(bucket: Any) -> None:
    first = await bucket.put("k", {"n": 1}, ttl=60)
    touched = await bucket.touch("k", timedelta(minutes=10))
    entry = await bucket.get("k")
    assert isinstance(touched, Touched)
    assert first < touched.revision == entry.revision
    assert entry.value == {"n": 1}
    assert close_to(touched.expires_at, 600)
    assert close_to(entry.expires_at, 600)


async def test_a_touch_takes_the_ttl_that_the_value_has(bucket: Any) -> None:
    await bucket.put("k", 1, ttl=77)
    assert close_to((await bucket.touch("k")).expires_at, 77)


async def test_a_touch_can_take_a_ttl_away(bucket: Any) -> None:
    await bucket.put("k", 1, ttl=60)
    assert (await bucket.touch("k", NEVER)).expires_at is None
    assert (await bucket.get("k")).expires_at is None


async def test_a_touch_can_have_a_condition(bucket: Any) -> None:
    revision = await bucket.put("k", 1, ttl=60)
    touched = await bucket.touch("k", revision=revision)
    with pytest.raises(RevisionMismatchError) as failed:
        await bucket.touch("k", revision=revision)
    assert failed.value.current_revision == touched.revision


async def test_a_touch_brings_nothing_back(bucket: Any) -> None:
    await bucket.put("k", 1)
    await bucket.delete("k")
    with pytest.raises(KeyNotFoundError):
        await bucket.touch("k", 60)
    assert await bucket.get_or_none("k") is None


@pytest.mark.parametrize("key", ["a b", "a/b/c", ".", "..", "*", "日本"])
async def test_a_touch_takes_every_key(bucket: Any, key: str) -> None:
    await bucket.put(key, 1, ttl=60)
    assert (await bucket.touch(key)).revision == 2


async def test_a_touch_of_a_value_without_any_ttl_is_an_error(bucket: Any) -> None:
    await bucket.put("k", 1)
    with pytest.raises(BucketUnsuitableError, match="has a TTL"):
        await bucket.touch("k")


async def test_with_a_history_only_a_create_and_a_touch_take_a_ttl(
    client: Any, make_bucket: Any
) -> None:
    bucket = client.kv().bucket(make_bucket(history=5).name)
    with pytest.raises(BucketUnsuitableError, match="5 revisions"):
        await bucket.put("k", 1, ttl=60)
    await bucket.create("k", 1, ttl=60)
    with pytest.raises(KeyExistsError):
        await bucket.create("k", 2, ttl=60)
    await bucket.put("k", 2)
    await bucket.touch("k", 60)
    assert [entry.value for entry in await bucket.history("k")] == [2]


async def test_a_ttl_that_is_too_short_names_the_shortest(client: Any, make_bucket: Any) -> None:
    bucket = client.kv().bucket(make_bucket(history=5).name)
    with pytest.raises(BucketUnsuitableError) as refused:
        await bucket.create("k", 1, ttl=1)
    assert refused.value.shortest_ttl == (await bucket.info()).marker_ttl
    assert await bucket.get_or_none("k") is None


async def test_a_bucket_without_such_ttls_says_so(client: Any, make_bucket: Any) -> None:
    bucket = client.kv().bucket(make_bucket(key_ttl=False, expiry_markers=False).name)
    with pytest.raises(BucketUnsuitableError, match="does not allow a TTL") as refused:
        await bucket.put("k", 1, ttl=60)
    assert refused.value.shortest_ttl is None


async def test_changes_of_a_transaction_take_a_ttl(bucket: Any, native: Native) -> None:
    if native.version < (2, 12):
        pytest.skip("this server has no atomic batches")
    revision = await bucket.put("u", 1)
    async with bucket.transaction() as changes:
        for change, arguments in (("put", ("p", 1)), ("create", ("c", 1))):
            done = getattr(changes, change)(*arguments, ttl=60)
            assert done is None or await done is None
        done = changes.update("u", 2, revision, ttl=MINUTE)
        assert done is None or await done is None
    snapshot = await bucket.get_many(["p", "c", "u"])
    assert [close_to(entry.expires_at, 60) for entry in snapshot.values()] == [True] * 3


@every_bad_ttl
async def test_an_invalid_ttl_is_refused_before_anything_is_sent(
    make: MakeClient, nobody: str, ttl: Any
) -> None:
    async with make(nobody) as client:
        bucket = client.kv().bucket("b")
        for call in (
            bucket.put("k", 1, ttl=ttl),
            bucket.create("k", 1, ttl=ttl),
            bucket.update("k", 1, 7, ttl=ttl),
            bucket.touch("k", ttl),
        ):
            with pytest.raises(InvalidArgumentError, match="ttl"):
                await call


@every_bad_ttl
async def test_an_invalid_ttl_cannot_be_part_of_a_transaction(
    make: MakeClient, nobody: str, ttl: Any
) -> None:
    async with make(nobody) as client:
        with pytest.raises(InvalidArgumentError, match="ttl"):
            await apply_put(client.kv().bucket("b"), ttl)


async def apply_put(bucket: Any, ttl: Any) -> None:
    async with bucket.transaction() as changes:
        done = changes.put("k", 1, ttl=ttl)
        if done is not None:
            await done


@pytest.mark.parametrize("revision", [0, -1, True, 1.5, "1"])
async def test_an_invalid_revision_is_refused_by_touch(
    make: MakeClient, nobody: str, revision: Any
) -> None:
    async with make(nobody) as client:
        with pytest.raises(InvalidArgumentError, match="revision"):
            await client.kv().bucket("b").touch("k", 5, revision=revision)

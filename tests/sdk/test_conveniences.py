"""What the clients have beyond the gateway: typed values, the loop around compare-and-set, more."""

import asyncio
from datetime import UTC, timedelta
from typing import Any

import pydantic
import pytest

from jetkv import (
    BucketExistsError,
    BucketNotFoundError,
    Client,
    KeyExistsError,
    Operation,
    RevisionMismatchError,
)
from tests.support.http import Bucket, Http


class Session(pydantic.BaseModel):
    user: str
    seen: int = 0


@pytest.fixture
async def opened(make, http: Http):
    """A client of the shared gateway."""
    async with make(http.url) as client:
        yield client


# --- values

VALUES = {
    "JSON": (None, {"a": [1, 2.5, None, True, "é\u2028"]}, b'{"a":[1,2.5,null,true,"\xc3\xa9\xe2'),
    "null": (None, None, b"null"),
    "bytes": (bytes, b"\x00\xff", b"\x00\xff"),
    "no bytes": (bytes, b"", b""),
    "text": (str, "é", b"\xc3\xa9"),
    "a model": (Session, Session(user="ada"), b'{"user":"ada","seen":0}'),
    "a list of models": (list[Session], [Session(user="a", seen=1)], b'[{"user":"a","seen":1}]'),
    "a union": (int | None, 5, b"5"),
}


@pytest.mark.parametrize(("kind", "value", "stored"), VALUES.values(), ids=VALUES)
async def test_a_value_is_stored_by_its_type_and_comes_back(
    opened: Any, bucket: Bucket, kind: Any, value: Any, stored: bytes
) -> None:
    typed = opened.kv().bucket(bucket.name, kind)
    await typed.put("k", value)
    entry = await typed.get("k")
    assert entry.value == value
    assert type(entry.value) is type(value)
    assert entry.raw == bucket.get("k").value
    assert entry.raw.startswith(stored)


@pytest.mark.parametrize(
    ("kind", "value", "shown", "encoding"),
    [
        (None, {"n": 1}, {"n": 1}, "json"),
        (None, "42", "42", "json"),
        (str, "42", "42", "text"),
        (Session, Session(user="ada"), {"user": "ada", "seen": 0}, "json"),
    ],
)
async def test_other_clients_are_shown_what_was_meant(
    opened: Any, bucket: Bucket, kind: Any, value: Any, shown: Any, encoding: str
) -> None:
    await opened.kv().bucket(bucket.name, kind).put("k", value)
    document = bucket.get("k", "?values=json").json
    assert (document["value"], document["encoding"]) == (shown, encoding)


async def test_a_codec_of_the_callers_own_is_used(opened: Any, bucket: Bucket) -> None:
    class Reversed:
        content_type = "application/octet-stream"

        def encode(self, value: str) -> bytes:
            return value.encode()[::-1]

        def decode(self, raw: bytes) -> str:
            return raw[::-1].decode()

    own = opened.kv().bucket(bucket.name, Reversed())
    await own.put("k", "abc")
    assert bucket.get("k").value == b"cba"
    assert (await own.get("k")).value == "abc"


async def test_an_entry_has_all_there_is_to_know(opened: Any, bucket: Bucket) -> None:
    bucket.put("k", b"5")
    entry = await opened.kv().bucket(bucket.name).get("k")
    assert (entry.key, entry.value, entry.raw, entry.revision) == ("k", 5, b"5", 1)
    assert entry.operation is Operation.PUT
    assert entry.created_at.utcoffset() == timedelta(0)


async def test_a_tombstone_has_no_value(opened: Any, bucket: Bucket) -> None:
    bucket.put("k", b"5")
    bucket.delete("k")
    told = await opened.kv().bucket(bucket.name).history("k")
    assert [(entry.operation, entry.value) for entry in told][-1] == (Operation.DELETE, None)


# --- reads that do not raise


async def test_what_may_be_missing_is_none(opened: Any, bucket: Bucket) -> None:
    values = opened.kv().bucket(bucket.name)
    assert await values.get_or_none("k") is None
    bucket.put("k", b"5")
    assert (await values.get_or_none("k")).value == 5


async def test_a_key_exists_while_it_has_a_live_value(opened: Any, bucket: Bucket) -> None:
    values = opened.kv().bucket(bucket.name)
    told = [await values.exists("k")]
    bucket.put("k", b"not JSON")
    told.append(await values.exists("k"))
    bucket.delete("k")
    told.append(await values.exists("k"))
    assert told == [False, True, False]


@pytest.mark.parametrize("call", ["get_or_none", "exists"])
async def test_a_missing_bucket_is_no_missing_key(opened: Any, bucket_name: str, call: str) -> None:
    with pytest.raises(BucketNotFoundError, match=bucket_name):
        await getattr(opened.kv().bucket(bucket_name), call)("k")


# --- modify


async def test_modify_begins_with_none_and_returns_what_it_wrote(
    opened: Any, bucket: Bucket
) -> None:
    entry = await opened.kv().bucket(bucket.name).modify("k", lambda n: (n or 0) + 1)
    assert (entry.key, entry.value, entry.revision) == ("k", 1, 1)
    assert entry.created_at.tzinfo is UTC
    assert bucket.get("k").value == b"1"


async def test_modify_gives_the_value_that_is_there(opened: Any, bucket: Bucket) -> None:
    bucket.put("k", b"41")
    entry = await opened.kv().bucket(bucket.name, int).modify("k", lambda n: (n or 0) + 1)
    assert (entry.value, entry.revision) == (42, 2)


async def test_modify_tries_again_when_another_was_faster(opened: Any, bucket: Bucket) -> None:
    bucket.put("k", b"1")
    given: list[int | None] = []

    def change(n: int | None) -> int:
        if not given:
            bucket.put("k", b"10")
        given.append(n)
        return (n or 0) + 1

    entry = await opened.kv().bucket(bucket.name, int).modify("k", change)
    assert (given, entry.value) == ([1, 10], 11)


async def test_modify_tries_again_when_another_created_it(opened: Any, bucket: Bucket) -> None:
    given: list[int | None] = []

    def change(n: int | None) -> int:
        if not given:
            bucket.put("k", b"10")
        given.append(n)
        return (n or 0) + 1

    await opened.kv().bucket(bucket.name, int).modify("k", change)
    assert given == [None, 10]


async def test_modify_tries_again_when_another_deleted_it(opened: Any, bucket: Bucket) -> None:
    bucket.put("k", b"1")
    given: list[int | None] = []

    def change(n: int | None) -> int:
        if not given:
            bucket.delete("k")
        given.append(n)
        return (n or 0) + 1

    await opened.kv().bucket(bucket.name, int).modify("k", change)
    assert given == [1, None]


async def test_modify_gives_up_when_others_are_always_faster(opened: Any, bucket: Bucket) -> None:
    def change(n: int | None) -> int:
        bucket.put("k", str((n or 0) + 1))
        return 0

    with pytest.raises((RevisionMismatchError, KeyExistsError)):
        await opened.kv().bucket(bucket.name, int).modify("k", change, timeout=0.1)


async def test_what_fn_raises_comes_out_and_nothing_is_written(opened: Any, bucket: Bucket) -> None:
    def fail(n: Any = None) -> Any:
        raise LookupError("of the caller")

    values = opened.kv().bucket(bucket.name)
    with pytest.raises(LookupError, match="of the caller"):
        await values.modify("k", fail)
    with pytest.raises(LookupError, match="of the caller"):
        await values.get_or_compute("k", fail)
    assert bucket.keys() == []


async def test_no_increment_of_many_at_once_is_lost(make, http: Http, bucket: Bucket) -> None:
    clients = [make(http.url) for _ in range(8)]

    async def count(client: Any) -> None:
        async with client:
            counters = client.kv().bucket(bucket.name, int)
            for _ in range(5):
                await counters.modify("k", lambda n: (n or 0) + 1)

    async with asyncio.timeout(30):
        await asyncio.gather(*map(count, clients))
    assert bucket.get("k").value == b"40"


# --- get_or_compute


async def test_what_is_there_is_not_computed(opened: Any, bucket: Bucket) -> None:
    bucket.put("k", b"1")
    called: list[str] = []
    values = opened.kv().bucket(bucket.name)
    assert await values.get_or_compute("k", lambda: called.append("k")) == 1
    assert called == []


async def test_what_is_not_there_is_computed_and_stored(opened: Any, bucket: Bucket) -> None:
    assert await opened.kv().bucket(bucket.name).get_or_compute("k", lambda: 5) == 5
    assert bucket.get("k").value == b"5"


async def test_of_two_calls_that_compute_the_first_to_store_wins(
    opened: Any, bucket: Bucket
) -> None:
    def compute() -> int:
        bucket.put("k", b"1")
        return 2

    assert await opened.kv().bucket(bucket.name).get_or_compute("k", compute) == 1
    assert bucket.get("k").value == b"1"


# --- buckets that may be there


async def test_a_bucket_that_may_exist_is_returned(opened: Any, new_bucket: str) -> None:
    kv = opened.kv()
    asked = {"ttl": timedelta(minutes=5), "history": 3, "exist_ok": True}
    made = await kv.create_bucket(new_bucket, **asked)
    assert await kv.create_bucket(new_bucket, **asked) == made


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"ttl": timedelta(minutes=6)}, "ttl is 0:05:00, not 0:06:00"),
        ({}, "ttl is 0:05:00, not never"),
        ({"ttl": timedelta(minutes=5), "history": 4}, "history is 3, not 4"),
        ({"ttl": timedelta(minutes=5), "storage": "memory"}, "storage is file, not memory"),
    ],
)
async def test_a_bucket_that_differs_is_not_taken_for_what_was_asked(
    opened: Any, new_bucket: str, asked: dict[str, Any], said: str
) -> None:
    kv = opened.kv()
    await kv.create_bucket(new_bucket, ttl=timedelta(minutes=5), history=3)
    with pytest.raises(BucketExistsError) as caught:
        await kv.create_bucket(new_bucket, exist_ok=True, **asked)
    assert said in str(caught.value)


async def test_many_calls_for_the_same_bucket_get_it(http: Http, new_bucket: str) -> None:
    with Client(http.url) as client:

        def create() -> Any:
            return client.kv().create_bucket(new_bucket, exist_ok=True).name

        async with asyncio.timeout(30):
            names = await asyncio.gather(*(asyncio.to_thread(create) for _ in range(8)))
    assert names == [new_bucket] * 8

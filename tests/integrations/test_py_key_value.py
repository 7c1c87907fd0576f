"""The promises of a store of py-key-value, and what ours does beyond them."""

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from cryptography.fernet import Fernet
from key_value.aio.errors import InvalidTTLError, SerializationError, ValueTooLargeError
from key_value.aio.protocols.key_value import (
    AsyncDestroyCollectionProtocol,
    AsyncDestroyStoreProtocol,
    AsyncEnumerateKeysProtocol,
    AsyncKeyValueProtocol,
)
from key_value.aio.wrappers.compression import CompressionWrapper
from key_value.aio.wrappers.encryption import FernetEncryptionWrapper
from key_value.aio.wrappers.prefix_collections import PrefixCollectionsWrapper
from key_value.aio.wrappers.ttl_clamp import TTLClampWrapper

from jetkv import AsyncClient, Client, ClientClosedError, InvalidArgumentError, UnavailableError
from jetkv.integrations.py_key_value import JetKVStore
from tests.support.http import Http
from tests.support.ports import free_port


@pytest.fixture
async def store(http: Http, new_bucket: str) -> AsyncIterator[JetKVStore]:
    async with JetKVStore(url=http.url, bucket=new_bucket) as store:
        yield store


def test_it_has_the_protocols_that_the_store_of_redis_has(http: Http) -> None:
    store = JetKVStore(url=http.url)
    for protocol in (
        AsyncKeyValueProtocol,
        AsyncEnumerateKeysProtocol,
        AsyncDestroyStoreProtocol,
        AsyncDestroyCollectionProtocol,
    ):
        assert isinstance(store, protocol)


async def test_what_is_not_there_is_none(store: JetKVStore) -> None:
    assert await store.get("k", collection="c") is None
    assert await store.get_many(["k", "l"], collection="c") == [None, None]
    assert await store.ttl("k", collection="c") == (None, None)
    assert await store.ttl_many(["k"], collection="c") == [(None, None)]
    assert await store.delete("k", collection="c") is False
    assert await store.delete_many(["k", "l"], collection="c") == 0
    assert await store.keys(collection="c") == []


async def test_lists_of_no_keys_do_nothing(store: JetKVStore) -> None:
    await store.put_many([], [])
    assert await store.get_many([]) == []
    assert await store.delete_many([]) == 0


VALUES: list[dict[str, Any]] = [
    {},
    {"text": "ä\n😀", "": ""},
    {"whole": 10**18, "float": 1.5, "large": 1e63},
    {"on": True, "off": False, "nothing": None},
    {"list": [1, [2, {"three": 3}]], "dict": {"nested": {"deep": []}}},
    {"long": "a" * 10_000},
]


@pytest.mark.parametrize("value", VALUES, ids=lambda value: next(iter(value), "empty"))
async def test_a_value_comes_back(store: JetKVStore, value: dict[str, Any]) -> None:
    await store.put("k", value)
    assert await store.get("k") == value
    await store.put_many(["l", "m"], [value, {"other": 1}])
    assert await store.get_many(["l", "no", "m", "l"]) == [value, None, {"other": 1}, value]


@pytest.mark.parametrize(
    "value", [{"a": object()}, {"a": {1, 2}}, {"a": datetime.now(UTC)}, {"a": b""}], ids=range(4)
)
async def test_what_is_no_json_is_refused(store: JetKVStore, value: dict[str, Any]) -> None:
    with pytest.raises(SerializationError):
        await store.put("k", value)
    with pytest.raises(SerializationError):
        await store.put_many(["l", "k"], [{"fine": 1}, value])
    assert await store.get_many(["k", "l"]) == [None, None]


async def test_a_delete_says_how_many_there_were(store: JetKVStore) -> None:
    await store.put_many(["a", "b", "c"], [{"n": n} for n in range(3)])
    assert await store.delete("a") is True
    assert await store.delete("a") is False
    assert await store.delete_many(["a", "b", "c"]) == 2
    await store.put("a", {"again": 1})
    assert await store.get("a") == {"again": 1}


@pytest.mark.parametrize("ttl", [0, -1, -0.5, True], ids=str)
async def test_a_ttl_that_is_no_time_is_refused(store: JetKVStore, ttl: Any) -> None:
    with pytest.raises(InvalidTTLError):
        await store.put("k", {"a": 1}, ttl=ttl)
    assert await store.get("k") is None


async def test_a_ttl_is_told_and_ends_in_both_places(
    store: JetKVStore, client: Client, new_bucket: str
) -> None:
    await store.put("k", {"a": 1}, ttl=100)
    await store.put_many(["l", "m"], [{"a": 2}, {"a": 3}], ttl=99.5)
    await store.put("n", {"a": 4})
    found = await store.ttl_many(["k", "l", "m", "n"])
    assert [value for value, _ in found] == [{"a": 1}, {"a": 2}, {"a": 3}, {"a": 4}]
    lefts = [left for _, left in found]
    assert lefts[3] is None
    assert all(left is not None and 95 < left <= 100 for left in lefts[:3])
    entries = client.kv().bucket(new_bucket).entries()
    lives = {e.key[-1]: e.expires_at and e.expires_at - e.created_at for e in entries}
    assert lives == {"k": timedelta(seconds=100)} | dict.fromkeys("lm", timedelta(seconds=100)) | {
        "n": None
    }


async def test_a_part_of_a_second_is_kept_to_the_point(
    store: JetKVStore, client: Client, new_bucket: str
) -> None:
    await store.put("k", {"a": 1}, ttl=0.2)
    await asyncio.sleep(0.3)
    assert await store.get("k") is None
    assert await store.get_many(["k"]) == [None]
    deadline = asyncio.get_running_loop().time() + 5
    while client.kv().bucket(new_bucket).exists("default_collection::k"):
        assert asyncio.get_running_loop().time() < deadline
        await asyncio.sleep(0.1)


NAMES = ["a b", "!@#$%^&*()", "a::b", ":", "a:", "%3A", "ä" * 700, "x" * 1_400, "\x00\n", "\ud800"]


async def test_any_text_is_a_collection_and_a_key_and_none_is_taken_for_another(
    store: JetKVStore,
) -> None:
    names = [*NAMES, "sha256:" + "0" * 64]
    for collection in names:
        keys = [*names, ""]
        await store.put_many(
            keys, [{"at": [collection, key]} for key in keys], collection=collection
        )
    for collection in names:
        for key in [*names, ""]:
            assert await store.get(key, collection=collection) == {"at": [collection, key]}
        assert sorted(await store.keys(collection=collection)) == sorted([*names, ""])
    await store.destroy_collection("a")
    await store.destroy_collection("a:")
    assert await store.keys(collection="a::b")
    assert await store.keys(collection="a:") == []


async def test_keys_are_listed_up_to_a_limit(store: JetKVStore) -> None:
    keys = [f"k{number:04}" for number in range(1_200)]
    await store.put_many(keys, [{"n": number} for number in range(1_200)], collection="many")
    assert await store.keys(collection="many") == keys
    assert await store.keys(collection="many", limit=7) == keys[:7]
    assert await store.get_many(keys, collection="many") == [{"n": n} for n in range(1_200)]
    assert await store.delete_many(keys, collection="many") == 1_200


async def test_a_collection_and_the_whole_store_can_be_emptied(store: JetKVStore) -> None:
    for collection in ("a", "b", "c"):
        await store.put("k", {"in": collection}, collection=collection)
    assert await store.destroy_collection("a")
    assert await store.get("k", collection="a") is None
    assert await store.get("k", collection="b") == {"in": "b"}
    assert await store.destroy()
    assert await store.get_many(["k"], collection="c") == [None]


async def test_workers_beside_each_other_see_their_own_writes(store: JetKVStore) -> None:
    async def work(worker: int) -> None:
        for turn in range(5):
            key = f"{worker}-{turn}"
            assert await store.get(key) is None
            for value in ({"first": turn}, {"then": turn}):
                await store.put(key, value)
                assert await store.get(key) == value
            assert await store.delete(key)
            assert await store.get(key) is None

    await asyncio.gather(*(work(worker) for worker in range(8)))


async def test_a_document_is_that_of_the_store_of_redis(
    store: JetKVStore, client: Client, new_bucket: str
) -> None:
    await store.put("k", {"name": "Ada"}, collection="users", ttl=60)
    (meta,) = client.kv().bucket(new_bucket).entries(values=False)
    assert (meta.key, meta.content_type) == ("users::k", "application/json")
    document = client.kv().bucket(new_bucket).get("users::k").value
    times = [datetime.fromisoformat(document.pop(name)) for name in ("created_at", "expires_at")]
    assert times[1] - times[0] == timedelta(seconds=60)
    assert document == {"collection": "users", "key": "k", "value": {"name": "Ada"}, "version": 1}


async def test_a_document_of_another_program_is_read(
    store: JetKVStore, client: Client, new_bucket: str
) -> None:
    await store.put("other", {})
    bucket = client.kv().bucket(new_bucket)
    bucket.put("users::k", {"value": {"name": "Eve"}, "expires_at": "2999-01-01T00:00:00+00:00"})
    assert await store.get("k", collection="users") == {"name": "Eve"}
    bucket.put("users::k", {"value": {"name": "Eve"}, "expires_at": "2020-01-01T00:00:00+00:00"})
    assert await store.get("k", collection="users") is None


STRANGE = [b"", b"\xff", b"[]", b"{}", b"7", b'{"value":7}', b'{"value":{},"expires_at":"soon"}']
STRANGE += [b'{"value":{},"expires_at":"2020-01-01T00:00:00"}', b"[" * 100_000]


@pytest.mark.parametrize("raw", STRANGE, ids=lambda raw: raw[:48].decode(errors="replace"))
async def test_what_is_no_document_is_not_there(
    store: JetKVStore, client: Client, new_bucket: str, raw: bytes
) -> None:
    await store.put("k", {"a": 1}, collection="c")
    client.kv().bucket(new_bucket, bytes).put("c::k", raw)
    assert await store.get("k", collection="c") is None
    assert await store.get_many(["k"], collection="c") == [None]


# aiohttp would rather have a file than a body of more than 1 MiB.
@pytest.mark.filterwarnings("ignore:Sending a large body:ResourceWarning")
async def test_a_value_that_is_too_large_is_their_error_with_both_sizes(store: JetKVStore) -> None:
    huge = {"text": "x" * 1_048_000}
    for put in (store.put("k", huge), store.put_many(["j", "k"], [{"a": 1}, huge])):
        with pytest.raises(ValueTooLargeError) as caught:
            await put
        assert caught.value.extra_info is not None
        assert caught.value.extra_info["key"] == "k"
        size, limit = (caught.value.extra_info[name] for name in ("size", "max_size"))
        assert isinstance(size, int)
        assert isinstance(limit, int)
        assert size > 1_048_000 > limit > 900_000
    assert await store.get("k") is None


async def test_their_wrappers_work_on_it(
    store: JetKVStore, client: Client, new_bucket: str
) -> None:
    secret = FernetEncryptionWrapper(store, fernet=Fernet(Fernet.generate_key()))
    small = CompressionWrapper(secret, min_size_to_compress=10)
    clamped = TTLClampWrapper(PrefixCollectionsWrapper(small, "app"), min_ttl=60, max_ttl=90)
    await clamped.put("k", {"token": "s3cret" * 100}, collection="tokens", ttl=1)
    assert await clamped.get("k", collection="tokens") == {"token": "s3cret" * 100}
    (entry,) = client.kv().bucket(new_bucket).entries()
    assert "s3cret" not in json.dumps(entry.value)
    assert entry.expires_at is not None
    assert entry.expires_at - entry.created_at == timedelta(seconds=60)


async def test_a_client_that_was_given_stays_open(http: Http, new_bucket: str) -> None:
    async with AsyncClient(http.url) as client:
        async with JetKVStore(client=client, bucket=new_bucket) as store:
            await store.put("k", {"a": 1})
        assert await client.kv().bucket(new_bucket).exists("default_collection::k")
        with pytest.raises(InvalidArgumentError, match="token"):
            JetKVStore(client=client, token="t")


@pytest.mark.parametrize("used", [True, False], ids=["used", "unused"])
async def test_its_own_client_is_closed_with_it(http: Http, new_bucket: str, used: bool) -> None:
    store = JetKVStore(url=http.url, bucket=new_bucket)
    if used:
        await store.put("k", {"a": 1})
    await store.close()
    with pytest.raises(ClientClosedError):
        await store.get("k")


async def test_an_outage_is_an_error() -> None:
    async with JetKVStore(url=f"http://127.0.0.1:{free_port()}") as store:
        with pytest.raises(UnavailableError):
            await store.get("k")

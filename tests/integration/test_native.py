"""The same buckets through HTTP and through nats-py's own KeyValue, both ways, at the same time."""

import base64
import json

import pytest
from nats.js.errors import KeyNotFoundError, KeyWrongLastSequenceError
from nats.js.kv import KeyValue

from tests.support.http import Bucket, Http
from tests.support.native import Native

VALUES = [b"", b"text", b"\x00\xff\r\n\x00", "日本".encode(), bytes(range(256)) * 100]

NATIVE_KEYS = ["user.123", "a/b/c", "A-b_c", "a=b", "QQ==", "a=41", "/a", "x.y.z.0"]
"""Keys that NATS KV takes as they are."""

ESCAPED_KEYS = {
    "user:123": "user=3A123",
    "a b": "a=20b",
    "é": "=C3=A9",
    ".a": "=2Ea",
    "a..b": "a.=2Eb",
    "*": "=2A",
    "a=3A": "a=3D3A",
}
"""Keys that NATS KV refuses, and what they are stored under."""


@pytest.fixture
def bucket(make_bucket) -> Bucket:
    return make_bucket(history=10)


@pytest.fixture
async def kv(native: Native, bucket: Bucket) -> KeyValue:
    """The same bucket, natively."""
    return await native.kv(bucket.name)


# Values and revisions.


@pytest.mark.parametrize("value", VALUES)
async def test_a_value_put_over_http_is_read_natively(
    bucket: Bucket, kv: KeyValue, value: bytes
) -> None:
    revision = bucket.put("k", value, Content_Type="application/json").json["revision"]
    entry = await kv.get("k")
    assert (entry.value or b"") == value  # nats-py reads an empty value as None
    assert entry.revision == revision


@pytest.mark.parametrize("value", VALUES)
async def test_a_value_put_natively_is_read_over_http(
    bucket: Bucket, kv: KeyValue, value: bytes
) -> None:
    revision = await kv.put("k", value)
    answer = bucket.get("k")
    assert (answer.value, answer.json["revision"]) == (value, revision)
    raw = bucket.get("k", "?values=raw")
    assert raw.body == value
    assert raw.headers["content-type"] == "application/octet-stream"


@pytest.mark.parametrize("key", NATIVE_KEYS)
async def test_a_key_that_nats_takes_is_the_same_key_on_both_sides(
    bucket: Bucket, kv: KeyValue, key: str
) -> None:
    bucket.put(key, "over http")
    assert (await kv.get(key)).value == b"over http"
    await kv.put(key, b"natively")
    assert bucket.get(key).value == b"natively"
    assert bucket.keys() == await kv.keys() == [key]


async def test_keys_that_nats_refuses_are_listed_natively_in_their_escaped_form(
    bucket: Bucket, kv: KeyValue
) -> None:
    for key in ESCAPED_KEYS:
        bucket.put(key, key)
    assert sorted(await kv.keys()) == sorted(ESCAPED_KEYS.values())
    for key, escaped in ESCAPED_KEYS.items():
        assert (await kv.get(escaped)).value == key.encode()
        await kv.put(escaped, b"natively")
        assert bucket.get(key).value == b"natively"


async def test_revisions_count_on_through_both_sides(bucket: Bucket, kv: KeyValue) -> None:
    assert bucket.put("k", "1").json == {"revision": 1}
    assert await kv.update("k", b"2", last=1) == 2
    assert bucket.put("k", "3", If_Match="2").json == {"revision": 3}
    with pytest.raises(KeyWrongLastSequenceError):
        await kv.update("k", b"4", last=2)
    await kv.put("k", b"4")
    assert bucket.put("k", "5", If_Match="3").json["details"] == {"current_revision": 4}


async def test_a_create_is_refused_by_what_the_other_side_created(
    bucket: Bucket, kv: KeyValue
) -> None:
    await kv.create("native", b"v")
    assert bucket.put("native", "w", If_None_Match="*").error == "key already exists"
    bucket.put("http", "v", If_None_Match="*")
    with pytest.raises(KeyWrongLastSequenceError):
        await kv.create("http", b"w")


# Deletes, purges, history.


@pytest.mark.parametrize("purge", [False, True])
async def test_what_was_deleted_over_http_is_gone_natively(
    bucket: Bucket, kv: KeyValue, purge: bool
) -> None:
    bucket.put("k", "v1")
    bucket.put("k", "v2")
    assert bucket.delete("k", "?purge=true" if purge else "").status == 204
    with pytest.raises(KeyNotFoundError):
        await kv.get("k")
    operations = [entry.operation for entry in await kv.history("k")]
    assert operations == (["PURGE"] if purge else [None, None, "DEL"])
    assert await kv.create("k", b"new") > 3, "and can be created again"


@pytest.mark.parametrize("purge", [False, True])
async def test_what_was_deleted_natively_is_gone_over_http(
    bucket: Bucket, kv: KeyValue, purge: bool
) -> None:
    await kv.put("k", b"v1")
    await kv.put("k", b"v2")
    await (kv.purge("k") if purge else kv.delete("k"))
    assert bucket.get("k").error == "key not found"
    assert bucket.keys() == []
    entries = bucket.history("k").json["entries"]
    assert [entry["operation"] for entry in entries] == (
        ["purge"] if purge else ["put", "put", "delete"]
    )
    assert bucket.put("k", "new", If_None_Match="*").status == 200


async def test_a_history_written_natively_is_read_over_http(bucket: Bucket, kv: KeyValue) -> None:
    for number in range(12):
        await kv.put("k", str(number).encode())
    entries = bucket.history("k").json["entries"]
    assert [entry["revision"] for entry in entries] == list(range(3, 13)), "ten are kept"
    assert [base64.b64decode(entry["value"]) for entry in entries] == [
        str(number).encode() for number in range(2, 12)
    ]
    assert bucket.get("k", "?revision=5").value == b"4"


async def test_a_history_written_over_http_is_read_natively(bucket: Bucket, kv: KeyValue) -> None:
    for number in range(3):
        bucket.put("k", str(number))
    bucket.delete("k")
    history = await kv.history("k")
    assert [(entry.revision, entry.operation) for entry in history] == [
        (1, None),
        (2, None),
        (3, None),
        (4, "DEL"),
    ]
    with pytest.raises(KeyNotFoundError):
        await kv.get("k", 4)
    assert (await kv.get("k", 2)).value == b"1"


# Streams and subjects below the buckets.


async def test_keys_written_to_raw_subjects_show_in_the_listing(
    bucket: Bucket, native: Native
) -> None:
    raw = ["user:123", "é", 'a"b', "a%20"]
    for subject in raw:
        await native.publish(f"$KV.{bucket.name}.{subject}", b"v")
    bucket.put("user=3A1", "v")
    assert bucket.keys() == sorted([*raw, "user=3A1"], key=str.encode)
    assert bucket.keys("user:") == ["user:123"]
    assert bucket.get("user:123").error == "key not found", "shown, but not addressable"


async def test_a_value_with_headers_of_its_own_is_a_value(bucket: Bucket, native: Native) -> None:
    await native.publish(f"$KV.{bucket.name}.k", b'{"a":1}', Trace="x", Content_Type="text/x-own")
    assert bucket.get("k").value == b'{"a":1}'
    assert bucket.get("k", "?values=raw").headers["content-type"] == "text/x-own"


async def test_writes_over_http_pass_no_headers_of_the_caller_on(
    bucket: Bucket, native: Native
) -> None:
    hostile = {"Nats_Rollup": "all", "KV_Operation": "PURGE", "Nats_TTL": "1", "Nats_Msg_Id": "x"}
    bucket.put("other", "v")
    assert bucket.put("k", "v", **hostile).status == 200
    stored = await native.last(bucket.name, "k")
    assert stored == (b"v", {"Nats-Expected-Stream": f"KV_{bucket.name}"})
    assert bucket.keys() == ["k", "other"]


async def test_a_native_watcher_sees_what_http_writes(bucket: Bucket, kv: KeyValue) -> None:
    watcher = await kv.watch("user.*", include_history=False)
    assert await watcher.updates(timeout=5) is None
    bucket.put("other", "v")
    bucket.put("user.1", "v")
    bucket.delete("user.1")
    seen = [await watcher.updates(timeout=5) for _ in range(2)]
    assert [(entry.key, entry.operation) for entry in seen] == [("user.1", None), ("user.1", "DEL")]
    await watcher.stop()


async def test_the_listing_of_buckets_counts_native_ones(
    http: Http, native: Native, bucket_name: str
) -> None:
    await native.make_kv(bucket_name, description="made natively", ttl=60, history=3)
    listed = {info["name"]: info for info in http.get("/api/v1/kv/buckets").json["buckets"]}
    info = listed[bucket_name]
    assert (info["description"], info["ttl_seconds"], info["history"]) == ("made natively", 60, 3)
    assert json.loads(http.get(f"/api/v1/kv/buckets/{bucket_name}").body) == info

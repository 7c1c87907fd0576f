"""Buckets: create, describe, list, delete, every rule of a setting (docs/http-api.md#buckets)."""

import asyncio
import re
from collections.abc import Iterator

import pytest

from jetkv_gateway.embedded import NatsServer
from tests.support.gateway import running_gateway
from tests.support.http import BUCKETS, Bucket, Http
from tests.support.native import SECOND, Native
from tests.support.waiting import until
from tests.support.watching import watching


@pytest.fixture
def new_name(http: Http, bucket_name: str) -> Iterator[str]:
    """The name of a bucket that the test may create; it is gone afterwards."""
    yield bucket_name
    http.delete(f"{BUCKETS}/{bucket_name}")


def listed(http: Http) -> list[str]:
    return [bucket["name"] for bucket in http.get(BUCKETS).json["buckets"]]


# --- create


def test_a_new_bucket_is_described_in_the_answer_to_its_creation(http: Http, new_name: str) -> None:
    answer = http.post(BUCKETS, {"name": new_name})
    assert answer.status == 201
    assert answer.json == http.get(f"{BUCKETS}/{new_name}").json
    created_at = answer.json.pop("created_at")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", created_at)


def test_a_bucket_without_settings_has_the_defaults_and_leaves_empty_fields_out(
    http: Http, new_name: str, version: tuple[int, int]
) -> None:
    info = http.post(BUCKETS, {"name": new_name}).json
    del info["created_at"]
    assert info == {
        "name": new_name,
        "values": 0,
        "bytes": 0,
        "history": 1,
        "storage": "file",
        "replicas": 1,
        "compression": "none",
        "expiry_markers": version >= (2, 11),
        "key_ttl": version >= (2, 11),
        "batches": version >= (2, 12),
        "protected": False,
        **({"marker_ttl_seconds": 3600} if version >= (2, 11) else {}),
    }


def test_all_settings_come_back(http: Http, new_name: str) -> None:
    settings = {
        "name": new_name,
        "description": "sessions, täglich 🔑",
        "ttl_seconds": 604800,
        "history": 64,
        "max_value_size": 1000,
        "max_bytes": 100_000,
        "storage": "memory",
        "replicas": 1,
        "compression": "s2",
        "placement": {"tags": ["ssd"]},
        "metadata": {"team": "payments", "": ""},
        "republish": {
            "source": f"$KV.{new_name}.>",
            "destination": f"copies.{new_name}.>",
            "headers_only": True,
        },
        "expiry_markers": False,
        "key_ttl": False,
        "batches": False,
    }
    assert http.post(BUCKETS, settings).status == 201
    info = http.get(f"{BUCKETS}/{new_name}").json
    assert {name: info[name] for name in settings} == settings


def test_the_source_of_what_is_published_again_is_all_by_default(make_bucket) -> None:
    bucket = make_bucket(republish={"destination": "copies.all.>"})
    assert bucket.info()["republish"] == {"source": ">", "destination": "copies.all.>"}


@pytest.mark.parametrize("empty", [0, None])
def test_settings_that_are_empty_mean_the_default(
    http: Http, new_name: str, empty: int | None
) -> None:
    body = {"name": new_name, "ttl_seconds": empty, "max_value_size": empty, "max_bytes": empty}
    more: dict[str, object] = {"placement": {}, "metadata": {}, "republish": {}, "protected": None}
    info = http.post(BUCKETS, {**body, "description": "", **more}).json
    assert not {"ttl_seconds", "max_value_size", "max_bytes", "description"} & info.keys()
    assert not {"placement", "metadata", "republish"} & info.keys()
    assert info["protected"] is False


@pytest.mark.parametrize("again", [{}, {"history": 5}])
def test_a_bucket_that_exists_is_409_whatever_the_settings(
    bucket: Bucket, again: dict[str, object]
) -> None:
    bucket.put("k", "v")
    answer = bucket.http.post(BUCKETS, {"name": bucket.name, **again})
    assert (answer.status, answer.error) == (409, "bucket already exists")
    assert (answer.json["code"], answer.json["retryable"]) == ("already_exists", False)
    assert bucket.info()["history"] == 1
    assert bucket.get("k").value == b"v"


@pytest.mark.parametrize(
    "content_type", [None, "text/plain", "application/x-www-form-urlencoded", "nonsense"]
)
def test_json_is_taken_whatever_its_content_type(
    http: Http, new_name: str, content_type: str | None
) -> None:
    headers = {} if content_type is None else {"Content_Type": content_type}
    assert http.post(BUCKETS, {"name": new_name}, **headers).status == 201


@pytest.mark.parametrize("name", ["a", "A-b_9", "-", "_", "0", "x" * 200])
def test_a_good_name_is_taken(http: Http, name: str) -> None:
    http.delete(f"{BUCKETS}/{name}")
    assert http.post(BUCKETS, {"name": name}).json["name"] == name
    assert http.delete(f"{BUCKETS}/{name}").status == 204


@pytest.mark.parametrize(
    "name",
    ["", "a b", "a.b", "a/b", "a*", ">", "é", "a\n", "\u0000", "$KV", "a:b", "x" * 201, "../x"],
)
def test_a_bad_name_is_400(http: Http, name: str) -> None:
    answer = http.post(BUCKETS, {"name": name})
    assert (answer.status, answer.error) == (400, "invalid bucket name")
    assert answer.json["code"] == "invalid_argument"
    assert answer.json["hint"] == "1 to 200 characters of A-Z a-z 0-9 _ -"


@pytest.mark.parametrize(
    ("field", "value", "error"),
    [
        ("history", 0, "invalid history: Input should be greater than or equal to 1"),
        ("history", 65, "invalid history: Input should be less than or equal to 64"),
        ("history", -1, "invalid history: Input should be greater than or equal to 1"),
        ("history", True, "invalid history: Input should be a valid integer"),
        ("history", 1.0, "invalid history: Input should be a valid integer"),
        ("history", 1.5, "invalid history: Input should be a valid integer"),
        ("history", "5", "invalid history: Input should be a valid integer"),
        ("history", [5], "invalid history: Input should be a valid integer"),
        ("ttl_seconds", -1, "invalid ttl_seconds: Input should be greater than or equal to 0"),
        ("ttl_seconds", 0.5, "invalid ttl_seconds: Input should be a valid integer"),
        ("ttl_seconds", False, "invalid ttl_seconds: Input should be a valid integer"),
        ("ttl_seconds", "60s", "invalid ttl_seconds: Input should be a valid integer"),
        ("ttl_seconds", 2**63, "invalid ttl_seconds: Input should be less than or equal to"),
        ("ttl_seconds", 9223372037, "invalid ttl_seconds: Input should be less than or equal to"),
        ("max_value_size", -1, "invalid max_value_size: Input should be greater than or equal"),
        ("max_value_size", 2**31, "invalid max_value_size: Input should be less than or equal"),
        ("max_value_size", True, "invalid max_value_size: Input should be a valid integer"),
        ("max_bytes", -1, "invalid max_bytes: Input should be greater than or equal to 0"),
        ("max_bytes", 2**63, "invalid max_bytes: Input should be less than or equal to"),
        ("max_bytes", 2**200, "invalid max_bytes: Input should be less than or equal to"),
        ("description", 7, "invalid description: Input should be a valid string"),
        ("description", "x" * 4097, "invalid description: String should have at most 4096"),
        ("description", "é" * 2049, "invalid description: over 4096 bytes"),
        ("name", 7, "invalid name: Input should be a valid string"),
        ("name", None, "invalid name: Input should be a valid string"),
        ("storage", "disk", "invalid storage: Input should be 'file' or 'memory'"),
        ("replicas", 0, "invalid replicas: Input should be greater than or equal to 1"),
        ("replicas", 6, "invalid replicas: Input should be less than or equal to 5"),
    ],
)
def test_a_bad_setting_is_400_naming_the_field_and_the_rule(
    http: Http, new_name: str, field: str, value: object, error: str
) -> None:
    answer = http.post(BUCKETS, {"name": new_name, field: value})
    assert answer.status == 400
    assert answer.error.startswith(error)
    assert answer.json["code"] == "invalid_argument"
    assert http.get(f"{BUCKETS}/{new_name}").status == 404


@pytest.mark.parametrize("field", ["ttl", "ttlSeconds", "ttl_second", "History", "max_age", ""])
def test_an_unknown_field_is_400_and_named(http: Http, new_name: str, field: str) -> None:
    answer = http.post(BUCKETS, {"name": new_name, field: 60})
    assert (answer.status, answer.error) == (400, f"unknown field '{field}'")
    assert "ttl_seconds" in answer.json["hint"]
    assert http.get(f"{BUCKETS}/{new_name}").status == 404


@pytest.mark.parametrize(
    ("body", "error"),
    [
        (b"", "invalid JSON: "),
        (b"{", "invalid JSON: "),
        (b"name=x", "invalid JSON: "),
        (b'{"name": "x"} x', "invalid JSON: "),
        (b"{'name': 'x'}", "invalid JSON: "),
        (b'{"name": "\xff"}', "invalid JSON: "),
        (b'{"name": "x", "history": NaN}', "invalid history: "),
        (b'{"name": "x", "history": Infinity}', "invalid history: "),
        (b'{"name": "x", "description": "\\ud800"}', "invalid JSON: "),
        (b"[" * 1000, "invalid JSON: "),
        (b"[]", "invalid body: "),
        (b"null", "invalid body: "),
        (b'"x"', "invalid body: "),
        (b"{}", "invalid name: Field required"),
    ],
)
def test_a_body_that_describes_no_bucket_is_400(http: Http, body: bytes, error: str) -> None:
    answer = http.request("POST", BUCKETS, body)
    assert answer.status == 400
    assert answer.error.startswith(error)
    assert answer.json["code"] == "invalid_argument"
    assert "pydantic" not in answer.body.decode()


def test_a_description_of_a_bucket_as_long_as_the_limit_is_413(http: Http) -> None:
    answer = http.post(BUCKETS, {"name": "x", "description": "d" * 65536})
    assert (answer.status, answer.json["details"]) == (413, {"limit_bytes": 65536})


# --- describe, list, delete


def test_values_counts_stored_messages_history_and_tombstones_included(make_bucket) -> None:
    bucket = make_bucket(history=3)
    for value in "abcd":
        bucket.put("k", value)
    bucket.put("gone", "v")
    bucket.delete("gone")
    assert bucket.info()["values"] == 5
    assert bucket.info()["bytes"] > 0


def test_an_unknown_bucket_is_404(http: Http, bucket_name: str) -> None:
    for answer in (
        http.get(f"{BUCKETS}/{bucket_name}"),
        http.delete(f"{BUCKETS}/{bucket_name}"),
        http.get(f"{BUCKETS}/{bucket_name}/keys"),
        http.put(f"{BUCKETS}/{bucket_name}/keys/k", "v"),
        http.get(f"{BUCKETS}/{bucket_name}/history/k"),
    ):
        assert (answer.status, answer.error) == (404, "bucket not found")


def test_buckets_are_listed_by_name_with_their_count(make_bucket, http: Http) -> None:
    made = {make_bucket(history=2).name for _ in range(4)}
    answer = http.get(BUCKETS)
    names = [bucket["name"] for bucket in answer.json["buckets"]]
    assert made <= set(names)
    assert names == sorted(names)
    assert answer.json["count"] == len(names)


def test_a_listed_bucket_has_the_fields_of_a_described_one(bucket: Bucket, http: Http) -> None:
    bucket.put("k", "v")
    (info,) = [b for b in http.get(BUCKETS).json["buckets"] if b["name"] == bucket.name]
    assert info == bucket.info()


def test_no_buckets_are_an_empty_list(nats: NatsServer) -> None:
    with running_gateway(nats.url, bucket_prefix="EMPTY_") as http:
        assert http.get(BUCKETS).body == b'{"buckets":[],"count":0}'


def test_a_deleted_bucket_is_gone_with_its_keys(http: Http, new_name: str) -> None:
    http.post(BUCKETS, {"name": new_name})
    http.put(f"{BUCKETS}/{new_name}/keys/k", "v")
    answer = http.delete(f"{BUCKETS}/{new_name}")
    assert (answer.status, answer.body) == (204, b"")
    assert http.put(f"{BUCKETS}/{new_name}/keys/k", "v").error == "bucket not found"
    assert new_name not in listed(http)
    assert http.post(BUCKETS, {"name": new_name}).status == 201
    assert http.get(f"{BUCKETS}/{new_name}/keys/k").error == "key not found"


def test_a_protected_bucket_is_not_deleted(make_bucket) -> None:
    bucket = make_bucket(protected=True)
    bucket.put("k", "v")
    answer = bucket.http.delete(bucket.path)
    assert (answer.status, answer.error) == (409, "bucket is protected")
    assert answer.json["code"] == "failed_precondition"
    assert bucket.get("k").value == b"v"
    assert bucket.info()["protected"] is True


# --- the prefix in NATS


def test_a_prefix_sets_buckets_apart(nats: NatsServer, http: Http, bucket_name: str) -> None:
    with running_gateway(nats.url, bucket_prefix="APP_") as prefixed:
        own, other = Bucket(prefixed, bucket_name), Bucket(http, f"APP_{bucket_name}")
        created = prefixed.post(BUCKETS, {"name": bucket_name}).json
        assert created["name"] == bucket_name
        own.put("k", "v")
        assert listed(prefixed) == [bucket_name]
        assert f"APP_{bucket_name}" in listed(http)
        assert bucket_name not in listed(http)
        assert other.get("k").value == b"v"
        assert prefixed.get(f"{BUCKETS}/APP_{bucket_name}").status == 404
        assert prefixed.delete(own.path).status == 204
        assert prefixed.get(BUCKETS).json["count"] == 0
        assert other.get("k").error == "bucket not found"


async def test_a_watch_of_a_prefixed_bucket_names_bucket_and_keys_without_the_prefix(
    nats: NatsServer, bucket_name: str
) -> None:
    with running_gateway(nats.url, bucket_prefix="APP_") as prefixed:
        assert prefixed.post(BUCKETS, {"name": bucket_name}).status == 201
        bucket = Bucket(prefixed, bucket_name)
        async with watching(prefixed, bucket_name) as watcher:
            await asyncio.to_thread(bucket.put, "user:1", "v")
            frame = await watcher.next()
        assert (frame["bucket"], frame["key"]) == (bucket_name, "user:1")
        prefixed.delete(bucket.path)


# --- expiry markers


@pytest.fixture
def can_mark(version: tuple[int, int]) -> bool:
    """Whether this nats-server has expiry markers."""
    return version >= (2, 11)


def test_a_bucket_with_a_ttl_marks_expiry_where_the_server_can(make_bucket, can_mark) -> None:
    assert make_bucket(ttl_seconds=60).info()["expiry_markers"] is can_mark


def test_expiry_markers_can_be_declined(make_bucket) -> None:
    bucket = make_bucket(ttl_seconds=60, expiry_markers=False)
    assert bucket.info()["expiry_markers"] is False


def test_expiry_markers_that_are_asked_for_are_there_or_refused(
    http: Http, can_mark: bool, new_name: str
) -> None:
    answer = http.post(BUCKETS, {"name": new_name, "ttl_seconds": 60, "expiry_markers": True})
    if can_mark:
        assert (answer.status, answer.json["expiry_markers"]) == (201, True)
    else:
        assert (answer.status, answer.json["code"]) == (409, "failed_precondition")
        assert "2.11" in answer.error


@pytest.mark.parametrize(
    ("settings", "seconds"),
    [
        ({}, 3600),
        ({"ttl_seconds": 600}, 600),
        ({"ttl_seconds": 86400}, 86400),
        ({"history": 5}, 30),
        ({"history": 5, "ttl_seconds": 86400}, 30),
        ({"history": 5, "ttl_seconds": 10}, 10),
        ({"expiry_markers": False}, None),
    ],
    ids=str,
)
def test_a_bucket_says_how_long_its_markers_stay(
    make_bucket, can_mark: bool, settings: dict[str, object], seconds: int | None
) -> None:
    info = make_bucket(**settings).info()
    assert info.get("marker_ttl_seconds") == (seconds if can_mark else None)
    assert info["expiry_markers"] is (can_mark and seconds is not None)


@pytest.mark.parametrize("field", ["expiry_markers", "key_ttl", "batches", "protected"])
def test_a_bucket_always_says_what_it_can_and_cannot(http: Http, make_bucket, field: str) -> None:
    off = {"expiry_markers": False, "key_ttl": False, "batches": False, "protected": False}
    bucket = make_bucket(**off)
    assert bucket.info()[field] is False
    listed = {info["name"]: info for info in http.get(BUCKETS).json["buckets"]}
    assert listed[bucket.name][field] is False
    schema = http.get("/api/v1/openapi.json").json["components"]["schemas"]["BucketOut"]
    assert schema["properties"][field]["type"] == "boolean"
    assert field in schema["required"]


@pytest.mark.parametrize(
    ("setting", "since"),
    [("expiry_markers", "2.11"), ("key_ttl", "2.11"), ("batches", "2.12")],
)
def test_what_is_asked_for_where_the_server_cannot_is_409_and_names_the_version(
    http: Http, new_name: str, version: tuple[int, int], setting: str, since: str
) -> None:
    answer = http.post(BUCKETS, {"name": new_name, setting: True})
    if version >= tuple(map(int, since.split("."))):
        assert (answer.status, answer.json[setting]) == (201, True)
    else:
        assert (answer.status, answer.json["code"]) == (409, "failed_precondition")
        assert f"nats-server {since} or newer" in answer.error


@pytest.mark.parametrize(("age", "shown"), [(1.5, 2), (0.1, 1), (2.000000001, 3), (60, 60)])
async def test_a_ttl_of_a_native_bucket_is_shown_in_whole_seconds_rounded_up(
    http: Http, native: Native, bucket_name: str, age: float, shown: int
) -> None:
    """The published Go client reads no other, and with one such bucket no list at all."""
    await native.make_bucket(bucket_name, max_age=round(age * SECOND))
    answer = http.get(f"{BUCKETS}/{bucket_name}")
    assert answer.json["ttl_seconds"] == shown
    assert f'"ttl_seconds":{shown},'.encode() in answer.body
    assert f'"ttl_seconds":{shown},'.encode() in http.get(BUCKETS).body
    schema = http.get("/api/v1/openapi.json").json["components"]["schemas"]["BucketOut"]
    assert schema["properties"]["ttl_seconds"]["type"] == "integer"


def test_a_key_that_expired_can_be_created_again_at_once(make_bucket) -> None:
    bucket = make_bucket(ttl_seconds=1)
    assert bucket.put("k", "v", If_None_Match="*").status == 200
    until(lambda: bucket.get("k").status == 404, "the key expires")
    assert bucket.keys() == []
    assert bucket.put("k", "w", If_None_Match="*").status == 200
    assert bucket.get("k").value == b"w"

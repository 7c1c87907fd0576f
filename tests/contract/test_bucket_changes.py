"""PUT and PATCH of a bucket: what is wanted is so afterwards, or nothing has changed."""

import asyncio
import json
from typing import Any

import pytest

from tests.support.http import BUCKETS, Answer, Bucket, Http
from tests.support.native import Native
from tests.support.waiting import until


def put(http: Http, name: str, query: str = "", **settings: Any) -> Answer:
    return http.put(f"{BUCKETS}/{name}{query}", json.dumps(settings))


def patch(bucket: Bucket, query: str = "", **settings: Any) -> Answer:
    return bucket.http.request("PATCH", bucket.path + query, json.dumps(settings))


async def config_of(native: Native, bucket: Bucket) -> dict[str, Any]:
    """The configuration of a bucket's stream as any other NATS client sees it."""
    config: dict[str, Any] = (await native.api(f"STREAM.INFO.KV_{bucket.name}"))["config"]
    return config


@pytest.fixture
def new_name(http: Http, bucket_name: str):
    yield bucket_name
    http.delete(f"{BUCKETS}/{bucket_name}")


# --- make it so


def test_a_put_creates_a_bucket_that_is_not_there(http: Http, new_name: str) -> None:
    answer = put(http, new_name, history=3, metadata={"team": "web", "gone": None})
    assert answer.status == 201
    assert answer.json.pop("changed") == ["history", "metadata"]
    assert answer.json["created"] is True
    info = http.get(f"{BUCKETS}/{new_name}").json
    assert (info["history"], info["metadata"]) == (3, {"team": "web"})
    assert answer.json.items() >= info.items()


def test_a_put_that_finds_what_it_wants_changes_nothing(make_bucket, http: Http) -> None:
    bucket = make_bucket(history=3, ttl_seconds=60, metadata={"team": "web"})
    answer = put(http, bucket.name, history=3, ttl_seconds=60, metadata={"team": "web"})
    assert (answer.status, answer.json) == (200, {**bucket.info(), "changed": []})


async def test_nothing_is_sent_to_nats_where_there_is_nothing_to_do(
    make_bucket, http: Http, native: Native
) -> None:
    bucket = make_bucket(history=3)
    sent: list[str] = []

    async def record(message: Any) -> None:
        sent.append(message.subject)

    await native.client.subscribe(f"$JS.API.STREAM.*.KV_{bucket.name}", cb=record)
    await native.settled()
    for change in (put, lambda _http, _name, **wanted: patch(bucket, **wanted)):
        answer = await asyncio.to_thread(change, http, bucket.name, history=3)
        assert answer.json["changed"] == []
    await native.settled()
    assert set(sent) == {f"$JS.API.STREAM.INFO.KV_{bucket.name}"}


def test_what_is_not_named_stays_as_it_is(make_bucket, http: Http) -> None:
    bucket = make_bucket(history=3, ttl_seconds=60, description="d", max_bytes=10**6)
    before = bucket.info()
    answer = put(http, bucket.name, description="e", ttl_seconds=None)
    assert answer.status == 200
    assert answer.json["changed"] == ["description"]
    assert bucket.info() == before | {"description": "e"}


@pytest.mark.parametrize("header", [{"If_Match": "1"}, {"If_None_Match": "*"}, {"JetKV_Dry": "1"}])
@pytest.mark.parametrize("method", ["PUT", "PATCH"])
def test_a_change_with_a_condition_is_400_and_changes_nothing(
    make_bucket, method: str, header: dict[str, str]
) -> None:
    bucket = make_bucket(history=3)
    answer = bucket.http.request(method, bucket.path, '{"history":5}', **header)
    assert answer.status == 400
    assert bucket.info()["history"] == 3


def test_a_patch_of_a_bucket_that_is_not_there_is_404(http: Http, bucket_name: str) -> None:
    for query in ("", "?dry_run=true"):
        answer = patch(Bucket(http, bucket_name), query, history=3)
        assert (answer.status, answer.error) == (404, "bucket not found")
    assert http.get(f"{BUCKETS}/{bucket_name}").status == 404


CHANGES: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({"description": "a"}, {"description": "b"}),
    ({"description": "a"}, {"description": ""}),
    ({"ttl_seconds": 60}, {"ttl_seconds": 3600}),
    ({"ttl_seconds": 60}, {"ttl_seconds": 0}),
    ({"ttl_seconds": 3600}, {"ttl_seconds": 60}),
    ({}, {"ttl_seconds": 5}),
    ({"history": 1}, {"history": 64}),
    ({"history": 5}, {"history": 1}),
    ({}, {"max_value_size": 10}),
    ({"max_value_size": 10}, {"max_value_size": 20}),
    ({"max_value_size": 10}, {"max_value_size": 0}),
    ({}, {"max_bytes": 10**6}),
    ({"max_bytes": 10**6}, {"max_bytes": 0}),
    ({}, {"compression": "s2"}),
    ({"compression": "s2"}, {"compression": "none"}),
    ({}, {"placement": {"tags": ["ssd", "eu"]}}),
    ({"placement": {"tags": ["ssd"]}}, {"placement": {}}),
    ({}, {"metadata": {"a": "1"}}),
    ({"metadata": {"a": "1", "b": "2"}}, {"metadata": {"a": "3"}}),
    ({}, {"republish": {"destination": "copies.{{wildcard(1)}}.>", "source": "$KV.*.>"}}),
    ({}, {"republish": {"destination": "copies.>", "headers_only": True}}),
    ({"republish": {"destination": "copies.>"}}, {"republish": {}}),
    ({"protected": True}, {"protected": False}),
    ({}, {"protected": True}),
]


@pytest.mark.parametrize(("made", "wanted"), CHANGES, ids=str)
def test_a_change_is_made_and_shown(
    make_bucket, made: dict[str, Any], wanted: dict[str, Any]
) -> None:
    bucket = make_bucket(**made)
    before = bucket.info()
    answer = patch(bucket, **wanted)
    assert answer.status == 200, answer
    assert answer.json.pop("changed") == list(wanted)
    info = bucket.info()
    assert answer.json == info | {"changed": list(wanted)}
    ((name, value),) = wanted.items()
    if name == "metadata":
        value = made.get("metadata", {}) | value
    if name == "republish" and value:
        value = {"source": ">"} | value
    assert info.get(name, type(value)()) == value
    others = {field for field in before | info if before.get(field) != info.get(field)}
    assert others - {name} <= {"warnings"}
    assert patch(bucket, **wanted).json["changed"] == []


@pytest.mark.parametrize(
    ("name", "since"),
    [("expiry_markers", (2, 11)), ("key_ttl", (2, 11)), ("batches", (2, 12))],
)
def test_what_the_server_can_is_switched_on_and_else_409_names_the_version(
    make_bucket, version: tuple[int, int], name: str, since: tuple[int, int]
) -> None:
    bucket = make_bucket(expiry_markers=False, key_ttl=False, batches=False)
    answer = patch(bucket, **{name: True})
    if version < since:
        assert (answer.status, answer.json["code"]) == (409, "failed_precondition")
        assert f"nats-server {since[0]}.{since[1]} or newer" in answer.error
        assert bucket.info()[name] is False
        return
    assert answer.status == 200
    assert bucket.info()[name] is True
    switched = {"expiry_markers": ["expiry_markers", "key_ttl"]}.get(name, [name])
    assert answer.json["changed"] == switched


def test_markers_and_batches_are_switched_off(make_bucket, version: tuple[int, int]) -> None:
    bucket = make_bucket()
    patch(bucket, expiry_markers=False, batches=False)
    info = bucket.info()
    assert (info["expiry_markers"], info["batches"]) == (False, False)
    assert "marker_ttl_seconds" not in info
    assert info["key_ttl"] is (version >= (2, 11))


def test_null_takes_a_key_out_of_the_metadata(make_bucket) -> None:
    bucket = make_bucket(metadata={"a": "1", "b": "2"})
    answer = patch(bucket, metadata={"a": None, "b": "3", "c": "4", "nowhere": None})
    assert answer.json["changed"] == ["metadata"]
    assert bucket.info()["metadata"] == {"b": "3", "c": "4"}
    patch(bucket, metadata={"b": None, "c": None})
    assert "metadata" not in bucket.info()


def test_a_protected_bucket_can_be_deleted_once_it_is_not(make_bucket) -> None:
    bucket = make_bucket(protected=True)
    assert bucket.http.delete(bucket.path).error == "bucket is protected"
    assert patch(bucket, protected=False).json["changed"] == ["protected"]
    assert bucket.http.delete(bucket.path).status == 204


def test_a_change_counts_for_the_next_write(make_bucket) -> None:
    bucket = make_bucket(max_value_size=10)
    assert bucket.put("k", "x" * 11).status == 413
    patch(bucket, max_value_size=11)
    assert bucket.put("k", "x" * 11).status == 200


# --- what would lose data


def test_less_history_is_refused_where_a_key_has_more(make_bucket) -> None:
    bucket = make_bucket(history=5)
    for value in ("a", "b", "c"):
        bucket.put("k", value)
    answer = patch(bucket, history=2, description="d")
    assert (answer.status, answer.error) == (409, "would lose data")
    assert answer.json["code"] == "failed_precondition"
    assert answer.json["details"] == {"history": {"current": 5, "wanted": 2}}
    assert "description" not in bucket.info()
    assert patch(bucket, history=3).status == 200
    assert len(bucket.history("k").json["entries"]) == 3
    assert patch(bucket, "?allow_data_loss=true", history=2).json["changed"] == ["history"]
    assert len(bucket.history("k").json["entries"]) == 2


def test_less_history_is_looked_at_key_by_key(make_bucket) -> None:
    bucket = make_bucket(history=5)
    for number in range(20):
        bucket.put(f"k{number}", "v")
        bucket.put(f"k{number}", "w")
    assert patch(bucket, "?dry_run=true", history=2).status == 200
    bucket.put("k7", "x")
    assert patch(bucket, "?dry_run=true", history=2).error == "would lose data"


def test_a_shorter_ttl_is_refused_where_something_is_older(make_bucket) -> None:
    bucket = make_bucket()
    assert patch(bucket, "?dry_run=true", ttl_seconds=1).status == 200
    bucket.put("k", "v")
    assert patch(bucket, "?dry_run=true", ttl_seconds=3600).status == 200
    until(
        lambda: (
            patch(bucket, "?dry_run=true", ttl_seconds=1).error == "would lose data"
            if patch(bucket, "?dry_run=true", ttl_seconds=1).status == 409
            else False
        ),
        "the value is older than a second",
    )
    answer = patch(bucket, ttl_seconds=1)
    assert answer.json["details"] == {"ttl_seconds": {"current": 0, "wanted": 1}}
    assert bucket.get("k").value == b"v"
    assert patch(bucket, "?allow_data_loss=true", ttl_seconds=1).status == 200
    until(lambda: bucket.get("k").status == 404, "the value has expired")


async def test_a_value_that_lives_for_ever_is_not_lost_by_a_shorter_ttl(
    make_bucket, native: Native, version: tuple[int, int]
) -> None:
    if version < (2, 11):
        pytest.skip("TTLs of single values came with 2.11")
    bucket = make_bucket()
    await native.publish(f"$KV.{bucket.name}.schema", b"v", Nats_TTL="never")
    await asyncio.sleep(1.2)  # it is older than the TTL that is asked for
    answer = await asyncio.to_thread(patch, bucket, ttl_seconds=1)
    assert answer.status == 200, answer
    await asyncio.sleep(1.5)
    assert (await asyncio.to_thread(bucket.get, "schema")).value == b"v"


async def test_a_smaller_bucket_is_refused_where_the_oldest_would_go(
    http: Http, native: Native, bucket_name: str
) -> None:
    await native.make_bucket(bucket_name, discard="old")
    bucket = Bucket(http, bucket_name)
    for number in range(10):
        await asyncio.to_thread(bucket.put, f"k{number}", "v" * 100)
    answer = await asyncio.to_thread(patch, bucket, max_bytes=300)
    assert (answer.status, answer.error) == (409, "would lose data")
    assert answer.json["details"] == {"max_bytes": {"current": 0, "wanted": 300}}
    assert (await native.state(bucket_name))["messages"] == 10


def test_a_smaller_bucket_that_refuses_what_is_too_much_loses_nothing(make_bucket) -> None:
    bucket = make_bucket()
    for number in range(10):
        bucket.put(f"k{number}", "v" * 100)
    assert patch(bucket, max_bytes=300).status == 200
    assert len(bucket.keys()) == 10


# --- what cannot be changed


def test_what_nats_cannot_change_is_409_and_nothing_is_changed(make_bucket) -> None:
    bucket = make_bucket()
    answer = patch(bucket, "?allow_data_loss=true", storage="memory", history=5)
    assert (answer.status, answer.error) == (409, "cannot be changed")
    assert answer.json["code"] == "failed_precondition"
    assert answer.json["details"] == {"storage": {"current": "file", "wanted": "memory"}}
    assert bucket.info()["history"] == 1


def test_ttls_of_single_values_cannot_be_taken_away(make_bucket, version: tuple[int, int]) -> None:
    if version < (2, 11):
        pytest.skip("TTLs of single values came with 2.11")
    bucket = make_bucket()
    answer = patch(bucket, key_ttl=False, expiry_markers=False)
    assert (answer.status, answer.error) == (409, "cannot be changed")
    assert answer.json["details"] == {"key_ttl": {"current": True, "wanted": False}}
    assert bucket.info()["expiry_markers"] is True


def test_more_replicas_than_one_need_a_cluster(make_bucket, http: Http, new_name: str) -> None:
    bucket = make_bucket()
    for query in ("", "?dry_run=true"):
        for answer in (patch(bucket, query, replicas=3), put(http, new_name, query, replicas=3)):
            assert (answer.status, answer.json["code"]) == (400, "invalid_argument")
    assert bucket.info()["replicas"] == 1


# --- dry run


def test_a_dry_run_answers_as_the_change_would_and_changes_nothing(make_bucket) -> None:
    bucket = make_bucket()
    before = bucket.info()
    planned = patch(bucket, "?dry_run=true", history=5, metadata={"a": "b"}, ttl_seconds=60)
    assert planned.status == 200
    assert bucket.info() == before
    assert patch(bucket, history=5, metadata={"a": "b"}, ttl_seconds=60).json == planned.json


def test_a_dry_run_of_a_creation_is_200_and_creates_nothing(http: Http, new_name: str) -> None:
    settings = {"history": 5, "max_value_size": 10, "placement": {"tags": ["a"]}}
    planned = put(http, new_name, "?dry_run=true", **settings)
    assert planned.status == 200
    assert http.get(f"{BUCKETS}/{new_name}").status == 404
    made = put(http, new_name, **settings)
    assert made.status == 201
    assert planned.json.pop("created_at").endswith("Z")
    del made.json["created_at"]
    assert {k: v for k, v in planned.json.items() if k != "created_at"} == {
        k: v for k, v in made.json.items() if k != "created_at"
    }


def test_a_dry_run_is_refused_as_the_change_would_be(make_bucket) -> None:
    bucket = make_bucket(history=2)
    bucket.put("k", "v")
    bucket.put("k", "w")
    for wanted in ({"storage": "memory"}, {"history": 1}, {"metadata": {"jetkv.x": "y"}}):
        planned, made = patch(bucket, "?dry_run=true", **wanted), patch(bucket, **wanted)
        assert planned.status == made.status >= 400
        assert planned.error == made.error


# --- republish


FORBIDDEN = [
    "$KV.other.>",
    "$JS.API.>",
    "$SYS.x",
    "_INBOX.>",
    "_x",
    "*",
    ">",
    "*.copies",
    "{{wildcard(1)}}.x",
    "{{partition(3,1)}}",
]


@pytest.mark.parametrize("destination", FORBIDDEN)
def test_nobody_republishes_into_what_belongs_to_nats(
    make_bucket, http: Http, new_name: str, destination: str
) -> None:
    bucket = make_bucket()
    wanted = {"republish": {"destination": destination}}
    for query in ("", "?dry_run=true"):
        for answer in (
            patch(bucket, query, **wanted),
            put(http, new_name, query, **wanted),
            http.post(BUCKETS, {"name": new_name, **wanted}),
        ):
            assert (answer.status, answer.json["code"]) == (403, "permission_denied")
            assert answer.error.startswith("permission denied: republish of bucket ")
    assert "republish" not in bucket.info()
    assert http.get(f"{BUCKETS}/{new_name}").status == 404


@pytest.mark.parametrize(
    "destination", ["orders.eu.x", "orders.>", "orders.*.{{wildcard(1)}}", "orders.{{wildcard(1)}}"]
)
async def test_nobody_republishes_into_a_stream(
    make_bucket, native: Native, bucket_name: str, destination: str
) -> None:
    await native.make_stream({"name": f"S-{bucket_name}", "subjects": ["orders.*.x"]})
    bucket = await asyncio.to_thread(make_bucket)
    wanted = {"republish": {"destination": destination, "source": "$KV.*.>"}}
    answer = await asyncio.to_thread(patch, bucket, **wanted)
    assert answer.status == 403
    assert f"the stream S-{bucket_name} stores it" in answer.error
    other = {"republish": {"destination": f"other.{bucket_name}.>"}}
    assert (await asyncio.to_thread(patch, bucket, **other)).status == 200


async def test_what_is_stored_is_published_again(make_bucket, native: Native) -> None:
    bucket = await asyncio.to_thread(make_bucket)
    destination = f"copies.{bucket.name}.>"
    wanted = {"republish": {"destination": destination, "source": f"$KV.{bucket.name}.>"}}
    assert (await asyncio.to_thread(patch, bucket, **wanted)).status == 200
    copies = await native.client.subscribe(f"copies.{bucket.name}.>")
    await native.settled()
    await asyncio.to_thread(bucket.put, "user.1", "v")
    assert (await copies.next_msg(timeout=5)).data == b"v"


# --- bad input

BAD: list[tuple[Any, str]] = [
    ({"ttl": 60}, "unknown field 'ttl'"),
    ({"values": 0}, "unknown field 'values'"),
    ({"marker_ttl_seconds": 5}, "unknown field 'marker_ttl_seconds'"),
    ({"changed": []}, "unknown field 'changed'"),
    ({"name": "another"}, "invalid name: it is not the one in the URL"),
    ({"name": 7}, "invalid name: Input should be a valid string"),
    ({"name": "a.b"}, "invalid bucket name"),
    ({"history": 0}, "invalid history: "),
    ({"history": 65}, "invalid history: "),
    ({"history": True}, "invalid history: "),
    ({"history": 1.5}, "invalid history: "),
    ({"ttl_seconds": -1}, "invalid ttl_seconds: "),
    ({"ttl_seconds": 2**63}, "invalid ttl_seconds: "),
    ({"ttl_seconds": "60"}, "invalid ttl_seconds: "),
    ({"replicas": 0}, "invalid replicas: "),
    ({"replicas": 6}, "invalid replicas: "),
    ({"replicas": True}, "invalid replicas: "),
    ({"storage": "disk"}, "invalid storage: "),
    ({"compression": "zip"}, "invalid compression: "),
    ({"compression": True}, "invalid compression: "),
    ({"expiry_markers": 1}, "invalid expiry_markers: "),
    ({"expiry_markers": "true"}, "invalid expiry_markers: "),
    ({"key_ttl": 0}, "invalid key_ttl: "),
    ({"batches": "yes"}, "invalid batches: "),
    ({"protected": 1}, "invalid protected: "),
    ({"key_ttl": False, "expiry_markers": True}, "invalid key_ttl: "),
    ({"placement": "east"}, "invalid placement: "),
    ({"placement": {"region": "east"}}, "unknown field 'placement.region'"),
    ({"placement": {"cluster": 7}}, "invalid placement.cluster: "),
    ({"placement": {"cluster": "a b"}}, "invalid placement: "),
    ({"placement": {"cluster": "x" * 256}}, "invalid placement: "),
    ({"placement": {"tags": "ssd"}}, "invalid placement.tags: "),
    ({"placement": {"tags": [7]}}, "invalid placement.tags.0: "),
    ({"placement": {"tags": [""]}}, "invalid placement: "),
    ({"placement": {"tags": ["a\n"]}}, "invalid placement: "),
    ({"placement": {"tags": ["t"] * 33}}, "invalid placement: "),
    ({"metadata": []}, "invalid metadata: "),
    ({"metadata": {"a": 1}}, "invalid metadata.a: "),
    ({"metadata": {"a": True}}, "invalid metadata.a: "),
    ({"metadata": {"a": {"b": "c"}}}, "invalid metadata.a: "),
    ({"metadata": {"_nats.ver": "9"}}, "invalid metadata: '_nats.ver' belongs to the system"),
    ({"metadata": {"_nats.req.level": None}}, "invalid metadata: '_nats.req.level' belongs"),
    ({"metadata": {"jetkv.protected": "false"}}, "invalid metadata: 'jetkv.protected' belongs"),
    ({"metadata": {"jetkv.": None}}, "invalid metadata: 'jetkv.' belongs"),
    ({"republish": "copies.>"}, "invalid republish: "),
    ({"republish": {"source": "a.>"}}, "invalid republish: it has no destination"),
    ({"republish": {"headers_only": True}}, "invalid republish: it has no destination"),
    ({"republish": {"destination": 7}}, "invalid republish.destination: "),
    ({"republish": {"destination": "a..b"}}, "invalid republish: the destination is no NATS"),
    ({"republish": {"destination": "a.>.b"}}, "invalid republish: the destination is no NATS"),
    ({"republish": {"destination": "a b"}}, "invalid republish: the destination is no NATS"),
    ({"republish": {"destination": "x" * 256}}, "invalid republish: the destination is no NATS"),
    ({"republish": {"destination": "a", "source": ""}}, "invalid republish: the source is no NATS"),
    ({"republish": {"destination": "a", "headers_only": 1}}, "invalid republish.headers_only: "),
    ({"republish": {"destination": "a", "to": "b"}}, "unknown field 'republish.to'"),
    ([], "invalid body: "),
    ("x", "invalid body: "),
    (None, "invalid body: "),
]


@pytest.mark.parametrize(("body", "error"), BAD, ids=str)
def test_a_bad_change_is_400_naming_field_and_rule_and_changes_nothing(
    bucket: Bucket, http: Http, new_name: str, body: Any, error: str
) -> None:
    before = bucket.info()
    sent = json.dumps(body)
    for query in ("", "?dry_run=true", "?allow_data_loss=true"):
        for answer in (
            http.request("PATCH", bucket.path + query, sent),
            http.put(bucket.path + query, sent),
            http.put(f"{BUCKETS}/{new_name}{query}", sent),
        ):
            assert (answer.status, answer.json["code"]) == (400, "invalid_argument"), answer
            assert answer.error.startswith(error)
    assert bucket.info() == before
    assert http.get(f"{BUCKETS}/{new_name}").status == 404


@pytest.mark.parametrize("body", [b"", b"{", b'{"history":NaN}', b'{"description":"\xff"}'])
def test_a_change_that_is_no_json_is_400(bucket: Bucket, body: bytes) -> None:
    answer = bucket.http.request("PATCH", bucket.path, body)
    assert (answer.status, answer.json["code"]) == (400, "invalid_argument")


@pytest.mark.parametrize(
    "query", ["?dry_run=1", "?dry_run", "?dry_run=", "?allow_data_loss=yes", "?force=true"]
)
def test_a_flag_is_true_or_false(bucket: Bucket, query: str) -> None:
    assert patch(bucket, query, description="d").status == 400
    assert "description" not in bucket.info()


def test_a_change_as_long_as_the_limit_is_413(bucket: Bucket) -> None:
    answer = patch(bucket, metadata={"a": "x" * 65536})
    assert (answer.status, answer.json["details"]) == (413, {"limit_bytes": 65536})


@pytest.mark.parametrize("name", ["a.b", "x" * 201, "%20", "a%2Fb"])
def test_a_change_of_a_bucket_with_a_bad_name_is_400(http: Http, name: str) -> None:
    answer = http.put(f"{BUCKETS}/{name}", "{}")
    assert (answer.status, answer.error) == (400, "invalid bucket name")


def test_the_name_may_be_said_again(http: Http, new_name: str) -> None:
    body = json.dumps({"name": new_name, "history": 1})
    assert http.put(f"{BUCKETS}/{new_name}", body).status == 201
    assert http.put(f"{BUCKETS}/{new_name}", body).json["changed"] == []

"""Settings of buckets beside other NATS clients: neither side disturbs the other's."""

import asyncio
import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.support.http import BUCKETS, Answer, Bucket, Http
from tests.support.native import SECOND, Native
from tests.support.waiting import eventually
from tests.support.watching import watching


def patch(bucket: Bucket, query: str = "", **settings: Any) -> Answer:
    return bucket.http.request("PATCH", bucket.path + query, json.dumps(settings))


def go_config(bucket: str, **differing: Any) -> dict[str, Any]:
    """What nats.go's `CreateKeyValue` sends, with every field that its `StreamConfig` marshals."""
    age = differing.get("max_age", 0)
    return {
        "name": f"KV_{bucket}",
        "subjects": [f"$KV.{bucket}.>"],
        "retention": "limits",
        "max_consumers": -1,
        "max_msgs": -1,
        "max_bytes": -1,
        "discard": "new",
        "max_age": 0,
        "max_msgs_per_subject": 1,
        "max_msg_size": -1,
        "storage": "file",
        "num_replicas": 1,
        "duplicate_window": min(age or 120 * SECOND, 120 * SECOND),
        "compression": "none",
        "sealed": False,
        "deny_delete": True,
        "allow_rollup_hdrs": True,
        "allow_direct": True,
        "mirror_direct": False,
        "consumer_limits": {},
        **differing,
    }


PLAIN = {"expiry_markers": False, "key_ttl": False, "batches": False}
SAME: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({}, {}),
    ({"description": "d"}, {"description": "d"}),
    ({"history": 5}, {"max_msgs_per_subject": 5}),
    ({"ttl_seconds": 60}, {"max_age": 60 * SECOND}),
    ({"ttl_seconds": 3600}, {"max_age": 3600 * SECOND}),
    ({"max_bytes": 10**6}, {"max_bytes": 10**6}),
    ({"storage": "memory"}, {"storage": "memory"}),
    ({"compression": "s2"}, {"compression": "s2"}),
    ({"placement": {"tags": ["a"]}}, {"placement": {"cluster": "", "tags": ["a"]}}),
    ({"metadata": {"team": "web"}}, {"metadata": {"team": "web"}}),
    ({"republish": {"destination": "c.>"}}, {"republish": {"src": ">", "dest": "c.>"}}),
]


@pytest.mark.parametrize(("ours", "theirs"), SAME, ids=str)
async def test_a_go_client_that_creates_the_bucket_at_each_start_finds_it(
    make_bucket, native: Native, ours: dict[str, Any], theirs: dict[str, Any]
) -> None:
    """The server compares the whole configuration, metadata included."""
    bucket = await asyncio.to_thread(lambda: make_bucket(**PLAIN, **ours))
    reply = await native.api(f"STREAM.CREATE.KV_{bucket.name}", go_config(bucket.name, **theirs))
    assert "error" not in reply, reply


async def test_a_go_client_finds_a_bucket_with_markers(
    make_bucket, native: Native, version: tuple[int, int]
) -> None:
    if version < (2, 11):
        pytest.skip("markers came with 2.11")
    bucket = await asyncio.to_thread(lambda: make_bucket(batches=False))
    seconds = (await asyncio.to_thread(bucket.info))["marker_ttl_seconds"]
    markers = {"allow_msg_ttl": True, "subject_delete_marker_ttl": seconds * SECOND}
    reply = await native.api(f"STREAM.CREATE.KV_{bucket.name}", go_config(bucket.name, **markers))
    assert "error" not in reply, reply


def test_of_many_creations_at_once_one_succeeds(http: Http, bucket_name: str) -> None:
    body = {"name": bucket_name}
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: http.post(BUCKETS, body), range(16)))
    assert sorted(answer.status for answer in answers) == [201] + [409] * 15
    http.delete(f"{BUCKETS}/{bucket_name}")


def test_of_many_puts_at_once_one_creates_and_all_agree(http: Http, bucket_name: str) -> None:
    body = json.dumps({"history": 5})
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: http.put(f"{BUCKETS}/{bucket_name}", body), range(16)))
    assert sorted(answer.status for answer in answers) == [200] * 15 + [201]
    assert {answer.json["history"] for answer in answers} == {5}
    http.delete(f"{BUCKETS}/{bucket_name}")


# --- what others have set


async def test_a_dry_run_in_a_bucket_with_sources_shows_the_warnings_of_the_change(
    http: Http, native: Native, bucket_name: str
) -> None:
    await native.make_stream({"name": f"O-{bucket_name}", "subjects": [f"o.{bucket_name}.>"]})
    await native.make_bucket(bucket_name, sources=[{"name": f"O-{bucket_name}"}])
    bucket = Bucket(http, bucket_name)
    planned = http.request("PATCH", f"{bucket.path}?dry_run=true", '{"description":"d"}')
    assert patch(bucket, description="d").json == planned.json


async def test_what_other_tools_have_set_survives_every_change_of_ours(
    http: Http, native: Native, bucket_name: str
) -> None:
    await native.make_stream({"name": f"O-{bucket_name}", "subjects": [f"o.{bucket_name}.>"]})
    await native.make_bucket(
        bucket_name,
        max_msgs=1000,
        max_consumers=50,
        duplicate_window=30 * SECOND,
        placement={"cluster": "", "tags": ["a"]},
        metadata={"owner": "nack", "jetkv.note": "x"},
        consumer_limits={"inactive_threshold": 60 * SECOND, "max_ack_pending": 10},
        subject_transform={"src": f"$KV.{bucket_name}.>", "dest": f"$KV.{bucket_name}.>"},
        republish={"src": ">", "dest": f"copies.{bucket_name}.>", "headers_only": True},
        sources=[
            {
                "name": f"O-{bucket_name}",
                "subject_transforms": [
                    {"src": f"o.{bucket_name}.>", "dest": f"$KV.{bucket_name}.>"}
                ],
            }
        ],
        discard_new_per_subject=True,
        deny_purge=False,
        max_msg_size=5000,
    )
    before = (await native.api(f"STREAM.INFO.KV_{bucket_name}"))["config"]
    bucket = Bucket(http, bucket_name)
    changes: list[dict[str, Any]] = [
        {"description": "d"},
        {"history": 3},
        {"max_bytes": 10**6},
        {"metadata": {"team": "web"}},
        {"protected": True},
        {"compression": "s2"},
    ]
    for change in changes:
        answer = await asyncio.to_thread(lambda change=change: patch(bucket, **change))
        assert answer.status == 200, answer
    after = (await native.api(f"STREAM.INFO.KV_{bucket_name}"))["config"]
    # The server writes the API level that the config needs with each change.
    for config in (after, before):
        config["metadata"].pop("_nats.req.level", None)
    ours = {
        "description": "d",
        "max_msgs_per_subject": 3,
        "max_bytes": 10**6,
        "compression": "s2",
        "metadata": before["metadata"] | {"team": "web", "jetkv.protected": "true"},
    }
    assert after == before | ours
    await asyncio.to_thread(lambda: patch(bucket, protected=False))


async def test_metadata_of_the_system_are_hidden_and_kept(
    make_bucket, native: Native, version: tuple[int, int]
) -> None:
    bucket = await asyncio.to_thread(lambda: make_bucket(max_value_size=10, metadata={"a": "b"}))
    await asyncio.to_thread(lambda: patch(bucket, metadata={"a": None, "c": "d"}))
    assert (await asyncio.to_thread(bucket.info))["metadata"] == {"c": "d"}
    metadata = (await native.api(f"STREAM.INFO.KV_{bucket.name}"))["config"]["metadata"]
    assert metadata["jetkv.max_value_size"] == "10"
    assert ("_nats.ver" in metadata) is (version >= (2, 11))
    assert "jetkv.creation" not in metadata


async def test_a_window_for_idempotency_keys_follows_the_ttl_and_else_stays(
    make_bucket, native: Native
) -> None:
    bucket = await asyncio.to_thread(lambda: make_bucket(ttl_seconds=600))

    async def window(seconds: int) -> float:
        answer = await asyncio.to_thread(lambda: patch(bucket, ttl_seconds=seconds))
        assert answer.status == 200, answer
        config = (await native.api(f"STREAM.INFO.KV_{bucket.name}"))["config"]
        return config["duplicate_window"] / SECOND

    assert [await window(seconds) for seconds in (10, 30, 600, 0)] == [10, 30, 120, 120]


# --- a cure, and what it cannot cure


async def test_a_bucket_of_nats_py_is_cured_of_silent_expiry(
    http: Http, native: Native, bucket_name: str, version: tuple[int, int]
) -> None:
    if version < (2, 11):
        pytest.skip("markers came with 2.11")
    kv = await native.make_kv(bucket_name, history=1)
    bucket = Bucket(http, bucket_name)
    info = await asyncio.to_thread(bucket.info)
    assert [one["code"] for one in info["warnings"]] == ["silent_expiry"]
    assert '{"expiry_markers":true}' in info["warnings"][0]["message"]
    answer = await asyncio.to_thread(lambda: patch(bucket, expiry_markers=True))
    assert answer.json["changed"] == ["expiry_markers"]
    assert "warnings" not in await asyncio.to_thread(bucket.info)
    await kv.create("k", b"v", msg_ttl=1.0)

    async def marked() -> bool:
        last = await native.last(bucket_name, "k")
        return last is not None and last[1].get("Nats-Marker-Reason") == "MaxAge"

    await eventually(marked, "the value expires with a marker")


async def test_what_vanished_before_the_cure_is_still_a_resync(
    http: Http, native: Native, bucket_name: str, version: tuple[int, int]
) -> None:
    if version < (2, 11):
        pytest.skip("TTLs of single values came with 2.11")
    kv = await native.make_kv(bucket_name, history=1)
    seen = await kv.put("seen", b"v")
    await kv.create("k", b"v", msg_ttl=1.0)
    await kv.put("later", b"v")

    async def gone() -> bool:
        return await native.last(bucket_name, "k") is None

    await eventually(gone, "the value has vanished")
    bucket = Bucket(http, bucket_name)
    await asyncio.to_thread(lambda: patch(bucket, expiry_markers=True))
    async with watching(http, bucket_name, f"?resume_after={seen}") as watcher:
        assert (await watcher.next())["code"] == "resync"


async def test_what_vanished_by_a_ttl_that_was_taken_away_is_still_a_resync(
    http: Http, native: Native, bucket_name: str
) -> None:
    await native.make_bucket(bucket_name, max_age=SECOND)
    bucket = Bucket(http, bucket_name)
    seen = (await asyncio.to_thread(bucket.put, "seen", "v")).json["revision"]
    await asyncio.to_thread(bucket.put, "k", "v")

    async def gone() -> bool:
        return (await native.state(bucket_name))["messages"] == 0

    await eventually(gone, "the values have vanished")
    answer = await asyncio.to_thread(lambda: patch(bucket, ttl_seconds=0))
    assert answer.status == 200, answer
    await asyncio.to_thread(bucket.put, "later", "v")
    async with watching(http, bucket_name, f"?resume_after={seen}") as watcher:
        assert (await watcher.next())["code"] == "resync"


# --- in a cluster


def test_replicas_are_changed_in_a_cluster(replicated: Bucket, bucket_name: str) -> None:
    http = replicated.http
    path = f"{BUCKETS}/{bucket_name}"
    assert http.put(path, json.dumps({"replicas": 1})).status == 201
    answer = http.put(path, json.dumps({"replicas": 3, "history": 5}))
    assert (answer.status, answer.json["changed"]) == (200, ["history", "replicas"])
    assert http.get(path).json["replicas"] == 3
    assert http.put(path, json.dumps({"replicas": 3, "history": 5})).json["changed"] == []
    http.delete(path)


def test_a_place_that_no_server_has_is_409_and_changes_nothing(
    replicated: Bucket, bucket_name: str
) -> None:
    http = replicated.http
    path = f"{BUCKETS}/{bucket_name}"
    for place in ({"cluster": "nowhere"}, {"tags": ["nothing"]}):
        answer = http.put(path, json.dumps({"placement": place}))
        assert (answer.status, answer.json["code"]) == (409, "failed_precondition")
        assert "placement" in answer.error
    assert http.get(path).status == 404


async def test_what_replicas_hold_is_asked_before_history_goes(
    replicated: Bucket, bucket_name: str
) -> None:
    http = replicated.http
    bucket = Bucket(http, bucket_name)
    assert http.put(bucket.path, json.dumps({"replicas": 3, "history": 5})).status == 201
    for value in "abc":
        assert bucket.put("k", value).status == 200
    assert patch(bucket, history=2).error == "would lose data"
    assert patch(bucket, history=3).status == 200
    assert len(bucket.history("k").json["entries"]) == 3
    http.delete(bucket.path)

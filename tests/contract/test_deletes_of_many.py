"""Deletes of many keys, and compaction (docs/http-api.md#deletes-of-many)."""

import asyncio
import json

import pytest

from tests.support.http import BUCKETS, Answer, Bucket, Http
from tests.support.listing import NDJSON, fill, lines
from tests.support.native import Native
from tests.support.watching import watching

KEYS = ["a", "a.1", "a.2", "b", "b:1", "é ."]


def sweep(bucket: Bucket, query: str, **headers: str) -> Answer:
    return bucket.http.delete(f"{bucket.path}/keys?{query}", **headers)


def compact(bucket: Bucket, body: str = "{}") -> Answer:
    return bucket.http.request("POST", f"{bucket.path}/compact", body)


@pytest.fixture
def filled(make_bucket) -> Bucket:
    bucket = make_bucket(history=5)
    fill(bucket, *KEYS)
    return bucket


# --- deletes


@pytest.mark.parametrize(
    ("query", "gone"),
    [
        ("filter=%3E", KEYS),
        ("filter=a.*", ["a.1", "a.2"]),
        ("filter=a", ["a"]),
        ("filter=none.*", []),
        ("prefix=a", ["a", "a.1", "a.2"]),
        ("prefix=b:", ["b:1"]),
        ("prefix=%C3%A9", ["é ."]),
    ],
)
@pytest.mark.parametrize("purge", ["", "&purge=true"])
def test_the_keys_that_match_are_deleted(
    filled: Bucket, query: str, gone: list[str], purge: str
) -> None:
    answer = sweep(filled, query + purge)
    count = len(gone)
    assert answer.status == 200
    assert answer.json == {"matched": count, "deleted": count, "revision": len(KEYS) + count}
    assert filled.keys() == [key for key in KEYS if key not in gone]


@pytest.mark.parametrize(("purge", "kind"), [("false", "delete"), ("true", "purge")])
def test_each_key_leaves_a_tombstone(filled: Bucket, purge: str, kind: str) -> None:
    sweep(filled, f"prefix=a&purge={purge}")
    *entries, _ = lines(filled, "include=history&prefix=a")
    tombstones = [one["key"] for one in entries if one["operation"] == kind]
    assert sorted(tombstones) == ["a", "a.1", "a.2"]
    assert len(entries) == (6 if kind == "delete" else 3)


def test_a_dry_run_counts_and_deletes_nothing(filled: Bucket) -> None:
    answer = sweep(filled, "prefix=a&dry_run=true")
    assert answer.json == {"matched": 3, "deleted": 0, "revision": len(KEYS)}
    assert filled.keys() == KEYS


def test_a_key_that_is_deleted_already_does_not_match(filled: Bucket) -> None:
    filled.delete("a.1")
    assert sweep(filled, "prefix=a.").json == {
        "matched": 1,
        "deleted": 1,
        "revision": len(KEYS) + 2,
    }
    assert sweep(filled, "prefix=a.").json["matched"] == 0


def test_many_keys_are_deleted(make_bucket) -> None:
    bucket = make_bucket(storage="memory")
    fill(bucket, *(f"k{number}" for number in range(300)))
    assert sweep(bucket, "filter=k*").json == {"matched": 300, "deleted": 300, "revision": 600}
    assert bucket.keys() == []


def test_progress_comes_as_lines(filled: Bucket) -> None:
    answer = sweep(filled, "prefix=a", Accept=NDJSON)
    assert answer.headers["content-type"] == NDJSON
    *_, end = [json.loads(line) for line in answer.body.splitlines()]
    assert end == {"type": "end", "matched": 3, "deleted": 3, "revision": len(KEYS) + 3}


async def test_watchers_see_each_key_go(filled: Bucket) -> None:
    async with watching(filled.http, filled.name) as watcher:
        await asyncio.to_thread(sweep, filled, "prefix=a.")
        frames = await watcher.take(2)
    assert {(frame["key"], frame["operation"]) for frame in frames} == {
        ("a.1", "delete"),
        ("a.2", "delete"),
    }


@pytest.mark.parametrize("history", [1, 5])
async def test_keys_that_are_written_after_the_call_began_stay(
    native: Native, make_bucket, history: int
) -> None:
    bucket = make_bucket(history=history, storage="memory")
    keys = [f"k{number:04}" for number in range(4000)]
    await native.fill(bucket.name, keys, b"old")
    calling = asyncio.create_task(asyncio.to_thread(sweep, bucket, "filter=%3E"))
    newest: dict[str, int] = {}
    number = 0
    while not calling.done():
        for key in (keys[(number * 7 + 2000) % len(keys)], f"n{number}"):
            newest[key] = (await native.publish(f"$KV.{bucket.name}.{key}", b"new"))["seq"]
        number += 1
    swept = (await calling).json
    *entries, _ = await asyncio.to_thread(lines, bucket, "include=history&values=json")
    began = min(one["revision"] for one in entries if one["operation"] == "delete")
    live = {one["key"]: one for one in entries if one["operation"] != "delete"}
    for one in entries:
        if one["operation"] == "delete" and live.get(one["key"], one)["revision"] <= began:
            live.pop(one["key"], None)
    # What was written after the first delete was certainly written after the call began.
    after = {key: revision for key, revision in newest.items() if revision > began}
    assert after, "nobody wrote meanwhile"
    assert {key: live[key]["revision"] for key in after} == after
    assert {one["value"] for one in live.values()} == {"new"}
    assert swept["deleted"] <= swept["matched"]
    assert swept["deleted"] + len(newest) >= len(keys)


@pytest.mark.parametrize(
    ("query", "error"),
    [
        ("", "query parameter 'filter' or 'prefix' must say which keys to delete"),
        ("filter=", "query parameter 'filter' or 'prefix' must say which keys to delete"),
        ("prefix=", "query parameter 'filter' or 'prefix' must say which keys to delete"),
        ("dry_run=true", "query parameter 'filter' or 'prefix' must say which keys to delete"),
        ("filter=a&prefix=a", "either query parameter 'filter' or 'prefix'"),
        ("filter=a.>.b", "invalid filter"),
        ("filter=a&purge=yes", "query parameter 'purge' must be true or false"),
        ("filter=a&dry_run=1", "query parameter 'dry_run' must be true or false"),
        ("filter=a&limit=5", "unknown query parameter 'limit'"),
        ("filter=a&include=keys", "unknown query parameter 'include'"),
    ],
)
@pytest.mark.parametrize("accept", ["*/*", NDJSON])
def test_a_delete_that_breaks_a_rule_is_400_and_deletes_nothing(
    filled: Bucket, query: str, error: str, accept: str
) -> None:
    answer = sweep(filled, query, Accept=accept)
    assert (answer.status, answer.json["code"]) == (400, "invalid_argument")
    assert answer.error.startswith(error)
    assert filled.keys() == KEYS


@pytest.mark.parametrize("header", [{"If_Match": "1"}, {"If_None_Match": "*"}, {"JetKV_Dry": "1"}])
def test_a_delete_with_a_condition_is_400_and_deletes_nothing(
    filled: Bucket, header: dict[str, str]
) -> None:
    assert sweep(filled, "prefix=a", **header).status == 400
    assert filled.keys() == KEYS
    path = f"{filled.path}/compact"
    assert filled.http.request("POST", path, "{}", **header).status == 400


def test_deletes_in_an_unknown_bucket_are_404(http: Http, bucket_name: str) -> None:
    bucket = Bucket(http, bucket_name)
    assert sweep(bucket, "filter=a").error == "bucket not found"
    assert compact(bucket).error == "bucket not found"


def test_a_full_bucket_says_what_was_deleted(make_bucket) -> None:
    bucket = make_bucket(history=5, max_bytes=4000)
    number = 0
    while bucket.put(f"k{number:03}", "x" * 100).status == 200:
        number += 1
    answer = sweep(bucket, "filter=%3E")
    assert (answer.status, answer.error) == (507, "bucket is full")
    assert len(bucket.keys()) == number - (answer.json.get("details") or {}).get("deleted", 0)


def test_lines_that_break_off_say_what_was_deleted(
    make_bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jetkv_gateway.http.listing._PROGRESS_SECONDS", 0)
    bucket = make_bucket(history=5)
    keys = [f"k{number:03}" for number in range(400)]
    fill(bucket, *keys)
    full = bucket.info()["bytes"] + 45_000
    bucket.http.request("PATCH", bucket.path, json.dumps({"max_bytes": full}))
    text = sweep(bucket, "filter=%3E", Accept=NDJSON).body
    *steps, last = [json.loads(line) for line in text.splitlines()]
    assert steps, "the lines had begun"
    assert (last["type"], last["message"]) == ("error", "bucket is full")
    assert last["details"]["deleted"] == len(keys) - len(bucket.keys())


async def test_subjects_that_show_as_one_key_are_all_deleted(
    native: Native, bucket: Bucket
) -> None:
    await native.publish(f"$KV.{bucket.name}.user:1", b"raw")
    bucket.put("user:1", "v")
    assert sweep(bucket, "prefix=user:").json == {"matched": 2, "deleted": 2, "revision": 4}
    assert bucket.keys() == []


# --- compaction


@pytest.mark.parametrize("query", ["", "?purge=true"])
def test_compaction_removes_tombstones_that_stand_alone(bucket: Bucket, query: str) -> None:
    fill(bucket, "a", "b", "c")
    bucket.delete("a", query)
    bucket.delete("b", query)
    assert compact(bucket).json == {"removed": 2}
    assert bucket.info()["values"] == 1
    assert bucket.get("c").status == 200
    assert compact(bucket).json == {"removed": 0}


def test_compaction_never_removes_a_value_of_a_history(make_bucket) -> None:
    bucket = make_bucket(history=5)
    fill(bucket, "purged", "deleted", "alive", "again")
    bucket.delete("purged", "?purge=true")
    bucket.delete("deleted")
    bucket.delete("again", "?purge=true")
    fill(bucket, "again")
    assert compact(bucket).json == {"removed": 1}
    kept = [(one["key"], one["operation"]) for one in lines(bucket, "include=history")[:-1]]
    assert kept == [
        ("deleted", "put"),
        ("alive", "put"),
        ("deleted", "delete"),
        ("again", "purge"),
        ("again", "put"),
    ]


async def test_compaction_removes_several_tombstones_of_a_key(native: Native, make_bucket) -> None:
    bucket = make_bucket(history=5)
    for _ in range(3):
        await native.publish(f"$KV.{bucket.name}.k", KV_Operation="DEL")
    assert (await asyncio.to_thread(compact, bucket)).json == {"removed": 3}


def test_compaction_leaves_tombstones_that_are_younger(bucket: Bucket) -> None:
    fill(bucket, "a")
    bucket.delete("a")
    assert compact(bucket, '{"older_than_seconds":3600}').json == {"removed": 0}
    assert compact(bucket, '{"older_than_seconds":0}').json == {"removed": 1}


def test_an_empty_body_removes_all_that_stand_alone(bucket: Bucket) -> None:
    fill(bucket, "a")
    bucket.delete("a")
    assert compact(bucket, "").json == {"removed": 1}


async def test_compaction_beside_writers_removes_no_value(native: Native, make_bucket) -> None:
    bucket = make_bucket(history=1, storage="memory")
    name = f"$KV.{bucket.name}"
    over = asyncio.Event()

    async def write(key: str) -> int:
        number = 0
        while not over.is_set():
            number += 1
            await native.publish(f"{name}.{key}", KV_Operation="DEL")
            await native.publish(f"{name}.{key}", b"%d" % number)
        return number

    writers = [asyncio.create_task(write(f"k{number}")) for number in range(5)]
    for _ in range(20):
        assert (await asyncio.to_thread(compact, bucket)).status == 200
    over.set()
    for place, number in enumerate(await asyncio.gather(*writers)):
        assert await native.last(bucket.name, f"k{place}") == (b"%d" % number, {})


@pytest.mark.parametrize(
    ("body", "error"),
    [
        ("{", "invalid JSON"),
        ("[]", "invalid body"),
        ("null", "invalid body"),
        ('{"older_than_seconds":-1}', "invalid older_than_seconds"),
        ('{"older_than_seconds":1.5}', "invalid older_than_seconds"),
        ('{"older_than_seconds":"1"}', "invalid older_than_seconds"),
        ('{"older_than_seconds":true}', "invalid older_than_seconds"),
        ('{"older_than_seconds":null}', "invalid older_than_seconds"),
        ('{"older_than_seconds":9223372036854775808}', "invalid older_than_seconds"),
        ('{"older_than":1}', "unknown field 'older_than'"),
    ],
)
def test_a_body_that_breaks_a_rule_is_400(bucket: Bucket, body: str, error: str) -> None:
    answer = compact(bucket, body)
    assert (answer.status, answer.json["code"]) == (400, "invalid_argument")
    assert answer.error.startswith(error)


async def test_deletes_and_compaction_leave_no_consumer_behind(
    native: Native, bucket: Bucket
) -> None:
    fill(bucket, "a", "b")
    sweep(bucket, "filter=a")
    compact(bucket)
    assert (await native.state(bucket.name))["consumer_count"] == 0


def test_get_on_compact_is_405(http: Http) -> None:
    answer = http.get(f"{BUCKETS}/b/compact")
    assert (answer.status, answer.headers["allow"]) == (405, "POST, OPTIONS")

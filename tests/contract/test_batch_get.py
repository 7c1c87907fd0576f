"""A batch get: several keys as of one moment."""

import base64
import json
from typing import Any

import pytest

from tests.support.http import Answer, Bucket, Http
from tests.support.native import Native


def get(bucket: Bucket, *keys: str, query: str = "", **headers: str) -> Answer:
    return bucket.http.post(f"{bucket.path}/batch{query}", {"get": keys}, **headers)


def revisions(answer: Answer) -> list[int | None]:
    assert answer.status == 200, answer
    return [None if entry is None else entry["revision"] for entry in answer.json["entries"]]


def test_entries_come_in_the_order_asked_and_null_for_what_is_not_there(bucket: Bucket) -> None:
    for key in ("a", "b:1", "c/d", "gone"):
        bucket.put(key, key)
    bucket.delete("gone")
    answer = get(bucket, "c/d", "none", "a", "gone", "b:1", "a")
    assert revisions(answer) == [3, None, 1, None, 2, 1]
    assert answer.json["revision"] == 5
    assert answer.json["entries"][0] == bucket.get("c/d").json


def test_nothing_found_is_an_answer_too(bucket: Bucket) -> None:
    answer = get(bucket, "a", "b")
    assert answer.json == {"entries": [None, None], "revision": 0}
    bucket.put("c")
    assert get(bucket, "a", "b").json == {"entries": [None, None], "revision": 1}


def test_the_revision_is_the_bucket_s_newest_of_that_moment(bucket: Bucket) -> None:
    bucket.put("a")
    for _ in range(3):
        bucket.put("other")
    assert get(bucket, "a").json["revision"] == 4


def test_values_are_shown_as_a_get_shows_them(bucket: Bucket) -> None:
    bucket.put("j", '{"a":1}', Content_Type="application/json")
    bucket.put("b", b"\xff\x00")
    for query in ("", "?values=base64", "?values=json"):
        entries = get(bucket, "j", "b", query=query).json["entries"]
        assert entries == [bucket.get("j", query).json, bucket.get("b", query).json]
    at_json = bucket.http.post(f"/json{bucket.path}/batch", {"get": ["j"]})
    assert at_json.json["entries"][0]["value"] == {"a": 1}


def test_raw_values_are_refused(bucket: Bucket) -> None:
    answer = get(bucket, "a", query="?values=raw")
    assert (answer.status, answer.error) == (
        400,
        "query parameter 'values' must be base64 or json here",
    )


def test_a_thousand_keys_are_read_at_once(bucket: Bucket) -> None:
    ops = [{"op": "put", "key": f"k{n}", "text": str(n)} for n in range(1000)]
    written = bucket.http.post(f"{bucket.path}/batch", {"ops": ops, "atomic": False})
    assert written.status == 200
    answer = get(bucket, *(f"k{n}" for n in range(999, -1, -1)))
    values = [base64.b64decode(entry["value"]) for entry in answer.json["entries"]]
    assert values == [str(n).encode() for n in range(999, -1, -1)]


def test_long_keys_that_no_single_request_to_nats_holds_are_read(bucket: Bucket) -> None:
    keys = [f"{n:03d}" + ":" * 509 for n in range(1000)]
    bucket.put(keys[7], "v")
    found = revisions(get(bucket, *keys))
    assert found == [1 if n == 7 else None for n in range(1000)]


def test_large_values_are_read_whole(bucket: Bucket) -> None:
    values = {f"k{n}": bytes([n]) * 700_000 for n in range(12)}
    for key, value in values.items():
        assert bucket.put(key, value).status == 200
    answer = get(bucket, *values, "none")
    entries = answer.json["entries"]
    assert [base64.b64decode(one["value"]) for one in entries[:-1]] == list(values.values())
    assert entries[-1] is None


def test_more_values_than_an_answer_may_have_are_refused(bucket: Bucket) -> None:
    keys = [f"k{n}" for n in range(65)]
    for key in keys:
        assert bucket.put(key, b"x" * 1_047_000).status == 200
    answer = get(bucket, *keys)
    assert (answer.status, answer.error) == (413, "answer too large")
    assert answer.json["details"] == {"limit_bytes": 64 * 1024 * 1024}
    assert get(bucket, *keys[:10]).status == 200


def test_an_unknown_bucket_is_404(http: Http) -> None:
    answer = get(Bucket(http, "nowhere"), "a")
    assert (answer.status, answer.error) == (404, "bucket not found")


@pytest.mark.parametrize(
    ("document", "query", "headers"),
    [
        ({"get": []}, "", {}),
        ({"get": ["a"], "x": 1}, "", {}),
        ({"get": ["a"]}, "?consistency=eventual", {}),
        ({"get": ["a"]}, "", {"If_Match": "1"}),
        ({"get": ["a"]}, "", {"JetKV_TTL_Seconds": "1"}),
        ({"ops": [{"op": "put", "key": "k", "text": ""}]}, "?values=json", {}),
    ],
)
def test_what_breaks_a_rule_is_400(
    bucket: Bucket, document: Any, query: str, headers: dict[str, str]
) -> None:
    answer = bucket.http.post(f"{bucket.path}/batch{query}", document, **headers)
    assert (answer.status, answer.json["code"]) == (400, "invalid_argument")


def test_a_body_of_more_than_8_mib_is_413(bucket: Bucket) -> None:
    key = "a" * 512
    body = json.dumps({"get": [key]}) + " " * (8 * 1024 * 1024 - len(key) - 13)
    assert (
        bucket.http.request("POST", f"{bucket.path}/batch", body[: 8 * 1024 * 1024]).status == 200
    )
    answer = bucket.http.request("POST", f"{bucket.path}/batch", body + "  ")
    assert (answer.status, answer.json["details"]) == (413, {"limit_bytes": 8 * 1024 * 1024})


@pytest.mark.parametrize("config", [{"allow_direct": False}, {"allow_direct": True}])
async def test_a_bucket_of_another_client_is_read_too(
    http: Http, native: Native, bucket_name: str, config: dict[str, bool]
) -> None:
    await native.make_bucket(bucket_name, **config)
    bucket = Bucket(http, bucket_name)
    kv = await native.kv(bucket_name)
    for key in ("a", "b", "c"):
        await kv.put(key, key.encode())
    await kv.delete("b")
    answer = get(bucket, "c", "b", "a")
    assert (revisions(answer), answer.json["revision"]) == ([3, None, 1], 4)

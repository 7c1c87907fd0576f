"""TTL of a single key, and touch (docs/http-api.md#ttl-per-key)."""

import asyncio
import base64
import json
import time
from datetime import datetime

import pytest

from jetkv_gateway.jetstream.headers import read_headers
from tests.support.http import Answer, Bucket
from tests.support.native import Native
from tests.support.waiting import until
from tests.support.watching import streaming, watching

SLACK = 2.0
"""Seconds between two clocks, the server's timer included."""


@pytest.fixture(autouse=True)
async def _a_server_with_ttls(native: Native) -> None:
    if native.version < (2, 11):
        pytest.skip("nats-server 2.10 knows no TTL of a single message: test_ttl_versions.py")


def touch(bucket: Bucket, key: str, **headers: str) -> Answer:
    return bucket.http.request("POST", bucket.key(key).replace("/keys/", "/touch/", 1), **headers)


def moment(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


def expires_in(document: dict) -> float:
    """How long from now until the time that a document shows, in seconds."""
    return moment(document["expires_at"]) - time.time()


def refused(answer: Answer, says: str) -> None:
    assert answer.status == 409, answer
    assert answer.json["code"] == "failed_precondition"
    assert says in answer.error


# --- a put with a TTL


def test_a_value_with_a_ttl_says_when_it_expires(bucket: Bucket) -> None:
    assert bucket.put("k", "v", JetKV_TTL_Seconds="60").status == 200
    entry = bucket.get("k").json
    assert 60 - SLACK < expires_in(entry) <= 60 + SLACK
    assert moment(entry["expires_at"]) - moment(entry["created_at"]) == pytest.approx(60, abs=0.01)


def test_a_value_without_a_ttl_says_nothing(bucket: Bucket) -> None:
    bucket.put("k", "v")
    assert "expires_at" not in bucket.get("k").json


def test_a_value_is_gone_when_its_ttl_is_over(bucket: Bucket) -> None:
    bucket.put("k", "v", JetKV_TTL_Seconds="1")
    bucket.put("stays", "v")
    until(lambda: bucket.get("k").status == 404, "the value expires")
    assert bucket.keys() == ["stays"]


def test_the_next_put_does_not_inherit_the_ttl(bucket: Bucket) -> None:
    bucket.put("k", "v", JetKV_TTL_Seconds="60")
    bucket.put("k", "w")
    assert "expires_at" not in bucket.get("k").json


def test_conditions_and_types_go_together_with_a_ttl(bucket: Bucket) -> None:
    first = bucket.put("k", "v", JetKV_TTL_Seconds="60", If_None_Match="*")
    revision = str(first.json["revision"])
    second = bucket.put(
        "k", "w", JetKV_TTL_Seconds="90", If_Match=revision, Content_Type="text/plain"
    )
    assert second.status == 200
    raw = bucket.get("k", "?values=raw")
    assert (raw.body, raw.headers["content-type"]) == (b"w", "text/plain")
    assert bucket.put("k", "x", JetKV_TTL_Seconds="9", If_Match=revision).status == 412


def test_a_retry_with_another_ttl_is_another_request(bucket: Bucket) -> None:
    def put(ttl: str) -> Answer:
        return bucket.put("k", "v", JetKV_TTL_Seconds=ttl, Idempotency_Key="once")

    assert put("60").json == put("60").json
    assert put("61").status == 409


def test_the_bucket_s_ttl_counts_where_it_is_shorter(make_bucket) -> None:
    bucket = make_bucket(ttl_seconds=100)
    bucket.put("long", "v", JetKV_TTL_Seconds="1000")
    bucket.put("short", "v", JetKV_TTL_Seconds="50")
    bucket.put("plain", "v")
    assert 100 - SLACK < expires_in(bucket.get("long").json) <= 100
    assert 50 - SLACK < expires_in(bucket.get("short").json) <= 50
    assert 100 - SLACK < expires_in(bucket.get("plain").json) <= 100


def test_never_outlives_the_bucket_s_ttl(make_bucket) -> None:
    bucket = make_bucket(ttl_seconds=1)
    bucket.put("schema", "v", JetKV_TTL_Seconds="never")
    bucket.put("k", "v")
    assert "expires_at" not in bucket.get("schema").json
    until(lambda: bucket.get("k").status == 404, "the value expires")
    assert bucket.get("schema").value == b"v"


def test_the_formats_of_a_value_all_show_when_it_expires(bucket: Bucket) -> None:
    bucket.put("k", '{"n":1}', JetKV_TTL_Seconds="60", Content_Type="application/json")
    assert bucket.get("k", "?values=json").json["expires_at"] == bucket.get("k").json["expires_at"]


def test_an_old_revision_and_a_history_show_it_too(make_bucket) -> None:
    bucket = make_bucket(ttl_seconds=500, history=3)
    revision = bucket.put("k", "v").json["revision"]
    bucket.put("k", "w")
    assert expires_in(bucket.get("k", f"?revision={revision}").json) > 400
    entries = bucket.history("k").json["entries"]
    assert [expires_in(entry) > 400 for entry in entries] == [True, True]


@pytest.mark.parametrize("text", ["", "0", "-1", "1.5", "1s", "3153600001", str(2**63), "Never"])
def test_what_is_no_ttl_is_refused_and_nothing_is_stored(bucket: Bucket, text: str) -> None:
    for answer in (
        bucket.put("k", "v", JetKV_TTL_Seconds=text),
        touch(bucket, "k", JetKV_TTL_Seconds=text),
    ):
        assert answer.status == 400
        assert "JetKV-TTL-Seconds" in answer.error
    assert bucket.get("k").status == 404


def test_a_ttl_given_twice_is_refused(bucket: Bucket) -> None:
    assert bucket.put("k", "v", JetKV_TTL_Seconds="5, 6").status == 400


def test_a_misspelt_header_of_ours_is_refused(bucket: Bucket) -> None:
    answer = bucket.put("k", "v", JetKV_TTL="5")
    assert (answer.status, answer.error) == (400, "unknown header 'jetkv-ttl'")


# --- buckets that keep a history


def test_with_a_history_only_a_create_takes_a_ttl(make_bucket) -> None:
    bucket = make_bucket(history=5)
    refused(bucket.put("k", "v", JetKV_TTL_Seconds="60"), "5 revisions")
    assert bucket.put("k", "v", JetKV_TTL_Seconds="60", If_None_Match="*").status == 200
    assert expires_in(bucket.get("k").json) > 50


def test_a_create_with_a_ttl_drops_the_tombstones_before_it(make_bucket) -> None:
    bucket = make_bucket(history=5)
    for value in ("a", "b"):
        bucket.put("k", value)
    bucket.delete("k")
    assert bucket.put("k", "c", JetKV_TTL_Seconds="60", If_None_Match="*").status == 200
    assert [entry["operation"] for entry in bucket.history("k").json["entries"]] == ["put"]


def test_with_a_history_and_a_ttl_no_value_lives_for_ever(make_bucket) -> None:
    """It would come back when the delete behind it expires."""
    bucket = make_bucket(history=5, ttl_seconds=100)
    bucket.put("k", "v")
    for answer in (
        bucket.put("new", "v", JetKV_TTL_Seconds="never", If_None_Match="*"),
        touch(bucket, "k", JetKV_TTL_Seconds="never"),
    ):
        refused(answer, "show again")
    assert bucket.keys() == ["k"]
    assert "expires_at" in bucket.get("k").json


def test_a_ttl_that_nats_would_lengthen_is_refused(make_bucket) -> None:
    bucket = make_bucket(history=5)
    shortest = bucket.info()["marker_ttl_seconds"]
    answer = bucket.put("k", "v", JetKV_TTL_Seconds="1", If_None_Match="*")
    refused(answer, f"a TTL of {shortest} seconds")
    assert answer.json["details"] == {"shortest_ttl_seconds": shortest}
    assert answer.json["hint"] == f"use a TTL of {shortest} seconds or more"
    assert bucket.get("k").status == 404


def test_the_hint_shortens_markers_that_were_made_for_a_history_of_one(bucket: Bucket) -> None:
    def change(**settings: object) -> None:
        bucket.http.request("PATCH", bucket.path, json.dumps(settings))

    change(history=5)
    answer = bucket.put("k", "v", JetKV_TTL_Seconds="60", If_None_Match="*")
    refused(answer, "a TTL of 3600 seconds")
    assert "PATCH expiry_markers to false and then to true" in answer.json["hint"]
    change(expiry_markers=False)
    change(expiry_markers=True)
    assert bucket.put("k", "v", JetKV_TTL_Seconds="60", If_None_Match="*").status == 200


def test_a_bucket_without_key_ttl_says_so(make_bucket) -> None:
    bucket = make_bucket(key_ttl=False, expiry_markers=False)
    answer = bucket.put("k", "v", JetKV_TTL_Seconds="60")
    refused(answer, "does not allow a TTL")
    assert "key_ttl" in answer.json["hint"]


# --- touch


def test_a_touch_renews_the_ttl_and_nothing_else(bucket: Bucket) -> None:
    first = bucket.put("k", "v", JetKV_TTL_Seconds="60", Content_Type="text/plain").json
    answer = touch(bucket, "k", JetKV_TTL_Seconds="600")
    assert answer.status == 200
    assert answer.json["revision"] > first["revision"]
    assert answer.headers["etag"] == f'"{answer.json["revision"]}"'
    entry = bucket.get("k").json
    assert moment(answer.json["expires_at"]) == pytest.approx(moment(entry["expires_at"]), abs=1)
    assert 600 - SLACK < expires_in(entry) <= 600 + SLACK
    raw = bucket.get("k", "?values=raw")
    assert (raw.body, raw.headers["content-type"]) == (b"v", "text/plain")


def test_a_touch_without_a_ttl_takes_that_of_the_value(bucket: Bucket) -> None:
    bucket.put("k", "v", JetKV_TTL_Seconds="77")
    assert 77 - SLACK < expires_in(touch(bucket, "k").json) <= 77 + SLACK


def test_a_touch_without_a_ttl_renews_that_of_the_bucket(make_bucket) -> None:
    bucket = make_bucket(ttl_seconds=100)
    bucket.put("k", "v")
    assert 100 - SLACK < expires_in(touch(bucket, "k").json) <= 100 + SLACK


def test_a_touch_can_take_a_ttl_away(make_bucket) -> None:
    bucket = make_bucket(ttl_seconds=100)
    bucket.put("k", "v")
    assert "expires_at" not in touch(bucket, "k", JetKV_TTL_Seconds="never").json
    assert "expires_at" not in bucket.get("k").json


def test_a_touch_without_any_ttl_is_refused(bucket: Bucket) -> None:
    bucket.put("k", "v")
    refused(touch(bucket, "k"), "neither the value nor the bucket has a TTL")


def test_a_touch_of_a_key_that_is_not_there_is_not_found(bucket: Bucket) -> None:
    assert touch(bucket, "k", JetKV_TTL_Seconds="9").status == 404
    bucket.put("k", "v")
    bucket.delete("k")
    answer = touch(bucket, "k", JetKV_TTL_Seconds="9")
    assert (answer.status, answer.error) == (404, "key not found")


def test_a_touch_in_an_unknown_bucket_is_not_found(http) -> None:
    answer = touch(Bucket(http, "no-such"), "k", JetKV_TTL_Seconds="9")
    assert (answer.status, answer.error) == (404, "bucket not found")


def test_a_touch_can_have_a_condition(bucket: Bucket) -> None:
    revision = bucket.put("k", "v", JetKV_TTL_Seconds="60").json["revision"]
    assert touch(bucket, "k", If_Match=str(revision)).status == 200
    answer = touch(bucket, "k", If_Match=str(revision))
    assert (answer.status, answer.error) == (412, "revision mismatch")
    assert touch(bucket, "absent", If_Match="7").status == 412


def test_a_retry_of_a_touch_gets_the_first_answer(bucket: Bucket) -> None:
    bucket.put("k", "v", JetKV_TTL_Seconds="60")
    first = touch(bucket, "k", Idempotency_Key="once")
    assert touch(bucket, "k", Idempotency_Key="once").json == first.json
    assert touch(bucket, "k", Idempotency_Key="once", JetKV_TTL_Seconds="5").status == 409


def test_a_retry_of_a_touch_that_was_written_over_changes_nothing(bucket: Bucket) -> None:
    bucket.put("k", "v", JetKV_TTL_Seconds="60")
    first = touch(bucket, "k", Idempotency_Key="once", JetKV_TTL_Seconds="90").json
    later = bucket.put("k", "w", JetKV_TTL_Seconds="60").json
    again = touch(bucket, "k", Idempotency_Key="once", JetKV_TTL_Seconds="90")
    assert again.json["revision"] == first["revision"]
    assert bucket.get("k").json["revision"] == later["revision"]


@pytest.mark.parametrize("history", [1, 5])
@pytest.mark.parametrize(
    "later", [lambda bucket: bucket.delete("k"), lambda bucket: bucket.put("k", "w")]
)
def test_a_retry_of_a_touch_gets_the_first_answer_whatever_the_key_is_now(
    make_bucket, later, history: int
) -> None:
    bucket = make_bucket(history=history)
    bucket.put("k", "v", JetKV_TTL_Seconds="60", If_None_Match="*")
    first = touch(bucket, "k", Idempotency_Key="once")
    later(bucket)
    again = touch(bucket, "k", Idempotency_Key="once")
    assert (again.status, again.json["revision"]) == (200, first.json["revision"])
    assert touch(bucket, "k", Idempotency_Key="another").status in (404, 409)


def test_a_retry_of_a_touch_that_was_written_over_does_not_move_its_time(bucket: Bucket) -> None:
    bucket.put("k", "v", JetKV_TTL_Seconds="60")
    first = touch(bucket, "k", Idempotency_Key="once").json
    bucket.put("k", "w", JetKV_TTL_Seconds="60")
    again = touch(bucket, "k", Idempotency_Key="once").json
    assert again.get("expires_at", first["expires_at"]) == first["expires_at"]


def test_with_a_history_a_touch_drops_what_was_before(make_bucket) -> None:
    bucket = make_bucket(history=5)
    for value in ("a", "b", "c"):
        bucket.put("k", value)
    assert touch(bucket, "k", JetKV_TTL_Seconds="60").status == 200
    entries = bucket.history("k").json["entries"]
    assert [entry["operation"] for entry in entries] == ["put"]
    assert bucket.get("k").value == b"c"


async def test_touches_and_writes_at_once_lose_no_write(bucket: Bucket) -> None:
    bucket.put("n", "0", JetKV_TTL_Seconds="600")

    def count() -> None:
        while True:
            entry = bucket.get("n").json
            value = str(int(bucket.get("n", "?values=raw").body) + 1)
            if bucket.put("n", value, If_Match=str(entry["revision"])).status == 200:
                return

    def renew() -> None:
        assert touch(bucket, "n", JetKV_TTL_Seconds="600").status == 200

    jobs = [asyncio.to_thread(count) for _ in range(12)]
    jobs += [asyncio.to_thread(renew) for _ in range(12)]
    await asyncio.gather(*jobs)
    assert bucket.get("n").value == b"12"


def test_a_key_with_slashes_can_be_touched(bucket: Bucket) -> None:
    bucket.put("a/b c:d", "v", JetKV_TTL_Seconds="60")
    path = f"{bucket.path}/touch/a/b%20c:d"
    assert bucket.http.request("POST", path).status == 200


# --- other ways to see it


async def test_watchers_see_when_a_value_expires_and_that_it_did(bucket: Bucket) -> None:
    async with watching(bucket.http, bucket.name) as watcher:
        await asyncio.to_thread(bucket.put, "k", "v", JetKV_TTL_Seconds="1")
        await asyncio.to_thread(bucket.put, "plain", "v")
        put, plain = await watcher.take(2)
        gone = await watcher.next()
    entry_time = moment(put["expires_at"])
    assert abs(entry_time - time.time()) < 60
    assert "expires_at" not in plain
    assert (gone["key"], gone["operation"], gone["reason"]) == ("k", "delete", "expired")
    assert "expires_at" not in gone


async def test_an_event_stream_shows_when_values_of_a_snapshot_expire(make_bucket) -> None:
    bucket = make_bucket(ttl_seconds=100)
    bucket.put("k", "v")
    bucket.put("forever", "v", JetKV_TTL_Seconds="never")
    async with streaming(bucket.http, bucket.name, "?snapshot=true") as stream:
        k, forever = await stream.take(2)
    assert k["expires_at"] == bucket.get("k").json["expires_at"]
    assert "expires_at" not in forever


async def test_native_clients_see_the_same_ttl(bucket: Bucket, native: Native) -> None:
    bucket.put("k", "v", JetKV_TTL_Seconds="60")
    reply = await native.api(
        f"STREAM.MSG.GET.KV_{bucket.name}", {"last_by_subj": f"$KV.{bucket.name}.k"}
    )
    stored = read_headers(base64.b64decode(reply["message"]["hdrs"]))
    assert stored["Nats-TTL"] == "60"


async def test_a_ttl_of_a_native_client_is_shown(bucket: Bucket, native: Native) -> None:
    await native.publish(f"$KV.{bucket.name}.k", b"v", Nats_TTL="90s")
    assert 90 - SLACK < expires_in(bucket.get("k").json) <= 90 + SLACK

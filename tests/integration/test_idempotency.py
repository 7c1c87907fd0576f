"""A write with an idempotency key is applied once, and its retry gets the first answer.

Servers disagree over the second try of a write (the table in `jetstream/writes.py`), so each story
is told on a bucket of one replica and on one of three, and by `make test-servers` on each server.
"""

import threading
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import pytest
from nats.js.errors import KeyNotFoundError

from jetkv_gateway.embedded import NatsServer
from jetkv_gateway.jetstream.client import JetStream
from jetkv_gateway.jetstream.errors import WRONG_LAST_SEQUENCE
from tests.support.gateway import running_bucket, running_gateway
from tests.support.http import BUCKETS, Answer, Bucket, Http
from tests.support.native import native_client
from tests.support.waiting import eventually, until
from tests.support.writes import KINDS, writes_of


@pytest.fixture(params=[1, 3], ids=["R1", "R3"])
def any_bucket(request: pytest.FixtureRequest, replicated: Bucket) -> Iterator[Bucket]:
    """A bucket of history 1 on the shared cluster, on one server or on three."""
    http = replicated.http
    settings = {"name": f"t-{uuid.uuid4().hex[:12]}", "replicas": request.param}
    until(lambda: http.post(BUCKETS, settings).status in (201, 409), "the bucket is made", 20)
    yield Bucket(http, settings["name"])
    http.delete(f"{BUCKETS}/{settings['name']}")


def _state(bucket: Bucket, key: str) -> list[dict[str, Any]]:
    answer = bucket.history(key)
    entries: list[dict[str, Any]] = answer.json["entries"] if answer.status == 200 else []
    return entries


@pytest.mark.parametrize("kind", KINDS)
def test_a_retry_gets_the_first_answer_and_changes_nothing(any_bucket: Bucket, kind: str) -> None:
    write = writes_of(any_bucket)[kind]
    first = write(Idempotency_Key="retry-1")
    stored = _state(any_bucket, kind)
    assert first.status in (200, 204)
    for _ in range(2):
        again = write(Idempotency_Key="retry-1")
        assert (again.status, again.body) == (first.status, first.body)
    assert _state(any_bucket, kind) == stored


@pytest.mark.parametrize("kind", KINDS)
def test_a_retry_does_not_undo_what_was_written_since(any_bucket: Bucket, kind: str) -> None:
    write = writes_of(any_bucket)[kind]
    first = write(Idempotency_Key="late")
    newer = any_bucket.put(kind, "newer").json["revision"]
    again = write(Idempotency_Key="late")
    assert (again.status, again.body) == (first.status, first.body)
    now = any_bucket.get(kind)
    assert (now.json["revision"], now.value) == (newer, b"newer")


@pytest.mark.parametrize("kind", KINDS)
def test_of_many_tries_at_once_one_is_applied_and_all_get_its_answer(
    any_bucket: Bucket, kind: str
) -> None:
    write = writes_of(any_bucket)[kind]
    with ThreadPoolExecutor(12) as pool:
        answers = list(pool.map(lambda _: write(Idempotency_Key="at-once"), range(12)))
    assert {(answer.status, answer.body) for answer in answers} == {
        (answers[0].status, answers[0].body)
    }
    assert answers[0].status in (200, 204), answers[0]


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_id_on_another_key_is_another_write(any_bucket: Bucket, kind: str) -> None:
    for write in writes_of(any_bucket).values():
        assert write(Idempotency_Key="shared").status in (200, 204)
    for key in ("deleted", "deleted if", "purged", "purged if"):
        assert any_bucket.get(key).status == 404
    for key in ("put", "created", "created again", "compared"):
        assert any_bucket.get(key).value == b"v"
    assert any_bucket.get(kind).status in (200, 404)


def test_the_same_id_for_put_delete_and_purge_is_three_writes(any_bucket: Bucket) -> None:
    assert any_bucket.put("k", "v", Idempotency_Key="one").status == 200
    assert any_bucket.delete("k", Idempotency_Key="one").status == 204
    assert any_bucket.get("k").status == 404
    any_bucket.put("k", "w")
    assert any_bucket.delete("k", "?purge=true", Idempotency_Key="one").status == 204
    assert any_bucket.get("k").status == 404


def test_the_same_id_in_another_bucket_is_another_write(
    any_bucket: Bucket, replicated: Bucket
) -> None:
    key = uuid.uuid4().hex
    assert any_bucket.put(key, "v", Idempotency_Key="one").status == 200
    assert replicated.put(key, "w", Idempotency_Key="one").status == 200
    assert (any_bucket.get(key).value, replicated.get(key).value) == (b"v", b"w")


def test_a_retry_that_an_older_leader_refused_gets_its_first_answer_from_the_next_one(
    any_bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in a rolling upgrade, where the leader changes between the refusal and the question."""
    write = writes_of(any_bucket)["compared"]
    first = write(Idempotency_Key="moved")
    any_bucket.put("compared", "newer")
    refusals = [{"error": {"code": 400, "err_code": WRONG_LAST_SEQUENCE, "description": "2.10"}}]
    publish = JetStream.publish

    async def refused_once(self: JetStream, *args: Any) -> dict[str, Any]:
        return refusals.pop() if refusals else await publish(self, *args)

    monkeypatch.setattr(JetStream, "publish", refused_once)
    again = write(Idempotency_Key="moved")
    assert refusals == []
    assert (again.status, again.body) == (first.status, first.body)


OTHERS: dict[str, dict[str, Any]] = {
    "another value": {"value": "other"},
    "another content type": {"Content_Type": "text/plain"},
    "a condition": {"If_None_Match": "*"},
}


@pytest.mark.parametrize("other", OTHERS)
def test_the_same_id_with_another_request_is_a_conflict(any_bucket: Bucket, other: str) -> None:
    first = any_bucket.put("k", "v", Idempotency_Key="used").json["revision"]
    changed = {"value": "v", **OTHERS[other]}
    answer = any_bucket.put("k", changed.pop("value"), Idempotency_Key="used", **changed)
    assert (answer.status, answer.json["code"]) == (409, "failed_precondition")
    assert answer.error == "the Idempotency-Key was used for another request"
    assert answer.json["details"] == {"revision": first}
    assert answer.json["retryable"] is False
    assert (any_bucket.get("k").json["revision"], any_bucket.get("k").value) == (first, b"v")


def test_a_conditional_write_with_the_id_of_another_is_a_conflict(any_bucket: Bucket) -> None:
    before = any_bucket.put("k", "v").headers["etag"]
    assert any_bucket.put("k", "w", If_Match=before, Idempotency_Key="used").status == 200
    answer = any_bucket.put("k", "x", If_Match=before, Idempotency_Key="used")
    assert answer.status == 409
    assert any_bucket.get("k").value == b"w"


def test_where_the_first_write_was_replaced_another_body_cannot_be_told(any_bucket: Bucket) -> None:
    first = any_bucket.put("k", "v", Idempotency_Key="used").json["revision"]
    any_bucket.put("k", "newer")
    answer = any_bucket.put("k", "other", Idempotency_Key="used")
    assert (answer.status, answer.json["revision"]) == (200, first)
    assert any_bucket.get("k").value == b"newer"


def test_a_refused_write_does_not_use_up_its_id(any_bucket: Bucket) -> None:
    any_bucket.put("k", "v")
    for _ in range(2):
        refused = any_bucket.put("k", "w", If_None_Match="*", Idempotency_Key="create")
        assert (refused.status, refused.error) == (412, "key already exists")
    any_bucket.delete("k")
    assert any_bucket.put("k", "w", If_None_Match="*", Idempotency_Key="create").status == 200
    assert any_bucket.get("k").value == b"w"


def test_a_compare_and_set_that_lost_stays_lost_when_it_is_sent_again(any_bucket: Bucket) -> None:
    before = any_bucket.put("k", "v").headers["etag"]
    current = any_bucket.put("k", "w").json["revision"]
    for _ in range(3):
        answer = any_bucket.put("k", "x", If_Match=before, Idempotency_Key="lost")
        assert (answer.status, answer.error) == (412, "revision mismatch")
        assert answer.json["details"] == {"current_revision": current}
    answer = any_bucket.delete("k", If_Match=before, Idempotency_Key="lost")
    assert answer.status == 412
    assert any_bucket.put("k", "y", Idempotency_Key="after").status == 200


def test_a_delete_that_finds_nothing_writes_nothing(any_bucket: Bucket) -> None:
    assert any_bucket.delete("k", Idempotency_Key="none").status == 204
    assert any_bucket.history("k").status == 404


def test_a_bucket_goes_on_working_after_retries_of_all_kinds(any_bucket: Bucket) -> None:
    for write in writes_of(any_bucket).values():
        for _ in range(2):
            write(Idempotency_Key="again")
    assert any_bucket.put("k", "v").status == 200
    assert any_bucket.put("k", "w", Idempotency_Key="last").status == 200
    assert any_bucket.get("k").value == b"w"


async def test_native_clients_see_the_write_as_any_other(
    replicated: Bucket, cluster: list[NatsServer]
) -> None:
    key = uuid.uuid4().hex
    assert replicated.put(key, "v", Idempotency_Key="seen").status == 200
    async with native_client(cluster[0].url) as native:
        kv = await native.kv(replicated.name)

        async def is_seen() -> bool:
            # Any replica answers nats-py, and one may be a moment behind.
            with suppress(KeyNotFoundError):
                return (await kv.get(key)).value == b"v"
            return False

        await eventually(is_seen, "it is seen")


# Restarts.


@pytest.mark.parametrize("kind", KINDS)
def test_a_retry_is_known_after_a_restart_of_the_gateway_and_of_the_server(
    own_nats: NatsServer, kind: str
) -> None:
    with running_bucket(own_nats) as bucket:
        writes = writes_of(bucket)
        first = writes[kind](Idempotency_Key="kept")
        stored = _state(bucket, kind)
    own_nats.kill()
    own_nats.start()
    with running_gateway(own_nats.url) as http:
        bucket.http = http
        again = writes[kind](Idempotency_Key="kept")
        assert (again.status, again.body) == (first.status, first.body)
        assert _state(bucket, kind) == stored


def test_a_write_that_a_frozen_server_does_not_answer_is_tried_again_until_it_does(
    own_nats: NatsServer,
) -> None:
    with running_bucket(own_nats, request_timeout=0.5) as bucket:
        assert bucket.put("k", "before").status == 200
        own_nats.pause()
        answers: list[Answer] = []
        writer = threading.Thread(
            target=lambda: answers.append(bucket.put("k", "v", Idempotency_Key="frozen"))
        )
        writer.start()
        writer.join(1.2)
        assert writer.is_alive(), "one try takes half a second"
        own_nats.resume()
        writer.join(10)
        assert answers[0].status == 200
        assert int(answers[0].headers["jetkv-retries"]) >= 1
        assert [entry["operation"] for entry in _state(bucket, "k")] == ["put"]
        assert answers[0].json["revision"] == 2, "it was applied once"


def test_a_write_that_stays_unanswered_is_unknown_and_worth_a_retry(own_nats: NatsServer) -> None:
    with running_bucket(own_nats, request_timeout=0.5) as bucket:
        bucket.put("k", "before")
        own_nats.pause()
        answer = bucket.put("k", "v", Idempotency_Key="frozen")
        assert (answer.status, answer.json["retryable"]) == (504, True)
        assert answer.json["details"]["outcome"] == "unknown"
        assert "the same Idempotency-Key" in answer.json["hint"]
        own_nats.resume()
        until(lambda: bucket.http.get("/ready").status == 200, "the gateway is back")
        again = bucket.put("k", "v", Idempotency_Key="frozen")
        assert (again.status, again.json["revision"]) == (200, 2)


def test_a_write_is_not_tried_again_once_its_bucket_may_have_forgotten_the_id(
    own_nats: NatsServer,
) -> None:
    with running_bucket(own_nats, buckets="b,ttl_seconds=1", request_timeout=0.8) as bucket:
        bucket.put("k", "before")
        own_nats.pause()
        answer = bucket.put("k", "v", Idempotency_Key="brief")
        assert (answer.status, answer.json["details"]["outcome"]) == (504, "unknown")
        assert answer.json["retryable"] is False
        assert "jetkv-retries" not in answer.headers


# The header.


@pytest.mark.parametrize("name", ["a", "x" * 255, "8e03978e-40d5-43dd-bc93-6894a57f9324", "a,b"])
def test_an_id_is_up_to_255_visible_characters(bucket: Bucket, name: str) -> None:
    first = bucket.put("k", "v", Idempotency_Key=name)
    assert bucket.put("k", "v", Idempotency_Key=name).json == first.json


def test_quotes_are_no_part_of_an_id(bucket: Bucket) -> None:
    first = bucket.put("k", "v", Idempotency_Key='"quoted"')
    assert bucket.put("k", "v", Idempotency_Key="quoted").json == first.json


@pytest.mark.parametrize("name", ["", "x" * 256, "a b", '"', 'a"b', "é", "one, two"])
@pytest.mark.parametrize("method", ["PUT", "DELETE"])
def test_any_other_id_is_400(bucket: Bucket, method: str, name: str) -> None:
    headers = {"Idempotency_Key": name.encode().decode("latin-1")}
    answer = bucket.http.request(
        method, bucket.key("k"), b"" if method == "PUT" else None, **headers
    )
    assert (answer.status, answer.json["code"]) == (400, "invalid_argument")
    assert answer.error.startswith("invalid Idempotency-Key: ")


def test_the_capabilities_say_that_ids_are_honoured(http: Http) -> None:
    assert "idempotency" in http.get("/api/v1/capabilities").json["features"]

"""Batches beside other writers, on one server and on three, and when an answer is lost."""

import threading
import uuid
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from jetkv_gateway.embedded import NatsServer
from tests.support.gateway import running_gateway
from tests.support.http import BUCKETS, Answer, Bucket, Http
from tests.support.native import native_client
from tests.support.waiting import until

ACCOUNTS = [f"account:{number}" for number in range(6)]
START = 100


async def _bucket(url: str, http: Http, **config: Any) -> Bucket:
    """Return a new bucket that takes atomic batches."""
    name = f"t-{uuid.uuid4().hex[:12]}"
    async with native_client(url) as native:
        if native.version < (2, 12):
            pytest.skip("this server has no atomic batches")
    settings = {"name": name, "replicas": config.pop("num_replicas", 1)}
    until(lambda: http.post(BUCKETS, settings).status in (201, 409), "the bucket is made", 20)
    if config:
        async with native_client(url) as native:
            found = await native.api(f"STREAM.INFO.KV_{name}")
            changed = await native.api(f"STREAM.UPDATE.KV_{name}", {**found["config"], **config})
            assert "error" not in changed, changed
    return Bucket(http, name)


@pytest.fixture(params=["R1", "R1 without direct gets", "R3"])
async def any_bucket(request: pytest.FixtureRequest) -> AsyncIterator[Bucket]:
    """A bucket that is read in each of the ways that a batch get has."""
    if request.param == "R3":
        cluster = request.getfixturevalue("cluster")
        http = request.getfixturevalue("replicated").http
        bucket = await _bucket(cluster[0].url, http, num_replicas=3)
    else:
        nats, http = request.getfixturevalue("nats"), request.getfixturevalue("http")
        direct = "without" not in request.param
        bucket = await _bucket(nats.url, http, **({} if direct else {"allow_direct": False}))
    yield bucket
    http.delete(bucket.path)


def post(bucket: Bucket, document: dict[str, Any], **headers: str) -> Answer:
    return bucket.http.post(
        f"{bucket.path}/batch?values=json" if "get" in document else f"{bucket.path}/batch",
        document,
        **headers,
    )


def put(key: str, text: str = "v") -> dict[str, Any]:
    return {"op": "put", "key": key, "text": text}


def update(entry: dict[str, Any], amount: int) -> dict[str, Any]:
    balance = entry["value"] + amount
    return {"op": "update", "key": entry["key"], "revision": entry["revision"], "json": balance}


def _transfer(bucket: Bucket, first: str, second: str) -> bool:
    """Move 1 from one account to another; return whether nobody else was faster."""
    found = post(bucket, {"get": [first, second]})
    assert found.status == 200, found
    one, other = found.json["entries"]
    answer = post(bucket, {"ops": [update(one, -1), update(other, 1)]})
    assert answer.status in (200, 412), answer
    return answer.status == 200


def test_readers_beside_transfers_always_see_the_same_sum(any_bucket: Bucket) -> None:
    opened = [{"op": "create", "key": key, "json": START} for key in ACCOUNTS]
    assert post(any_bucket, {"ops": opened}).status == 200
    done = threading.Event()

    def transfers(number: int) -> int:
        moved = 0
        for step in range(60):
            first = ACCOUNTS[(number + step) % len(ACCOUNTS)]
            second = ACCOUNTS[(number + 2 * step + 1 + step % 3) % len(ACCOUNTS)]
            moved += first != second and _transfer(any_bucket, first, second)
        return moved

    def sums() -> list[tuple[int, int]]:
        seen = []
        while not done.is_set():
            answer = post(any_bucket, {"get": ACCOUNTS})
            assert answer.status == 200, answer
            entries = answer.json["entries"]
            assert max(entry["revision"] for entry in entries) <= answer.json["revision"]
            seen.append((answer.json["revision"], sum(entry["value"] for entry in entries)))
        return seen

    with ThreadPoolExecutor(6) as pool:
        readers = [pool.submit(sums) for _ in range(3)]
        moved = [pool.submit(transfers, number) for number in range(3)]
        try:
            assert sum(one.result(120) for one in moved) > 0
        finally:
            done.set()
        for reader in readers:
            seen = reader.result(20)
            assert {total for _, total in seen} == {START * len(ACCOUNTS)}
            assert seen == sorted(seen), "a later read shows no earlier moment"


def test_a_batch_get_shows_every_acknowledged_write(any_bucket: Bucket) -> None:
    for number in range(50):
        written = any_bucket.put(f"k{number % 3}", str(number)).json["revision"]
        answer = post(any_bucket, {"get": ["k0", "k1", "k2"]})
        assert answer.json["entries"][number % 3]["revision"] == written
        assert answer.json["revision"] == written


RETRIED: dict[str, Callable[[], list[dict[str, Any]]]] = {
    "puts": lambda: [put("a"), put("b")],
    "creates": lambda: [{**put("a"), "op": "create"}, {**put("b"), "op": "create"}],
    "deletes": lambda: [{"op": "delete", "key": "none"}, put("a"), {"op": "delete", "key": "old"}],
}


@pytest.mark.parametrize("kind", RETRIED)
def test_of_many_tries_at_once_one_is_applied_and_all_get_its_answer(
    any_bucket: Bucket, kind: str
) -> None:
    any_bucket.put("old")
    document = {"ops": RETRIED[kind]()}
    with ThreadPoolExecutor(8) as pool:
        tries = [pool.submit(post, any_bucket, document, Idempotency_Key="same") for _ in range(8)]
        answers = [one.result(30) for one in tries]
    assert {(answer.status, answer.body) for answer in answers} == {(200, answers[0].body)}
    assert answers[0].json["revision"] == 3
    any_bucket.put("a", "newer")
    assert post(any_bucket, document, Idempotency_Key="same").body == answers[0].body
    refused = post(any_bucket, {"ops": [put("b", "another")]}, Idempotency_Key="same")
    # What the first message was is gone: the two cannot be told apart any more.
    assert refused.status in (409, 200)
    assert any_bucket.get("a").value == b"newer"


def test_of_batches_on_the_same_revisions_one_wins(any_bucket: Bucket) -> None:
    revisions = [any_bucket.put(key).json["revision"] for key in ("a", "b")]
    ops = [
        {"op": "update", "key": key, "revision": revision, "text": "x"}
        for key, revision in zip("ab", revisions, strict=True)
    ]
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: post(any_bucket, {"ops": ops}), range(8)))
    assert sorted(answer.status for answer in answers) == [200] + [412] * 7
    current = {key: any_bucket.get(key).json["revision"] for key in ("a", "b")}
    for answer in answers:
        if answer.status == 412:
            for failed in answer.json["details"]["failed"]:
                assert failed["current_revision"] == current[failed["key"]]


def test_more_conditions_than_writes_hold_beside_other_writers(any_bucket: Bucket) -> None:
    revision = any_bucket.put("a").json["revision"]
    checks = [{"op": "check", "key": "a", "revision": revision}]
    checks += [{"op": "check", "key": f"none{number}", "revision": 0} for number in range(5)]
    probe = post(any_bucket, {"ops": [*checks, put("b")]})
    if probe.status == 409:
        pytest.skip("this server takes no condition of another key")
    with ThreadPoolExecutor(4) as pool:
        others = [pool.submit(any_bucket.put, f"o{n % 3}", str(n)) for n in range(40)]
        applied = [post(any_bucket, {"ops": [*checks, put("b", str(n))]}) for n in range(5)]
        assert {other.result(20).status for other in others} == {200}
    assert {answer.status for answer in applied} <= {200, 503}
    any_bucket.put("a")
    assert post(any_bucket, {"ops": [*checks, put("c")]}).status == 412
    assert any_bucket.get("c").status == 404


def test_a_batch_that_a_frozen_server_does_not_answer_is_applied_once(
    own_nats: NatsServer,
) -> None:
    own_nats.start()
    with running_gateway(own_nats.url, buckets="b", request_timeout=0.5) as http:
        bucket = Bucket(http, "b")
        if post(bucket, {"ops": [put("a")]}).status == 409:
            pytest.skip("this server has no atomic batches")
        own_nats.pause()
        answers: list[Answer] = []
        ops = [put("a", "x"), put("c", "x")]
        writer = threading.Thread(target=lambda: answers.append(post(bucket, {"ops": ops})))
        writer.start()
        writer.join(1.2)
        assert writer.is_alive(), "one try takes half a second"
        own_nats.resume()
        writer.join(10)
        assert (answers[0].status, answers[0].json["revision"]) == (200, 3)
        assert int(answers[0].headers["jetkv-retries"]) >= 1
        assert bucket.put("d").json["revision"] == 4, "it was applied once"


def test_a_batch_that_stays_unanswered_is_unknown_and_by_its_idempotency_key_worth_a_retry(
    own_nats: NatsServer,
) -> None:
    own_nats.start()
    with running_gateway(own_nats.url, buckets="b", request_timeout=0.5) as http:
        bucket = Bucket(http, "b")
        if post(bucket, {"ops": [put("a")]}).status == 409:
            pytest.skip("this server has no atomic batches")
        own_nats.pause()
        ops = [put("a", "x"), put("c", "x")]
        answer = post(bucket, {"ops": ops}, Idempotency_Key="frozen")
        assert (answer.status, answer.json["retryable"]) == (504, True)
        assert answer.json["details"]["outcome"] == "unknown"
        own_nats.resume()
        until(lambda: http.get("/ready").status == 200, "the gateway is back")
        again = post(bucket, {"ops": ops}, Idempotency_Key="frozen")
        assert (again.status, again.json["revision"]) == (200, 3)


def test_a_batch_while_nats_is_down_is_certainly_not_applied(own_nats: NatsServer) -> None:
    own_nats.start()
    with running_gateway(own_nats.url, buckets="b", request_timeout=0.5) as http:
        bucket = Bucket(http, "b")
        if post(bucket, {"ops": [put("a")]}).status == 409:
            pytest.skip("this server has no atomic batches")
        own_nats.stop()
        until(lambda: http.get("/ready").status == 503, "the gateway has noticed")
        answer = post(bucket, {"ops": [put("a", "x"), put("c", "x")]})
        assert (answer.status, answer.json["retryable"]) == (503, True)
        read = post(bucket, {"get": ["a"]})
        assert read.status == 503
        own_nats.start()
        until(lambda: http.get("/ready").status == 200, "the gateway is back")
        assert bucket.keys() == ["a"]
        assert bucket.get("a").value == b"v"


async def test_many_keys_of_a_bucket_with_large_values_are_read_at_once(
    any_bucket: Bucket,
) -> None:
    assert any_bucket.put("large", b"v" * 100_000).status == 200
    keys = ["large", *(f"absent.{number}" for number in range(200))]

    def read() -> Answer:
        return post(any_bucket, {"get": keys})

    with ThreadPoolExecutor(6) as pool:
        answers = [each.result() for each in [pool.submit(read) for _ in range(6)]]
    assert [answer.status for answer in answers] == [200] * 6

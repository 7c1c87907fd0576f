"""What the gateway says while NATS is down or silent (docs/http-api.md#errors)."""

from collections.abc import Iterator

import pytest

from jetkv_gateway.embedded import NatsServer
from tests.support.gateway import running_gateway
from tests.support.http import BUCKETS, Bucket
from tests.support.waiting import until


@pytest.fixture
def bucket(own_nats: NatsServer) -> Iterator[Bucket]:
    """A bucket with one key, on a nats-server that the test may stop."""
    own_nats.start()
    with running_gateway(own_nats.url, request_timeout=0.2) as http:
        http.post(BUCKETS, {"name": "b"})
        bucket = Bucket(http, "b")
        bucket.put("k", "v")
        yield bucket


REQUESTS = [
    ("GET", "/keys/k"),
    ("GET", "/keys/k?consistency=eventual"),
    ("PUT", "/keys/k"),
    ("DELETE", "/keys/k"),
    ("DELETE", "/keys/k?purge=true"),
    ("GET", "/keys"),
    ("GET", "/history/k"),
    ("GET", ""),
    ("DELETE", ""),
]


def test_while_nats_is_down_all_is_503_and_worth_a_retry(
    bucket: Bucket, own_nats: NatsServer
) -> None:
    http = bucket.http
    own_nats.kill()
    until(lambda: http.get("/ready").status == 503, "the gateway notices")
    answers = [http.request(method, bucket.path + path) for method, path in REQUESTS]
    answers += [http.get(BUCKETS), http.post(BUCKETS, {"name": "new"})]
    for answer in answers:
        assert (answer.status, answer.json["code"]) == (503, "unavailable"), answer
        assert answer.error == "not connected to NATS"
        assert answer.json["retryable"] is True
        assert answer.headers["retry-after"] == str(answer.json["retry_after"]) == "1"


def test_while_nats_is_down_the_gateway_lives_and_is_not_ready(
    bucket: Bucket, own_nats: NatsServer
) -> None:
    http = bucket.http
    own_nats.kill()
    until(lambda: http.get("/ready").status == 503, "the gateway notices")
    ready = http.get("/ready").json
    assert (ready["status"], list(ready["issues"])) == ("not ready", ["nats"])
    assert ready["issues"]["nats"].startswith("not connected: ")
    assert http.get("/health").json["status"] == "ok"
    assert http.get("/api/v1/capabilities").status == 200


def test_the_gateway_is_ready_again_once_nats_is_back(bucket: Bucket, own_nats: NatsServer) -> None:
    http = bucket.http
    own_nats.stop()
    until(lambda: http.get("/ready").status == 503, "the gateway notices")
    own_nats.start()
    until(lambda: http.get("/ready").status == 200, "the gateway is ready again")
    assert bucket.get("k").value == b"v"


def test_a_write_without_an_answer_is_504_and_its_outcome_unknown(
    bucket: Bucket, own_nats: NatsServer
) -> None:
    own_nats.pause()
    answer = bucket.put("k", "w")
    assert (answer.status, answer.json["code"]) == (504, "deadline_exceeded")
    assert answer.json["details"] == {
        "outcome": "unknown",
        "check": f"GET {BUCKETS}/{bucket.name}/keys/k",
    }
    assert answer.json["retryable"] is False
    assert "may or may not have been applied" in answer.error
    assert answer.json["hint"].startswith("GET the key: ")


@pytest.mark.parametrize("path", ["/keys/k", "/keys", "/history/k", ""])
def test_a_read_without_an_answer_is_504_and_worth_a_retry(
    bucket: Bucket, own_nats: NatsServer, path: str
) -> None:
    own_nats.pause()
    answer = bucket.http.get(bucket.path + path)
    assert (answer.status, answer.json["code"]) == (504, "deadline_exceeded")
    assert answer.error == "no answer from NATS in time"
    assert answer.json["retryable"] is True
    assert "details" not in answer.json


def test_while_nats_is_silent_the_gateway_is_not_ready(
    bucket: Bucket, own_nats: NatsServer
) -> None:
    own_nats.pause()
    answer = bucket.http.get("/ready")
    assert (answer.status, list(answer.json["issues"])) == (503, ["jetstream"])
    assert bucket.http.get("/health").status == 200


def test_a_gateway_that_never_reached_nats_says_so(own_nats: NatsServer) -> None:
    own_nats.start()
    own_nats.stop()
    with running_gateway(own_nats.url, ready=False) as http:
        assert http.get("/health").status == 200
        answer = http.get("/ready")
        assert (answer.status, list(answer.json["issues"])) == (503, ["nats"])
        assert http.put(f"{BUCKETS}/b/keys/k", "v").status == 503


def test_a_bucket_of_the_settings_is_there_before_the_gateway_is_ready(
    nats: NatsServer, bucket_name: str
) -> None:
    with running_gateway(nats.url, buckets=f"{bucket_name},history=3") as http:
        bucket = Bucket(http, bucket_name)
        assert bucket.info()["history"] == 3
        assert bucket.put("k", "v").status == 200
        http.delete(bucket.path)

"""What HTTP says while NATS is not there, comes and goes, or does not let the gateway in."""

import threading
import time
from pathlib import Path

from jetkv_gateway.embedded import NatsServer
from tests.support.gateway import running_bucket, running_gateway
from tests.support.http import BUCKETS, Answer, Bucket, Http
from tests.support.ports import free_ports
from tests.support.waiting import until

ANY_TIME = 5.0
"""Seconds that "at once" may take here: far below every time-out and back-off, far above need."""


def _timed(request) -> tuple[Answer, float]:
    start = time.monotonic()
    answer = request()
    return answer, time.monotonic() - start


def _is_unavailable(answer: Answer) -> bool:
    return (
        answer.status == 503
        and answer.json["code"] == "unavailable"
        and answer.json["retryable"] is True
        and int(answer.headers["retry-after"]) >= 1
    )


# Without NATS.


def test_a_gateway_without_nats_answers_every_request_with_503_at_once(tmp_path: Path) -> None:
    (port,) = free_ports(1)
    with running_gateway(f"nats://127.0.0.1:{port}", ready=False, request_timeout=30) as http:
        bucket = Bucket(http, "b")
        for request in (
            lambda: bucket.get("k"),
            lambda: bucket.get("k", "?consistency=eventual"),
            lambda: bucket.put("k", "v"),
            lambda: bucket.put("k", "v", If_None_Match="*"),
            lambda: bucket.delete("k"),
            lambda: bucket.history("k"),
            lambda: http.get(f"{bucket.path}/keys"),
            lambda: http.get(bucket.path),
            lambda: http.get(BUCKETS),
            lambda: http.post(BUCKETS, {"name": "b"}),
            lambda: http.delete(bucket.path),
        ):
            answer, seconds = _timed(request)
            assert _is_unavailable(answer), answer
            assert seconds < ANY_TIME


def test_a_gateway_without_nats_lives_is_not_ready_and_says_why() -> None:
    (port,) = free_ports(1)
    with running_gateway(f"nats://127.0.0.1:{port}", ready=False, buckets="b") as http:
        assert http.get("/health").status == 200
        until(lambda: "still connecting" not in _issues(http)["nats"], "it has tried once")
        answer = http.get("/ready")
        assert (answer.status, answer.json["status"]) == (503, "not ready")
        assert answer.json["issues"].keys() == {"nats", "bucket b"}
        assert "refused" in answer.json["issues"]["nats"].lower()


def test_a_gateway_started_before_nats_serves_by_itself_once_nats_is_there(tmp_path: Path) -> None:
    (port,) = free_ports(1)
    server = NatsServer(tmp_path, port=port)
    with running_gateway(server.url, ready=False, buckets="b") as http:
        until(lambda: "refused" in _issues(http)["nats"].lower(), "it has tried once")
        with server:
            until(lambda: http.get("/ready").status == 200, "it is ready")
            assert Bucket(http, "b").put("k", "v").json == {"revision": 1}


def _issues(http: Http) -> dict[str, str]:
    issues: dict[str, str] = http.get("/ready").json["issues"]
    return issues


# NATS ends, and comes back.


def test_a_killed_and_restarted_nats_loses_nothing(own_nats: NatsServer) -> None:
    with running_bucket(own_nats) as bucket:
        for restart in range(3):
            revision = bucket.put("k", f"v{restart}").json["revision"]
            own_nats.kill()
            until(lambda: _is_unavailable(bucket.put("k", "never")), "the gateway has seen it")
            own_nats.start()
            until(lambda: bucket.get("k").status == 200, "the gateway is back")
            assert bucket.get("k").json["revision"] == revision == restart + 1


def test_requests_in_flight_end_soon_when_the_connection_is_lost(own_nats: NatsServer) -> None:
    with running_bucket(own_nats, request_timeout=30) as bucket:
        bucket.put("k", "v")
        own_nats.pause()
        answers: dict[str, Answer] = {}
        requests = {
            "put": lambda: bucket.put("k", "w"),
            "get": lambda: bucket.get("k"),
            "list": lambda: bucket.http.get(f"{bucket.path}/keys"),
        }
        threads = [
            threading.Thread(target=lambda name=name: answers.update({name: requests[name]()}))
            for name in requests
        ]
        for thread in threads:
            thread.start()
        threads[0].join(0.3)
        assert answers == {}, "nobody answers while the server is frozen"
        own_nats.kill()
        for thread in threads:
            thread.join(ANY_TIME)
        assert _is_unavailable(answers["get"])
        assert _is_unavailable(answers["list"])
        assert (answers["put"].status, answers["put"].json["retryable"]) == (504, False)
        assert answers["put"].json["details"]["outcome"] == "unknown"


# What NATS does not let the gateway do.


def _user(permissions: str) -> str:
    return (
        "authorization { users: [ "
        f"{{ user: gateway, password: p, permissions: {{ {permissions} }} }} ] }}"
    )


AS_GATEWAY = {"nats_user": "gateway", "nats_password": "p", "request_timeout": 30}


def test_a_write_that_nats_forbids_is_403_and_names_the_missing_permission(tmp_path: Path) -> None:
    config = _user('publish: { deny: ["$KV.>"] }')
    with (
        NatsServer(tmp_path, config=config) as server,
        running_gateway(server.url, buckets="b", **AS_GATEWAY) as http,
    ):
        bucket = Bucket(http, "b")
        for _ in range(3):  # the connection stands, so the next one is refused the same way
            answer, seconds = _timed(lambda: bucket.put("Key", "v"))
            assert (answer.status, answer.json["code"]) == (403, "permission_denied")
            assert "may not publish to $KV.b.Key" in answer.error
            assert "grant it" in answer.json["hint"]
            assert seconds < ANY_TIME
        assert bucket.get("Key").error == "key not found"


def test_a_permission_that_buckets_lack_does_not_hold_up_others(tmp_path: Path) -> None:
    config = _user('publish: { deny: ["$KV.b.>"] }')
    with (
        NatsServer(tmp_path, config=config) as server,
        running_gateway(server.url, buckets="b c", **AS_GATEWAY) as http,
    ):
        assert Bucket(http, "b").put("k", "v").status == 403
        assert Bucket(http, "c").put("k", "v").status == 200


def test_a_forbidden_api_is_403_and_not_ready(tmp_path: Path) -> None:
    config = _user('publish: { deny: ["$JS.API.>"] }')
    with (
        NatsServer(tmp_path, config=config) as server,
        running_gateway(server.url, ready=False, **AS_GATEWAY) as http,
    ):
        until(lambda: "jetstream" in _issues(http), "the gateway has connected")
        assert "may not publish to $JS.API.INFO" in _issues(http)["jetstream"]
        assert http.get(BUCKETS).status == 403
        assert Bucket(http, "b").get("k").status == 403


def test_a_server_without_jetstream_is_503_with_the_reason(tmp_path: Path) -> None:
    with (
        NatsServer(tmp_path, config="jetstream: disabled") as server,
        running_gateway(server.url, ready=False) as http,
    ):
        until(lambda: "jetstream" in _issues(http), "the gateway has connected")
        assert "not enabled" in _issues(http)["jetstream"]
        answer = Bucket(http, "b").get("k")  # tried again for some seconds: a leader may come
        assert _is_unavailable(answer)
        assert "not enabled" in answer.error

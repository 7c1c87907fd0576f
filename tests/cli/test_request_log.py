"""The lines of the log about requests, by `--request-log` and `--log-format`."""

import json
import re
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from jetkv.testing import LocalNats
from tests.cli.conftest import START_SECONDS, Process, Serve
from tests.support.http import BUCKETS, Bucket
from tests.support.waiting import until

KEY = "/api/v1/kv/buckets/{bucket}/keys/{key...}"


def lines(process: Process, request_id: str) -> list[str]:
    return [line for line in process.output.splitlines() if request_id in line]


def objects(process: Process) -> list[dict[str, Any]]:
    return [json.loads(line) for line in process.output.splitlines() if line.startswith("{")]


def test_an_answer_of_500_and_more_is_logged_with_its_request_id_and_reason(
    serve: Serve, own_nats: LocalNats
) -> None:
    own_nats.start()
    process, http = serve("--bucket", "b", on=own_nats)
    own_nats.stop()
    process.wait_for("connection to NATS lost")
    answer = http.get("/api/v1/kv/buckets/b/keys/k", x_request_id="mine-1")
    assert answer.status == 503
    process.wait_for(
        rf"WARNING jetkv.http: request mine-1: GET {KEY} 503 in [0-9.]+ ms: .*NATS".replace(
            "{key...}", r"\{key\.\.\.\}"
        )
    )


@pytest.fixture(scope="module")
def usual(nats: LocalNats, tmp_path_factory: pytest.TempPathFactory) -> Process:
    """A gateway with the usual log that answered a few requests, and was stopped."""
    arguments = ["serve", "--auth", "off", "--port", "0", "--nats-url", nats.url]
    process = Process(arguments, tmp_path_factory.mktemp("usual") / "jetkv-serve.log", {})
    try:
        process.wait_for("serves http://", START_SECONDS)
        http = process.http()
        until(lambda: http.get("/ready").status == 200, "the gateway is ready", START_SECONDS)
        refused = http.get("/health", origin="http://evil.example", x_request_id="mine-2")
        assert refused.status == 403
        bucket = Bucket(http, f"log-{uuid.uuid4().hex[:12]}")
        assert http.post(BUCKETS, {"name": bucket.name}).status == 201
        assert http.put(bucket.key("k"), "v", x_request_id="mine-3").status == 200
        assert http.get(bucket.key("none"), x_request_id="mine-3").status == 404
        assert http.delete(bucket.path).status == 204
    finally:
        assert process.stop() == 0
    return process


def test_a_refusal_of_access_is_logged_with_its_reason(usual: Process) -> None:
    (line,) = lines(usual, "mine-2")
    said = "INFO jetkv.http: request mine-2: GET /health 403 in [0-9.]+ ms: .*evil"
    assert re.search(said, line)


def test_other_requests_have_no_line_unless_all_are_asked_for(usual: Process) -> None:
    assert lines(usual, "mine-3") == []


def test_nothing_is_logged_of_requests_with_off(serve: Serve) -> None:
    process, http = serve("--request-log", "off")
    assert http.get("/health", origin="http://evil.example", x_request_id="mine-4").status == 403
    assert process.stop() == 0
    assert lines(process, "mine-4") == []


def test_all_is_one_line_a_request_as_json(serve: Serve, bucket: Bucket) -> None:
    process, http = serve("--request-log", "all", "--log-format", "json")
    assert http.put(bucket.key("some/key"), "v", x_request_id="mine-5").status == 200
    assert process.stop() == 0
    (line,) = [one for one in objects(process) if one.get("request_id") == "mine-5"]
    assert line["level"] == "info"
    assert line["logger"] == "jetkv.http"
    assert (line["method"], line["route"], line["status"]) == ("PUT", KEY, 200)
    assert line["milliseconds"] > 0
    assert "some" not in json.dumps(line), "no key is in the log"


def test_every_line_of_the_log_is_json_with_several_workers_too(
    start: Callable[..., Process], nats: LocalNats, tmp_path: Path
) -> None:
    where = ("--nats-url", nats.url, "--port", "0", "--auth", "off")
    process = start("serve", *where, "--workers", "2", "--log-format", "json", JETKV_PROT="1")
    process.wait_for("serves http://")
    assert process.stop() == 0
    assert [line for line in process.output.splitlines() if not line.startswith("{")] == []
    for said in ("serves http://", "stopping: ", "stopped"):
        assert len([line for line in objects(process) if said in line["message"]]) == 1, said
    assert any("JETKV_PROT" in line["message"] for line in objects(process))


def test_a_part_of_the_requests_is_logged_and_every_failure(serve: Serve, bucket: Bucket) -> None:
    process, http = serve("--request-log", "sampled", "--request-log-rate", "0.2")
    for _ in range(100):
        http.get("/health", x_request_id="mine-6")
    http.get("/health", origin="http://evil.example", x_request_id="mine-7")
    assert process.stop() == 0
    assert 2 <= len(lines(process, "mine-6")) <= 60
    assert len(lines(process, "mine-7")) == 1


def test_a_storm_of_failures_has_some_lines_and_the_number_of_the_others(
    serve: Serve, own_nats: LocalNats
) -> None:
    own_nats.start()
    process, http = serve("--bucket", "b", "--request-log-limit", "1", on=own_nats)
    own_nats.stop()
    process.wait_for("connection to NATS lost")
    for _ in range(60):
        assert http.get("/api/v1/kv/buckets/b/keys/k", x_request_id="mine-8").status == 503
    # Refusals have a limit of their own.
    http.get("/health", origin="http://evil.example", x_request_id="mine-9")
    assert process.stop() == 0
    said = re.findall(
        r"(\d+) lines about failed requests were left out .*: 503: (\d+)", process.output
    )
    left_out = sum(int(count) for count, _ in said)
    assert left_out > 20
    assert len(lines(process, "mine-8")) + left_out == 60
    assert len(lines(process, "mine-9")) == 1


def test_start_and_stop_are_said_once(usual: Process) -> None:
    for said in (" serves http://", "INFO jetkv: stopping: ", "INFO jetkv: stopped"):
        assert usual.output.count(said) == 1, said

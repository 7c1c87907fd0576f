"""Hostile requests by the thousand: nothing breaks or leaks, and what others have is intact."""

import base64
import json
import random
import re
import socket
import string
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from jetkv.testing import LocalNats
from tests.cli.conftest import Process
from tests.fuzz.targets import SEEDS
from tests.support.http import BUCKETS, Bucket, Http
from tests.support.secrecy import TOKEN
from tests.support.tokens import new_token, token_line
from tests.support.traces import tracing_gateway
from tests.support.waiting import until

ROOT, SCOPED, EXPIRED = new_token(), new_token(), new_token()
MEBIBYTE = 1024 * 1024
SEED = 20261129

PATHS = [
    f"{BUCKETS}/fuzz/keys/k",
    f"{BUCKETS}/fuzz/keys",
    f"{BUCKETS}/fuzz/batch",
    f"{BUCKETS}/fuzz/watch",
    f"{BUCKETS}/fuzz/history/k",
    f"{BUCKETS}/fuzz/compact",
    f"{BUCKETS}/fuzz",
    f"{BUCKETS}/fuzz-2",
    BUCKETS,
    "/api/v1/kv/watch",
    "/api/v1/auth/can",
    "/api/v1/auth/tokens",
    "/api/v1/auth/tickets",
    f"{BUCKETS}/canary/keys/c-1",
    f"{BUCKETS}/canary",
    f"{BUCKETS}/canary/keys?filter=%3E&purge=true",
    f"{BUCKETS}/canary/compact",
    "/metrics",
    "/ready",
    "/json/api/v1/kv/buckets/canary/keys/c-1",
    f"{BUCKETS}/fuzz/../canary/keys/c-1",
    f"{BUCKETS}/fuzz%2F..%2Fcanary/keys/c-1",
    f"{BUCKETS}/JETKV_TOKENS/keys",
    f"{BUCKETS}/canary%00/keys/c-1",
]
QUERIES = [
    *("filter=*", "prefix=a", "limit=2", "cursor=AAAA", "include=values", "values=raw", "key=>"),
    *(
        "snapshot=true",
        "resume_after=1",
        "watch=canary",
        "watch=fuzz/*",
        "purge=true",
        "ticket=x.y",
    ),
    *("verb=read&bucket=canary", "dry_run=true", "consistency=eventual", "a=%ff", "%00=1", "&&=&"),
]
HEADERS = [
    "If-Match: 1",
    "If-None-Match: *",
    "Idempotency-Key: a",
    "Idempotency-Key: " + "i" * 3000,
    "Content-Type: \xff\xfe",
    "JetKV-TTL-Seconds: never",
    "JetKV-TTL-Seconds: -1",
    "Accept: text/event-stream",
    "Accept: application/x-ndjson",
    "Upgrade: websocket",
    "Connection: upgrade",
    "Origin: https://evil.example",
    "X-Request-Id: a\tb",
    "X-Forwarded-For: 1.2.3.4",
    "Transfer-Encoding: chunked",
    "Content-Encoding: gzip",
    "Range: bytes=0-1",
    "Last-Event-ID: 1",
    "traceparent: 00-zz",
    "Expect: 100-continue",
]
METHODS = ["GET", "PUT", "POST", "PATCH", "DELETE", "HEAD", "OPTIONS", "TRACE", "ÄÖ"]


class Hostile:
    """Requests that no honest client sends, the same ones in each run."""

    def __init__(self, http: Http) -> None:
        self._http = http
        self._random = random.Random(SEED)
        self.statuses: Counter[str] = Counter()
        self.bodies: list[bytes] = []

    def attack(self, number: int) -> None:
        for _ in range(number):
            self._send(self._raw() if self._random.random() < 0.1 else self._request())

    def _text(self, most: int) -> str:
        letters = string.printable + "äÿ%%%*>./\0"
        return "".join(self._random.choices(letters, k=self._random.randrange(most)))

    def _raw(self) -> bytes:
        text = bytearray(self._random.choice(self._random.choice(list(SEEDS.values()))))
        for _ in range(self._random.randrange(8)):
            if text:
                text[self._random.randrange(len(text))] = self._random.randrange(256)
        return bytes(text) + b"\r\n\r\n"

    def _request(self) -> bytes:
        pick = self._random
        path = pick.choice(PATHS)
        if pick.random() < 0.3:
            path += "/" + re.sub(r"[\s\0-\x20]", "", self._text(40))
        if pick.random() < 0.5:
            path += ("&" if "?" in path else "?") + pick.choice(QUERIES)
        lines = [f"{pick.choice(METHODS)} {path} HTTP/1.1", "Host: 127.0.0.1"]
        token = pick.choice([SCOPED, SCOPED, SCOPED, SCOPED, EXPIRED, SCOPED[:-1], "x", None])
        if token is not None:
            lines.append(f"Authorization: Bearer {token}")
        lines += pick.sample(HEADERS, pick.randrange(4))
        if "Upgrade: websocket" in lines:
            key = base64.b64encode(pick.randbytes(16)).decode()
            lines += [f"Sec-WebSocket-Key: {key}", "Sec-WebSocket-Version: 13"]
            lines.append("Connection: upgrade")
        body = pick.choice([b"", pick.choice(SEEDS["bodies"]), pick.randbytes(pick.randrange(99))])
        lines.append(f"Content-Length: {len(body)}")
        return "\r\n".join([*lines, "", ""]).encode("latin-1", "replace") + body

    def _send(self, request: bytes) -> None:
        with socket.create_connection((self._http.host, self._http.port), timeout=10) as sent:
            received = b""
            try:
                sent.sendall(request)
                # Also frames, where it has become a WebSocket.
                sent.sendall(self._random.randbytes(40))
                sent.shutdown(socket.SHUT_WR)
                while len(received) < 65536 and (part := sent.recv(65536)):
                    received += part
            except ConnectionError:
                pass
        self.statuses[received[9:12].decode("latin-1")] += 1
        self.bodies.append(received)


@pytest.fixture(scope="module")
def gateway(nats: LocalNats, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    folder = tmp_path_factory.mktemp("hostile")
    lines = [
        token_line("root", ROOT),
        token_line("scoped", SCOPED, "read,write,delete,admin:fuzz*"),
        token_line("expired", EXPIRED, expires="2020-01-01T00:00:00Z"),
    ]
    (folder / "tokens").write_text("\n".join(lines) + "\n")
    process = Process(
        [
            *("serve", "--auth", "tokens", "--auth-tokens", str(folder / "tokens"), "--port", "0"),
            *("--nats-url", nats.url, "--bucket", "canary", "--bucket", "fuzz"),
            *("--audit-log", str(folder / "audit.log"), "--request-log", "all"),
            *("--log-format", "json"),
        ],
        folder / "gateway.log",
        {},
    )
    yield process
    assert process.stop() == 0


@pytest.fixture(scope="module")
def hostile(gateway: Process) -> Hostile:
    """A gateway that has been attacked."""
    http = gateway.http()
    until(lambda: http.get("/ready").status == 200, "the gateway is ready", 60)
    canary = Bucket(Http(http.host, http.port, Authorization=f"Bearer {ROOT}"), "canary")
    for number in range(20):
        assert canary.put(f"c-{number}", f"value {number}").status == 200
    hostile = Hostile(http)
    hostile.attack(300)
    hostile.before = resident(gateway)  # type: ignore[attr-defined] # only these tests use it
    hostile.attack(1500)
    return hostile


def resident(process: Process) -> int:
    lines = Path(f"/proc/{process.popen.pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmRSS:"))


@pytest.mark.long
def test_no_request_is_more_than_the_gateway_can_answer(hostile: Hostile) -> None:
    assert not {"500", "502"} & hostile.statuses.keys(), hostile.statuses
    assert {"200", "400", "401", "403", "404", "405"} <= hostile.statuses.keys()


def test_a_bucket_of_others_is_intact(hostile: Hostile, gateway: Process) -> None:
    http = gateway.http()
    canary = Bucket(Http(http.host, http.port, Authorization=f"Bearer {ROOT}"), "canary")
    listed = canary.keys()
    values = {key: canary.get(key).value.decode() for key in listed}
    assert values == {f"c-{number}": f"value {number}" for number in range(20)}
    assert [len(canary.history(key).json["entries"]) for key in values] == [1] * 20


def test_no_answer_shows_anything_of_a_bucket_of_others(hostile: Hostile) -> None:
    shown = b"\n".join(hostile.bodies)
    for number in range(20):
        assert base64.b64encode(f"value {number}".encode()) not in shown
        assert b"value %d" % number not in shown


def test_memory_is_where_it_was(hostile: Hostile, gateway: Process) -> None:
    assert resident(gateway) - hostile.before < 24 * MEBIBYTE  # type: ignore[attr-defined] # see above


def test_nothing_of_the_gateway_failed(hostile: Hostile, gateway: Process) -> None:
    assert "Traceback" not in gateway.output
    levels = {json.loads(line)["level"] for line in gateway.output.splitlines() if line[:1] == "{"}
    assert "error" not in levels


def test_no_credential_is_in_logs_answers_metrics_or_command_lines(
    hostile: Hostile, gateway: Process
) -> None:
    http = gateway.http()
    metrics = http.get("/metrics", Authorization=f"Bearer {ROOT}")
    assert metrics.status == 200
    made = {
        "log": gateway.output,
        "audit log": gateway.log.with_name("audit.log").read_text(),
        "answers": b"\n".join(hostile.bodies).decode("latin-1"),
        "metrics": metrics.body.decode(),
        "command line": Path(f"/proc/{gateway.popen.pid}/cmdline").read_text(),
    }
    assert {name for name, text in made.items() if TOKEN.search(text)} == set()
    assert "scoped" in made["audit log"], "it has the callers"


def test_no_credential_is_in_traces(nats: LocalNats, bucket: Bucket) -> None:
    with tracing_gateway(nats.url) as (http, spans):
        answer = http.get(bucket.key("k"), Authorization=f"Bearer {ROOT}")
    assert TOKEN.search(spans.of(answer).to_json()) is None

"""How much work a request is, counted: a guard of the hot path that no busy machine can move.

Counted are calls of Python functions, each resumption of a coroutine included, in the thread of the
gateway, while one client makes one request after the other. What other libraries do in
Python is in it; what C does is not. `make bench` says what it takes in time.

A bound that is passed by a change which is worth it is raised with that change, and said so there.
"""

import http.client
import secrets
import socket
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack

import pytest
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from jetkv.testing import LocalNats
from tests.support.calls import Calls, counted_gateway
from tests.support.http import Bucket
from tests.support.tokens import new_token, token_line

REQUESTS = 300

BOUNDS = {"GET": 59, "PUT": 54, "PUT with an id": 54, "DELETE": 119}
"""Calls for each request: what was measured last, and a tenth more.

Another gateway of the same process hears the same events, which is some calls more.
"""

ACCESS = 4
"""Calls more for a token of three scopes."""

CROWD = 240
IN_A_CROWD = {"GET": 80, "PUT": 54}
"""Calls for each request while `CROWD` run at a time: more than there are places and credit for."""

SCOPES = ("read:other*/x.*", "read,write,delete:work-per-request*/k*", "admin:work-per-request*")
"""The second one covers the keys; the last one lets the test create its bucket."""


@pytest.fixture(scope="module")
def counted(nats: LocalNats) -> Iterator[tuple[Bucket, Calls]]:
    calls = Calls()
    with counted_gateway(nats.url, calls, "work-per-request") as bucket:
        yield bucket, calls


@pytest.fixture(scope="module")
def counted_with_token(
    nats: LocalNats, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Bucket, Calls]]:
    calls, token = Calls(), new_token()
    file = tmp_path_factory.mktemp("tokens") / "tokens"
    file.write_text(token_line("ann", token, *SCOPES))
    settings = {"auth": "tokens", "auth_tokens": file}
    with counted_gateway(nats.url, calls, "work-per-request-2", token=token, **settings) as bucket:
        yield bucket, calls


@pytest.fixture(scope="module")
def counted_with_traces(nats: LocalNats) -> Iterator[tuple[Bucket, Calls]]:
    calls, exporter = Calls(), InMemorySpanExporter()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OTEL_TRACES_SAMPLER", "always_off")
        # The other gateways of this process count the same requests already.
        settings = {"traces": True, "metrics": False, "exporter": exporter}
        gateway = counted_gateway(nats.url, calls, "work-per-request-3", **settings)
        with gateway as bucket:
            yield bucket, calls


@pytest.mark.parametrize("method", list(BOUNDS))
def test_a_request_is_no_more_work_than_it_was(counted: tuple[Bucket, Calls], method: str) -> None:
    assert work(*counted, method) <= BOUNDS[method], counted[1].most(60, REQUESTS)


@pytest.mark.parametrize("method", list(BOUNDS))
def test_a_token_of_three_scopes_is_little_more_work(
    counted_with_token: tuple[Bucket, Calls], method: str
) -> None:
    most = BOUNDS[method] + ACCESS
    bucket, calls = counted_with_token
    assert work(bucket, calls, method) <= most, calls.most(60, REQUESTS)


@pytest.mark.parametrize("method", ["GET", "PUT"])
def test_a_request_that_is_not_recorded_in_a_trace_is_no_more_calls(
    counted_with_traces: tuple[Bucket, Calls], method: str
) -> None:
    bucket, calls = counted_with_traces
    assert work(bucket, calls, method) <= BOUNDS[method], calls.most(60, REQUESTS)


@pytest.mark.parametrize("method", list(IN_A_CROWD))
def test_a_request_that_waits_for_others_is_little_more_work(
    counted: tuple[Bucket, Calls], method: str
) -> None:
    bucket, calls = counted
    bucket.put("k", "v")
    body = b"v" * 128 if method == "PUT" else b""
    head = f"{method} {bucket.key('k')} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n"
    with ExitStack() as stack:
        address = bucket.http.host, bucket.http.port
        crowd = [
            stack.enter_context(socket.create_connection(address, timeout=20)) for _ in range(CROWD)
        ]

        def ask() -> None:
            for client in crowd:
                client.sendall(head.encode() + body)
            for client in crowd:
                answer = http.client.HTTPResponse(client)
                answer.begin()
                answer.read()
                assert answer.status == 200

        ask()
        calls.seen.clear()
        calls.counting = True
        for _ in range(5):
            ask()
        calls.counting = False
    each = sum(calls.seen.values()) / (5 * CROWD)
    print(f"{method} in a crowd: {each:.1f} calls")
    assert 5 < each <= IN_A_CROWD[method], calls.most(60, 5 * CROWD)


def work(bucket: Bucket, calls: Calls, request: str) -> float:
    """Return the calls of one request: a method, and what comes with it."""
    client = socket.create_connection((bucket.http.host, bucket.http.port), timeout=20)
    method, _, more = request.partition(" with ")
    body = b"v" * 128 if method == "PUT" else b""

    def ask(number: int) -> None:
        headers = {"Host": "localhost", "Content-Length": str(len(body)), **bucket.http.headers}
        if more:
            headers["Idempotency-Key"] = secrets.token_urlsafe(16)
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        # In one piece: a body that comes behind its head is some calls more.
        head = f"{method} {bucket.key(f'k{number}')} HTTP/1.1\r\n{lines}\r\n"
        client.sendall(head.encode() + body)
        answer = http.client.HTTPResponse(client)
        answer.begin()
        answer.read()
        assert answer.status in (200, 204)

    for number in range(REQUESTS):
        bucket.put(f"k{number}", "v")
    for number in range(20):  # what is looked up once is no part of it
        ask(number)
    if method == "DELETE":
        for number in range(20):
            bucket.put(f"k{number}", "v")
    calls.seen.clear()
    calls.counting = True
    began = time.monotonic()
    for number in range(REQUESTS):
        ask(number)
    calls.counting = False
    took = time.monotonic() - began
    seen = calls.seen
    # What goes on by itself, such as ticks, is more calls on a busy machine, and no request's.
    calls.seen = Counter()
    calls.counting = True
    time.sleep(took)
    calls.counting = False
    client.close()
    each = (sum(seen.values()) - sum(calls.seen.values())) / REQUESTS
    calls.seen = seen
    print(
        f"{request}: {each:.1f} calls on Python {sys.version_info.major}.{sys.version_info.minor}"
    )
    assert each > 5, "nothing was counted"
    return each

"""A request leaves nothing to the cyclic collector, whose pauses are what slow requests wait for.

Whatever ends without a cycle is freed at once. A cycle of a request's own would pile up until the
collector walks through all objects there are, a thousand requests later.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from jetkv.testing import LocalNats
from tests.support.flags import FLAGS, FlagGateways, flag_gateways
from tests.support.garbage import garbage
from tests.support.gateway import running_gateway
from tests.support.http import BUCKETS, Bucket
from tests.support.raw import Wire
from tests.support.waiting import until
from tests.support.watching import UPGRADE

COUNT = 400


def check_nothing_left(do: Callable[[], None], count: int = COUNT) -> None:
    for _ in range(20):
        do()
    with garbage() as left:
        for _ in range(count):
            do()
    # Beside them, something goes on by itself, such as pings.
    assert left.count < count // 10, left.kinds


REQUESTS = {
    "PUT": ("PUT", "{key}", ["Content-Length: 5"], b"value", 200),
    "a PUT in chunks": (
        "PUT",
        "{key}",
        ["Transfer-Encoding: chunked"],
        b"1\r\nv\r\n0\r\n\r\n",
        200,
    ),
    "a PUT of an unknown bucket": (
        "PUT",
        "/api/v1/kv/buckets/nowhere/keys/k",
        ["Content-Length: 5"],
        b"value",
        404,
    ),
    "GET": ("GET", "{key}", [], b"", 200),
    "HEAD": ("HEAD", "{key}", [], b"", 200),
    "DELETE": ("DELETE", "{key}", [], b"", 204),
    "DELETE of what is not there": ("DELETE", "{none}", [], b"", 204),
    "404": ("GET", "{none}", [], b"", 404),
    "404 of a bucket": ("GET", "/api/v1/kv/buckets/nowhere/keys/k", [], b"", 404),
    "404 of a route": ("GET", "/nope", [], b"", 404),
    "405": ("PATCH", "{key}", [], b"", 405),
    "304": ("GET", "{key}", ['If-None-Match: "1"'], b"", 304),
    "412 of a GET": ("GET", "{key}", ["If-Match: 99"], b"", 412),
    "412 of a create": ("PUT", "{key}", ["Content-Length: 1", "If-None-Match: *"], b"v", 412),
    "412 of an update": ("PUT", "{key}", ["Content-Length: 1", "If-Match: 99"], b"v", 412),
    "412 of a DELETE": ("DELETE", "{key}", ["If-Match: 99"], b"", 412),
    "400 of a name": ("GET", "/api/v1/kv/buckets/a.b/keys/k", [], b"", 400),
    "400 of a query": ("GET", "{key}?nonsense=1", [], b"", 400),
    "400 of a condition": ("PUT", "{key}", ["Content-Length: 1", "If-Match: x"], b"v", 400),
    "403": ("GET", "{key}", ["Origin: https://evil.example"], b"", 403),
    "413": ("PUT", "{key}", ["Content-Length: 2000000"], b"v" * 2_000_000, 413),
    "raw": ("GET", "{key}?values=raw", [], b"", 200),
    "json": ("GET", "{key}?values=json", [], b"", 200),
    "idempotent": ("PUT", "{key}", ["Content-Length: 1", "Idempotency-Key: one"], b"v", 200),
    "an idempotent DELETE": ("DELETE", "{key}", ["Idempotency-Key: two"], b"", 204),
    "history": ("GET", "{history}", [], b"", 200),
    "list": ("GET", "{keys}", [], b"", 200),
    "bucket": ("GET", "{bucket}", [], b"", 200),
    "buckets": ("GET", "/api/v1/kv/buckets", [], b"", 200),
    "health": ("GET", "/health", [], b"", 200),
    "ready": ("GET", "/ready", [], b"", 200),
    "OPTIONS": ("OPTIONS", "{key}", [], b"", 204),
    "a flag": ("POST", "{flags}/on", ["Content-Length: 2"], b"{}", 200),
    "a flag that is not there": ("POST", "{flags}/none", ["Content-Length: 2"], b"{}", 404),
    "a flag that is broken": ("POST", "{flags}/broken", ["Content-Length: 2"], b"{}", 400),
    "a flag for nobody": ("POST", "{flags}/half", ["Content-Length: 2"], b"{}", 400),
    "a flag without a context": ("POST", "{flags}/on", ["Content-Length: 2"], b"[]", 400),
    "all flags": ("POST", "{flags}", ["Content-Length: 2"], b"{}", 200),
}
FLAG_VALUES = {"on": "true", "half": '{"enabled":true,"rollout":0.5}', "broken": "{"}


@pytest.fixture(scope="module")
def flags(nats: LocalNats) -> Iterator[FlagGateways]:
    with flag_gateways(nats.url) as started:
        started.create_bucket()
        for name, value in FLAG_VALUES.items():
            started.bucket.put(name, value)
        yield started


@pytest.mark.parametrize("name", REQUESTS)
def test_a_request_leaves_nothing_to_the_collector(
    bucket: Bucket, name: str, request: pytest.FixtureRequest
) -> None:
    method, path, lines, body, status = REQUESTS[name]
    if "{flags}" in path:
        bucket = request.getfixturevalue("flags").bucket
    bucket.put("k", "value")
    path = path.format(
        key=bucket.key("k"),
        none=bucket.key("none"),
        keys=f"{bucket.path}/keys",
        history=f"{bucket.path}/history/k",
        bucket=bucket.path,
        flags=FLAGS,
    )
    with Wire(bucket.http) as wire:

        def ask() -> None:
            wire.head(method, path, *lines)
            wire.send(body)
            assert wire.answer(with_body=method != "HEAD").status == status

        check_nothing_left(ask)


BROKEN = {
    "a whole connection": b"GET {key} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
    "broken HTTP": b"GET  {key} HTTP/1.1\r\nHost: a\r\n\r\n",
    "no Host": b"GET {key} HTTP/1.1\r\n\r\n",
    "another coding": b"PUT {key} HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: x\r\n\r\n",
    "HTTP/1.0": b"GET {key} HTTP/1.0\r\n\r\n",
}
CUT_OFF = {
    "nothing": b"",
    "half a head": b"PUT {key} HTTP/1.1\r\nHost: a\r\nConte",
    "half a body": b"PUT {key} HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nhalf",
    "half a chunk": b"PUT {key} HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nhalf",
    "whole, but nobody reads": b"GET {key} HTTP/1.1\r\nHost: a\r\n\r\n",
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_connection_leaves_nothing_to_the_collector(bucket: Bucket, name: str) -> None:
    sent = BROKEN[name].replace(b"{key}", bucket.key("k").encode())

    def ask() -> None:
        with Wire(bucket.http) as wire:
            wire.send(sent)
            wire.answer()
            wire.end_of_sending()
            assert wire.is_closed()

    check_nothing_left(ask)


@pytest.mark.parametrize("name", CUT_OFF)
def test_what_was_cut_off_leaves_nothing_to_the_collector(bucket: Bucket, name: str) -> None:
    sent = CUT_OFF[name].replace(b"{key}", bucket.key("k").encode())

    def ask() -> None:
        with Wire(bucket.http) as wire:
            wire.send(sent)

    check_nothing_left(ask)
    assert bucket.keys() == []


def test_refusals_leave_nothing_to_the_collector(own_nats: LocalNats) -> None:
    own_nats.start()
    full = {"max_requests": 1, "max_waiting_requests": 1, "request_timeout": 30, "request_wait": 30}
    with running_gateway(own_nats.url, **full) as http, ExitStack() as stack:
        http.post(BUCKETS, {"name": "b"})
        bucket = Bucket(http, "b")
        own_nats.pause()
        stack.callback(own_nats.resume)
        for _ in range(2):
            stack.enter_context(Wire(http)).head("GET", bucket.key("k"))
        until(lambda: bucket.get("k").status == 429, "all places are taken")
        wire = stack.enter_context(Wire(http))

        def ask() -> None:
            assert wire.request("GET", bucket.key("k")).status == 429

        check_nothing_left(ask)


@pytest.mark.parametrize("kind", [("Accept: text/event-stream",), UPGRADE], ids=["SSE", "WS"])
def test_a_watch_that_comes_and_goes_leaves_nothing_to_the_collector(
    bucket: Bucket, kind: tuple[str, ...]
) -> None:
    def ask() -> None:
        with Wire(bucket.http) as wire:
            wire.head("GET", f"{bucket.path}/watch", *kind)
            assert wire.answer(with_body=False).status in (101, 200)

    check_nothing_left(ask, 200)

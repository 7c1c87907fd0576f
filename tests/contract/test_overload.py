"""More requests than a gateway takes on: which wait, which are refused, and which never are."""

import asyncio
import os
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from jetkv.testing import LocalGateway, LocalNats
from tests.support.gateway import running_bucket, running_gateway
from tests.support.http import BUCKETS, Answer, Bucket, Http
from tests.support.raw import Wire
from tests.support.waiting import until

FOR_LONG = {"request_timeout": 30, "request_wait": 30}


@contextmanager
def frozen(own_nats: LocalNats, **settings: object) -> Iterator[Bucket]:
    """A gateway whose requests all stay in flight, since its nats-server is frozen."""
    own_nats.start()
    with running_gateway(own_nats.url, **{**FOR_LONG, **settings}) as http:
        http.post(BUCKETS, {"name": "b"})
        bucket = Bucket(http, "b")
        bucket.put("k", "v")
        own_nats.pause()
        try:
            yield bucket
        finally:
            own_nats.resume()


class Callers:
    """Requests on connections of their own, whose answers are read later."""

    def __init__(self, http: Http) -> None:
        self._http = http
        self._stack = ExitStack()

    def __enter__(self) -> "Callers":
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def get(self, path: str, *lines: str) -> Wire:
        wire = self._stack.enter_context(Wire(self._http, timeout=20))
        wire.head("GET", path, *lines)
        self.wait_until_read()
        return wire

    def put(self, path: str, value: bytes = b"", length: int | None = None) -> Wire:
        wire = self._stack.enter_context(Wire(self._http, timeout=20))
        length = len(value) if length is None else length
        wire.head("PUT", path, f"Content-Length: {length}")
        wire.send(value)
        self.wait_until_read()
        return wire

    def wait_until_read(self) -> None:
        # What was sent before this is read before this.
        assert self._http.get("/health").status == 200


def is_refusal(answer: Answer) -> bool:
    return answer.status == 429


def test_beyond_the_limit_and_the_line_a_request_is_refused_at_once(own_nats: LocalNats) -> None:
    with (
        frozen(own_nats, max_requests=2, max_waiting_requests=1) as bucket,
        Callers(bucket.http) as callers,
    ):
        for _ in range(3):
            callers.get(bucket.key("k"))
        answer = bucket.get("k", X_Request_Id="mine")
    assert answer.status == 429
    assert answer.headers["retry-after"] == "1"
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["x-request-id"] == "mine"
    assert answer.json == {
        "error": "too many requests",
        "code": "resource_exhausted",
        "retryable": True,
        "request_id": "mine",
        "hint": "the request was not run: try again after retry_after seconds",
        "retry_after": 1,
    }


def test_of_many_requests_in_one_piece_each_is_answered(own_nats: LocalNats) -> None:
    with frozen(own_nats, max_requests=1, max_waiting_requests=0) as bucket:
        http = bucket.http
        with Callers(http) as callers, Wire(http, timeout=20) as wire:
            callers.get(bucket.key("k"))
            one = f"GET {bucket.key('k')} HTTP/1.1\r\nHost: {http.host}:{http.port}\r\n\r\n"
            wire.send(one.encode() * 600)
            assert {wire.answer().status for _ in range(600)} == {429}


def test_after_a_refusal_the_connection_serves_on(own_nats: LocalNats) -> None:
    with (
        frozen(own_nats, max_requests=1, max_waiting_requests=0) as bucket,
        Callers(bucket.http) as callers,
    ):
        callers.get(bucket.key("k"))
        refused = callers.put(bucket.key("k"), b"w")
        assert is_refusal(refused.answer())
        assert refused.request("GET", "/health").status == 200


def test_a_client_that_wants_its_connection_closed_reads_its_refusal(own_nats: LocalNats) -> None:
    with (
        frozen(own_nats, max_requests=1, max_waiting_requests=0) as bucket,
        Callers(bucket.http) as callers,
    ):
        callers.get(bucket.key("k"))
        last = callers.get(bucket.key("k"), "Connection: close")
        assert is_refusal(last.answer())
        assert last.is_closed()


def test_a_client_that_stops_sending_in_the_line_is_refused_at_once(own_nats: LocalNats) -> None:
    with (
        frozen(own_nats, max_requests=1, max_waiting_requests=1) as bucket,
        Callers(bucket.http) as callers,
    ):
        callers.get(bucket.key("k"))
        # It may have left for good: its place is for others, and nothing of it is done.
        half_open = callers.put(bucket.key("new"), b"v")
        half_open.end_of_sending()
        assert is_refusal(half_open.answer())
        assert half_open.is_closed()
        next_one = callers.get(bucket.key("k"))
        own_nats.resume()
        assert next_one.answer().status == 200
        assert bucket.get("new").status == 404


def test_a_page_of_an_allowed_origin_can_read_its_refusal(own_nats: LocalNats) -> None:
    page = "https://app.example"
    with (
        frozen(own_nats, max_requests=1, max_waiting_requests=0, cors_origins=[page]) as bucket,
        Callers(bucket.http) as callers,
    ):
        callers.get(bucket.key("k"))
        answer = bucket.get("k", Origin=page)
    assert is_refusal(answer)
    assert answer.headers["access-control-allow-origin"] == page
    assert answer.json["retry_after"] == 1


def test_requests_that_wait_are_served_in_the_order_in_which_they_came(own_nats: LocalNats) -> None:
    with (
        frozen(own_nats, max_requests=1, max_waiting_requests=5) as bucket,
        Callers(bucket.http) as callers,
    ):
        callers.get(bucket.key("k"))
        waiting = [callers.put(bucket.key("k"), b"%d" % number) for number in range(5)]
        own_nats.resume()
        answers = [wire.answer() for wire in waiting]
    assert [answer.status for answer in answers] == [200] * 5
    revisions = [answer.json["revision"] for answer in answers]
    assert revisions == list(range(revisions[0], revisions[0] + 5))


def test_a_request_that_waits_too_long_is_refused_and_its_write_not_applied(
    own_nats: LocalNats,
) -> None:
    with (
        frozen(own_nats, max_requests=1, max_waiting_requests=5, request_wait=0.2) as bucket,
        Callers(bucket.http) as callers,
    ):
        callers.get(bucket.key("k"))
        waited = callers.put(bucket.key("new"), b"w")
        assert is_refusal(waited.answer())
        own_nats.resume()
        until(lambda: bucket.get("k").status == 200, "there is room again")
        assert bucket.get("new").status == 404


def test_a_client_that_leaves_gives_its_place_in_the_line_back(own_nats: LocalNats) -> None:
    with (
        frozen(own_nats, max_requests=1, max_waiting_requests=1) as bucket,
        Callers(bucket.http) as callers,
    ):
        callers.get(bucket.key("k"))
        with Wire(bucket.http) as leaver:
            leaver.head("GET", bucket.key("k"))
            callers.wait_until_read()
            assert is_refusal(bucket.get("k"))
        next_one = callers.get(bucket.key("k"))
        assert is_refusal(bucket.get("k"))
        own_nats.resume()
        assert next_one.answer().status == 200


def test_a_body_that_does_not_come_keeps_nobody_out(own_nats: LocalNats) -> None:
    with running_bucket(own_nats, **FOR_LONG, max_requests=1) as bucket:
        with Callers(bucket.http) as callers:
            slow = callers.put(bucket.key("k"), b"12345", length=10)
            assert bucket.put("other", "v").status == 200
            slow.send(b"67890")
            assert slow.answer().status == 200
        assert bucket.get("k").value == b"1234567890"


def test_some_things_are_never_refused(own_nats: LocalNats) -> None:
    with frozen(own_nats, max_requests=1, max_waiting_requests=0, request_timeout=0.5) as bucket:
        http = bucket.http
        with Callers(http) as callers:

            def is_full() -> bool:
                callers.get(bucket.key("k"))
                return is_refusal(bucket.get("k"))

            until(is_full, "there is no room")
            assert http.get("/health").status == 200
            assert http.get("/json/api/v1/capabilities").status == 200
            assert http.get("/metrics").status == 200
            assert http.request("OPTIONS", bucket.key("k")).status == 204
            assert http.get("/ready").status == 503
            # They have limits of their own; here it is NATS that does not answer.
            assert http.get(f"{bucket.path}/keys").status in (503, 504)


def test_open_event_streams_take_no_places(http: Http, nats: LocalNats, bucket: Bucket) -> None:
    with (
        running_gateway(nats.url, max_requests=1, max_waiting_requests=0) as small,
        Callers(small) as callers,
    ):
        for _ in range(3):
            stream = callers.get(f"{bucket.path}/watch", "Accept: text/event-stream")
            assert stream.answer().status == 200
        assert Bucket(small, bucket.name).put("k", "v").status == 200


def test_without_a_limit_nobody_waits(own_nats: LocalNats) -> None:
    with (
        frozen(own_nats, max_requests=0, max_waiting_requests=0) as bucket,
        Callers(bucket.http) as callers,
    ):
        several = [callers.get(bucket.key("k")) for _ in range(20)]
        own_nats.resume()
        assert [wire.answer().status for wire in several] == [200] * 20


STORM = 10_000
CONNECTIONS = 50
AT_ONCE_SECONDS = 2.0
"""Far less than the seconds that are spent on retries and on waiting for NATS."""
GROWTH_BYTES = 8 * 1024 * 1024
"""Of what a second storm may add; a kilobyte left behind by each request would be more."""


async def _storm(gateway: LocalGateway) -> tuple[Counter[int], float]:
    """Send many requests, and return how often each status came, and the longest wait."""
    host, _, port = gateway.url.removeprefix("http://").partition(":")
    statuses: Counter[int] = Counter()
    longest = 0.0

    async def calls() -> None:
        nonlocal longest
        reader, writer = await asyncio.open_connection(host, int(port))
        for number in range(STORM // CONNECTIONS):
            method = ("GET", "PUT", "DELETE")[number % 3]
            began = time.monotonic()
            writer.write(
                f"{method} {BUCKETS}/b/keys/k{number} HTTP/1.1\r\nHost: {host}:{port}\r\n"
                "Content-Length: 1\r\n\r\nv".encode()
            )
            head = await reader.readuntil(b"\r\n\r\n")
            fields = dict(line.split(b": ", 1) for line in head.splitlines()[1:-1])
            await reader.readexactly(int(fields[b"content-length"]))
            longest = max(longest, time.monotonic() - began)
            statuses[int(head.split()[1])] += 1
        writer.close()
        await writer.wait_closed()

    await asyncio.gather(*(calls() for _ in range(CONNECTIONS)))
    return statuses, longest


def _resident_bytes(pid: int) -> int:
    fields = Path(f"/proc/{pid}/statm").read_text().split()
    return int(fields[1]) * os.sysconf("SC_PAGE_SIZE")


def _open_files(pid: int) -> int:
    return sum(1 for _ in Path(f"/proc/{pid}/fd").iterdir())


async def test_a_storm_on_a_dead_nats_is_answered_at_once_and_leaves_nothing_behind(
    own_nats: LocalNats, tmp_path: Path
) -> None:
    await asyncio.to_thread(own_nats.start)
    gateway = LocalGateway(own_nats.url, folder=tmp_path / "gateway", buckets=["b"])
    await asyncio.to_thread(gateway.start)
    try:
        own_nats.kill()
        http = Http("127.0.0.1", int(gateway.url.rpartition(":")[2]))
        await asyncio.to_thread(
            until, lambda: http.get("/ready").status == 503, "the gateway notices"
        )
        assert gateway.pid is not None
        files = _open_files(gateway.pid)
        await _storm(gateway)
        before = _resident_bytes(gateway.pid)
        statuses, longest = await _storm(gateway)
        assert statuses == {503: STORM}
        assert longest < AT_ONCE_SECONDS
        assert _resident_bytes(gateway.pid) - before < GROWTH_BYTES

        def as_before() -> bool:
            return _open_files(gateway.pid or 0) <= files + 1  # it may be trying to connect

        await asyncio.to_thread(until, as_before, "all connections are closed")
    finally:
        await asyncio.to_thread(gateway.stop)

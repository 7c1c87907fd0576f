"""Several callers of one gateway: none of them takes all places, connections or watches."""

import hashlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from jetkv.testing import LocalNats
from tests.attacks.stand import KEYS, Stand
from tests.contract.test_overload import FOR_LONG
from tests.support.gateway import running_gateway
from tests.support.http import BUCKETS, Bucket, Http
from tests.support.raw import Wire
from tests.support.waiting import until

MANY, FEW, OTHER = "127.0.0.2", "127.0.0.3", "127.0.0.4"
"""Callers, each with an address of its own: `limit_loopback` makes them strangers."""

PROXY = "127.0.0.9"


class Callers:
    """Requests from several addresses, on connections of their own."""

    def __init__(self, bucket: Bucket) -> None:
        self.bucket = bucket
        self._stack = ExitStack()

    def connect(self, source: str) -> Wire:
        return self._stack.enter_context(Wire(self.bucket.http, timeout=20, source=source))

    def get(self, source: str, *lines: str) -> Wire:
        """Send a request that is read by the gateway when this returns."""
        wire = self.connect(source)
        wire.head("GET", self.bucket.key("k"), *lines)
        assert self.bucket.http.get("/health").status == 200
        return wire

    def put(self, source: str, *lines: str) -> Wire:
        wire = self.connect(source)
        wire.head("PUT", self.bucket.key("k"), "Content-Length: 1", *lines)
        wire.send(b"v")
        assert self.bucket.http.get("/health").status == 200
        return wire

    def close(self) -> None:
        self._stack.close()


@contextmanager
def frozen(nats: LocalNats, *, token: str = "", **settings: object) -> Iterator[Callers]:
    """A gateway whose requests stay in flight, since its nats-server is frozen.

    Of eight places a caller has two for sure, and leaves one to others.
    """
    nats.start()
    limits = {"max_requests": 8, "max_waiting_requests": 0, "limit_loopback": True}
    with running_gateway(nats.url, **{**FOR_LONG, **limits, **settings}) as http:
        if token:
            http.headers["Authorization"] = f"Bearer {token}"
        assert http.post(BUCKETS, {"name": "b"}).status == 201
        bucket = Bucket(http, "b")
        assert bucket.put("k", "v").status == 200
        nats.pause()
        callers = Callers(bucket)
        try:
            yield callers
        finally:
            nats.resume()
            callers.close()


def test_a_caller_that_takes_what_it_can_leaves_a_place_to_another(own_nats: LocalNats) -> None:
    with frozen(own_nats) as callers:
        many = [callers.get(MANY) for _ in range(7)]
        refused = callers.get(MANY).answer()
        few = callers.get(FEW)
        own_nats.resume()
        assert few.answer().status == 200
        assert [wire.answer().status for wire in many] == [200] * 7
    assert refused.status == 429
    assert refused.headers["retry-after"] == "1"
    assert refused.json["code"] == "resource_exhausted"
    assert refused.error == "too many requests from this address"
    assert "2 of 8 places (max_share)" in refused.json["hint"]
    assert "send fewer at a time" in refused.json["hint"]


def test_callers_on_this_machine_share_all_by_default(own_nats: LocalNats) -> None:
    with frozen(own_nats, limit_loopback=False) as callers:
        many = [callers.get(MANY) for _ in range(8)]
        refused = callers.get(FEW).answer()
        own_nats.resume()
        assert [wire.answer().status for wire in many] == [200] * 8
    assert (refused.status, refused.error) == (429, "too many requests")


def test_in_the_line_callers_take_turns(own_nats: LocalNats) -> None:
    with frozen(own_nats, max_requests=1, max_waiting_requests=40) as callers:
        first = callers.put(MANY)
        many = [callers.put(MANY) for _ in range(10)]
        few = callers.put(FEW)
        own_nats.resume()
        revisions = [wire.answer().json["revision"] for wire in (first, *many, few)]
    assert revisions[:-1] == sorted(revisions[:-1]), "first come, first served, for one caller"
    assert revisions[-1] < revisions[3], "ten came before it, and it waited for two at most"


@pytest.fixture
def tokens(tmp_path: Path) -> Path:
    path = tmp_path / "tokens"
    names = ("one", "two")
    path.write_text("".join(f"{n}:{hashlib.sha256(n.encode()).hexdigest()} *:*\n" for n in names))
    return path


def test_one_token_at_many_addresses_leaves_a_place_to_another(
    own_nats: LocalNats, tokens: Path
) -> None:
    one, two = "Authorization: Bearer one", "Authorization: Bearer two"
    with frozen(own_nats, token="two", auth="tokens", auth_tokens=tokens) as callers:
        many = [callers.get(f"127.0.1.{number}", one) for number in range(1, 8)]
        refused = callers.get("127.0.1.8", one).answer()
        other = callers.get("127.0.1.9", two)
        own_nats.resume()
        assert [wire.answer().status for wire in (*many, other)] == [200] * 8
    assert (refused.status, refused.error) == (429, "too many requests with this token")


# --- callers behind a proxy


def behind(address: str) -> str:
    return f"X-Forwarded-For: {address}"


def test_callers_behind_a_trusted_proxy_have_a_share_each(own_nats: LocalNats) -> None:
    with frozen(own_nats, trusted_proxies=[PROXY]) as callers:
        many = [callers.get(PROXY, behind("192.0.2.1")) for _ in range(7)]
        # A client's own line comes before the one that the proxy adds.
        invented = callers.get(PROXY, behind("192.0.2.77"), behind("192.0.2.1")).answer()
        few = callers.get(PROXY, behind("192.0.2.2"))
        own_nats.resume()
        assert [wire.answer().status for wire in (*many, few)] == [200] * 8
    assert (invented.status, invented.error) == (429, "too many requests from this address")


def test_what_a_stranger_says_of_its_address_does_not_count(own_nats: LocalNats) -> None:
    with frozen(own_nats, trusted_proxies=[PROXY]) as callers:
        many = [callers.get(MANY, behind(f"192.0.2.{number}")) for number in range(7)]
        refused = callers.get(MANY, "Forwarded: for=192.0.2.99").answer()
        own_nats.resume()
        assert [wire.answer().status for wire in many] == [200] * 7
    assert (refused.status, refused.error) == (429, "too many requests from this address")


@pytest.mark.parametrize("line", ["X-Forwarded-For: {}", 'Forwarded: for="{}";proto=https'])
@pytest.mark.parametrize(
    ("one", "same", "other"),
    [
        ("192.0.2.1", "192.0.2.1", "192.0.2.2"),
        ("[2001:db8::1]", "[2001:db8::ffff:2]", "[2001:db8:0:1::1]"),
    ],
    ids=["IPv4", "a network of IPv6"],
)
def test_watches_count_for_the_caller_behind_the_proxy(
    nats: LocalNats, bucket: Bucket, line: str, one: str, same: str, other: str
) -> None:
    stream = "Accept: text/event-stream"
    with (
        running_gateway(nats.url, trusted_proxies=["127.0.0.1"], max_watches_per_address=1) as http,
        ExitStack() as stack,
    ):

        def watch(address: str) -> int:
            wire = stack.enter_context(Wire(http))
            return wire.request("GET", f"{bucket.path}/watch", stream, line.format(address)).status

        assert watch(one) == 200
        assert watch(same) == 429
        assert watch(other) == 200


# --- the PROXY protocol

HEADERS = {
    "version 1": b"PROXY TCP4 192.0.2.1 192.0.2.9 4711 9123\r\n",
    "version 2": b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xc0\0\2\1\xc0\0\2\x09\x12\x67\x23\xa3",
    "its own": b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0",
    "unknown": b"PROXY UNKNOWN\r\n",
}


@pytest.fixture(scope="module")
def proxied(nats: LocalNats) -> Iterator[Http]:
    with running_gateway(nats.url, trusted_proxies=[PROXY], proxy_protocol=True) as http:
        yield http


@pytest.mark.parametrize("header", HEADERS.values(), ids=HEADERS)
@pytest.mark.parametrize("pieces", ["whole", "byte by byte"])
def test_a_connection_of_a_trusted_proxy_begins_with_a_proxy_header(
    proxied: Http, header: bytes, pieces: str
) -> None:
    request = b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n"
    with Wire(proxied, source=PROXY) as wire:
        if pieces == "whole":
            wire.send(header + request)
        else:
            for byte in header + request:
                wire.send(bytes([byte]))
        assert wire.answer().status == 200
        assert wire.request("GET", "/health").status == 200, "it goes on as any connection"


def test_a_trusted_proxy_that_sends_no_header_is_told_so(proxied: Http) -> None:
    with Wire(proxied, source=PROXY) as wire:
        answer = wire.request("GET", "/health")
        assert answer.status == 400
        assert "must begin with a PROXY header" in answer.error
        assert wire.is_closed()


def test_a_header_of_a_stranger_is_no_http(proxied: Http) -> None:
    with Wire(proxied) as wire:
        wire.send(HEADERS["version 1"] + b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert wire.answer().status in (400, 501)
        assert wire.is_closed()


def test_a_proxy_header_names_the_caller_that_requests_count_for(own_nats: LocalNats) -> None:
    with frozen(own_nats, trusted_proxies=[PROXY], proxy_protocol=True) as callers:

        def get(address: str) -> Wire:
            wire = callers.connect(PROXY)
            wire.send(f"PROXY TCP4 {address} 192.0.2.9 4711 9123\r\n".encode())
            wire.head("GET", callers.bucket.key("k"))
            assert callers.bucket.http.get("/health").status == 200
            return wire

        many = [get("192.0.2.1") for _ in range(7)]
        refused = get("192.0.2.1").answer()
        few = get("192.0.2.2")
        own_nats.resume()
        assert [wire.answer().status for wire in (*many, few)] == [200] * 8
    assert (refused.status, refused.error) == (429, "too many requests from this address")


# --- connections


@contextmanager
def few_connections(nats: LocalNats, **settings: object) -> Iterator[Http]:
    """A gateway with room for eight connections."""
    with running_gateway(nats.url, max_connections=8, **settings) as http:
        yield http


def test_the_connection_that_is_idle_for_the_longest_makes_room(nats: LocalNats) -> None:
    with few_connections(nats) as http, ExitStack() as stack:
        wires = [stack.enter_context(Wire(http)) for _ in range(8)]
        for wire in wires:
            assert wire.request("GET", "/health").status == 200
        with Wire(http) as new:
            assert new.request("GET", "/health").status == 200
        assert wires[0].is_closed()
        for wire in wires[1:]:
            assert wire.request("GET", "/health").status == 200


def test_a_request_that_arrives_in_part_makes_room_and_is_told_so(nats: LocalNats) -> None:
    with few_connections(nats) as http, ExitStack() as stack:
        halves = [stack.enter_context(Wire(http)) for _ in range(8)]
        for half in halves:
            half.head("PUT", f"{BUCKETS}/b/keys/k", "Content-Length: 10", "Expect: 100-continue")
            assert half.line() == b"HTTP/1.1 100 Continue\r\n", "its head is read, so it has begun"
            assert half.line() == b"\r\n"
            half.send(b"half")
        assert http.get("/health").status == 200
        answer = halves[0].answer()
        assert (answer.status, answer.error) == (429, "too many connections")
        assert answer.headers["connection"] == "close"


def test_watches_are_not_closed_for_others(nats: LocalNats, bucket: Bucket) -> None:
    with few_connections(nats, limit_loopback=True) as http, ExitStack() as stack:
        watches = [stack.enter_context(Wire(http, source=MANY)) for _ in range(7)]
        for watch in watches:
            stream = "Accept: text/event-stream"
            assert watch.request("GET", f"{bucket.path}/watch", stream).status == 200
        with Wire(http, source=MANY) as more:
            answer = more.answer()
            assert (answer.status, answer.error) == (429, "too many connections")
            assert more.is_closed()
        with Wire(http, source=FEW) as other:
            assert other.request("GET", "/health").status == 200
        until(lambda: http.get("/health").status == 200, "it makes room again")
        assert bucket.put("k", "v").status == 200
        for watch in watches:
            assert watch.line(), "it goes on"


def test_a_caller_with_many_connections_makes_room_of_its_own(nats: LocalNats) -> None:
    with few_connections(nats, limit_loopback=True) as http, ExitStack() as stack:
        modest = stack.enter_context(Wire(http, source=FEW))
        assert modest.request("GET", "/health").status == 200
        for _ in range(20):
            wire = stack.enter_context(Wire(http, source=MANY))
            assert wire.request("GET", "/health").status == 200
        with Wire(http, source=OTHER) as other:
            assert other.request("GET", "/health").status == 200
        assert modest.request("GET", "/health").status == 200, "it was idle for the longest"


# --- descriptors

SILENT = b""
HALF_A_HEAD = b"GET / HTTP/1.1\r\n"
HALF_A_BODY = (
    b"PUT " + KEYS.encode() + b"/k HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\nv"
)


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stand]:
    """A gateway process that may have 256 files open."""
    with Stand(tmp_path_factory.mktemp("small"), descriptors=256, environment={}) as stand:
        yield stand


@pytest.mark.parametrize(
    "said", [SILENT, HALF_A_HEAD, HALF_A_BODY], ids=["silent", "half a head", "half a body"]
)
def test_of_300_connections_at_256_descriptors_a_client_that_asks_is_served(
    small: Stand, said: bytes
) -> None:
    http = Http("127.0.0.1", small.port)
    with ExitStack() as stack:
        for _ in range(300):
            stack.enter_context(Wire(http)).send(said)
        for number in range(5):
            assert http.put(f"{KEYS}/k", f"{number}").status == 200
            assert http.get(f"{KEYS}/k").value == str(number).encode()
        assert len(list(Path(f"/proc/{small.pid}/fd").iterdir())) < 250
    assert "cannot accept" not in small.last_words()

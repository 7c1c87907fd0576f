"""What the HTTP parser would decide by itself changes no value and loses no answer."""

import asyncio
import socket
from collections.abc import Iterator
from itertools import pairwise
from typing import cast

import pytest
import uvicorn
from hypothesis import given, settings
from hypothesis import strategies as st
from uvicorn.server import ServerState

from jetkv.testing import LocalNats
from jetkv_gateway.http.call import Call
from jetkv_gateway.http.gateway import Gateway
from jetkv_gateway.http.link import Link
from jetkv_gateway.kv.access import full_access
from jetkv_gateway.serving.front import Front
from jetkv_gateway.serving.http1 import HttpConnection
from jetkv_gateway.serving.options import ServerOptions
from tests.support.gateway import running_gateway
from tests.support.http import Bucket
from tests.support.raw import Wire

# --- however the bytes arrive

REQUESTS = (
    b"PUT /1 HTTP/1.1\r\nHost: x\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n"
    b"HTTP2-Settings: AAEA\r\nContent-Length: 5\r\n\r\nvalue"
    b"GET /2 HTTP/1.1\r\nHost: x\r\nUpgrade: foo/2\r\nConnection: upgrade\r\n\r\n"
    b"PUT /3 HTTP/1.1\r\nHost: x\r\nConnection: upgrade\r\nUpgrade: a, b\r\n"
    b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nIf-Match: 9\r\n\r\n"
    b"GET /4 HTTP/1.1\r\nHost: x\r\n\r\n"
)
ANSWERS = [b"PUT /1 value", b"GET /2 ", b"PUT /3 abc", b"GET /4 "]


class Echo:
    """Answers in the gateway's place with what it was sent."""

    def begin(self, link: Link) -> Call:
        call = Call(link, full_access)
        call.body_limit, call.limited = 1000, False
        return call

    async def run(self, call: Call) -> None:
        link = call.link
        assert b"if-match" not in call.headers
        call.answer(200, b"", b"%s %s %s" % (link.method.encode(), link.path, link.body))


async def answers_to(pieces: list[bytes], count: int) -> list[bytes]:
    ours, theirs = socket.socketpair()
    front = Front(ServerOptions())
    front.gateway = cast(Gateway, Echo())
    config = uvicorn.Config(lambda: None, log_config=None, lifespan="off")
    state = ServerState()
    loop = asyncio.get_running_loop()
    transport, protocol = await loop.connect_accepted_socket(
        lambda: HttpConnection(front, config, state, {}), ours
    )
    reader, writer = await asyncio.open_connection(sock=theirs)
    try:
        for piece in pieces:
            protocol.data_received(piece)
        found = []
        async with asyncio.timeout(10):
            for _ in range(count):
                head = await reader.readuntil(b"\r\n\r\n")
                length = int(head.lower().partition(b"content-length: ")[2].split()[0])
                found.append(await reader.readexactly(length))
        return found
    finally:
        transport.close()
        writer.close()


@settings(deadline=None, max_examples=60)
@given(st.lists(st.integers(1, len(REQUESTS) - 1), max_size=12))
def test_offers_and_bodies_are_told_apart_wherever_the_bytes_are_split(cuts: list[int]) -> None:
    borders = [0, *sorted(cuts), len(REQUESTS)]
    pieces = [REQUESTS[a:b] for a, b in pairwise(borders) if a < b]
    assert asyncio.run(answers_to(pieces, 4)) == ANSWERS


async def test_offers_and_bodies_are_told_apart_byte_by_byte() -> None:
    assert await answers_to([REQUESTS[n : n + 1] for n in range(len(REQUESTS))], 4) == ANSWERS


# --- trailers


def chunked(bucket: Bucket, wire: Wire, *trailers: str, apart: bool = False) -> None:
    wire.head("PUT", bucket.key("k"), "Transfer-Encoding: chunked")
    wire.chunk(b"value")
    if apart:
        wire.send(b"0\r\n")
    end = "".join(f"{line}\r\n" for line in trailers)
    wire.send(("" if apart else "0\r\n").encode() + end.encode() + b"\r\n")


@pytest.mark.parametrize("apart", [False, True])
@pytest.mark.parametrize(
    "trailer",
    [
        "If-Match: 999",
        "If-None-Match: *",
        "JetKV-Nonsense: 1",
        "Content-Type: text/x",
        "Upgrade: x",
    ],
)
def test_trailers_say_nothing(bucket: Bucket, trailer: str, apart: bool) -> None:
    bucket.put("k", "before")
    with Wire(bucket.http) as wire:
        chunked(bucket, wire, trailer, apart=apart)
        assert wire.answer().json == {"revision": 2}
        raw = wire.request("GET", bucket.key("k"), "Accept: application/octet-stream")
    assert (raw.body, raw.headers["content-type"]) == (b"value", "application/octet-stream")


@pytest.mark.parametrize(
    "trailer", ["Connection: close", "Content-Length: 7", "Transfer-Encoding: chunked"]
)
def test_a_trailer_about_the_connection_is_refused_and_nothing_is_stored(
    bucket: Bucket, trailer: str
) -> None:
    with Wire(bucket.http) as wire:
        chunked(bucket, wire, trailer)
        assert wire.answer().status == 400
        wire.end_of_sending()
        assert wire.is_closed()
    assert bucket.keys() == []


# --- other codings and versions


@pytest.mark.parametrize("coding", ["gzip, chunked", "identity, chunked"])
def test_a_coded_body_is_501_and_not_taken_for_the_value(bucket: Bucket, coding: str) -> None:
    with Wire(bucket.http) as wire:
        wire.head("PUT", bucket.key("k"), f"Transfer-Encoding: {coding}")
        wire.chunk(b"value")
        wire.chunk(b"")
        answer = wire.answer()
        assert (answer.status, answer.json["retryable"]) == (501, False)
        wire.end_of_sending()
        assert wire.is_closed(), "nobody knows where such a body ends"
    assert bucket.get("k").status == 404


def test_a_body_over_http_1_0_without_a_length_empties_no_value(bucket: Bucket) -> None:
    bucket.put("k", "before")
    with Wire(bucket.http) as wire:
        wire.send(f"PUT {bucket.key('k')} HTTP/1.0\r\nHost: localhost\r\n\r\n".encode())
        assert wire.answer().status == 400
        assert wire.is_closed()
    assert bucket.get("k").value == b"before"


def test_a_client_of_http_1_0_gets_no_interim_answer(bucket: Bucket) -> None:
    with Wire(bucket.http) as wire:
        lines = ["Host: localhost", "Expect: 100-continue", "Content-Length: 1", "", "v"]
        wire.send("\r\n".join([f"PUT {bucket.key('k')} HTTP/1.0", *lines]).encode())
        assert wire.answer().status == 200


@pytest.mark.parametrize("version", ["", " HTTP/0.9", " HTTP/2.0"])
def test_another_version_of_http_stores_nothing(bucket: Bucket, version: str) -> None:
    with Wire(bucket.http) as wire:
        wire.send(
            f"PUT {bucket.key('k')}{version}\r\nHost: x\r\nContent-Length: 0\r\n\r\n".encode()
        )
        assert wire.answer().status == 400
    assert bucket.keys() == []


def test_a_stream_over_http_1_0_comes_without_chunks(bucket: Bucket) -> None:
    path = f"{bucket.path}/watch?snapshot=true"
    bucket.put("k", "v")
    with Wire(bucket.http) as wire:
        lines = ["Host: localhost", "Accept: text/event-stream", "", ""]
        wire.send("\r\n".join([f"GET {path} HTTP/1.0", *lines]).encode())
        head = wire.answer(with_body=False)
        assert (head.status, head.headers["connection"]) == (200, "close")
        assert "transfer-encoding" not in head.headers
        assert wire.line().startswith(b"retry: ")


# --- who has stopped sending


@pytest.fixture
def half_open(bucket: Bucket) -> Iterator[Wire]:
    with Wire(bucket.http) as wire:
        yield wire


def test_a_client_that_stops_sending_gets_its_answers(bucket: Bucket, half_open: Wire) -> None:
    for number in range(5):
        half_open.head("PUT", bucket.key("k"), "Content-Length: 1")
        half_open.send(b"%d" % number)
    half_open.head("GET", f"{bucket.path}/keys")
    half_open.end_of_sending()
    assert [half_open.answer().json["revision"] for _ in range(5)] == [1, 2, 3, 4, 5]
    last = half_open.answer()
    assert (last.json["keys"], last.headers["connection"]) == (["k"], "close")
    assert half_open.is_closed()


def test_what_was_whole_before_a_request_broke_off_is_answered(
    bucket: Bucket, half_open: Wire
) -> None:
    half_open.head("PUT", bucket.key("whole"), "Content-Length: 1")
    half_open.send(b"v")
    half_open.head("PUT", bucket.key("broken"), "Content-Length: 9")
    half_open.send(b"half")
    half_open.end_of_sending()
    assert half_open.answer().json == {"revision": 1}
    assert half_open.is_closed()
    assert bucket.keys() == ["whole"]


def test_h11_ignores_an_offer_too(nats: LocalNats, bucket: Bucket) -> None:
    with running_gateway(nats.url, protocol="h11") as http:
        elsewhere = Bucket(http, bucket.name)
        answer = elsewhere.put("k", "value", Connection="Upgrade", Upgrade="h2c")
    assert (answer.status, bucket.get("k").value) == (200, b"value")

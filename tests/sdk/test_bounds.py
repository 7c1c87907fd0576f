"""Both clients, where more comes than there can be, or it comes compressed: all has a bound."""

import gzip
import socket
import struct
import tracemalloc
import zlib
from base64 import b64encode
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import pytest

from jetkv import (
    InvalidArgumentError,
    JetKVError,
    KeyNotFoundError,
    OutcomeUnknownError,
    UnavailableError,
    UnexpectedAnswerError,
)
from jetkv._core.bodies import Body
from jetkv._core.messages import Kind, Request
from tests.sdk.calls import (
    INFO,
    ONCE,
    READS,
    WRITES,
    Call,
    every_call,
    refused,
    refused_by,
    take,
)
from tests.sdk.test_retry import ENTRY, GET
from tests.sdk.test_watch_place import SNAPSHOT_END, updates
from tests.support.scripted import Step, http, scripted

MIB = 1024 * 1024
BODY = GET.partition(b"\r\n\r\n")[2]


def deflated(data: bytes, bits: int = zlib.MAX_WBITS) -> bytes:
    packer = zlib.compressobj(wbits=bits)
    return packer.compress(data) + packer.flush()


CODINGS: dict[str, tuple[str, Callable[[bytes], bytes]]] = {
    "gzip": ("gzip", gzip.compress),
    "gzip by its old name": ("x-gzip", gzip.compress),
    "gzip of two members": ("GZIP", lambda data: gzip.compress(data[:9]) + gzip.compress(data[9:])),
    "deflate": ("deflate", deflated),
    "deflate without its header": ("deflate", lambda data: deflated(data, -zlib.MAX_WBITS)),
    "identity": ("identity", bytes),
}

every_coding = pytest.mark.parametrize(("name", "pack"), CODINGS.values(), ids=CODINGS)


# --- compressed


@every_call
async def test_every_call_asks_for_what_is_not_compressed(make, call: Call) -> None:
    with scripted(INFO, *[http(404, "{}")] * 3) as server:
        async with make(server.url, retry=ONCE, timeout=5) as client:
            with suppress(UnexpectedAnswerError):
                await call(client)
    assert {asked.headers["accept-encoding"] for asked in server.asked} == {"identity"}


@every_coding
async def test_an_answer_that_a_proxy_compressed_is_read(make, name: str, pack) -> None:
    with scripted(http(200, pack(BODY), f"Content-Encoding: {name}")) as server:
        async with make(server.url, retry=ONCE, timeout=5) as client:
            assert (await client.kv().bucket("b").get("k")).key == "k"


@every_coding
async def test_an_error_that_a_proxy_compressed_is_read(make, name: str, pack) -> None:
    said = b'{"error":"key not found","code":"not_found","retryable":false,"request_id":"r"}'
    with scripted(http(404, pack(said), f"Content-Encoding: {name}")) as server:
        await refused_by(make, server.url, READS["get"], KeyNotFoundError, "key not found")


@every_coding
async def test_a_watch_that_a_proxy_compressed_is_read_as_it_comes(make, name: str, pack) -> None:
    events = (updates(1, 2) + SNAPSHOT_END).encode()
    packed = pack(events)

    def in_drops(connection: socket.socket) -> None:
        head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
        connection.sendall(head + f"Content-Encoding: {name}\r\n\r\n".encode())
        for byte in packed:
            connection.sendall(bytes([byte]))
        connection.recv(1)

    info = http(200, pack(INFO.partition(b"\r\n\r\n")[2]), f"Content-Encoding: {name}")
    with scripted(info, in_drops) as server:
        async with (
            make(server.url, retry=ONCE, timeout=5) as client,
            client.kv().bucket("b").watch(snapshot=True) as watch,
        ):
            assert [update.key for update in await take(watch, 2)] == ["k1", "k2"]


@every_coding
def test_a_body_ends_where_it_does_whatever_the_pieces_that_it_is_decoded_in(
    name: str, pack
) -> None:
    # The last byte of a coding may stand for 2 KB, some of which go beyond a full piece.
    request = Request("GET", "/", Kind.READ, "a read", large=True)
    for beyond in range(0, 300, 3):
        data = bytes(256 * 1024 + beyond)
        body = Body(200, {"content-encoding": name}, request, MIB)
        body.add(pack(data))
        assert body.end() == data


STRANGE = {
    "a coding that nobody asked for": http(200, BODY, "Content-Encoding: br"),
    "several": http(200, gzip.compress(gzip.compress(BODY)), "Content-Encoding: gzip, gzip"),
    "no gzip": http(200, BODY, "Content-Encoding: gzip"),
    "no deflate": http(200, b"\x78\x9c" + BODY, "Content-Encoding: deflate"),
}

every_strange = pytest.mark.parametrize("answer", STRANGE.values(), ids=STRANGE)


@every_strange
async def test_what_cannot_be_decoded_is_no_gateways_answer(make, answer: bytes) -> None:
    with scripted(answer) as server:
        error = await refused_by(make, server.url, READS["get"], UnexpectedAnswerError, "'k'")
    assert not error.retryable
    assert len(server.asked) == 1


@every_strange
async def test_a_write_whose_answer_cannot_be_decoded_is_unknown(make, answer: bytes) -> None:
    with scripted(answer) as server:
        await refused_by(make, server.url, WRITES["put"], OutcomeUnknownError, "'k'")


async def test_what_breaks_off_within_its_coding_may_be_read_again(make) -> None:
    with scripted(http(200, gzip.compress(BODY)[:-9], "Content-Encoding: gzip")) as server:
        error = await refused_by(make, server.url, READS["get"], UnavailableError, "is missing")
    assert error.retryable


# --- without an end


@contextmanager
def little_memory(most: int = 24 * MIB) -> Iterator[None]:
    """What is in the block takes no more than that, its server included."""
    tracemalloc.start()
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] < most
    finally:
        tracemalloc.stop()


def bomb(size: int) -> bytes:
    """Return gzip of so many zeros. Each MiB of them is the same block, so it is packed once."""
    zeros, checksum = bytes(MIB), 0
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    block = packer.compress(zeros) + packer.flush(zlib.Z_FULL_FLUSH)
    for _ in range(size // MIB):
        checksum = zlib.crc32(zeros, checksum)
    end = packer.flush() + struct.pack("<II", checksum, size)
    return b"\x1f\x8b\x08" + bytes(7) + block * (size // MIB) + end


def test_the_bomb_is_whole_gzip() -> None:
    assert gzip.decompress(bomb(3 * MIB)) == bytes(3 * MIB)


BOMB = bomb(256 * MIB)


def endless(beginning: bytes, drop: bytes = bytes(64 * 1024)) -> Step:
    """Return a step that goes on for as long as somebody listens."""

    def flow(connection: socket.socket) -> None:
        connection.sendall(beginning)
        with suppress(OSError):
            while True:
                connection.sendall(drop)

    return flow


TINY = (b"40\r\n" + b"a" * 64 + b"\r\n") * 100
CHUNK = b"2000\r\n" + b" " * 8192 + b"\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
FLOODS: dict[str, Step] = {
    "until the connection ends": endless(OK + b"\r\n"),
    "in chunks": endless(OK + b"Transfer-Encoding: chunked\r\n\r\n", CHUNK),
    "in tiny chunks": endless(OK + b"Transfer-Encoding: chunked\r\n\r\n", TINY),
    "of a length that is said": endless(OK + b"Content-Length: 99999999999\r\n\r\n"),
    "in gzip": endless(
        OK + b"Content-Encoding: gzip\r\n\r\n" + BOMB, gzip.compress(bytes(64 * 1024))
    ),
    "of an error": endless(OK.replace(b"200 OK", b"500 No") + b"\r\n"),
}

every_flood = pytest.mark.parametrize("flood", FLOODS.values(), ids=FLOODS)


@every_flood
@pytest.mark.parametrize("name", ["get", "bucket_info"])
async def test_a_read_that_is_answered_without_an_end_is_refused_at_its_bound(
    make, name: str, flood: Step
) -> None:
    with little_memory(), scripted(flood) as server:
        async with make(server.url, retry=ONCE, timeout=10, max_response_bytes=2 * MIB) as client:
            error = await refused(READS[name](client), UnexpectedAnswerError)
    assert not error.retryable
    assert len(server.asked) == 1


@every_flood
async def test_a_write_that_is_answered_without_an_end_is_unknown(make, flood: Step) -> None:
    with little_memory(), scripted(flood) as server:
        async with make(server.url, retry=ONCE, timeout=10) as client:
            await refused(WRITES["put"](client), OutcomeUnknownError, "1,048,576 bytes")
    assert len(server.asked) == 1


async def test_by_default_nothing_has_more_than_the_bound_that_is_documented(make) -> None:
    with scripted(http(200, BOMB, "Content-Encoding: gzip")) as server:
        await refused_by(
            make, server.url, READS["get"], UnexpectedAnswerError, "134,217,728", "max_response"
        )


async def test_a_client_that_wants_more_gets_it(make) -> None:
    large = b'{"keys":["%s"],"count":1}' % (b"k" * MIB)
    with scripted(http(200, large), http(200, large)) as server:
        async with make(server.url, retry=ONCE, max_response_bytes=2 * MIB) as client:
            assert len((await client.kv().bucket("b").keys())[0]) == MIB
        async with make(server.url, retry=ONCE, max_response_bytes=MIB) as client:
            await refused(client.kv().bucket("b").keys(), UnexpectedAnswerError, "1,048,576")


@pytest.mark.parametrize("wrong", [0, -1, True, 1.5, "1", None])
def test_a_bound_is_a_whole_number(make, wrong: Any) -> None:
    with pytest.raises(InvalidArgumentError, match="max_response_bytes"):
        make("http://localhost", max_response_bytes=wrong)


EVENTS = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
STREAMS: dict[str, Step] = {
    "a line": endless(EVENTS + b"\r\ndata: "),
    "an event": endless(EVENTS + b"\r\n", b"data:\n" * 9000),
    "a line in gzip": endless(EVENTS + b"Content-Encoding: gzip\r\n\r\n" + BOMB, b"x"),
}


@pytest.mark.parametrize("flood", STREAMS.values(), ids=STREAMS)
async def test_a_watch_ends_where_a_frame_does_not(make, flood: Step) -> None:
    with little_memory(), scripted(INFO, flood) as server:
        async with make(server.url, retry=ONCE, timeout=10, max_response_bytes=2 * MIB) as client:
            await refused(READS["watch"](client), UnexpectedAnswerError, "2,097,152")
    assert len(server.asked) == 2


@pytest.mark.parametrize("call", [READS["get"], READS["watch"]], ids=["get", "watch"])
async def test_a_head_without_an_end_is_refused(make, call: Call) -> None:
    flood = endless(b"HTTP/1.1 200 OK\r\n", b"X-A: " + b"b" * 1000 + b"\r\n")
    with little_memory(), scripted(flood) as server:
        async with make(server.url, retry=ONCE, timeout=20) as client:
            await refused(call(client), UnavailableError, "broke")


LISTS = ENTRY[:-1] + ',"x":[' + "[]," * (2 * MIB) + "[]]}"
FRAME = "data: " + LISTS.replace("{", '{"type":"kv_update",', 1) + "\n\n"
SWOLLEN: dict[str, list[bytes]] = {
    "get": [http(200, LISTS)],
    "history": [http(200, f'{{"entries":[{LISTS}]}}')],
    "watch": [INFO, EVENTS + b"\r\n" + FRAME.encode()],
}


@pytest.mark.parametrize("name", SWOLLEN)
async def test_what_would_take_many_times_its_size_in_memory_is_not_read(make, name: str) -> None:
    with little_memory(64 * MIB), scripted(*SWOLLEN[name]) as server:
        async with make(server.url, retry=ONCE, timeout=10) as client:
            await refused(READS[name](client), UnexpectedAnswerError)


async def test_a_key_may_look_like_many_values(make) -> None:
    key = "[{," * 170
    large = b64encode(bytes(MIB)).decode()
    entry = ENTRY.replace('"k"', f'"{key}"').replace("MQ==", large)
    with scripted(http(200, f'{{"entries":[{",".join([entry] * 64)}]}}')) as server:
        async with make(server.url, retry=ONCE, timeout=20) as client:
            assert len(await client.kv().bucket("b", bytes).history(key)) == 64


LONG = "y" * 5000
LONG_WORDS: dict[str, list[bytes]] = {
    "an error": [http(409, f'{{"error":"{LONG}"}}')],
    "a content type": [http(500, "no", kind=LONG)],
    "where to go": [http(302, "", f"Location: {LONG}")],
    "the end of a watch": [
        INFO,
        EVENTS + f'\r\ndata: {{"type":"error","code":"c","message":"{LONG}"}}\n\n'.encode(),
    ],
}


@pytest.mark.parametrize("steps", LONG_WORDS.values(), ids=LONG_WORDS)
async def test_what_goes_to_a_log_is_short(make, steps: list[bytes]) -> None:
    with scripted(*steps) as server:
        async with make(server.url, retry=ONCE, timeout=5) as client:
            with pytest.raises(JetKVError, match="yyy…") as caught:
                await READS["watch"](client)
    assert len(str(caught.value)) < 3000


# --- not HTTP at all


@every_call
async def test_a_nats_server_is_said_to_be_one(make, nats, call: Call) -> None:
    url = nats.url.replace("nats://", "http://")
    error = await refused_by(
        make, url, call, UnexpectedAnswerError, "this is a NATS server, not a gateway", url
    )
    assert not error.retryable

"""A WebSocket on real sockets: what its peer may send, and how it ends. The clock is the test's."""

import asyncio
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest
import uvloop
from hypothesis import given, settings
from hypothesis import strategies as st

from jetkv_gateway.http.frames import text_frame
from jetkv_gateway.kv.errors import InvalidHandshake
from jetkv_gateway.serving.handshake import check_handshake, offers_websocket
from jetkv_gateway.serving.websockets import WebSocket
from tests.support.waiting import soon

LOOPS = {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}
"""Their transports differ."""

HEADERS = {
    b"host": b"localhost",
    b"upgrade": b"websocket",
    b"connection": b"keep-alive, Upgrade",
    b"sec-websocket-version": b"13",
    b"sec-websocket-key": b"dGhlIHNhbXBsZSBub25jZQ==",
}
ACCEPT = b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo="  # RFC 6455 §1.3
HEAD = (
    b"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n"
    b"sec-websocket-accept: %s\r\nx-request-id: r\r\n\r\n" % ACCEPT
)
PING_SECONDS = 20.0
CONT, TEXT, BINARY, CLOSE, PING, PONG = 0x80, 0x81, 0x82, 0x88, 0x89, 0x8A


def masked(first: int, payload: bytes = b"") -> bytes:
    """A frame as a client sends it; `first` is its first byte. The mask changes nothing."""
    size = len(payload)
    if size < 126:
        head = bytes((first, 0x80 | size))
    elif size < 65536:
        head = bytes((first, 0xFE)) + struct.pack("!H", size)
    else:
        head = bytes((first, 0xFF)) + struct.pack("!Q", size)
    return head + bytes(4) + payload


def closing(code: int, reason: bytes = b"") -> bytes:
    return masked(CLOSE, struct.pack("!H", code) + reason)


class WorkerState(asyncio.Protocol):
    """Reads the head of a handshake, and hands the connection over with what is behind it."""

    def __init__(self, opened: "asyncio.Queue[WebSocket]", lost: list[WebSocket]) -> None:
        self._opened = opened
        self._lost = lost
        self._data = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: Any = transport

    def data_received(self, data: bytes) -> None:
        self._data += data
        head, end, behind = self._data.partition(b"\r\n\r\n")
        if end:
            assert head == b"GET /"
            loop = asyncio.get_running_loop()
            one = WebSocket(
                self._transport, loop, ping_seconds=PING_SECONDS, on_lost=self._lost.append
            )
            one.open(ACCEPT, None, b"x-request-id: r\r\n", behind=behind)
            self._opened.put_nowait(one)


class Peer:
    """A client by hand, and the server's end of its connection."""

    def __init__(self, raw: socket.socket, server: WebSocket, lost: list[WebSocket]) -> None:
        self.raw = raw
        self.server = server
        self.lost = lost
        self._loop = asyncio.get_running_loop()
        self._data = b""
        self.now = self._loop.time()

    async def send(self, data: bytes) -> None:
        async with asyncio.timeout(10):
            await self._loop.sock_sendall(self.raw, data)

    async def read(self, size: int) -> bytes:
        async with asyncio.timeout(10):
            while len(self._data) < size:
                data = await self._loop.sock_recv(self.raw, 65536)
                if not data:
                    raise EOFError
                self._data += data
        read, self._data = self._data[:size], self._data[size:]
        return read

    async def frame(self) -> tuple[int, bytes]:
        """The next frame: its first byte and its payload."""
        first, size = await self.read(2)
        if size > 125:
            size = int.from_bytes(await self.read(2 if size == 126 else 8), "big")
        return first, await self.read(size)

    async def closed(self) -> tuple[int, bytes]:
        """Code and reason of the close; pings and pongs before it are left out."""
        while True:
            first, payload = await self.frame()
            if first == CLOSE:
                return int.from_bytes(payload[:2], "big"), payload[2:]
            assert first in (PING, PONG), first

    async def is_at_end(self) -> bool:
        try:
            await self.read(1)
        except (EOFError, ConnectionResetError):
            return True
        return False

    def tick(self, seconds: float = 1.0) -> None:
        """Let time pass for the server."""
        self.now += seconds
        self.server.tick(self.now)

    async def is_lost(self) -> None:
        await soon(lambda: self.lost == [self.server], "the connection is lost")


@asynccontextmanager
async def connected(behind: bytes = b"", *, small: bool = False) -> AsyncIterator[Peer]:
    """Connect by TCP; `behind` goes out together with the handshake.

    Args:
        small: with buffers of the kernel that hold little.
    """
    loop = asyncio.get_running_loop()
    opened: asyncio.Queue[WebSocket] = asyncio.Queue()
    lost: list[WebSocket] = []
    listening = socket.socket()
    if small:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 8 * 1024)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8 * 1024)
    listening.bind(("127.0.0.1", 0))
    server = await loop.create_server(lambda: WorkerState(opened, lost), sock=listening)
    raw = socket.socket()
    raw.setblocking(False)
    if small:
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8 * 1024)
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 8 * 1024)
    try:
        await loop.sock_connect(raw, server.sockets[0].getsockname())
        await loop.sock_sendall(raw, b"GET /\r\n\r\n" + behind)
        async with asyncio.timeout(10):
            peer = Peer(raw, await opened.get(), lost)
        assert await peer.read(len(HEAD)) == HEAD
        yield peer
        peer.server.expire()
        await peer.is_lost()
    finally:
        raw.close()
        server.close()


# --- the handshake


def test_a_handshake_is_proven_to_be_understood() -> None:
    assert offers_websocket("GET", HEADERS)
    assert check_handshake("1.1", b"/", HEADERS) == ACCEPT


@pytest.mark.parametrize(
    ("method", "changed"),
    [
        ("POST", {}),
        ("GET", {b"upgrade": b"h2c"}),
        ("GET", {b"upgrade": b""}),
        ("GET", {b"connection": b"keep-alive"}),
        ("GET", {b"connection": b"upgrade-insecure"}),
    ],
)
def test_no_other_offer_is_taken_for_one_of_a_websocket(
    method: str, changed: dict[bytes, bytes]
) -> None:
    assert not offers_websocket(method, {**HEADERS, **changed})


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({b"sec-websocket-key": b""}, "Sec-WebSocket-Key"),
        ({b"sec-websocket-key": b"dG9vIHNob3J0"}, "Sec-WebSocket-Key"),
        ({b"sec-websocket-key": b"\xff"}, "Sec-WebSocket-Key"),
        ({b"sec-websocket-key": HEADERS[b"sec-websocket-key"] * 2}, "Sec-WebSocket-Key"),
        ({b"sec-websocket-key": b", ".join([HEADERS[b"sec-websocket-key"]] * 2)}, "Key"),
        ({b"sec-websocket-version": b"8, 13"}, "Sec-WebSocket-Version"),
        ({b"sec-websocket-version": b"14"}, "Sec-WebSocket-Version"),
        ({b"sec-websocket-protocol": b"a b"}, "Sec-WebSocket-Protocol"),
        ({b"content-length": b"5"}, "body"),
        ({b"transfer-encoding": b"chunked"}, "body"),
        ({b"x": b"x" * 8001}, "8,000 bytes"),
    ],
)
def test_a_handshake_that_breaks_a_rule_is_refused_and_the_rule_named(
    changed: dict[bytes, bytes], named: str
) -> None:
    with pytest.raises(InvalidHandshake, match=named):
        check_handshake("1.1", b"/", {**HEADERS, **changed})


def test_http_1_0_and_long_urls_are_refused() -> None:
    with pytest.raises(InvalidHandshake, match=r"HTTP/1\.1"):
        check_handshake("1.0", b"/", HEADERS)
    with pytest.raises(InvalidHandshake, match="URL"):
        check_handshake("1.1", b"/" * 8001, HEADERS)


async def test_frames_behind_the_handshake_are_not_lost() -> None:
    async with connected(masked(PING, b"a") + masked(PING, b"b")[:3]) as peer:
        assert await peer.frame() == (PONG, b"a")
        await peer.send(masked(PING, b"b")[3:])
        assert await peer.frame() == (PONG, b"b")


async def test_more_frames_behind_the_handshake_than_may_be_sent_at_once_are_taken_in_turn() -> (
    None
):
    pings = [b"%d" % number for number in range(600)]
    async with connected(b"".join([masked(PING, ping) for ping in pings])) as peer:
        for number, ping in enumerate(pings):
            if number % 100 == 0:
                peer.tick()
            assert await peer.frame() == (PONG, ping)


async def test_a_handshake_whose_peer_has_left_is_not_opened() -> None:
    one, other = socket.socketpair()
    loop = asyncio.get_running_loop()
    transport, _ = await loop.connect_accepted_socket(asyncio.Protocol, one)
    transport.abort()
    with pytest.raises(ConnectionError):
        WebSocket(transport, loop, ping_seconds=1, on_lost=lambda _: None).open(ACCEPT, None, b"")
    other.close()


# --- what goes out


async def test_frames_go_out_as_they_are() -> None:
    async with connected() as peer:
        await peer.server.write(text_frame(b"one") + text_frame(b"x" * 70_000))
        assert await peer.frame() == (TEXT, b"one")
        assert await peer.frame() == (TEXT, b"x" * 70_000)


async def test_a_write_waits_for_a_reader_who_is_behind_and_for_no_other_that_waits() -> None:
    async with connected(small=True) as peer:
        writes = [asyncio.create_task(peer.server.write(text_frame(b"x" * 500_000)))]
        writes += [asyncio.create_task(peer.server.write(text_frame(b"y"))) for _ in range(2)]
        await soon(
            lambda: peer.server.transport.get_write_buffer_size() > 0, "something waits to be read"
        )
        writes[1].cancel()
        done, _ = await asyncio.wait(writes, timeout=0.05)
        assert done == {writes[1]}
        assert len((await peer.frame())[1]) == 500_000
        async with asyncio.timeout(10):
            await asyncio.gather(writes[0], writes[2])


async def test_who_waits_to_write_is_told_when_the_peer_is_gone() -> None:
    async with connected(small=True) as peer:
        write = asyncio.create_task(peer.server.write(text_frame(b"x" * 500_000)))
        await soon(
            lambda: peer.server.transport.get_write_buffer_size() > 0, "something waits to be read"
        )
        peer.server.expire()
        async with asyncio.timeout(10):
            with pytest.raises(ConnectionError):
                await write
            with pytest.raises(ConnectionError):
                await peer.server.write(b"")
            await peer.server.gone()


# --- how it ends


async def test_a_close_of_the_peer_is_answered_and_the_connection_ended() -> None:
    async with connected() as peer:
        gone = asyncio.ensure_future(peer.server.gone())
        await peer.send(closing(1000, b"bye"))
        assert await peer.closed() == (1000, b"bye")
        assert await peer.is_at_end()
        async with asyncio.timeout(10):
            await gone
        await peer.is_lost()


async def test_a_peer_that_ends_without_a_close_is_gone() -> None:
    async with connected() as peer:
        gone = asyncio.ensure_future(peer.server.gone())
        peer.raw.shutdown(socket.SHUT_WR)
        async with asyncio.timeout(10):
            await gone
        await peer.is_lost()


async def test_last_frames_come_before_the_close_and_nothing_behind_it() -> None:
    async with connected() as peer:
        peer.server.finish(text_frame(b"last"), 1013, "slow_consumer")
        peer.server.finish(text_frame(b"more"), 1011, "again")
        with pytest.raises(ConnectionError):
            await peer.server.write(text_frame(b"more"))
        assert await peer.frame() == (TEXT, b"last")
        assert await peer.closed() == (1013, b"slow_consumer")
        await peer.send(closing(1013))
        assert await peer.is_at_end()


async def test_a_peer_that_does_not_answer_a_close_is_ended_after_five_seconds() -> None:
    async with connected() as peer:
        peer.server.finish(b"", 1000, "")
        peer.tick(4)
        assert not peer.server.transport.is_closing()
        peer.tick(2)
        await peer.is_lost()


async def test_a_stop_closes_with_1001_and_lets_go_of_who_waits() -> None:
    async with connected() as peer:
        gone = asyncio.ensure_future(peer.server.gone())
        await asyncio.sleep(0)
        peer.server.shutdown()
        async with asyncio.timeout(10):
            await gone
        assert await peer.closed() == (1001, b"")


async def test_a_peer_is_pinged_and_stays_as_long_as_it_answers() -> None:
    async with connected() as peer:
        for _ in range(3):
            peer.tick(PING_SECONDS)
            assert await peer.frame() == (PING, b"")
            await peer.send(masked(PONG) + masked(PING, b"seen?"))
            assert await peer.frame() == (PONG, b"seen?")


async def test_a_peer_that_does_nothing_but_answer_pings_needs_no_reader_of_frames() -> None:
    async with connected() as peer:
        for _ in range(3):
            peer.tick(PING_SECONDS)
            assert await peer.frame() == (PING, b"")
            await peer.send(masked(PONG, b""))
            await soon(lambda: peer.server._pong_by is None, "the pong has come")
        assert peer.server._protocol is None
        await peer.send(masked(PONG, b"") + masked(PING, b"a"))
        assert await peer.frame() == (PONG, b"a")


async def test_pongs_count_against_what_a_peer_may_send() -> None:
    async with connected() as peer:
        left = peer.server._rate_limit.frames
        await peer.send(masked(PONG, b""))
        await soon(lambda: peer.server._rate_limit.frames == left - 1, "the pong has come")


async def test_a_peer_that_answers_no_ping_is_ended() -> None:
    async with connected() as peer:
        peer.tick(PING_SECONDS)
        await peer.send(masked(PING, b"not an answer"))
        assert (await peer.frame(), await peer.frame()) == ((PING, b""), (PONG, b"not an answer"))
        peer.tick(PING_SECONDS - 1)
        assert not peer.server.transport.is_closing()
        peer.tick(2)
        await peer.is_lost()


async def test_a_slow_reader_is_not_taken_for_a_silent_one() -> None:
    async with connected(small=True) as peer:
        peer.tick(PING_SECONDS)  # its ping waits behind what follows
        write = asyncio.create_task(peer.server.write(text_frame(b"x" * 1_000_000)))
        size = peer.server.transport.get_write_buffer_size
        await soon(lambda: size() > 500_000, "most of it waits")
        assert await peer.frame() == (PING, b"")
        for _ in range(10):
            before = size()
            await peer.read(50_000)
            await soon(lambda before=before: size() < before, "some of it was taken in")
            peer.tick(PING_SECONDS)
            assert not peer.server.transport.is_closing()
        assert not write.done()
        await peer.read(1_000_000 - 500_000 + 10)
        async with asyncio.timeout(10):
            await write
        # What it had to read is out, and its pong may come now.
        peer.tick(PING_SECONDS - 1)
        assert not peer.server.transport.is_closing()
        peer.tick(2)
        await peer.is_lost()


async def test_a_reader_that_takes_in_nothing_for_forty_seconds_is_ended() -> None:
    async with connected(small=True) as peer:
        write = asyncio.create_task(peer.server.write(text_frame(b"x" * 1_000_000)))
        await soon(
            lambda: peer.server.transport.get_write_buffer_size() > 500_000, "most of it waits"
        )
        peer.tick(1)
        peer.tick(38)
        assert not peer.server.transport.is_closing()
        peer.tick(3)
        await peer.is_lost()
        with suppress(ConnectionError):
            await write


# --- what comes in

BROKEN = {
    "a ping in fragments": (masked(0x09), 1002),
    "a close in fragments": (masked(0x08, b"\x03\xe8"), 1002),
    "a ping inside a text, in fragments": (masked(0x01) + masked(0x09) + masked(CONT), 1002),
    "a ping of 126 bytes": (masked(PING, bytes(126)), 1002),
    "a continuation of nothing": (masked(CONT), 1002),
    "a text inside a text": (masked(0x01) + masked(TEXT), 1002),
    "an opcode of nobody": (masked(0x83), 1002),
    "a control opcode of nobody": (masked(0x8B), 1002),
    "a reserved bit": (masked(0xC1), 1002),
    "no mask": (text_frame(b"hi"), 1002),
    "a close of one byte": (masked(CLOSE, b"\x03"), 1002),
    "a close whose code is for nobody to send": (closing(1005), 1002),
    "a close whose reason is no UTF-8": (closing(1000, b"\xff"), 1007),
    "a text that is no UTF-8": (masked(TEXT, b"\xff"), 1007),
    "a text cut off in a character": (masked(TEXT, b"\xc3"), 1007),
    "a text broken between fragments": (masked(0x01, b"\xc3") + masked(CONT, b"\x28"), 1007),
    "a text that is no UTF-8, then a close": (masked(TEXT, b"\xff") + closing(1000), 1007),
    "a text of 4,097 bytes": (masked(TEXT, bytes(4097)), 1009),
    "a text of 2**62 bytes": (b"\x81\xff" + struct.pack("!Q", 2**62), 1009),
    "fragments of 4,097 bytes": (masked(0x02, bytes(4096)) + masked(CONT, b"1"), 1009),
}


@pytest.mark.parametrize(("data", "code"), BROKEN.values(), ids=BROKEN)
async def test_a_frame_that_breaks_a_rule_ends_it_with_the_code_of_the_rule(data, code) -> None:
    async with connected() as peer:
        gone = asyncio.ensure_future(peer.server.gone())
        await peer.send(masked(PING, b"before") + data + masked(PING, b"behind"))
        assert await peer.frame() == (PONG, b"before")
        assert (await peer.closed())[0] == code
        async with asyncio.timeout(10):
            await gone
        # Not a reset, which could throw the close away: the peer's own end is waited for.
        await peer.send(masked(TEXT, b"x" * 1000) * 20)
        with pytest.raises(EOFError):
            await peer.read(1)
        peer.raw.shutdown(socket.SHUT_WR)
        await peer.is_lost()


async def test_what_is_fine_is_dropped_and_a_ping_inside_a_message_answered() -> None:
    async with connected() as peer:
        fine = [
            masked(TEXT, "ä".encode()) + masked(BINARY, b"\xff") + masked(TEXT),
            masked(0x01, b"\xc3") + masked(PING, b"in") + masked(CONT, b"\xa4"),
            masked(0x02, b"\xff") + masked(0x00) + masked(CONT, b"\xff"),
            masked(TEXT, bytes(4096)) + masked(PONG, b"unasked") + masked(PING, b"out"),
        ]
        await peer.send(b"".join(fine))
        assert await peer.frame() == (PONG, b"in")
        assert await peer.frame() == (PONG, b"out")


FLOODS = {
    "empty texts": (b"", masked(TEXT) * 10_000),
    "empty fragments": (masked(0x01), masked(0x00) * 10_000),
    "pongs": (b"", masked(PONG) * 10_000),
    "large texts": (b"", masked(TEXT, b"x" * 4096) * 16),
}


@pytest.mark.parametrize(("first", "flood"), FLOODS.values(), ids=FLOODS)
async def test_who_sends_as_fast_as_it_can_is_ended_with_1008_and_others_get_their_frames(
    first, flood
) -> None:
    async with connected() as loud, connected() as quiet:
        loop = asyncio.get_running_loop()

        async def send() -> None:
            await loud.send(first)
            with suppress(ConnectionError):
                while True:
                    await loop.sock_sendall(loud.raw, flood)

        sending = asyncio.create_task(send())
        code = asyncio.create_task(loud.closed())
        for number in range(5000):
            if code.done():
                break
            await quiet.server.write(text_frame(b"%d" % number))
            assert await quiet.frame() == (TEXT, b"%d" % number)
            await asyncio.sleep(0)
            loud.tick(0.02)
        assert await code == (1008, b"too many frames or bytes a second: watchers only listen")
        assert not quiet.server.transport.is_closing()
        for _ in range(6):
            loud.tick()
        await loud.is_lost()
        async with asyncio.timeout(10):
            await sending


async def test_pings_of_a_peer_that_reads_nothing_fill_no_memory_and_none_is_lost() -> None:
    async with connected(small=True) as peer:
        loop = asyncio.get_running_loop()
        size = peer.server.transport.get_write_buffer_size
        pings = [b"%0124d" % number for number in range(4000)]
        sending = asyncio.create_task(
            loop.sock_sendall(peer.raw, b"".join([masked(PING, ping) for ping in pings]))
        )
        most = 0

        async def pass_time() -> None:
            nonlocal most
            while True:
                # No second at all: the allowance grows, and no deadline comes nearer.
                peer.server._rate_limit.frames = 1000
                peer.server._rate_limit.bytes = 640_000
                peer.tick(0)
                most = max(most, size())
                await asyncio.sleep(0)

        passing = asyncio.create_task(pass_time())
        await soon(lambda: size() > 64 * 1024, "pongs wait to be read")
        await asyncio.wait([sending], timeout=0.2)
        assert not sending.done(), "the server has stopped to read"
        assert most < 80 * 1024
        for ping in pings:
            assert await peer.frame() == (PONG, ping)
        assert most < 80 * 1024
        passing.cancel()
        await sending


# --- the same bytes, whatever the pieces

PARTS = st.one_of(
    st.binary(max_size=8),
    st.builds(masked, st.integers(0, 255), st.binary(max_size=140)),
    st.builds(
        masked,
        st.sampled_from([0x00, 0x01, 0x02, CONT, TEXT, BINARY, PING, PONG]),
        st.one_of(st.text(max_size=20).map(str.encode), st.binary(max_size=4)),
    ),
    st.sampled_from([data for data, _ in BROKEN.values()]),
    st.builds(closing, st.integers(0, 5000), st.binary(max_size=130)),
)


async def said(pieces: list[bytes]) -> tuple[bytes, bool]:
    """What a server says to pieces that come one by one, and whether it has ended."""
    loop = asyncio.get_running_loop()
    one, other = socket.socketpair()
    other.setblocking(False)
    lost: list[WebSocket] = []
    transport, _ = await loop.connect_accepted_socket(asyncio.Protocol, one)
    server = WebSocket(transport, loop, ping_seconds=PING_SECONDS, on_lost=lost.append)
    server.open(ACCEPT, None, b"x-request-id: r\r\n")
    for piece in pieces:
        while piece and not transport.is_closing():
            buffer = server.get_buffer(-1)
            size = min(len(piece), len(buffer))
            buffer[:size] = piece[:size]
            piece = piece[size:]
            server.buffer_updated(size)
    ended = transport.is_closing() or server._discard is not None
    answer = other.recv(1_000_000)
    transport.abort()
    await soon(lambda: bool(lost), "the connection is lost")
    other.close()
    return answer.removeprefix(HEAD), ended


@settings(max_examples=60)
@given(parts=st.lists(PARTS, max_size=8), data=st.data())
def test_the_same_bytes_in_other_pieces_have_the_same_result_and_nothing_raises(
    parts: list[bytes], data: st.DataObject
) -> None:
    stream = b"".join(parts)
    cuts = data.draw(st.lists(st.integers(0, len(stream)), max_size=12).map(sorted))
    pieces = [
        stream[start:end] for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True)
    ]

    async def compare() -> None:
        whole = await said([stream])
        assert await said(pieces) == whole
        assert await said([stream[at : at + 1] for at in range(len(stream))]) == whole

    asyncio.run(compare())

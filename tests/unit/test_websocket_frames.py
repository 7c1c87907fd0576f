"""What the peer of a WebSocket may send, on real sockets."""

import asyncio
import socket
import struct
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jetkv_gateway.http.frames import text_frame
from jetkv_gateway.serving.websockets import WebSocket
from tests.support import loops
from tests.support.sockets import (
    ACCEPT,
    BINARY,
    CLOSE,
    CONT,
    HEAD,
    PING,
    PING_SECONDS,
    PONG,
    TEXT,
    behind_answers,
    closing,
    connected,
    masked,
)
from tests.support.waiting import soon

LOOPS = loops.BOTH

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
        gone = asyncio.ensure_future(peer.server.wait_closed())
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
async def test_a_peer_that_sends_as_fast_as_it_can_is_ended_with_1008_and_others_get_their_frames(
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


async def test_pings_behind_a_handshake_wait_until_the_peer_reads_and_keep_their_order() -> None:
    pings = [b"%0125d" % number for number in range(200)]
    sent = b"".join([masked(PING, ping) for ping in pings[:100]])
    async with behind_answers(4096, sent) as (peer, size):
        assert peer.server._unread, "pongs wait to be read, and pings for them"
        await peer.send(b"".join([masked(PING, ping) for ping in pings[100:]]))
        await peer.read(size)
        assert await peer.read(len(HEAD)) == HEAD
        for ping in pings:
            assert await peer.frame() == (PONG, ping)
        assert not peer.server._unread


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
    ended = transport.is_closing() or server._discard_left is not None
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

"""A WebSocket on real sockets: how it opens, sends and ends."""

import asyncio
import socket
from contextlib import suppress

import pytest

from jetkv_gateway.http.frames import text_frame
from jetkv_gateway.kv.errors import InvalidHandshake
from jetkv_gateway.serving.handshake import check_handshake, offers_websocket
from jetkv_gateway.serving.websockets import WebSocket
from tests.support import loops
from tests.support.sockets import (
    ACCEPT,
    HEAD,
    HEADERS,
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


async def test_a_write_waits_for_a_reader_whose_connection_was_full_with_the_handshake() -> None:
    async with behind_answers(len(HEAD) - 1) as (peer, size):
        write = asyncio.create_task(peer.server.write(text_frame(b"x")))
        await asyncio.wait([write], timeout=0.05)
        assert not write.done()
        await peer.read(size)
        assert await peer.read(len(HEAD)) == HEAD
        assert await peer.frame() == (TEXT, b"x")
        async with asyncio.timeout(10):
            await write


async def test_a_write_that_waits_ends_when_the_peer_is_gone() -> None:
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
            await peer.server.wait_closed()


async def test_a_close_of_the_peer_is_answered_and_the_connection_ended() -> None:
    async with connected() as peer:
        gone = asyncio.ensure_future(peer.server.wait_closed())
        await peer.send(closing(1000, b"bye"))
        assert await peer.closed() == (1000, b"bye")
        assert await peer.is_at_end()
        async with asyncio.timeout(10):
            await gone
        await peer.is_lost()


async def test_a_peer_that_ends_without_a_close_is_gone() -> None:
    async with connected() as peer:
        gone = asyncio.ensure_future(peer.server.wait_closed())
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
        gone = asyncio.ensure_future(peer.server.wait_closed())
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

"""A WebSocket of the gateway and its peer, on real sockets and a clock of the test."""

import asyncio
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from jetkv_gateway.serving.websockets import WebSocket
from tests.support.waiting import soon

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


class HandOver(asyncio.Protocol):
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
    server = await loop.create_server(lambda: HandOver(opened, lost), sock=listening)
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


_UNREAD = 32 * 1024


@asynccontextmanager
async def behind_answers(room: int, behind: bytes = b"") -> AsyncIterator[tuple[Peer, int]]:
    """Open a WebSocket behind answers that its peer has not read; also gives their size.

    Args:
        room: bytes that can be written before the transport pauses writing.
        behind: bytes that came with the handshake.
    """
    loop = asyncio.get_running_loop()
    one, raw = socket.socketpair()
    raw.setblocking(False)
    one.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 8 * 1024)
    lost: list[WebSocket] = []
    transport, _ = await loop.connect_accepted_socket(asyncio.Protocol, one)
    sent = 0
    try:
        while (size := transport.get_write_buffer_size()) < _UNREAD:
            part = bytes(min(1024, _UNREAD - size))
            transport.write(part)
            sent += len(part)
            await asyncio.sleep(0)  # the kernel takes what it can
        transport.set_write_buffer_limits(_UNREAD + room)
        server = WebSocket(transport, loop, ping_seconds=PING_SECONDS, on_lost=lost.append)
        server.open(ACCEPT, None, b"x-request-id: r\r\n", behind=behind)
        yield Peer(raw, server, lost), sent
        server.expire()
        await soon(lambda: bool(lost), "the connection is lost")
    finally:
        raw.close()

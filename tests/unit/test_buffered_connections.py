"""What is counted for a connection is no longer counted when it has ended, whatever came first."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import cast

import pytest
import uvicorn
from uvicorn.server import ServerState

from jetkv_gateway.http.call import Call
from jetkv_gateway.http.gateway import Gateway
from jetkv_gateway.http.request import Request
from jetkv_gateway.serving.http1 import HttpConnection
from jetkv_gateway.serving.options import ServerOptions
from jetkv_gateway.serving.websockets import WebSocket
from jetkv_gateway.serving.worker_state import WorkerState
from tests.support import loops
from tests.support.sockets import HEADERS, PING, masked
from tests.support.waiting import soon

LOOPS = loops.BOTH

KIB = 1024
SIZE = 600 * KIB  # of a body: two of them are over the limit
HEAD = (
    b"PUT /api/v1/kv/buckets/b/keys/k HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n"
    % SIZE
)
FIRST, LAST = HEAD + bytes(SIZE - KIB), bytes(KIB)
HANDSHAKE = b"\r\n".join(
    [
        b"GET /api/v1/kv/buckets/b/watch HTTP/1.1",
        *[b"%b: %b" % line for line in HEADERS.items()],
        b"\r\n",
    ]
)
# More frames than the rate limit allows at once.
PINGS = masked(PING, bytes(125)) * 400


class Slow:
    """Answers in the gateway's place, but not before `answers` is set."""

    def __init__(self) -> None:
        self.answers = asyncio.Event()

    def begin(self, request: Request) -> Call:
        call = Call(request)
        call.body_limit, call.limited = 1_000_000, False
        return call

    async def run(self, call: Call) -> None:
        await self.answers.wait()
        if call.request.is_websocket:
            await (await call.request.accept(None, b"")).wait_closed()
            return
        call.answer(200, b"", b"")


class Client:
    """A client by hand, and the server's end of its connection."""

    def __init__(self, raw: socket.socket, server: HttpConnection) -> None:
        self.raw = raw
        self.server = server

    async def status(self) -> bytes:
        async with asyncio.timeout(10):
            answer = await asyncio.get_running_loop().sock_recv(self.raw, 65536)
        return answer[:12]


class Stand:
    """A worker that may hold 1 MiB, and its connections."""

    def __init__(self) -> None:
        self.worker = WorkerState(ServerOptions(held_bytes=1024 * KIB))
        self.slow = Slow()
        self.worker.gateway = cast(Gateway, self.slow)
        self._config = uvicorn.Config(lambda: None, log_config=None, lifespan="off", factory=True)
        self._state = ServerState()
        self._made: list[Client] = []

    async def connect(self) -> Client:
        one, other = socket.socketpair()
        other.setblocking(False)
        server = HttpConnection(self.worker, self._config, self._state, {})
        await asyncio.get_running_loop().connect_accepted_socket(lambda: server, one)
        client = Client(other, server)
        self._made.append(client)
        return client

    async def put(self) -> Client:
        """Begin a request that runs until `slow.answers` is set."""
        client = await self.connect()
        client.server.data_received(FIRST)
        client.server.data_received(LAST)
        return client

    @property
    def held(self) -> tuple[int, int]:
        """How many bytes are counted, and for how many connections."""
        buffered = self.worker.buffered
        return buffered.total, len(buffered)

    async def close(self) -> None:
        self.slow.answers.set()
        for client in self._made:
            client.server.transport.abort()
            client.raw.close()
        await soon(lambda: not self._state.tasks, "all requests have ended")


@asynccontextmanager
async def stand() -> AsyncIterator[Stand]:
    one = Stand()
    try:
        yield one
    finally:
        await one.close()


@pytest.mark.parametrize("leaves", [False, True], ids=["answered", "gone"])
async def test_a_body_whose_end_comes_before_it_is_dropped_counts_while_its_request_runs(
    leaves: bool,
) -> None:
    async with stand() as at:
        first = await at.put()
        second = await at.connect()
        second.server.data_received(FIRST)  # only this one can be dropped, in the next turn
        second.server.data_received(LAST)
        await asyncio.sleep(0)
        assert at.held == (2 * SIZE, 2)
        if leaves:
            second.server.transport.abort()
            await soon(lambda: second.server.lost, "the connection is lost")
            assert at.held == (2 * SIZE, 2)
        at.slow.answers.set()
        assert await first.status() == b"HTTP/1.1 200"
        if not leaves:
            assert await second.status() == b"HTTP/1.1 200"
        await soon(lambda: at.held == (0, 0), "nothing is counted any more")


async def test_a_head_that_is_dropped_counts_no_longer() -> None:
    async with stand() as at:
        await at.put()
        heads = [await at.connect() for _ in range(40)]
        for head in heads:
            head.server.data_received(b"GET / HTTP/1.1\r\nHost: localhost\r\nx: " + b"v" * 15_000)
        kept = [head for head in heads if head.server.transport.get_protocol() is head.server]
        dropped = [head for head in heads if head not in kept]
        assert await dropped[0].status() == b"HTTP/1.1 429"
        for head in kept:
            head.server.transport.abort()
        await soon(lambda: all(head.server.lost for head in kept), "the others are lost")
        assert not any(head.server.lost for head in dropped)
        assert at.held == (SIZE, 1)


@pytest.mark.parametrize("leaves", [False, True], ids=["processed", "gone"])
async def test_frames_behind_a_handshake_count_until_they_are_processed(leaves: bool) -> None:
    async with stand() as at:
        client = await at.connect()
        client.server.data_received(HANDSHAKE)
        client.server.data_received(PINGS)
        assert at.held == (len(PINGS), 1)
        at.slow.answers.set()
        assert await client.status() == b"HTTP/1.1 101"
        opened = client.server.transport.get_protocol()
        assert isinstance(opened, WebSocket)
        total, holders = at.held
        assert 0 < total < len(PINGS) / 2
        assert holders == 1
        if leaves:
            client.server.transport.abort()
        else:
            opened.tick(asyncio.get_running_loop().time() + 2)
        await soon(lambda: at.held == (0, 0), "nothing is counted any more")

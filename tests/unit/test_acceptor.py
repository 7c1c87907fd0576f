"""How connections are accepted, on real sockets, with both event loops."""

import asyncio
import logging
import os
import resource
import socket
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import cast

import pytest
import uvloop

from jetkv_gateway.serving.acceptor import Acceptor
from jetkv_gateway.serving.balance import CELLS, Balance
from jetkv_gateway.serving.server import listen
from tests.support.waiting import soon

Run = Callable[[Awaitable[None]], None]


@pytest.fixture(params=[asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> Iterator[Run]:
    with asyncio.Runner(loop_factory=request.param) as runner:
        yield runner.run


@pytest.fixture
def listening() -> Iterator[socket.socket]:
    with listen("127.0.0.1", 0) as listening:
        yield listening


@pytest.fixture
def log() -> Iterator[list[str]]:
    """What the gateway says, whether or not other tests have set its logging up."""
    said: list[str] = []

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            said.append(record.getMessage())

    handler = Handler()
    logger = logging.getLogger("jetkv")
    logger.addHandler(handler)
    yield said
    logger.removeHandler(handler)


class Connections(set[asyncio.Protocol]):
    """Of protocols that say a byte when they stand."""

    def protocol(self) -> asyncio.Protocol:
        connections = self

        class Greeting(asyncio.Protocol):
            transport: asyncio.Transport

            def connection_made(self, transport: asyncio.BaseTransport) -> None:
                self.transport = cast(asyncio.Transport, transport)
                connections.add(self)
                self.transport.write(b"x")

            def connection_lost(self, _error: Exception | None) -> None:
                connections.discard(self)

        return Greeting()


@contextmanager
def clients(listening: socket.socket, number: int) -> Iterator[list[socket.socket]]:
    with ExitStack() as stack:
        address = listening.getsockname()
        yield [
            stack.enter_context(socket.create_connection(address, timeout=5)) for _ in range(number)
        ]


@contextmanager
def no_descriptor_left() -> Iterator[None]:
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    # The next one would have this number.
    with os.fdopen(os.dup(0)) as free:
        highest = free.fileno()
    resource.setrlimit(resource.RLIMIT_NOFILE, (highest, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)


def test_all_who_connect_at_once_are_accepted_and_get_their_bytes_without_delay(
    run: Run, listening: socket.socket
) -> None:
    async def body() -> None:
        connections = Connections()
        acceptor = Acceptor(listening, connections.protocol, connections)
        with clients(listening, 100) as all_of_them:
            await soon(lambda: len(connections) == 100, "all are accepted", 5)
            assert acceptor.connections == 100
            transport = next(iter(connections)).transport
            raw = transport.get_extra_info("socket")
            assert raw.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
            assert [client.recv(1) for client in all_of_them] == [b"x"] * 100
        await soon(lambda: acceptor.connections == 0, "all have gone", 5)
        await acceptor.close()

    run(body())


def test_nobody_is_accepted_where_there_is_no_room_and_all_are_once_there_is(
    run: Run, listening: socket.socket
) -> None:
    async def body() -> None:
        connections = Connections()
        asked: list[int] = []

        def may_accept() -> bool:
            asked.append(acceptor.connections)
            return acceptor.connections < room

        room = 2
        acceptor = Acceptor(listening, connections.protocol, connections, may_accept=may_accept)
        with clients(listening, 6):
            await soon(lambda: asked.count(2) > 2, "it is asked again and again", 5)
            assert len(connections) == 2
            room = 100
            await soon(lambda: len(connections) == 6, "all are accepted", 5)
        await acceptor.close()

    run(body())


def test_without_a_descriptor_connections_wait_and_one_line_says_so(
    run: Run, listening: socket.socket, log: list[str]
) -> None:
    async def body() -> None:
        connections = Connections()
        full: list[bool] = []
        acceptor = Acceptor(
            listening, connections.protocol, connections, on_full=lambda: full.append(True)
        )
        with clients(listening, 2) as (one, other):
            with no_descriptor_left():
                await soon(lambda: len(full) > 2, "it is tried again and again", 5)
                assert not connections
            await soon(lambda: len(connections) == 2, "both are accepted", 5)
            assert (one.recv(1), other.recv(1)) == (b"x", b"x")
        await acceptor.close()

    run(body())
    said = "cannot accept connections: Too many open files; they wait, with 0 open"
    assert log == [said]


def test_a_client_that_has_connected_when_it_closes_is_accepted(
    run: Run, listening: socket.socket
) -> None:
    async def body() -> None:
        connections = Connections()
        acceptor = Acceptor(listening, connections.protocol, connections)
        with clients(listening, 20) as all_of_them:
            await acceptor.close()
            await acceptor.close()
            assert len(connections) == 20
            assert [client.recv(1) for client in all_of_them] == [b"x"] * 20

    run(body())


def test_a_connection_that_others_leave_where_it_is_is_accepted_all_the_same(
    run: Run, listening: socket.socket
) -> None:
    async def body() -> None:
        cells = [0] * 2 * CELLS
        hung = Balance(cells, 1)
        hung.publish(0)
        connections = Connections()
        balance = Balance(cells, 0)
        acceptor = Acceptor(listening, connections.protocol, connections, balance=balance)
        with clients(listening, 10):
            await soon(lambda: len(connections) == 10, "all are accepted", 5)
            assert cells[0] == 11, "it has said so"
            hung.publish(0)
            with clients(listening, 1) as (late,):
                late.setblocking(False)
                with pytest.raises(BlockingIOError):
                    late.recv(1)
                assert len(connections) == 10, "it is the other's turn"
                await soon(lambda: len(connections) == 11, "but that one does not take it", 5)
        await acceptor.close()
        assert cells[0] == 0, "it takes part no more"

    run(body())


def test_others_do_not_wait_for_one_that_has_no_room(run: Run, listening: socket.socket) -> None:
    async def body() -> None:
        cells = [0] * 2 * CELLS
        other = Balance(cells, 1)
        other.publish(8)
        assert other.should_accept(8)
        room = True
        connections = Connections()
        acceptor = Acceptor(
            listening,
            connections.protocol,
            connections,
            may_accept=lambda: room,
            balance=Balance(cells, 0),
        )
        assert not other.should_accept(8)
        room = False
        with clients(listening, 1):
            await soon(lambda: other.should_accept(8), "it does not count", 5)
            acceptor.publish()
            assert other.should_accept(8), "nor by its sign of life"
            room = True
            await soon(lambda: len(connections) == 1, "it accepts again", 5)
            assert not other.should_accept(8), "and counts"
        await acceptor.close()

    run(body())

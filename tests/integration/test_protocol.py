"""The connection that nats-py opens and hands over: what comes, what is sent, how it ends."""

import asyncio
import sys
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from nats.aio.msg import Msg
from nats.errors import UnexpectedEOF

from jetkv.testing import LocalNats
from jetkv_gateway.jetstream import protocol as protocol_module
from jetkv_gateway.jetstream.connection import Connection
from jetkv_gateway.jetstream.nats_py import NatsPyConnector
from jetkv_gateway.jetstream.protocol import HEADER_RESERVE, NatsProtocol
from jetkv_gateway.jetstream.requests import (
    ConnectionLost,
    NoResponders,
    NotConnected,
    Reply,
    RequestTimeout,
)
from tests.support import loops
from tests.support.link import connected, connecting, passage
from tests.support.native import Native
from tests.support.ports import free_ports
from tests.support.stepping import Stepped, in_a_callback
from tests.support.tls import Certificates
from tests.support.waiting import soon

KIB = 1024


def link_of(connection: Connection) -> NatsProtocol:
    assert connection._current is not None
    return connection._current.protocol


# The hand-over.

ACCOUNT = (
    "accounts { A { users: [ { user: gateway, password: p } ], limits { max_payload: 64KB } } }"
)
AS_GATEWAY = {"nats_user": "gateway", "nats_password": "p"}


@pytest.fixture(scope="module")
def ways(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, dict[str, Any]]]:
    """Settings that lead to a server whose account takes 64 KiB, by the way there."""
    folder = tmp_path_factory.mktemp("ways")
    certificates = Certificates(folder / "certificates")
    plain, secure = free_ports(2)
    websocket = f'websocket {{ listen: "127.0.0.1:{plain}", no_tls: true }}'
    websockets = f'websocket {{ listen: "127.0.0.1:{secure}"\n{certificates.server_config()} }}'
    tls = certificates.server_config()
    with (
        LocalNats(folder / "plain", config=f"{ACCOUNT}\n{websocket}") as server,
        LocalNats(folder / "tls", config=f"{ACCOUNT}\n{tls}\n{websockets}") as tls_server,
    ):
        ca = {"nats_tls_ca": certificates.ca}
        yield {
            "nats": {"url": server.url},
            "ws": {"url": f"ws://127.0.0.1:{plain}"},
            "tls": {"url": f"tls://localhost:{tls_server.port}", **ca},
            "wss": {"url": f"wss://localhost:{secure}", **ca},
        }


# nats-py names its deadline to aiohttp in a form that will go.
@pytest.mark.filterwarnings("ignore:parameter 'timeout' of type 'float':DeprecationWarning")
@pytest.mark.parametrize("loop", loops.BOTH)
@pytest.mark.parametrize("way", ["nats", "tls", "ws", "wss"])
def test_a_connection_is_taken_over_with_all_that_had_come_on_it(
    ways: dict[str, dict[str, Any]], way: str, loop: str
) -> None:
    async def use() -> None:
        async with connecting(**ways[way], **AS_GATEWAY) as connection:
            assert await connection.wait_connected(5), connection.last_error
            mux = connection.mux
            # The account's limit comes behind the answer to CONNECT, unread by nats-py.
            assert mux.max_value_bytes == 64 * KIB - HEADER_RESERVE
            came: list[bytes] = []
            inbox = await mux.subscribe(lambda _subject, _reply, _headers, data: came.append(data))
            sent = [bytes([number]) * mux.max_value_bytes for number in range(64)]
            for data in sent:
                await mux.send(inbox.subject, data, "nowhere")
            await soon(lambda: len(came) == len(sent), "all are there")
            assert came == sent
            await inbox.close()
            with pytest.raises(NoResponders):
                await mux.request("nobody", bytes(mux.max_value_bytes), timeout=5)

    with asyncio.Runner(loop_factory=loops.BOTH[loop]) as runner:
        runner.run(use())


@pytest.mark.filterwarnings("ignore:parameter 'timeout' of type 'float':DeprecationWarning")
async def test_a_websocket_that_breaks_is_replaced(own_websocket: tuple[LocalNats, str]) -> None:
    server, url = own_websocket
    async with connected(url) as connection:
        for _ in range(2):
            mux = connection.mux
            request = asyncio.create_task(mux.request("$JS.API.INFO", timeout=5))
            assert (await request).data
            server.kill()
            await soon(lambda mux=mux: mux.lost, "the end is noticed")
            server.start()
            assert await connection.wait_connected(5), connection.last_error


@pytest.fixture
def own_websocket(tmp_path: Path) -> Iterator[tuple[LocalNats, str]]:
    (port,) = free_ports(1)
    config = f'websocket {{ listen: "127.0.0.1:{port}", no_tls: true }}'
    with LocalNats(tmp_path, config=config) as server:
        yield server, f"ws://127.0.0.1:{port}"


async def test_a_connection_that_broke_before_it_was_handed_over_is_noticed_at_once(
    nats: LocalNats, monkeypatch: pytest.MonkeyPatch
) -> None:
    hand_over = NatsPyConnector.hand_over

    async def break_first(
        self: NatsPyConnector, protocol: asyncio.Protocol
    ) -> tuple[asyncio.BaseTransport, bytes]:
        writer = self._client._transport._io_writer
        writer.transport.abort()
        await asyncio.sleep(0.01)
        return await hand_over(self, protocol)

    link = NatsProtocol(lambda _info, _first: None, lambda _refused: None, lambda: None)
    with monkeypatch.context() as patch:
        patch.setattr(NatsPyConnector, "hand_over", break_first)
        await link.open(nats.url, 5)
    assert not link.connected
    assert isinstance(link.error, UnexpectedEOF)
    async with asyncio.timeout(0.5):
        await link.close()


async def test_no_task_of_nats_py_is_left_and_none_of_ours_after_the_end(nats: LocalNats) -> None:
    before = asyncio.all_tasks()
    async with connected(nats.url):
        running = asyncio.all_tasks() - before
        assert {task.get_name() for task in running} == {"nats-supervisor"}
    assert asyncio.all_tasks() == before


# What is sent.


@contextmanager
def _writes(link: NatsProtocol) -> Iterator[list[bytes]]:
    writer, writes = link._writer, []
    write = writer.write
    assert write is not None

    def written(data: bytes) -> None:
        writes.append(data)
        write(data)

    writer.write = written
    try:
        yield writes
    finally:
        writer.write = write


async def test_what_one_turn_sends_goes_out_in_one_write(nats: LocalNats) -> None:
    async with connected(nats.url) as connection:
        mux = connection.mux
        with _writes(link_of(connection)) as writes:
            for number in range(100):
                mux.ask(b"nobody.%d" % number, b"x" * 100, timeout=5)
            last = mux.ask(b"nobody", b"x" * 2_000, b"NATS/1.0\r\nA: b\r\n\r\n", timeout=5)
            with pytest.raises(NoResponders):
                await last
        assert len(writes) == 1
        assert writes[0].count(b"PUB nobody") == 101


def _stalled(connection: Connection, requests: int = 16) -> list[asyncio.Task[Reply]]:
    """Make requests of a server that is stopped, more than the way to it takes."""
    mux = connection.mux
    value = bytes(mux.max_value_bytes)
    return [asyncio.create_task(mux.request("nobody", value, timeout=30)) for _ in range(requests)]


async def test_what_the_connection_does_not_take_waits_and_goes_out_once_it_does(
    own_nats: LocalNats,
) -> None:
    own_nats.start()
    async with connected(own_nats.url) as connection:
        mux, link = connection.mux, link_of(connection)
        own_nats.pause()
        requests = _stalled(connection)
        await soon(lambda: link.full and mux._queue, "some of them stand in the line")
        assert mux.in_flight == len(requests)
        assert link.activity[1] < 8 * 1024 * KIB, "the others are in no buffer"
        own_nats.resume()
        ends = await asyncio.gather(*requests, return_exceptions=True)
        assert {type(end) for end in ends} == {NoResponders}
        assert connection.mux is mux
        assert not link.full


async def test_a_write_that_leaves_the_queue_at_its_deadline_or_by_itself_was_not_sent(
    own_nats: LocalNats, tmp_path: Path
) -> None:
    own_nats.start()
    async with connected(own_nats.url) as connection:
        mux, link = connection.mux, link_of(connection)
        came: list[bytes] = []
        await mux.subscribe(lambda subject, *_: came.append(subject))
        heard = link.subscribe(b"heard", lambda subject, *_: came.append(subject))
        await mux.flush(5)
        own_nats.pause()
        requests = _stalled(connection)
        await soon(lambda: link.full, "nothing more goes out")
        leaving = asyncio.create_task(mux.request("heard", b"left", timeout=30))
        late = asyncio.create_task(mux.request("heard", b"late", timeout=0.1))
        await soon(lambda: len(mux._queue) > 1, "they stand in the line")
        leaving.cancel()
        with pytest.raises(NotConnected, match="accepts no more data"):
            await late
        own_nats.resume()
        await asyncio.gather(*requests, return_exceptions=True)
        await mux.flush(5)
        assert came == []
        assert heard
        assert mux.in_flight == 0


async def test_the_end_of_a_connection_tells_what_was_sent_from_what_was_not(
    own_nats: LocalNats,
) -> None:
    own_nats.start()
    async with connected(own_nats.url) as connection:
        own_nats.pause()
        requests = _stalled(connection)
        await soon(lambda: connection.mux._queue, "some of them stand in the line")
        own_nats.kill()
        ends = await asyncio.gather(*requests, return_exceptions=True)
        assert {type(end) for end in ends} == {ConnectionLost, NotConnected}


# What comes.


def _callers() -> list[str]:
    frame, names = sys._getframe(), []
    while frame is not None:
        names.append(frame.f_code.co_name)
        frame = frame.f_back  # type: ignore[assignment]
    return names


@pytest.fixture
async def echo(native: Native) -> str:
    async def answer(message: Msg) -> None:
        await message.respond(message.data)

    await native.client.subscribe("echo", cb=answer)
    await native.settled()
    return "echo"


async def _stepped(make: Callable[[], Coroutine[Any, Any, Any]]) -> Stepped:
    return await in_a_callback(lambda: Stepped(make()))


async def test_a_reply_resumes_a_stepped_request_in_the_callback_that_has_brought_it(
    nats: LocalNats, echo: str
) -> None:
    async with connected(nats.url) as connection:
        mux = connection.mux

        async def twice() -> list[list[str]]:
            seen = []
            for number in range(2):
                reply = await mux.request(echo, b"%d" % number, timeout=5)
                assert reply.data == b"%d" % number
                seen.append(_callers())
            return seen

        stepped = await _stepped(twice)
        await soon(lambda: stepped.over, "both are answered")
        assert all("data_received" in callers for callers in stepped.value), stepped.error
        assert mux.in_flight == 0


async def test_a_stepped_request_ends_by_its_deadline(nats: LocalNats, native: Native) -> None:
    silent = await native.client.subscribe("silent")
    await native.settled()
    async with connected(nats.url) as connection:
        mux = connection.mux
        stepped = await _stepped(lambda: mux.request("silent", timeout=0.1))
        await silent.next_msg(5)
        await soon(lambda: stepped.over, "it has ended")
        assert isinstance(stepped.error, RequestTimeout)
        assert mux.in_flight == 0


async def test_a_stepped_request_ends_with_its_connection_wherever_that_is_noticed(
    own_nats: LocalNats,
) -> None:
    own_nats.start()
    async with connected(own_nats.url) as connection:
        own_nats.pause()
        stepped = [
            await _stepped(lambda: connection.mux.request("x", timeout=30)) for _ in range(3)
        ]
        await connection.close()  # in a Task, where nobody else can be resumed
        await soon(lambda: all(each.over for each in stepped), "they have ended")
        assert {type(each.error) for each in stepped} == {ConnectionLost}


async def test_a_stepped_request_that_is_closed_leaves_no_waiter(
    nats: LocalNats, native: Native
) -> None:
    silent = await native.client.subscribe("silent")
    await native.settled()
    async with connected(nats.url) as connection:
        mux = connection.mux
        stepped = await _stepped(lambda: mux.request("silent", timeout=30))
        late = await silent.next_msg(5)
        await in_a_callback(stepped.close)
        assert mux.in_flight == 0
        await late.respond(b"late")
        with pytest.raises(NoResponders):
            await mux.request("nobody", timeout=5)


async def test_a_handler_that_is_cancelled_ends_no_reading(nats: LocalNats) -> None:
    async with connected(nats.url) as connection:
        mux = connection.mux

        def cancelled(*_: bytes) -> None:
            raise asyncio.CancelledError

        inbox = await mux.subscribe(cancelled)
        await mux.send(inbox.subject, b"", "nowhere")
        with pytest.raises(NoResponders):
            await mux.request("nobody", timeout=5)
        assert connection.mux is mux


# Signs of life.


async def test_a_ping_of_the_server_is_answered(nats: LocalNats) -> None:
    async with passage(nats.port) as way, connected(way.url) as connection:
        with _writes(link_of(connection)) as writes:
            way.say(b"PING\r\n")
            await soon(lambda: writes, "something is sent")
        assert writes == [b"PONG\r\n"]


async def test_a_server_that_is_silent_is_left_although_nobody_asks_it(
    own_nats: LocalNats, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(protocol_module, "_PING_SECONDS", 0.05)
    own_nats.start()
    async with connected(own_nats.url) as connection:
        mux = connection.mux
        await asyncio.sleep(0.5)
        assert connection.mux is mux, "it answers"
        own_nats.pause()
        await soon(lambda: mux.lost, "it is left")
        own_nats.resume()
        assert await connection.wait_connected(5)


async def test_any_byte_is_a_sign_of_life(nats: LocalNats, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol_module, "_PING_SECONDS", 0.1)
    async with passage(nats.port) as way, connected(way.url) as connection:
        mux = connection.mux
        way.gate.clear()  # no PONG comes through
        for _ in range(20):
            way.say(b"+OK\r\n")
            await asyncio.sleep(0.05)
        assert not mux.lost
        await soon(lambda: mux.lost, "it is left")
        way.gate.set()

"""The request multiplexer on a real connection."""

import asyncio
import inspect
from collections.abc import AsyncIterator

import pytest
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.transport import TcpTransport, WebSocketTransport

from jetkv.testing import LocalNats
from jetkv_gateway.jetstream.connection import Connection
from jetkv_gateway.jetstream.nats_py import _Client
from jetkv_gateway.jetstream.requests import (
    MAX_SUBJECT,
    Multiplexer,
    NoResponders,
    PayloadTooLarge,
    RequestTimeout,
)
from tests.support.link import connected, passage
from tests.support.native import Native
from tests.support.waiting import eventually, soon


@pytest.fixture
async def connection(nats) -> AsyncIterator[Connection]:
    async with connected(nats.url) as connection:
        yield connection


@pytest.fixture
def mux(connection: Connection) -> Multiplexer:
    return connection.mux


@pytest.fixture
async def silent(native: Native) -> asyncio.Queue[Msg]:
    """The requests that came to the subject `silent`, which answers none of them by itself."""
    came: asyncio.Queue[Msg] = asyncio.Queue()

    async def take(message: Msg) -> None:
        came.put_nowait(message)

    await native.client.subscribe("silent", cb=take)
    await native.settled()
    return came


async def test_each_of_many_requests_at_once_gets_its_own_reply(
    mux: Multiplexer, native: Native
) -> None:
    async def echo(message: Msg) -> None:
        await message.respond(message.data)

    await native.client.subscribe("echo", cb=echo)
    await native.settled()
    sent = [str(number).encode() for number in range(1000)]
    replies = await asyncio.gather(*(mux.request("echo", data, timeout=5) for data in sent))
    assert [reply.data for reply in replies] == sent
    assert mux.in_flight == 0


async def test_a_request_that_nobody_listens_to_fails_at_once(mux: Multiplexer) -> None:
    with pytest.raises(NoResponders):
        await mux.request("nobody", timeout=30)
    assert mux.in_flight == 0


async def test_a_request_without_a_reply_times_out(
    mux: Multiplexer, silent: asyncio.Queue[Msg]
) -> None:
    with pytest.raises(RequestTimeout):
        await mux.request("silent", timeout=0.2)
    assert mux.in_flight == 0


async def test_each_request_has_a_deadline_of_its_own(
    mux: Multiplexer, silent: asyncio.Queue[Msg]
) -> None:
    long = asyncio.create_task(mux.request("silent", b"long", timeout=30))
    first = await silent.get()
    with pytest.raises(RequestTimeout):
        await mux.request("silent", timeout=0.2)
    await first.respond(b"at last")
    assert (await long).data == b"at last"


async def test_a_cancelled_request_leaves_no_waiter(
    mux: Multiplexer, silent: asyncio.Queue[Msg]
) -> None:
    requests = [asyncio.create_task(mux.request("silent", timeout=30)) for _ in range(20)]
    for _ in requests:
        await silent.get()
    assert mux.in_flight == 20
    for request in requests:
        request.cancel()
    await asyncio.gather(*requests, return_exceptions=True)
    assert mux.in_flight == 0


async def test_a_reply_that_comes_too_late_disturbs_nobody(
    mux: Multiplexer, silent: asyncio.Queue[Msg]
) -> None:
    with pytest.raises(RequestTimeout):
        await mux.request("silent", timeout=0.1)
    late = await silent.get()
    request = asyncio.create_task(mux.request("silent", timeout=30))
    current = await silent.get()
    await late.respond(b"late")
    await current.respond(b"mine")
    assert (await request).data == b"mine"


async def test_what_is_too_large_is_refused_before_it_closes_the_connection(
    mux: Multiplexer,
) -> None:
    with pytest.raises(PayloadTooLarge):
        await mux.request("x", bytes(mux.max_value_bytes + 1), timeout=5)
    with pytest.raises(PayloadTooLarge):
        await mux.request("x" * (MAX_SUBJECT + 1), timeout=5)
    assert mux.in_flight == 0
    with pytest.raises(NoResponders):
        await mux.request("nobody", timeout=5)


async def test_the_longest_subject_and_payload_leave_the_connection_alone(mux: Multiplexer) -> None:
    with pytest.raises(NoResponders):
        await mux.request("x" * MAX_SUBJECT, bytes(mux.max_value_bytes), timeout=5)
    with pytest.raises(NoResponders):
        await mux.request("nobody", timeout=5)


async def test_a_closed_inbox_gets_no_more_messages(mux: Multiplexer, native: Native) -> None:
    came: list[bytes] = []
    inbox = await mux.subscribe(lambda _subject, _reply, _headers, data: came.append(data))
    with pytest.raises(NoResponders):  # a round trip later, the server knows of it
        await mux.request("nobody", timeout=5)
    await native.client.publish(inbox.subject, b"one")
    await native.settled()

    async def arrived() -> bool:
        return came == [b"one"]

    await eventually(arrived, "the first message is there")
    await inbox.close()
    await native.client.publish(inbox.subject, b"two")
    await native.settled()
    with pytest.raises(NoResponders):
        await mux.request("nobody", timeout=5)
    assert came == [b"one"]


def test_nats_py_still_says_what_a_server_is_by_the_method_that_is_replaced() -> None:
    ours = inspect.signature(_Client._process_info)
    theirs = inspect.signature(Client._process_info)
    assert list(ours.parameters) == list(theirs.parameters)


async def test_nats_py_still_has_the_private_parts_that_its_connection_is_taken_by(
    connection: Connection, nats: LocalNats
) -> None:
    client = Client()
    await client.connect(nats.url)
    assert isinstance(client._transport, TcpTransport)
    assert inspect.iscoroutinefunction(WebSocketTransport.readline)
    assert client._transport._io_reader is not None
    assert client._transport._io_writer is not None
    tasks = client._reading_task, client._ping_interval_task, client._flusher_task
    assert all(task is not None and not task.done() for task in tasks)
    await client.close()
    assert connection._current is not None
    taken = connection._current.protocol._connector._client
    tasks = taken._reading_task, taken._ping_interval_task, taken._flusher_task
    assert all(task is not None and task.cancelled() for task in tasks)


async def test_a_handler_that_fails_ends_no_reading(mux: Multiplexer, native: Native) -> None:
    came: list[bytes] = []

    def fail_on_the_first(_subject: bytes, _reply: bytes, _headers: bytes, data: bytes) -> None:
        came.append(data)
        if len(came) == 1:
            raise ValueError("of the handler")

    inbox = await mux.subscribe(fail_on_the_first)
    with pytest.raises(NoResponders):  # a round trip later, the server knows of it
        await mux.request("nobody", timeout=5)
    for data in (b"one", b"two"):
        await native.client.publish(inbox.subject, data)
    await native.settled()
    await soon(lambda: came == [b"one", b"two"], "both are there")
    with pytest.raises(NoResponders):
        await mux.request("nobody", timeout=5)


@pytest.mark.parametrize(
    "words",
    [
        b"INFO no JSON\r\n",
        b"INFO \xff\xfe\r\n",
        b"INFO []\r\n",
        b'INFO {"max_payload":"much","connect_urls":[1,null,"[::"],"ldm":7,"new_field":{}}\r\n',
        b"-ERR 'Permissions Violation for Publish to \"\xff\xfe\"'\r\n",
        b"+OK\r\n\r\n",
        b"PONG\r\n",
        b"WHAT is this\r\n",
        b"\xff\xfe\r\n",
        b"MSG for.nobody 99999 1\r\nx\r\n",
        b"MSG for nobody known 1\r\nx\r\n",
        b"HMSG for.nobody 99999 1 2\r\n\xffx\r\n",
    ],
)
async def test_words_of_the_server_that_nobody_expects_end_no_reading(
    nats: LocalNats, words: bytes
) -> None:
    async with passage(nats.port) as way, connected(way.url) as connection:
        mux = connection.mux
        limit = mux.max_value_bytes
        way.say(words)
        for _ in range(3):
            with pytest.raises(NoResponders):
                await mux.request("nobody", timeout=5)
        assert connection.mux is mux
        assert mux.max_value_bytes == limit


async def test_members_are_kept_in_one_list_and_one_that_cannot_be_read_hides_no_other(
    nats: LocalNats,
) -> None:
    async with passage(nats.port) as way, connected(way.url) as connection:
        way.say(b'INFO {"connect_urls":["[::1","127.0.0.1:1"]}\r\n')
        await soon(lambda: len(connection._servers) == 2, "the other one is known")
        assert connection._current is not None
        assert len(connection._current.protocol._connector._client.server_pool) == 1


@pytest.mark.parametrize("words", [b"MSG a 1 many\r\n", b"MSG a 1 1\r\nxyz\r\n"])
async def test_what_is_no_nats_protocol_makes_room_for_another_connection_at_once(
    nats: LocalNats, words: bytes
) -> None:
    async with passage(nats.port) as way, connected(way.url) as connection:
        broken = connection.mux
        way.say(words)
        await soon(lambda: broken.lost, "the connection is given up", 2)
        assert await connection.wait_connected(2)
        with pytest.raises(NoResponders):
            await connection.mux.request("nobody", timeout=5)

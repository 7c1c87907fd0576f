"""The supervisor of the connection to NATS: whatever happens, it connects again."""

import asyncio
import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import nkeys
import pytest

from jetkv_gateway.embedded import NatsServer
from jetkv_gateway.jetstream.connection import Connection, NatsOptions
from jetkv_gateway.jetstream.requests import (
    ConnectionLost,
    Multiplexer,
    NotConnected,
    RequestFailed,
)
from tests.cluster.proxy import proxied
from tests.support.cluster import running_cluster
from tests.support.gateway import running_gateway
from tests.support.http import Http
from tests.support.link import connected
from tests.support.ports import free_ports
from tests.support.waiting import eventually, soon, until


async def stands_again(connection: Connection, before: Multiplexer) -> None:
    """Wait until another connection than that of `before` stands."""

    async def moved() -> bool:
        return connection.connected and connection.mux is not before

    await eventually(moved, "the connection stands again")


async def test_an_address_that_refuses_does_not_hold_up_the_next_one(nats: NatsServer) -> None:
    (port,) = free_ports(1)
    start = time.monotonic()
    async with connected(f"nats://127.0.0.1:{port}", nats.url):
        assert time.monotonic() - start < 2, "nats-py's own pause between two attempts"


async def test_of_several_servers_one_that_is_far_away_has_the_time_that_it_takes(
    nats: NatsServer, caplog: pytest.LogCaptureFixture
) -> None:
    async with proxied(nats.port) as far, proxied(nats.port) as farther:
        far.delay = farther.delay = 0.3
        async with connected(far.url, farther.url) as connection:
            assert connection.last_error is None
    assert "cannot reach NATS" not in caplog.text


async def test_of_several_servers_one_that_is_frozen_is_not_waited_for(
    nats: NatsServer, own_nats: NatsServer, caplog: pytest.LogCaptureFixture
) -> None:
    own_nats.start()
    own_nats.pause()
    async with connected(own_nats.url, nats.url) as connection:
        assert connection.connected
    assert "cannot reach NATS" not in caplog.text, "nobody has given up on the other one yet"


async def test_a_connection_moves_to_another_member_of_the_cluster(tmp_path: Path) -> None:
    with running_cluster(tmp_path, 2, config="jetstream: disabled") as members:
        async with connected(members[0].url) as connection:

            async def knows_both() -> bool:
                return len(connection._servers) == 2

            await eventually(knows_both, "the server has named the other member")
            mux = connection.mux
            members[0].kill()

            await stands_again(connection, mux)


async def test_closing_a_connection_ends_its_requests(own_nats: NatsServer) -> None:
    own_nats.start()
    async with connected(own_nats.url) as connection:
        own_nats.pause()
        request = asyncio.create_task(connection.mux.request("x", timeout=30))
        await asyncio.sleep(0)
        await connection.close()
        with pytest.raises(ConnectionLost):
            await request


NO_NATS = {
    "nothing": b"",
    "HTTP": b"HTTP/1.1 400 Bad Request\r\n\r\n",
    "no text": b"\xff\x00\xfe\r\n",
    "no end": b"x" * 100_000,
    "half an INFO": b'INFO {"max_payload":\r\n',
    "an INFO of another kind": b"INFO []\r\n",
    "an INFO of nonsense": b'INFO {"max_payload":"x"}\r\nPONG\r\n',
    "an INFO and the end": b'INFO {"max_payload":1048576}\r\n',
}


@asynccontextmanager
async def _impostor(port: int, says: bytes) -> AsyncIterator[asyncio.Semaphore]:
    """Listen as NATS does, say something else, and count the connections up."""
    calls = asyncio.Semaphore(0)

    async def answer(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(says)
        writer.close()
        calls.release()

    server = await asyncio.start_server(answer, "127.0.0.1", port)
    try:
        yield calls
    finally:
        server.close()


@pytest.mark.parametrize("says", NO_NATS.values(), ids=NO_NATS)
async def test_whatever_answers_on_the_port_of_nats_the_gateway_finds_nats_later(
    tmp_path: Path, says: bytes
) -> None:
    (port,) = free_ports(1)
    connection = Connection(NatsOptions(servers=(f"nats://127.0.0.1:{port}",)))
    async with _impostor(port, says) as calls:
        connection.start()
        for _ in range(4):
            await asyncio.wait_for(calls.acquire(), 5)
    with NatsServer(tmp_path, port=port):
        assert await connection.wait_connected(5), connection.last_error
        await connection.close()


async def test_a_server_of_no_known_version_does_not_end_the_search_for_nats(
    tmp_path: Path,
) -> None:
    calls = asyncio.Semaphore(0)

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        calls.release()
        writer.write(b'INFO {"max_payload":1048576,"headers":true,"version":"x"}\r\n')
        while line := await reader.readline():
            if line == b"PING\r\n":
                writer.write(b"PONG\r\n")
        writer.close()

    (port,) = free_ports(1)
    connection = Connection(NatsOptions(servers=(f"nats://127.0.0.1:{port}",)))
    server = await asyncio.start_server(answer, "127.0.0.1", port)
    connection.start()
    for _ in range(3):
        await asyncio.wait_for(calls.acquire(), 5)
    server.close()
    with NatsServer(tmp_path, port=port):
        assert await connection.wait_connected(5), connection.last_error
        await connection.close()


def test_a_damaged_credential_file_is_named_and_read_again_once_it_is_whole(tmp_path: Path) -> None:
    seed = nkeys.encode_seed(os.urandom(32), nkeys.PREFIX_BYTE_USER)
    public = nkeys.from_seed(bytearray(seed)).public_key.decode()
    config = f"authorization {{ users: [{{ nkey: {public} }}] }}"
    file = tmp_path / "gateway.nk"
    file.write_bytes(seed[:20])
    with (
        NatsServer(tmp_path / "nats", config=config) as server,
        running_gateway(server.url, ready=False, nats_nkey=str(file)) as http,
    ):
        until(lambda: "invalid seed" in _nats_issue(http), "the file was read")
        assert "are the credentials complete?" in _nats_issue(http)
        file.write_bytes(seed)
        until(lambda: http.get("/ready").status == 200, "the gateway has connected")


def _nats_issue(http: Http) -> str:
    issue: str = http.get("/ready").json["issues"].get("nats", "")
    return issue


async def test_a_connection_that_breaks_while_something_waits_to_be_written_is_replaced(
    own_nats: NatsServer,
) -> None:
    # As under load: nats-py's close raised in its last flush, and then called no callback.
    own_nats.start()
    async with connected(own_nats.url) as connection:
        mux = connection.mux
        own_nats.pause()
        waiting = [
            asyncio.create_task(mux.request("x", bytes(mux.max_value_bytes), timeout=30))
            for _ in range(16)
        ]
        await soon(lambda: mux._protocol.full, "nothing more goes out")
        own_nats.kill()
        own_nats.start()

        await stands_again(connection, mux)
        ends = await asyncio.gather(*waiting, return_exceptions=True)
        assert {type(end) for end in ends} == {ConnectionLost, NotConnected}


async def test_writers_get_through_after_every_kill(own_nats: NatsServer) -> None:
    own_nats.start()
    async with connected(own_nats.url) as connection:

        async def write() -> None:
            while True:
                try:
                    await connection.mux.request("$JS.API.INFO", b"x" * 50_000, timeout=5)
                except RequestFailed:
                    await asyncio.sleep(0)

        async with asyncio.TaskGroup() as group:
            writers = [group.create_task(write()) for _ in range(8)]
            for _ in range(5):
                mux = connection.mux
                own_nats.kill()
                own_nats.start()
                await stands_again(connection, mux)
            for writer in writers:
                writer.cancel()

"""A link to NATS that is slow is no link that is dead."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from jetkv_gateway.embedded import NatsServer
from tests.support.gateway import running_gateway
from tests.support.http import Bucket

_BYTES_A_SECOND = 400_000
_PIECE = 8192


@asynccontextmanager
async def slow_link(port: int) -> AsyncIterator[str]:
    """A relay to a port of loopback that carries so many bytes a second; yields its URL."""

    async def carry(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while piece := await source.read(_PIECE):
                await asyncio.sleep(len(piece) / _BYTES_A_SECOND)
                sink.write(piece)
                await sink.drain()
        sink.close()

    async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        inner_reader, inner = await asyncio.open_connection("127.0.0.1", port, limit=_PIECE)
        await asyncio.gather(carry(reader, inner), carry(inner_reader, writer))

    with socket.create_server(("127.0.0.1", 0)) as listening:
        # What the kernel keeps would make a slow link look like a fast one.
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 * _PIECE)
        server = await asyncio.start_server(relay, sock=listening, limit=_PIECE)
        try:
            yield f"nats://127.0.0.1:{listening.getsockname()[1]}"
        finally:
            server.close()


async def test_a_value_that_takes_seconds_on_its_way_is_written_and_read(nats: NatsServer) -> None:
    value = bytes(900_000)

    def write_and_read(url: str) -> None:
        name = "slow-link"
        with running_gateway(url, buckets=name) as http:
            bucket = Bucket(http, name)
            try:
                assert bucket.put("k", value).status == 200
                assert bucket.get("k").value == value
            finally:
                http.delete(bucket.path)

    async with slow_link(nats.port) as url:
        await asyncio.to_thread(write_and_read, url)

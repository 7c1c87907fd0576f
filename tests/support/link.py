"""The gateway's own connection to NATS in the test's event loop, without HTTP above it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from jetkv_gateway.jetstream.connection import Connection, NatsOptions
from jetkv_gateway.settings import load


@asynccontextmanager
async def connected(*urls: str, **options: Any) -> AsyncIterator[Connection]:
    """Connect; `options` are those of `NatsOptions`."""
    connection = Connection(NatsOptions(servers=urls, **options))
    connection.start()
    try:
        assert await connection.wait_connected(5), connection.last_error
        yield connection
    finally:
        await connection.close()


@asynccontextmanager
async def connecting(url: str, **settings: object) -> AsyncIterator[Connection]:
    """A connection as the gateway makes it of these settings, whether it comes to stand or not."""
    connection = Connection(load({"nats_url": url, **settings}, None).nats_options())
    connection.start()
    try:
        yield connection
    finally:
        await connection.close()


@dataclass
class Passage:
    """A way to NATS on which what it says can be held back, and something else be said.

    Attributes:
        gate: while it is not set, nothing comes from NATS.
    """

    url: str = ""
    gate: asyncio.Event = field(default_factory=asyncio.Event)
    clients: list[asyncio.StreamWriter] = field(default_factory=list)

    def say(self, words: bytes) -> None:
        """Say something to the newest client as if NATS did."""
        self.clients[-1].write(words)


@asynccontextmanager
async def passage(port: int) -> AsyncIterator[Passage]:
    """Lead to a NATS on a port of 127.0.0.1."""
    way = Passage()
    way.gate.set()

    async def pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            await way.gate.wait()
            writer.write(data)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        server_reader, server_writer = await asyncio.open_connection("127.0.0.1", port)
        way.clients.append(writer)
        back = asyncio.create_task(pass_on(server_reader, writer))
        try:
            while data := await reader.read(65536):
                server_writer.write(data)
        finally:
            back.cancel()
            writer.close()
            server_writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as proxy:
        way.url = f"nats://127.0.0.1:{proxy.sockets[0].getsockname()[1]}"
        yield way

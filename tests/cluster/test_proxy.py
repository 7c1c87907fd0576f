"""The suite's own proxy makes the networks that it says."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from tests.cluster.proxy import Proxy, proxied

Line = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@asynccontextmanager
async def echo() -> AsyncIterator[Proxy]:
    """A proxy to a server that sends back what it gets."""

    async def send_back(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while piece := await reader.read(1024):
                writer.write(piece)
        except ConnectionResetError:
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(send_back, "127.0.0.1", 0)
    try:
        async with proxied(server.sockets[0].getsockname()[1]) as proxy:
            yield proxy
    finally:
        server.close()


@asynccontextmanager
async def line_to(proxy: Proxy) -> AsyncIterator[Line]:
    reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
    try:
        yield reader, writer
    finally:
        writer.close()


async def ask(line: Line, timeout: float = 5) -> bytes:
    reader, writer = line
    writer.write(b"hello")
    async with asyncio.timeout(timeout):
        return await reader.read(5)


async def test_a_good_network_carries_both_ways() -> None:
    async with echo() as proxy, line_to(proxy) as line:
        assert await ask(line) == b"hello"


async def test_a_slow_one_takes_its_time_in_each_direction() -> None:
    async with echo() as proxy, line_to(proxy) as line:
        proxy.delay = 0.1
        begun = time.monotonic()
        assert await ask(line) == b"hello"
        assert time.monotonic() - begun >= 0.2


async def test_a_half_open_line_is_silent_and_a_new_one_works() -> None:
    async with echo() as proxy, line_to(proxy) as line:
        assert await ask(line) == b"hello"
        proxy.swallow()
        with pytest.raises(TimeoutError):
            await ask(line, 0.2)
        async with line_to(proxy) as other:
            assert await ask(other) == b"hello"
        proxy.mend()
        with pytest.raises(ConnectionResetError):
            await line[0].read(1)


async def test_a_cut_network_resets_and_lets_nobody_in_until_it_is_mended() -> None:
    async with echo() as proxy, line_to(proxy) as line:
        assert await ask(line) == b"hello"
        proxy.refuse()
        with pytest.raises(ConnectionResetError):
            await line[0].read(1)
        async with line_to(proxy) as other:
            with pytest.raises(ConnectionResetError):
                await ask(other)
        proxy.mend()
        async with line_to(proxy) as again:
            assert await ask(again) == b"hello"

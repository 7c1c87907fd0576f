"""A load balancer for TCP: each new connection goes to the next gateway that accepts it."""

import asyncio
import contextlib
import itertools
import threading
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def balanced(*ports: int) -> Iterator[str]:
    """Yield the address of one in front of gateways at these ports of 127.0.0.1."""
    loop = asyncio.new_event_loop()
    balancer = _Balancer(ports)
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    try:
        port = asyncio.run_coroutine_threadsafe(balancer.start(), loop).result(10)
        yield f"http://127.0.0.1:{port}"
    finally:
        asyncio.run_coroutine_threadsafe(balancer.stop(), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        loop.close()


class _Balancer:
    def __init__(self, ports: tuple[int, ...]) -> None:
        self._ports = ports
        self._turns = itertools.count()
        self._writers: set[asyncio.StreamWriter] = set()
        self._idle = asyncio.Event()
        self._idle.set()
        self._server: asyncio.Server | None = None

    async def start(self) -> int:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    async def stop(self) -> None:
        assert self._server is not None
        self._server.close()
        for writer in self._writers:
            writer.transport.abort()
        async with asyncio.timeout(10):
            await self._idle.wait()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        self._idle.clear()
        first = next(self._turns)
        with contextlib.closing(writer):
            for turn in range(len(self._ports)):
                port = self._ports[(first + turn) % len(self._ports)]
                with contextlib.suppress(ConnectionRefusedError):
                    there = await asyncio.open_connection("127.0.0.1", port)
                    await _joined((reader, writer), there)
                    break
        self._writers.discard(writer)
        if not self._writers:
            self._idle.set()


Ends = tuple[asyncio.StreamReader, asyncio.StreamWriter]


async def _joined(here: Ends, there: Ends) -> None:
    """Pass everything on in both directions until both have ended, or one breaks."""
    with contextlib.closing(there[1]), contextlib.suppress(OSError):
        async with asyncio.TaskGroup() as group:
            group.create_task(_passed_on(here[0], there[1]))
            group.create_task(_passed_on(there[0], here[1]))


async def _passed_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
        writer.write_eof()

"""A small TCP proxy that makes a network slow, half-open, or gone."""

import asyncio
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

__all__ = ["Proxy", "proxied"]

_CHUNK = 64 * 1024


class Proxy:
    """Passes connections on to one port of loopback.

    Attributes:
        delay: seconds that each piece is kept before it goes on, in both directions.
    """

    def __init__(self, target: int) -> None:
        self._target = target
        self._links: set[asyncio.Task[None]] = set()
        self._deaf: set[asyncio.Task[None]] = set()
        self._refusing = False
        self.delay = 0.0
        self.port = 0

    @property
    def url(self) -> str:
        return f"nats://127.0.0.1:{self.port}"

    @property
    def links(self) -> set[asyncio.Task[None]]:
        """The connections that stand."""
        return set(self._links)

    def swallow(self) -> None:
        """Make the connections that stand half-open: nothing arrives, nobody is told."""
        self._deaf |= self._links

    def cut(self) -> None:
        """Reset the connections that stand, half-open ones too."""
        for link in self._links:
            link.cancel()

    def refuse(self) -> None:
        """Cut all, and let nobody in until `mend`."""
        self._refusing = True
        self.cut()

    def mend(self) -> None:
        """Be a good network again. What was swallowed is lost, so its connections are, too."""
        self._refusing = False
        self.delay = 0.0
        for link in self._deaf:
            link.cancel()

    async def take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Carry one connection until either side ends it."""
        link = asyncio.current_task()
        assert link is not None
        self._links.add(link)
        inner: asyncio.StreamWriter | None = None
        try:
            if not self._refusing:
                inner_reader, inner = await asyncio.open_connection("127.0.0.1", self._target)
                async with asyncio.TaskGroup() as directions:
                    directions.create_task(self._carry(link, reader, inner))
                    directions.create_task(self._carry(link, inner_reader, writer))
        except (OSError, asyncio.CancelledError, ExceptionGroup):
            # Whatever ended it, both sides learn by a reset.
            pass
        finally:
            self._links.discard(link)
            self._deaf.discard(link)
            for side in (writer, inner):
                if side is not None:
                    _reset(side.transport)

    async def _carry(
        self, link: asyncio.Task[None], source: asyncio.StreamReader, sink: asyncio.StreamWriter
    ) -> None:
        """Carry one direction; ends by an error, since the end of one is the end of both."""
        loop = asyncio.get_running_loop()
        pieces: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(256)

        async def take_in() -> None:
            while piece := await source.read(_CHUNK):
                await pieces.put((loop.time() + self.delay, piece))
            raise ConnectionResetError

        async def pass_on() -> None:
            while True:
                due, piece = await pieces.get()
                if due > loop.time():
                    await asyncio.sleep(due - loop.time())
                if link not in self._deaf:
                    sink.write(piece)
                    await sink.drain()

        async with asyncio.TaskGroup() as both:
            both.create_task(take_in())
            both.create_task(pass_on())


def _reset(transport: asyncio.WriteTransport) -> None:
    """End a connection as a broken network does, not by a polite FIN."""
    raw: socket.socket | None = transport.get_extra_info("socket")
    if raw is not None and raw.fileno() >= 0:
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()


@asynccontextmanager
async def proxied(target: int) -> AsyncIterator[Proxy]:
    """Run a proxy to a port."""
    proxy = Proxy(target)
    server = await asyncio.start_server(proxy.take, "127.0.0.1", 0)
    proxy.port = server.sockets[0].getsockname()[1]
    try:
        yield proxy
    finally:
        server.close()
        proxy.cut()
        if links := proxy.links:
            await asyncio.wait(links)

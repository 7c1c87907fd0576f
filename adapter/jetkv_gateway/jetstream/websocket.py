"""NATS over a WebSocket: nats-py's transport behind the interface of an asyncio transport.

aiohttp reads and writes the frames, so there is no transport to take over. Two tasks copy the
bytes, which is slower than TCP.
"""

import asyncio
from collections.abc import Iterable
from contextlib import suppress
from typing import Any, Protocol

__all__ = ["WebSocket"]

_HIGH = 1024 * 1024
_READ = 65536
_CLOSE_SECONDS = 1.0


class Frames(Protocol):
    """The methods of nats-py's transport used here; `write` buffers a frame, `drain` sends it."""

    async def read(self, buffer_size: int) -> bytes: ...
    def write(self, payload: bytes) -> None: ...
    async def drain(self) -> None: ...
    def close(self) -> None: ...
    async def wait_closed(self) -> None: ...


class WebSocket(asyncio.Transport):
    """A connected WebSocket as an asyncio transport.

    Args:
        inner: a connected transport that nobody else reads.
        protocol: gets calls from callbacks of the event loop, as from any transport.
    """

    def __init__(self, inner: Frames, protocol: asyncio.Protocol) -> None:
        super().__init__()
        self._inner = inner
        self._protocol = protocol
        self._loop = asyncio.get_running_loop()
        self._unsent: list[bytes] = []
        self._size = 0
        self._full = False
        self._closing = False
        self._news = asyncio.Event()
        self._task = self._loop.create_task(self._run(), name="nats-websocket")

    def write(self, data: Any) -> None:
        if self._closing:
            return
        self._unsent.append(bytes(data))
        self._size += len(data)
        self._news.set()
        if self._size > _HIGH and not self._full:
            self._full = True
            self._protocol.pause_writing()

    def writelines(self, list_of_data: Iterable[Any]) -> None:
        self.write(b"".join(list_of_data))

    def get_write_buffer_size(self) -> int:
        return self._size

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Do nothing: this transport has fixed limits."""

    def is_closing(self) -> bool:
        return self._closing

    def close(self) -> None:
        """Close after sending what was written."""
        self._closing = True
        self._news.set()

    def abort(self) -> None:
        """Close at once."""
        self._closing = True
        self._task.cancel()

    async def _run(self) -> None:
        error: Exception | None = None
        try:
            async with asyncio.TaskGroup() as group:
                reader = group.create_task(self._read(), name="nats-websocket-reader")
                await self._write()
                reader.cancel()
        except* Exception as errors:  # noqa: BLE001 - whatever aiohttp raises, it is over
            error = errors.exceptions[0]
        finally:
            self._closing = True
            try:
                self._inner.close()
                with suppress(Exception):
                    async with asyncio.timeout(_CLOSE_SECONDS):
                        await self._inner.wait_closed()
            finally:
                self._loop.call_soon(self._protocol.connection_lost, error)

    async def _read(self) -> None:
        while data := await self._inner.read(_READ):
            self._loop.call_soon(self._protocol.data_received, data)
            # More data may be ready, so let other callbacks run in between.
            await asyncio.sleep(0)
        raise ConnectionResetError("the WebSocket was closed")

    async def _write(self) -> None:
        while self._unsent or not self._closing:
            if not self._unsent:
                self._news.clear()
                await self._news.wait()
                continue
            frame, self._unsent = b"".join(self._unsent), []
            self._inner.write(frame)
            await self._inner.drain()
            self._size -= len(frame)
            if self._full and self._size <= _HIGH // 4:
                self._full = False
                self._loop.call_soon(self._protocol.resume_writing)

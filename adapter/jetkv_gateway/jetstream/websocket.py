"""NATS over a WebSocket: nats-py's own transport, in the shape of one of asyncio's.

aiohttp reads and writes the frames, so there is no transport to take over. Two tasks carry the
bytes, which is slower than TCP; everything above is the same.
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
    """What is used of nats-py's transport; `write` keeps a frame, `drain` sends it."""

    async def read(self, buffer_size: int) -> bytes: ...
    def write(self, payload: bytes) -> None: ...
    async def drain(self) -> None: ...
    def close(self) -> None: ...
    async def wait_closed(self) -> None: ...


class WebSocket(asyncio.Transport):
    """A connected WebSocket whose bytes go to and come from a protocol.

    Args:
        inner: connected, and read by nobody else.
        protocol: its methods are called from callbacks of the event loop, as transports do.
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
        """Change nothing: it has limits of its own."""

    def is_closing(self) -> bool:
        return self._closing

    def close(self) -> None:
        """Close it once what was written is sent."""
        self._closing = True
        self._news.set()

    def abort(self) -> None:
        """Close it now."""
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
            # It may have more at hand; nobody else would get a turn.
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

"""Many watchers in one process: cheap WebSockets, and nats-py's own `kv.watch()`.

Both count what comes and say when. A WebSocket here only counts bytes: in a run all frames have
the same length, so bytes are frames, and the one process stays cheaper than any server it reads.
"""

import asyncio
import resource
import socket
import struct
import time
from base64 import b64encode
from ctypes import c_ulonglong
from dataclasses import dataclass, field

import nats
from nats.aio.client import Client

from tests.bench.children import until

_AT_ONCE = 50
_TEXT = 0x81
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)


@dataclass(frozen=True)
class Received:
    """What all watchers of a run got together.

    Attributes:
        first, last: when the first and the last of it came, by `time.perf_counter`.
        cpu: seconds that this process spent on it.
        stamps: of each watcher, when each of its frames came.
    """

    frames: int
    first: float
    last: float
    cpu: float
    stamps: list[list[float]] = field(default_factory=list)

    @property
    def rate(self) -> float:
        return self.frames / (self.last - self.first)


def handshake(port: int, path: str) -> bytes:
    key = b64encode(b"0123456789abcdef").decode()
    return (
        f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUpgrade: websocket\r\n"
        f"Connection: Upgrade\r\nSec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n"
    ).encode()


class WebSockets:
    """Any number of watchers of one path.

    Args:
        progress: is kept at the number of frames that each has got, as others can read it.
    """

    def __init__(self, progress: c_ulonglong) -> None:
        self._progress = progress
        limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
        self.sockets: list[_Socket] = []
        self._reset()

    def _reset(self) -> None:
        self.bytes = 0
        self.first = self.last = 0.0
        self.frame_size = 0
        self.ended: str | None = None
        self._progress.value = 0

    async def open(self, port: int, path: str, count: int, stamped: bool = False) -> None:
        """Open watchers, and count what comes to them from here on."""
        self._reset()
        make = _StampedSocket if stamped else _Socket
        self.sockets = await self._connect(port, path, count, make)
        self._cpu = time.process_time()
        self._reporting = asyncio.create_task(self._report())

    async def complete(self, frames: int, timeout: float) -> Received:
        """Wait until each watcher has got so many frames, and no byte more."""
        await until(
            lambda: self.ended is not None or bool(frames and self._frames() >= frames),
            f"{frames} frames for each of {len(self.sockets)} watchers",
            timeout,
        )
        assert self.ended is None, f"a watcher was ended: {self.ended}"
        for watcher in self.sockets:
            assert watcher.bytes == frames * self.frame_size, (watcher.bytes, self.frame_size)
        stamps = [watcher.stamps for watcher in self.sockets if isinstance(watcher, _StampedSocket)]
        cpu = time.process_time() - self._cpu
        return Received(frames * len(self.sockets), self.first, self.last, cpu, stamps)

    async def close(self) -> None:
        self._reporting.cancel()
        _abort(self.sockets)
        self.sockets = []

    async def come_and_go(self, port: int, path: str, count: int) -> None:
        """Connect, and drop the connections without a word, a wave after another."""
        for _ in range(count // _AT_ONCE):
            _abort(await self._connect(port, path, _AT_ONCE, _Socket))

    async def _connect(
        self, port: int, path: str, count: int, make: type["_Socket"]
    ) -> list["_Socket"]:
        loop = asyncio.get_running_loop()
        request = handshake(port, path)
        sockets: list[_Socket] = []
        while len(sockets) < count:
            new = [make(self, request) for _ in range(min(_AT_ONCE, count - len(sockets)))]
            async with asyncio.timeout(30):
                await asyncio.gather(
                    *(loop.create_connection(lambda w=w: w, "127.0.0.1", port) for w in new)
                )
                await asyncio.gather(*(watcher.opened for watcher in new))
            sockets += new
        return sockets

    def _frames(self) -> int:
        """Frames that each watcher has got, on average."""
        return self.bytes // (self.frame_size * len(self.sockets)) if self.frame_size else 0

    async def _report(self) -> None:
        while True:
            self._progress.value = self._frames()
            await asyncio.sleep(0.002)


class _Socket(asyncio.Protocol):
    """One watcher, which answers no ping: servers under test send none for minutes."""

    def __init__(self, owner: WebSockets, request: bytes) -> None:
        self.bytes = 0
        self.opened: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.dropped = False
        self._owner = owner
        self._request = request
        self._head = b""

    def connection_made(self, transport) -> None:
        self.transport = transport
        transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        if self._request:
            data = self._begin(data)
            if not data:
                return
        owner = self._owner
        owner.last = time.perf_counter()
        if not owner.frame_size:
            owner.first = owner.last
            owner.frame_size = _frame_size(data)
        self.bytes += len(data)
        owner.bytes += len(data)

    def _begin(self, data: bytes) -> bytes:
        """Take in the answer to the handshake; return what follows it."""
        self._head += data
        head, found, rest = self._head.partition(b"\r\n\r\n")
        if not found:
            return b""
        if head.split(b" ", 2)[1] != b"101":
            self.opened.set_exception(ConnectionError(repr(self._head)))
            return b""
        self._request = b""
        self.opened.set_result(None)
        return rest

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.opened.done():
            self.opened.set_exception(exc or ConnectionError("closed by the server"))
        elif not self.dropped:
            self._owner.ended = repr(exc)


class _StampedSocket(_Socket):
    """Notes when each frame is there, where they come one by one."""

    def __init__(self, owner: WebSockets, request: bytes) -> None:
        super().__init__(owner, request)
        self.stamps: list[float] = []

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self.bytes and self.bytes // self._owner.frame_size > len(self.stamps):
            self.stamps.append(self._owner.last)


def _frame_size(data: bytes) -> int:
    """Return the length on the wire of the frame that data begins with."""
    assert data[0] == _TEXT, data[:100]
    if data[1] < 126:
        return 2 + data[1]
    assert data[1] == 126, data[:100]
    return 4 + int.from_bytes(data[2:4], "big")


def _abort(sockets: list[_Socket]) -> None:
    for watcher in sockets:
        watcher.dropped = True
        connection: socket.socket = watcher.transport.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
        watcher.transport.abort()


class NativeWatchers:
    """`kv.watch()` of nats-py for each watcher, on one connection; counts as `WebSockets` does."""

    def __init__(self, progress: c_ulonglong) -> None:
        self._progress = progress
        self._client: Client | None = None

    async def open(self, nats_url: str, bucket: str, count: int) -> None:
        self._errors: list[Exception] = []
        self._frames = 0
        self._count = count
        self._first = self._last = 0.0
        self._progress.value = 0
        self._client = await nats.connect(
            nats_url, error_cb=self._on_error, max_reconnect_attempts=-1
        )
        kv = await self._client.jetstream().key_value(bucket)
        watchers = [await kv.watch(">") for _ in range(count)]
        self._cpu = time.process_time()
        self._tasks = [asyncio.create_task(self._follow(watcher)) for watcher in watchers]

    async def complete(self, frames: int, timeout: float, strict: bool = True) -> Received:
        """Wait until each watcher has got so many; `strict`: and no error was seen."""
        wanted = frames * self._count
        await until(
            lambda: self._frames >= wanted or bool(strict and self._errors),
            f"{frames} updates for each of {self._count} watchers of nats-py",
            timeout,
        )
        assert self._frames == wanted, (self._frames, wanted, self._errors)
        assert not strict or not self._errors, self._errors
        return Received(wanted, self._first, self._last, time.process_time() - self._cpu)

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        if self._client is not None:
            await self._client.close()

    async def _follow(self, watcher) -> None:
        async for entry in watcher:
            if entry is None:
                continue  # says that what was there before is through
            self._last = time.perf_counter()
            if not self._frames:
                self._first = self._last
            self._frames += 1
            if self._frames % self._count == 0:
                self._progress.value = self._frames // self._count

    async def _on_error(self, error: Exception) -> None:
        self._errors.append(error)

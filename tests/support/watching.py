"""Watchers: a WebSocket by `websockets`, an event stream by a plain socket."""

import asyncio
import base64
import json
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from tests.support.http import BUCKETS, Http

Frame = dict[str, Any]

SECONDS = 10

UPGRADE = (
    "Upgrade: websocket",
    "Connection: Upgrade",
    "Sec-WebSocket-Version: 13",
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
)
"""The header lines of a handshake."""


def watch_path(bucket: str, query: str = "") -> str:
    """The path of a bucket's watch; without a bucket, of the watch over several."""
    if not bucket:
        return f"{BUCKETS.removesuffix('/buckets')}/watch{query}"
    return f"{BUCKETS}/{bucket}/watch{query}"


class Watcher:
    """One WebSocket watcher. Every wait has a deadline."""

    def __init__(self, connection: ClientConnection) -> None:
        self.connection = connection

    async def text(self, timeout: float = SECONDS) -> str:
        """The next frame as it came."""
        async with asyncio.timeout(timeout):
            message = await self.connection.recv()
        assert isinstance(message, str)
        return message

    async def next(self, timeout: float = SECONDS) -> Frame:
        """The next frame."""
        frame: Frame = json.loads(await self.text(timeout))
        return frame

    async def take(self, count: int, timeout: float = SECONDS) -> list[Frame]:
        return [await self.next(timeout) for _ in range(count)]

    async def until(self, last: Callable[[Frame], bool], timeout: float = SECONDS) -> list[Frame]:
        """Frames up to and with the first that `last` accepts; the deadline is for all of them."""
        frames: list[Frame] = []
        async with asyncio.timeout(timeout):
            while not frames or not last(frames[-1]):
                frames.append(json.loads(await self.connection.recv()))
        return frames

    async def closed(self, timeout: float = SECONDS) -> tuple[list[Frame], int]:
        """What still comes until the server closes, and the code it closes with."""
        frames: list[Frame] = []
        with suppress(ConnectionClosed):
            async with asyncio.timeout(timeout):
                while True:
                    frames.append(json.loads(await self.connection.recv()))
        code = self.connection.close_code
        assert code not in (None, 1006), "the connection broke without a close frame"
        return frames, code


@asynccontextmanager
async def watching(
    http: Http, bucket: str, query: str = "", **options: Any
) -> AsyncIterator[Watcher]:
    """Watch a bucket; `options` are those of `websockets`' connect, such as `subprotocols`."""
    url = f"ws://{http.host}:{http.port}{http.base}{watch_path(bucket, query)}"
    options = {"max_size": None, "ping_interval": None, "compression": None, **options}
    headers = {**http.headers, **options.pop("additional_headers", {})}
    async with connect(url, additional_headers=headers, proxy=None, **options) as connection:
        yield Watcher(connection)


@dataclass
class Event:
    """One server-sent event; `id` is None where the event names none."""

    data: str = ""
    id: str | None = None
    comments: list[str] = field(default_factory=list)
    retry: int | None = None

    @property
    def frame(self) -> Frame:
        frame: Frame = json.loads(self.data)
        return frame


class EventStream:
    """An event stream, and what an `EventSource` would remember: `last_id`."""

    def __init__(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        status: int,
        headers: dict[str, str],
    ) -> None:
        self.status = status
        self.headers = headers
        self.last_id: str | None = None
        self.writer = writer
        self._reader = reader
        self._chunk = b""
        self.ended = False

    async def block(self, timeout: float = SECONDS) -> Event | None:
        """The next block, one without data included; None at the end of the answer."""
        event = Event()
        seen = False
        async with asyncio.timeout(timeout):
            while True:
                line = await self._line()
                if line is None:
                    return None
                if line == "":
                    if seen:
                        return event
                    continue
                seen = True
                name, _, value = line.partition(":")
                value = value.removeprefix(" ")
                if name == "":
                    event.comments.append(value)
                elif name == "data":
                    event.data += value
                elif name == "id":
                    event.id = self.last_id = value
                elif name == "retry":
                    event.retry = int(value)

    async def next(self, timeout: float = SECONDS) -> Event | None:
        """The next event with data, as an `EventSource` shows it; None at the end."""
        async with asyncio.timeout(timeout):
            while (event := await self.block(timeout)) is not None:
                if event.data:
                    return event
        return None

    async def take(self, count: int, timeout: float = SECONDS) -> list[Frame]:
        """The frames of the next events."""
        frames = []
        for _ in range(count):
            event = await self.next(timeout)
            assert event is not None, "the stream ended"
            frames.append(event.frame)
        return frames

    async def _line(self) -> str | None:
        while b"\n" not in self._chunk:
            head = await self._reader.readline()
            size = int(head or b"0", 16)
            if size == 0:
                self.ended = bool(head)
                return None
            self._chunk += await self._reader.readexactly(size)
            await self._reader.readexactly(2)
        line, _, self._chunk = self._chunk.partition(b"\n")
        return line.decode()


@asynccontextmanager
async def streaming(
    http: Http, bucket: str, query: str = "", **headers: str
) -> AsyncIterator[EventStream]:
    """Ask for the event stream of a bucket; header names are given with underscores for dashes."""
    async with streaming_url(http, watch_path(bucket, query), **headers) as stream:
        yield stream


@asynccontextmanager
async def streaming_url(http: Http, path: str, **headers: str) -> AsyncIterator[EventStream]:
    """Ask for an event stream; header names are given with underscores for dashes."""
    reader, writer = await asyncio.open_connection(http.host, http.port, limit=2**24)
    try:
        sent = {"Host": f"{http.host}:{http.port}", "Accept": "text/event-stream", **http.headers}
        sent |= {name.replace("_", "-"): value for name, value in headers.items()}
        lines = [f"GET {http.base}{path} HTTP/1.1"]
        lines += [f"{name}: {value}" for name, value in sent.items()]
        writer.write(("\r\n".join(lines) + "\r\n\r\n").encode())
        async with asyncio.timeout(SECONDS):
            status = int((await reader.readline()).split()[1])
            found: dict[str, str] = {}
            while line := (await reader.readline()).strip().decode("latin-1"):
                name, _, value = line.partition(": ")
                found[name.lower()] = value
        yield EventStream(reader, writer, status, found)
    finally:
        writer.close()


@asynccontextmanager
async def unread(
    http: Http, bucket: str, query: str = "", *, lines: tuple[str, ...] = UPGRADE
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """Open a watch by hand, read the head of its answer and no more than a few KiB behind it."""
    raw = socket.socket()
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16 * 1024)
    raw.setblocking(False)
    await asyncio.get_running_loop().sock_connect(raw, (http.host, http.port))
    reader, writer = await asyncio.open_connection(sock=raw, limit=16 * 1024)
    try:
        path = f"{http.base}{watch_path(bucket, query)}"
        head = [f"GET {path} HTTP/1.1", f"Host: {http.host}:{http.port}", *lines, "", ""]
        writer.write("\r\n".join(head).encode())
        async with asyncio.timeout(SECONDS):
            answer = await reader.readuntil(b"\r\n\r\n")
        assert answer.split()[1] in (b"101", b"200"), answer
        yield reader, writer
    finally:
        writer.transport.abort()
        with suppress(OSError):
            await writer.wait_closed()


def value_of(frame: Frame) -> bytes:
    return base64.b64decode(frame["value"], validate=True)


def updates(frames: list[Frame]) -> list[tuple[str, str, int]]:
    """(key, operation, revision) of the updates among frames."""
    return [
        (frame["key"], frame["operation"], frame["revision"])
        for frame in frames
        if frame["type"] == "kv_update"
    ]


def state_of(frames: list[Frame]) -> dict[str, str]:
    """What a reader knows who takes in frames: key → value, as base64 or whatever it was."""
    known: dict[str, str] = {}
    for frame in frames:
        if frame["type"] == "kv_update":
            if frame["operation"] == "put":
                known[frame["key"]] = frame["value"]
            else:
                known.pop(frame["key"], None)
    return known

"""How a watcher receives changes: as WebSocket frames or as events.

A sink sends items, sends the reason when a watch ends, and closes the connection of a peer that
does not read.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Sequence
from typing import Any, Protocol

from jetkv_gateway.http.call import Call
from jetkv_gateway.http.failures import failure_frame
from jetkv_gateway.http.frames import (
    FrameFormat,
    as_event,
    as_frames,
    bookmark_event,
    marked_event,
    marked_frame,
    text_frame,
)
from jetkv_gateway.http.origins import isolation_headers
from jetkv_gateway.http.request import WebSocket
from jetkv_gateway.kv.errors import GatewayError, SlowConsumer
from jetkv_gateway.kv.model import Change
from jetkv_gateway.telemetry.events import EVENTS
from jetkv_gateway.watch.session import Item, MergedSnapshotEnd

__all__ = ["SUBPROTOCOL", "EventSink", "FrameSink", "Sink", "report_changes"]

SUBPROTOCOL = "ironflow.v1"

_GOING_AWAY = 1001
_KEEP_ALIVE_SECONDS = 15.0
_FIRST_BOOKMARK_SECONDS = 1.0
_RETRY_MILLISECONDS = 1000
_RETRY_AFTER_ERROR_MILLISECONDS = 5000
_EVENT_LINES = (
    b"content-type: text/event-stream\r\ncache-control: no-cache\r\nx-accel-buffering: no\r\n"
)


def report_changes(transport: str, items: Iterable[Item | MergedSnapshotEnd]) -> None:
    """Report each change that names the span of its write."""
    sent = EVENTS.change_sent
    if sent is not None:
        for item in items:
            if isinstance(item, Change) and item.traceparent is not None:
                sent(transport, item.traceparent.encode())


class Sink(Protocol):
    """The connection of one watcher. Sending raises OSError when the peer is gone.

    Attributes:
        transport: `websocket` or `sse`.
    """

    @property
    def transport(self) -> str: ...

    async def begin(self) -> None:
        """Start the answer, unless it has started. Call this first."""
        ...

    async def send(self, items: Sequence[Item], form: FrameFormat) -> None:
        """Send items, then wait until the connection can take more."""
        ...

    async def send_marked(self, marked: Iterable[tuple[bytes, str]]) -> None:
        """Send JSON texts, each with its bookmark, then wait until the connection can take more."""
        ...

    async def finish(self, reason: GatewayError | None) -> None:
        """Send the reason why the watch ends, and close. None means that the server stops."""
        ...

    def keep_alive(
        self, bookmark: Callable[[], int | str | None]
    ) -> Coroutine[Any, Any, None] | None:
        """Send a sign of life regularly until cancelled. None if this sink needs no such task.

        Args:
            bookmark: returns the position to resume from, or None if it is not known yet.
        """
        ...

    def wait_closed(self) -> Awaitable[None]:
        """Wait until the peer is gone."""
        ...

    def abort(self) -> None:
        """End the connection at once. Data that is not sent yet is lost."""
        ...


class FrameSink:
    """A WebSocket. The server sends its pings and limits how long closing takes."""

    __slots__ = ("_call", "_socket")

    transport = "websocket"

    def __init__(self, call: Call) -> None:
        self._call = call
        self._socket: WebSocket | None = None

    @property
    def _open(self) -> WebSocket:
        assert self._socket is not None, "`begin` comes first"
        return self._socket

    async def begin(self) -> None:
        if self._socket is not None:
            return
        call = self._call
        offered = call.headers.get(b"sec-websocket-protocol", b"").split(b",")
        chosen = SUBPROTOCOL if SUBPROTOCOL.encode() in [one.strip() for one in offered] else None
        call.started = True
        self._socket = await call.request.accept(chosen, call.own_lines)
        call.streamed = 101
        call.report_streamed()

    async def send(self, items: Sequence[Item], form: FrameFormat) -> None:
        if EVENTS.frames_sent is not None:
            EVENTS.frames_sent("websocket", len(items))
        if EVENTS.change_sent is not None:
            report_changes("websocket", items)
        await self._open.write(as_frames(items, form))

    async def send_marked(self, marked: Iterable[tuple[bytes, str]]) -> None:
        frames = [marked_frame(*one) for one in marked]
        if EVENTS.frames_sent is not None:
            EVENTS.frames_sent("websocket", len(frames))
        await self._open.write(b"".join(frames))

    async def finish(self, reason: GatewayError | None) -> None:
        if reason is None:
            self._open.finish(b"", _GOING_AWAY, "")
        else:
            self._open.finish(text_frame(failure_frame(reason)), reason.close_code, reason.code)

    def keep_alive(self, bookmark: Callable[[], int | str | None]) -> None:  # noqa: ARG002 - the protocol has it
        return  # the server sends pings

    def wait_closed(self) -> Awaitable[None]:
        return self._open.wait_closed()

    def abort(self) -> None:
        return  # the server limits how long closing takes


class EventSink:
    """An event stream. Call `begin` first.

    Args:
        keep_alive: seconds without an event after which a comment is sent.
    """

    transport = "sse"

    def __init__(self, call: Call, *, keep_alive: float = _KEEP_ALIVE_SECONDS) -> None:
        self._call = call
        self._request = call.request
        self._keep_alive = keep_alive
        self._sending = False
        self._sent = 0

    async def begin(self) -> None:
        if not self._call.started:
            await self._call.begin(200, _EVENT_LINES + isolation_headers(self._call))
            self._call.report_streamed()
            await self._chunk(b"retry: %d\n\n" % _RETRY_MILLISECONDS)

    async def send(self, items: Sequence[Item], form: FrameFormat) -> None:
        self._sending = True
        if EVENTS.frames_sent is not None:
            EVENTS.frames_sent("sse", len(items))
        if EVENTS.change_sent is not None:
            report_changes("sse", items)
        await self._chunk(b"".join([as_event(item, form) for item in items]))
        self._sending = False

    async def send_marked(self, marked: Iterable[tuple[bytes, str]]) -> None:
        self._sending = True
        events = [marked_event(*one) for one in marked]
        if EVENTS.frames_sent is not None:
            EVENTS.frames_sent("sse", len(events))
        await self._chunk(b"".join(events))
        self._sending = False

    async def finish(self, reason: GatewayError | None) -> None:
        """Send the reason, and end the answer.

        After an error that resuming cannot solve, the event id is reset. An `EventSource`
        reconnects by itself, and then starts as its URL says.
        """
        last = b""
        if reason is not None:
            last = b"data: %s\n\n" % failure_frame(reason)
            if not isinstance(reason, SlowConsumer):
                last = b"id:\nretry: %d\n%s" % (_RETRY_AFTER_ERROR_MILLISECONDS, last)
        if last:
            await self._request.send(last)
        await self._request.end()

    async def keep_alive(self, bookmark: Callable[[], int | str | None]) -> None:
        first = bookmark()
        if first is not None:
            await self._chunk(bookmark_event(first))
        else:
            # A watch that resumes catches up soon. This early bookmark helps a peer that
            # disconnects often.
            await asyncio.sleep(_FIRST_BOOKMARK_SECONDS)
            await self._chunk(b": keep-alive\n" + self._bookmark_event(bookmark))
        while True:
            before = self._sent
            await asyncio.sleep(self._keep_alive)
            if self._sent == before:
                await self._chunk(b": keep-alive\n" + self._bookmark_event(bookmark))

    def wait_closed(self) -> Awaitable[None]:
        return self._request.wait_closed()

    def abort(self) -> None:
        self._request.abort()

    def _bookmark_event(self, bookmark: Callable[[], int | str | None]) -> bytes:
        # While items are being sent, the bookmark is ahead of what the peer has received.
        where = None if self._sending else bookmark()
        return b"\n" if where is None else bookmark_event(where)

    async def _chunk(self, body: bytes) -> None:
        self._sent += 1
        await self._request.send(body)

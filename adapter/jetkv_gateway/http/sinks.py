"""The ways to a watcher: WebSocket frames written as they are, texts by ASGI, events.

Each sends items, says a last word, and ends a connection whose peer does not read any more.
"""

import asyncio
from collections.abc import Callable, Iterable
from typing import Protocol

from jetkv_gateway.http.call import ABORT, Headers, Scope, Send
from jetkv_gateway.http.failures import failure_frame
from jetkv_gateway.http.frames import (
    Form,
    as_event,
    as_frame,
    as_json,
    last_id,
    text_frame,
)
from jetkv_gateway.kv.errors import GatewayError, SlowConsumer
from jetkv_gateway.watch.hub import Watch
from jetkv_gateway.watch.session import Item

__all__ = ["EventSink", "FrameSink", "Sink", "Socket", "TextSink"]

_GOING_AWAY = 1001
_KEEP_ALIVE_SECONDS = 15.0
_FIRST_BOOKMARK_SECONDS = 1.0
_RETRY_MILLISECONDS = 1000
_RETRY_AFTER_ERROR_MILLISECONDS = 5000


class Sink(Protocol):
    """One watcher's connection. All that sends raises OSError once the peer is gone."""

    async def send(self, items: Iterable[Item]) -> None:
        """Send items, and wait until there is room for more."""
        ...

    async def finish(self, reason: GatewayError | None) -> None:
        """Say why it ends, None for a server that stops, and close."""
        ...

    async def keep_alive(self, watch: Watch) -> None:
        """Show from time to time that the connection stands, until cancelled."""
        ...

    def abort(self) -> None:
        """End the connection, whatever is still to be sent."""
        ...


class Socket(Protocol):
    """A WebSocket that takes frames as they go over the wire."""

    async def write(self, frames: bytes) -> None: ...

    def finish(self, frames: bytes, code: int, reason: str) -> None: ...


class FrameSink:
    """A WebSocket on the gateway's own protocol, which also sends its pings."""

    def __init__(self, socket: Socket, form: Form) -> None:
        self._socket = socket
        self._form = form

    async def send(self, items: Iterable[Item]) -> None:
        form = self._form
        await self._socket.write(b"".join([as_frame(item, form) for item in items]))

    async def finish(self, reason: GatewayError | None) -> None:
        if reason is None:
            self._socket.finish(b"", _GOING_AWAY, "")
        else:
            self._socket.finish(text_frame(failure_frame(reason)), reason.close_code, reason.code)

    async def keep_alive(self, watch: Watch) -> None:  # noqa: ARG002 - the signature is given
        return  # the server pings

    def abort(self) -> None:
        return  # closing has a deadline there


class TextSink:
    """A WebSocket on any other ASGI server."""

    def __init__(self, send: Send, form: Form) -> None:
        self._send = send
        self._form = form

    async def send(self, items: Iterable[Item]) -> None:
        for item in items:
            await self._send_text(as_json(item, self._form))

    async def finish(self, reason: GatewayError | None) -> None:
        code, text = _GOING_AWAY, ""
        if reason is not None:
            code, text = reason.close_code, reason.code
            await self._send_text(failure_frame(reason))
        await self._send({"type": "websocket.close", "code": code, "reason": text})

    async def keep_alive(self, watch: Watch) -> None:  # noqa: ARG002 - the signature is given
        return  # the server pings

    def abort(self) -> None:
        return

    async def _send_text(self, payload: bytes) -> None:
        await self._send({"type": "websocket.send", "text": payload.decode()})


class EventSink:
    """An event stream; `begin` comes first.

    Args:
        isolation: headers of the answer, see `origins`.
        keep_alive: seconds after which a quiet stream shows that it stands.
    """

    def __init__(
        self,
        scope: Scope,
        send: Send,
        form: Form,
        *,
        isolation: Headers,
        keep_alive: float = _KEEP_ALIVE_SECONDS,
    ) -> None:
        self._isolation = isolation
        self._send = send
        self._form = form
        self._abort: Callable[[], None] | None = scope.get(ABORT)
        self._keep_alive = keep_alive
        self._sending = False
        self._sent = 0

    async def begin(self) -> None:
        headers = [
            (b"content-type", b"text/event-stream"),
            (b"cache-control", b"no-cache"),
            *self._isolation,
            (b"x-accel-buffering", b"no"),
        ]
        await self._send({"type": "http.response.start", "status": 200, "headers": headers})
        await self._chunk(b"retry: %d\n\n" % _RETRY_MILLISECONDS)

    async def send(self, items: Iterable[Item]) -> None:
        self._sending = True
        await self._chunk(b"".join([as_event(item, self._form) for item in items]))
        self._sending = False

    async def finish(self, reason: GatewayError | None) -> None:
        """Say why, and end the answer.

        After an error that resuming cannot cure, the id is taken back: an `EventSource`, which
        comes back by itself, then begins as its URL says.
        """
        last = b""
        if reason is not None:
            last = b"data: %s\n\n" % failure_frame(reason)
            if not isinstance(reason, SlowConsumer):
                last = b"id:\nretry: %d\n%s" % (_RETRY_AFTER_ERROR_MILLISECONDS, last)
        await self._send({"type": "http.response.body", "body": last, "more_body": False})

    async def keep_alive(self, watch: Watch) -> None:
        if watch.bookmark is not None:
            await self._chunk(last_id(watch.bookmark))
        else:
            # One that resumes has caught up soon; a peer that breaks off often gets on, too.
            await asyncio.sleep(_FIRST_BOOKMARK_SECONDS)
            await self._chunk(b": keep-alive\n" + self._where(watch))
        while True:
            before = self._sent
            await asyncio.sleep(self._keep_alive)
            if self._sent == before:
                await self._chunk(b": keep-alive\n" + self._where(watch))

    def abort(self) -> None:
        if self._abort is not None:
            self._abort()

    def _where(self, watch: Watch) -> bytes:
        # While items are on their way, the bookmark is ahead of what the peer has.
        bookmark = None if self._sending else watch.bookmark
        return b"\n" if bookmark is None else last_id(bookmark)

    async def _chunk(self, body: bytes) -> None:
        self._sent += 1
        await self._send({"type": "http.response.body", "body": body, "more_body": True})

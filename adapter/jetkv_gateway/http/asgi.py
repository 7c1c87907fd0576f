"""Runs the gateway on any other ASGI server: a `Request` over scope, receive and send.

The answers are the same, byte for byte, but slower. The server handles HTTP itself.
"""

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, Any

from jetkv_gateway.http.frames import frame_texts
from jetkv_gateway.http.request import Findings, WebSocket
from jetkv_gateway.http.routes import ROUTER
from jetkv_gateway.kv.errors import CodingUnsupported, InvalidArgument, ValueTooLarge

if TYPE_CHECKING:
    from jetkv_gateway.http.call import Call
    from jetkv_gateway.http.gateway import Gateway

__all__ = ["Message", "Receive", "Scope", "Send", "run_lifespan", "serve_request"]

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

_THIS_MACHINE = frozenset({"", "127.0.0.1", "::1"})
_DISCONNECTS = frozenset({"http.disconnect", "websocket.disconnect"})


async def run_lifespan(
    lifespan: Callable[[], AbstractAsyncContextManager[None]], receive: Receive, send: Send
) -> None:
    """Run the lifespan, as ASGI's lifespan protocol requires."""
    await receive()
    started = False
    try:
        async with lifespan():
            started = True
            await send({"type": "lifespan.startup.complete"})
            await receive()
    except Exception as error:
        stage = "shutdown" if started else "startup"
        await send({"type": f"lifespan.{stage}.failed", "message": str(error)})
        raise
    await send({"type": "lifespan.shutdown.complete"})


async def serve_request(gateway: "Gateway", scope: Scope, receive: Receive, send: Send) -> None:
    """Answer one request, or serve one WebSocket."""
    request = AsgiRequest(scope, receive, send)
    call = gateway.begin(request)
    if call is not None and await request.read(call):
        await gateway.run(call)
    await request.flush()


class AsgiRequest:
    """`http.request.Request` over ASGI."""

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._receive = receive
        self._send = send
        self._answer: tuple[int, bytes, bytes] | None = None
        self._aborted = False
        self._socket: AsgiWebSocket | None = None
        self.is_websocket = scope["type"] == "websocket"
        # ASGI gives a handshake no method (RFC 6455 §4.1), and does not tell a URL that ends with a
        # question mark.
        method: str = scope.get("method", "GET")
        self.target = ROUTER.target(method, scope["raw_path"], scope["query_string"] or None)
        self.findings = Findings()
        self.version: str = scope.get("http_version", "1.1")
        client = scope.get("client")
        self.client: str = client[0] if client else ""
        self.limited = self.client not in _THIS_MACHINE
        self.scheme: str = scope.get("scheme", "http")
        self.body = b""
        self.stopping: asyncio.Event | None = None
        headers: dict[bytes, bytes] = {}
        for name, value in scope["headers"]:
            headers[name] = headers[name] + b", " + value if name in headers else value
        self.headers = headers

    @property
    def draining(self) -> bool:
        return False

    async def read(self, call: "Call") -> bool:
        """Read the body. Return whether it arrived completely and is not too large."""
        coding = self.headers.get(b"transfer-encoding")
        if coding is not None and coding.lower() != b"chunked":
            call.fail(CodingUnsupported())
            return False
        if self.is_websocket:
            await self._receive()
            return True
        parts, size, more = [], 0, True
        while more:
            message = await self._receive()
            if message["type"] in _DISCONNECTS:
                return False
            more = message.get("more_body", False)
            if call.body_limit:
                parts.append(message.get("body", b""))
                size += len(parts[-1])
                if size > call.body_limit:
                    call.fail(ValueTooLarge(call.body_limit))
                    return False
        self.body = b"".join(parts)
        return True

    def answer(self, status: int, lines: bytes, body: bytes) -> None:
        self._answer = status, lines, body

    async def flush(self) -> None:
        """Send the answer that was written in one piece, if there is one."""
        if self._socket is not None:
            await self._socket.flush()
            return
        if self._aborted:
            raise ConnectionAbortedError(
                "the answer broke off"
            )  # other servers then cut the connection
        if self._answer is not None:
            status, lines, body = self._answer
            await self.begin(status, lines)
            await self._send({"type": self._kind("http.response.body"), "body": self._shown(body)})

    def _shown(self, body: bytes) -> bytes:
        return b"" if self.target.method == "HEAD" else body

    def _kind(self, kind: str) -> str:
        # A refusal before the upgrade is an ordinary answer, but its ASGI messages have other
        # names.
        return f"websocket.{kind}" if self.is_websocket else kind

    async def begin(self, status: int, lines: bytes) -> None:
        await self._send(
            {
                "type": self._kind("http.response.start"),
                "status": status,
                "headers": _pairs(lines),
            }
        )

    async def send(self, part: bytes) -> None:
        await self._send({"type": "http.response.body", "body": part, "more_body": True})

    async def end(self) -> None:
        await self._send({"type": "http.response.body", "body": b""})

    async def wait_closed(self) -> None:
        while (await self._receive())["type"] not in _DISCONNECTS:
            pass

    def abort(self) -> None:
        self._aborted = True

    async def accept(self, subprotocol: str | None, lines: bytes) -> WebSocket:
        if not self.is_websocket:
            raise InvalidArgument("this is not a WebSocket handshake")
        await self._send(
            {"type": "websocket.accept", "subprotocol": subprotocol, "headers": _pairs(lines)}
        )
        self._socket = AsgiWebSocket(self._receive, self._send)
        return self._socket


class AsgiWebSocket:
    """`http.request.WebSocket` over ASGI. The server sends the pings."""

    def __init__(self, receive: Receive, send: Send) -> None:
        self._receive = receive
        self._send = send
        self._last: tuple[bytes, int, str] | None = None

    async def write(self, frames: bytes) -> None:
        for text in frame_texts(frames):
            await self._send({"type": "websocket.send", "text": text})

    def finish(self, frames: bytes, code: int, reason: str) -> None:
        self._last = frames, code, reason

    async def flush(self) -> None:
        """Send the last frames and the close."""
        if self._last is not None:
            frames, code, reason = self._last
            await self.write(frames)
            await self._send({"type": "websocket.close", "code": code, "reason": reason})

    async def wait_closed(self) -> None:
        while (await self._receive())["type"] not in _DISCONNECTS:
            pass


def _pairs(lines: bytes) -> list[tuple[bytes, bytes]]:
    found = []
    for line in lines.split(b"\r\n")[:-1]:
        name, _, value = line.partition(b": ")
        found.append((name, value))
    return found

"""One request of a connection: implements `http.request.Request`, and writes the answer."""

import asyncio
import http
from contextvars import Context
from typing import TYPE_CHECKING

from jetkv_gateway.http.request import WebSocket
from jetkv_gateway.serving.addresses import Caller
from jetkv_gateway.serving.heads import Head
from jetkv_gateway.serving.stepper import Stepper

if TYPE_CHECKING:
    from jetkv_gateway.serving.dispatch import DispatchingConnection

__all__ = ["STATUS_LINES", "Request"]

STATUS_LINES = {
    status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode()
    for status in http.HTTPStatus
}
_CLOSE = b"connection: close\r\n"
_LARGE = 64 * 1024


class Request(Stepper):
    """A request whose head has been read; see `http.request.Request`.

    Attributes:
        owner: its connection, which the stepper tells of the end.
        account: the caller's account.
        caller: the caller that a trusted proxy names; None if that is the other end of the
            connection.
        accept_key: the value of `Sec-WebSocket-Accept`, if it is a handshake.
        is_last: whether the connection ends with this answer.
        started: whether the answer has started.
        complete: whether the answer is written completely.
    """

    __slots__ = (
        "_chunked",
        "accept_key",
        "account",
        "body",
        "caller",
        "complete",
        "findings",
        "headers",
        "is_last",
        "is_websocket",
        "started",
        "target",
        "version",
    )

    owner: "DispatchingConnection"
    _chunked: bool
    accept_key: bytes

    def __init__(self, connection: "DispatchingConnection", head: Head) -> None:
        self.owner = connection
        self.target, self.headers, fields = head
        self.version = fields.version
        self.findings = fields.findings
        self.is_last = not fields.keep_alive
        self.is_websocket = self.started = self.complete = False
        self.body = b""
        self.context = Context()
        self.account = connection.peer.account
        self.caller: Caller | None = None

    @property
    def client(self) -> str:
        return self.owner.peer.block if self.caller is None else self.caller.address

    @property
    def scheme(self) -> str:
        return self.owner.scheme if self.caller is None else self.caller.scheme

    @property
    def limited(self) -> bool:
        return self.account.limited

    @property
    def draining(self) -> bool:
        return self.owner.worker.draining

    @property
    def stopping(self) -> asyncio.Event | None:
        return self.owner.worker.stopping

    def answer(self, status: int, lines: bytes, body: bytes) -> None:
        if self.started:
            return
        self.started = self.complete = True
        connection = self.owner
        if connection.lost:
            return  # the transport is closed
        if self.target.method == "HEAD":
            body = b""
        close = _CLOSE if connection.is_last_answer(self) else b""
        start, date = STATUS_LINES[status], connection.worker.date
        if len(body) < _LARGE:
            connection.transport.write(b"".join((start, date, lines, close, b"\r\n", body)))
        else:
            connection.transport.write(b"%s%s%s%s\r\n" % (start, date, lines, close))
            # A view avoids a second copy of the bytes that the kernel does not take now.
            # `writelines` would join both parts on CPython 3.11.
            connection.transport.write(memoryview(body))
        connection.on_answered(self)

    async def begin(self, status: int, lines: bytes) -> None:
        if self.started:
            return
        self.started = True
        connection = self.owner
        if connection.lost:
            raise ConnectionError
        # HTTP/1.0 has no chunks, so the answer ends with the connection.
        self._chunked = self.version != "1.0"
        close = _CLOSE if connection.is_last_answer(self) else b""
        coding = b"transfer-encoding: chunked\r\n" if self._chunked else b""
        head = (STATUS_LINES[status], connection.worker.date, lines, coding, close, b"\r\n")
        connection.transport.write(b"".join(head))
        connection.on_streaming(self)

    async def send(self, part: bytes) -> None:
        connection = self.owner
        if connection.lost or self.complete:
            raise ConnectionError
        if part and self.target.method != "HEAD":
            framed = b"%x\r\n%s\r\n" % (len(part), part) if self._chunked else part
            connection.transport.write(framed)
        await connection.wait_writable()

    async def end(self) -> None:
        if self.complete or self.owner.lost:
            return
        self.complete = True
        if self._chunked and self.target.method != "HEAD":
            self.owner.transport.write(b"0\r\n\r\n")
        self.owner.on_answered(self)

    async def wait_closed(self) -> None:
        await self.owner.wait_closed()

    def abort(self) -> None:
        self.owner.reset()

    async def accept(self, subprotocol: str | None, lines: bytes) -> WebSocket:
        return self.owner.open_websocket(self, subprotocol, lines)

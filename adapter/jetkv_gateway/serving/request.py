"""One request of a connection: `http.request.Request`, and the writing of its answer."""

import asyncio
import http
from contextvars import Context
from typing import TYPE_CHECKING

from jetkv_gateway.http.request import WebSocket
from jetkv_gateway.http.router import Match
from jetkv_gateway.serving.heads import Head

if TYPE_CHECKING:
    from jetkv_gateway.serving.dispatch import DispatchingConnection

__all__ = ["STATUS_LINES", "Request"]

STATUS_LINES = {
    status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode()
    for status in http.HTTPStatus
}
_CLOSE = b"connection: close\r\n"
_LARGE = 64 * 1024


class Request:
    """A request whose head was read; see `Request`.

    Attributes:
        context: that all of it runs in, so that nothing of it is found by another.
        account: of the caller that it counts for.
        accepts: what proves that its handshake was understood, None where it is none.
        is_last: whether the connection ends with its answer.
        begun: whether its answer has begun.
        complete: whether all of its answer is written.
    """

    __slots__ = (
        "_chunked",
        "_connection",
        "accepts",
        "account",
        "begun",
        "body",
        "client",
        "complete",
        "context",
        "handshake",
        "headers",
        "is_last",
        "match",
        "method",
        "path",
        "query",
        "scheme",
        "version",
    )

    def __init__(
        self, connection: "DispatchingConnection", head: Head, match: Match | None
    ) -> None:
        self.method, self.path, query, self.headers, self.version, keep_alive, _, _ = head
        self._connection = connection
        self._chunked = True
        self.accepts: bytes | None = None
        self.handshake = False
        self.is_last = not keep_alive
        self.begun = self.complete = False
        self.body = b""
        self.context = Context()
        peer = connection.peer
        self.account = peer.account
        self.client = peer.block
        self.scheme = connection.scheme
        self.query = query or b""
        self.match = match

    @property
    def draining(self) -> bool:
        return self._connection.worker.draining

    @property
    def stopping(self) -> asyncio.Event | None:
        return self._connection.worker.stopping

    def answer(self, status: int, lines: bytes, body: bytes) -> None:
        if self.begun:
            return
        self.begun = self.complete = True
        connection = self._connection
        if connection.lost:
            return  # its transport takes nothing any more
        if self.method == "HEAD":
            body = b""
        close = _CLOSE if connection.ends_with(self) else b""
        start, date = STATUS_LINES[status], connection.worker.date
        if len(body) < _LARGE:
            connection.transport.write(b"%s%s%s%s\r\n%s" % (start, date, lines, close, body))
        else:
            connection.transport.write(b"%s%s%s%s\r\n" % (start, date, lines, close))
            # As a view: what the kernel does not take now is not copied twice. And not both by
            # `writelines`, which joins them where asyncio's is that of CPython 3.11.
            connection.transport.write(memoryview(body))
        connection.answered(self)

    async def begin(self, status: int, lines: bytes) -> None:
        if self.begun:
            return
        self.begun = True
        connection = self._connection
        if connection.lost:
            raise ConnectionError
        # HTTP/1.0 knows no chunks: the answer ends with the connection.
        self._chunked = self.version != "1.0"
        close = _CLOSE if connection.ends_with(self) else b""
        coding = b"transfer-encoding: chunked\r\n" if self._chunked else b""
        head = (STATUS_LINES[status], connection.worker.date, lines, coding, close, b"\r\n")
        connection.transport.write(b"".join(head))
        connection.streams(self)

    async def send(self, part: bytes) -> None:
        connection = self._connection
        if connection.lost or self.complete:
            raise ConnectionError
        if part and self.method != "HEAD":
            framed = b"%x\r\n%s\r\n" % (len(part), part) if self._chunked else part
            connection.transport.write(framed)
        await connection.room()

    async def end(self) -> None:
        if self.complete or self._connection.lost:
            return
        self.complete = True
        if self._chunked and self.method != "HEAD":
            self._connection.transport.write(b"0\r\n\r\n")
        self._connection.answered(self)

    async def gone(self) -> None:
        await self._connection.gone()

    def abort(self) -> None:
        self._connection.reset()

    async def accept(self, subprotocol: str | None, lines: bytes) -> WebSocket:
        return self._connection.open_socket(self, subprotocol, lines)

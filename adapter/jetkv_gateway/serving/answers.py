"""How answers go out: whole and at once, without chunks, and the last one of a connection."""

import asyncio
from typing import TYPE_CHECKING

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, RequestResponseCycle

from jetkv_gateway.http.call import ASGIApp, Message, Receive, Scope, Send

if TYPE_CHECKING:
    from jetkv_gateway.serving.http1 import GatewayProtocol

__all__ = ["ClosingTransport", "LastWord", "unchunked", "write_whole"]

_LINGER_SECONDS = 5
# What was sent before its client could know of the end arrives within a round trip.
_LINGER_SECONDS_OF_A_STOP = 1
_LINGER_BYTES = 64 * 1024 * 1024


class ClosingTransport(asyncio.Transport):
    """What a request that closes its connection writes to."""

    def __init__(self, protocol: "GatewayProtocol", cycle: RequestResponseCycle) -> None:
        self._protocol = protocol
        self._cycle = cycle
        self.write = protocol.transport.write  # type: ignore[method-assign]
        self.is_closing = protocol.transport.is_closing  # type: ignore[method-assign]

    def close(self) -> None:
        transport = self._protocol.transport
        if transport.is_closing() or transport.get_protocol() is not self._protocol:
            return
        if self._cycle.more_body or self._protocol.leaving:
            transport.set_protocol(LastWord(self._protocol))
        else:
            transport.close()


class LastWord(asyncio.Protocol):
    """Read on for a while after the last answer, then close.

    To close at once would reset the connection of a client that still sends, and a reset throws
    away an answer that was not read yet.
    """

    def __init__(self, protocol: "GatewayProtocol") -> None:
        self._protocol = protocol
        self._transport = protocol.transport
        self._bytes_left = _LINGER_BYTES
        linger = _LINGER_SECONDS_OF_A_STOP if protocol.leaving else _LINGER_SECONDS
        self._timer = protocol.loop.call_later(linger, self._transport.close)
        protocol.flow.resume_reading()
        self._transport.write_eof()

    def data_received(self, data: bytes) -> None:
        self._bytes_left -= len(data)
        if self._bytes_left < 0:
            self._transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        self._timer.cancel()
        self._protocol.connection_lost(exc)


def write_whole(cycle: RequestResponseCycle, status: int, lines: bytes, body: bytes) -> bool:
    """Write a whole answer at once; the steps are those of `RequestResponseCycle.send`."""
    if cycle.response_started or cycle.disconnected or cycle.flow.write_paused:
        return False
    if not cycle.keep_alive:
        return False  # the server stops by now, and the answer has to say so
    cycle.response_started = True
    cycle.waiting_for_100_continue = False
    date = b"".join([b"%s: %s\r\n" % header for header in cycle.default_headers])
    if cycle.scope["method"] == "HEAD":
        body = b""
    cycle.transport.write(b"%s%s%s\r\n%s" % (STATUS_LINE[status], date, lines, body))
    cycle.response_complete = True
    cycle.message_event.set()
    cycle.on_response()
    return True


async def unchunked(
    app: ASGIApp, cycle: RequestResponseCycle, scope: Scope, receive: Receive, send: Send
) -> None:
    """Run `app` for a client of HTTP/1.0: an answer without a length ends with the connection."""
    has_length = False

    async def send_all(message: Message) -> None:
        nonlocal has_length
        if message["type"] == "http.response.start":
            has_length = any(name == b"content-length" for name, _ in message["headers"])
            if not has_length:
                cycle.chunked_encoding = False
        elif not has_length:
            cycle.expected_content_length = len(message.get("body", b""))
        await send(message)

    await app(scope, receive, send_all)

"""HTTP/1.1 as uvicorn speaks it, with better manners where it is broken or breaks off.

An answer that is there in full is written at once (`WRITER`). Broken HTTP gets the JSON body of
every other error, a URL ends, no part of a key is dropped in silence, and an answer that comes
before the end of the request's body is not lost to a reset.
"""

import asyncio
import logging
import socket
from functools import partial
from typing import Any, NoReturn, cast

from uvicorn.protocols.http.httptools_impl import (
    STATUS_LINE,
    HttpToolsProtocol,
    RequestResponseCycle,
)

from jetkv_gateway.http.errors import error_body
from jetkv_gateway.http.exchange import ABORT, STOPPING, WRITER, new_request_id
from jetkv_gateway.kv.errors import InvalidArgument

__all__ = ["GatewayProtocol"]

_log = logging.getLogger("jetkv.http")

_MAX_URL = 64 * 1024
# What websockets reads of a handshake is a little more.
_MAX_SOCKET_LINE = 8000
_MAX_SOCKET_HEADERS = 100
_LINGER_SECONDS = 5
_SILENCE_MILLISECONDS = 40_000
_LINGER_BYTES = 64 * 1024 * 1024


class GatewayProtocol(HttpToolsProtocol):
    """One connection."""

    _sent_url = b""
    _stopping: asyncio.Event | None = None
    _broken_rule = (
        "its method, path or headers break a rule of HTTP/1.1; a path has to be percent-encoded"
    )

    def on_url(self, url: bytes) -> None:
        # It can come in pieces; on_message_begin empties self.url.
        self._sent_url = url = self._sent_url + url if self.url else url
        if len(url) > _MAX_URL:
            self._refuse("a URL has at most 64 KiB")
        if b"#" in url:
            # The parser would drop what follows, and with it the end of a key.
            self._refuse("a # in a key must be sent as %23")
        if url.endswith(b"?") and (b"/keys/" in url or b"/history/" in url):
            # The parser would drop this too. Doubled, it is a parameter that no route knows.
            url += b"?"
        self.url = url

    def _refuse(self, rule: str) -> NoReturn:
        self._broken_rule = rule
        raise ValueError(rule)

    def shutdown(self) -> None:
        super().shutdown()
        if self._stopping is not None:
            self._stopping.set()

    def on_headers_complete(self) -> None:
        if self.parser.should_upgrade() and self._should_upgrade():
            self._check_handshake()
        streaming = self.cycle
        if (
            streaming is not None
            and streaming.response_started
            and not streaming.response_complete
            and STOPPING in streaming.scope
        ):
            # An event stream has no end that a further request could wait for, and while one
            # waits, nothing is read, not even that the peer is gone.
            self.transport.close()
            return
        super().on_headers_complete()
        cycle = self.cycle
        # The app's task is made by now, and runs later.
        if cycle is not None and cycle.scope is self.scope:
            if b"/watch" in self.url:
                self._stopping = self._stopping or asyncio.Event()
                scope = cast(dict[str, Any], self.scope)
                scope[STOPPING], scope[ABORT] = self._stopping, self.transport.abort
                self._notice_silence()
            if cycle.keep_alive:
                cast(dict[str, Any], self.scope)[WRITER] = partial(_write, cycle)
            else:
                cycle.transport = _ClosingTransport(self, cycle)

    def _check_handshake(self) -> None:
        """Refuse what websockets could not read, and would leave without an answer."""
        # Cookies of all ports of a host come along, and nobody here eats any.
        self.headers[:] = [header for header in self.headers if header[0] != b"cookie"]
        if self.parser.get_http_version() != "1.1":
            self._refuse("a WebSocket handshake is HTTP/1.1")
        if len(self.url) > _MAX_SOCKET_LINE:
            self._refuse("the URL of a WebSocket has at most 8,000 bytes")
        if len(self.headers) > _MAX_SOCKET_HEADERS:
            self._refuse("a WebSocket handshake has at most 100 headers")
        for name, value in self.headers:
            if len(name) + len(value) > _MAX_SOCKET_LINE:
                self._refuse("a header of a WebSocket handshake has at most 8,000 bytes")
            if name == b"transfer-encoding" or (name == b"content-length" and value != b"0"):
                self._refuse("a WebSocket handshake has no body")

    def _notice_silence(self) -> None:
        """Have the kernel end the connection of a peer that takes in nothing any more."""
        raw = self.transport.get_extra_info("socket")
        option = getattr(socket, "TCP_USER_TIMEOUT", None)
        if option is not None and raw is not None and raw.family != socket.AF_UNIX:
            raw.setsockopt(socket.IPPROTO_TCP, option, _SILENCE_MILLISECONDS)

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002 - it names no rule
        request_id = new_request_id()
        error = InvalidArgument(f"invalid HTTP request: {self._broken_rule}")
        body = error_body(error, request_id.decode("ascii"))
        _log.info("request %s: %s", request_id.decode("ascii"), error.message)
        self.transport.write(
            b"%scontent-type: application/json\r\nx-request-id: %s\r\nconnection: close\r\n"
            b"content-length: %d\r\n\r\n%s" % (STATUS_LINE[400], request_id, len(body), body)
        )
        if self.cycle is not None:
            # A request whose body broke off: nothing comes of it, and it answers no more.
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        self.transport.set_protocol(_LastWord(self))


class _ClosingTransport(asyncio.Transport):
    """What a request that closes its connection writes to."""

    def __init__(self, protocol: HttpToolsProtocol, cycle: RequestResponseCycle) -> None:
        self._protocol = protocol
        self._cycle = cycle
        self.write = protocol.transport.write  # type: ignore[method-assign]
        self.is_closing = protocol.transport.is_closing  # type: ignore[method-assign]

    def close(self) -> None:
        transport = self._protocol.transport
        if self._cycle.more_body and not transport.is_closing():
            transport.set_protocol(_LastWord(self._protocol))
        else:
            transport.close()


class _LastWord(asyncio.Protocol):
    """Read on for a while after the last answer, then close.

    To close at once would reset the connection of a client that still sends, and a reset throws
    away an answer that was not read yet.
    """

    def __init__(self, protocol: HttpToolsProtocol) -> None:
        self._protocol = protocol
        self._transport = protocol.transport
        self._bytes_left = _LINGER_BYTES
        self._timer = protocol.loop.call_later(_LINGER_SECONDS, self._transport.close)
        protocol.flow.resume_reading()
        self._transport.write_eof()

    def data_received(self, data: bytes) -> None:
        self._bytes_left -= len(data)
        if self._bytes_left < 0:
            self._transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        self._timer.cancel()
        self._protocol.connection_lost(exc)


def _write(cycle: RequestResponseCycle, status: int, lines: bytes, body: bytes) -> bool:
    """Write a whole answer at once; the steps are those of `RequestResponseCycle.send`."""
    if cycle.response_started or cycle.disconnected or cycle.flow.write_paused:
        return False
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

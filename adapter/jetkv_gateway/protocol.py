"""HTTP/1.1 as uvicorn speaks it, with better manners where it is broken or breaks off.

An answer that is there in full is written at once (`WRITER`). Broken HTTP gets the JSON body of
every other error, a URL ends, no part of a key is dropped in silence, and an answer that comes
before the end of the request's body is not lost to a reset.

When the server stops, a connection ends with an answer that says `Connection: close`: with the one
in flight, or else with the next, which it waits a moment for. Closed first, a connection that its
client has just begun to use would leave a write unknown.
"""

import asyncio
import logging
import select
import socket
from functools import partial
from typing import Any, NoReturn, cast

from uvicorn.protocols.http.httptools_impl import (
    STATUS_LINE,
    HttpToolsProtocol,
    RequestResponseCycle,
)

from jetkv_gateway.http.admission import REFUSED, Admission, is_limited, refusal
from jetkv_gateway.http.errors import error_body, error_headers
from jetkv_gateway.http.exchange import ABORT, STOPPING, WRITER, new_request_id, sane_request_id
from jetkv_gateway.kv.errors import GatewayError, InvalidArgument, Unavailable
from jetkv_gateway.sockets import WatchProtocol

__all__ = ["GatewayProtocol"]

_log = logging.getLogger("jetkv.http")

_MAX_URL = 64 * 1024
# What websockets reads of a handshake is a little more.
_MAX_SOCKET_LINE = 8000
_MAX_SOCKET_HEADERS = 100
_LINGER_SECONDS = 5
# What was sent before its client could know of the end arrives within a round trip.
_LINGER_SECONDS_OF_A_STOP = 1
# A client that is busy sends its next request well within this; others use none for longer.
_LAST_REQUEST_SECONDS = 1
_LOOK_SECONDS = 0.05
_SILENCE_MILLISECONDS = 40_000
_LINGER_BYTES = 64 * 1024 * 1024


class GatewayProtocol(HttpToolsProtocol):
    """One connection."""

    leaving = False
    _receiving_headers = False
    _running: RequestResponseCycle | None = None
    _sent_url = b""
    _stopping: asyncio.Event | None = None
    _broken_rule = (
        "its method, path or headers break a rule of HTTP/1.1; a path has to be percent-encoded"
    )

    def on_url(self, url: bytes) -> None:
        # It can come in pieces; on_message_begin empties self.url.
        self._receiving_headers = True
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
        """Make the answer in flight the last one, or else the next, if it is asked for soon."""
        self.leaving = True
        if self._stopping is not None:
            self._stopping.set()
        if self._answering:
            self._make_last(self.cycle)
        else:
            self.loop.call_later(_LAST_REQUEST_SECONDS, self._leave_if_idle)

    def expire(self) -> None:
        """End a connection that a stop cannot wait for any longer.

        The task of the request in flight is cancelled by the server, which makes an answer.
        """
        if self.transport.get_protocol() is not self:
            return  # on its way out already
        self.pipeline.clear()
        if self._answering and self._running is not None:
            self._make_last(self._running)
        elif self._receiving_headers:
            self._say_last(Unavailable("the gateway stops"))
        else:
            self._leave()

    @property
    def _answering(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _make_last(self, cycle: RequestResponseCycle) -> None:
        cycle.keep_alive = False
        cycle.transport = _ClosingTransport(self, cycle)

    def _leave_if_idle(self) -> None:
        if self._answering or self._receiving_headers or self.transport.is_closing():
            return
        if self._has_unread():
            self.loop.call_later(_LOOK_SECONDS, self._leave_if_idle)
        else:
            self._leave()

    def _has_unread(self) -> bool:
        """Return whether a request has arrived that the event loop has not come to."""
        poll = select.poll()
        descriptor = self.transport.get_extra_info("socket").fileno()
        if descriptor < 0:
            return False
        poll.register(descriptor, select.POLLIN)
        return bool(poll.poll(0))

    def _leave(self) -> None:
        if not self.transport.is_closing() and self.transport.get_protocol() is self:
            self.transport.set_protocol(_LastWord(self))

    def on_response_complete(self) -> None:
        if self.leaving and self.transport.get_protocol() is not self:
            # Its last answer is out: what is in the pipeline has none to come.
            self.pipeline.clear()
            self.server_state.total_requests += 1
        else:
            super().on_response_complete()

    def handle_websocket_upgrade(self) -> None:
        super().handle_websocket_upgrade()
        if self.leaving:
            cast(WatchProtocol, self.transport.get_protocol()).shutdown()

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._admission: Admission | None = getattr(self.app, "admission", None)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._admission is not None and self.cycle is not None:
            self._admission.forget(self.cycle)
        super().connection_lost(exc)

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        self._running = cycle
        admission = self._admission
        if admission is not None and is_limited(cycle.scope):  # type: ignore[arg-type] # a TypedDict
            run, now = partial(admission.run, app, cycle), self.loop.time()
            if not admission.enter(cycle, now):
                start = partial(super()._start_asgi_task, cycle, run)
                admission.wait(cycle, now, start, partial(self._refuse_for_now, cycle, app))
                return
            app = run
        super()._start_asgi_task(cycle, app)

    def _refuse_for_now(self, cycle: RequestResponseCycle, app: Any) -> None:
        scope = cast(dict[str, Any], cycle.scope)
        headers = dict(scope["headers"])
        if cycle.keep_alive and b"origin" not in headers:
            lines, body = refusal(sane_request_id(headers.get(b"x-request-id")))
            if _write(cycle, 429, lines, body):
                return
        scope[REFUSED] = True
        super()._start_asgi_task(cycle, app)

    def on_headers_complete(self) -> None:
        self._receiving_headers = False
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
                if self.leaving:
                    self._stopping.set()
                scope = cast(dict[str, Any], self.scope)
                scope[STOPPING], scope[ABORT] = self._stopping, self.transport.abort
                self._notice_silence()
            if cycle.keep_alive and not self.leaving:
                cast(dict[str, Any], self.scope)[WRITER] = partial(_write, cycle)
            else:
                self._make_last(cycle)

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
        self._say_last(InvalidArgument(f"invalid HTTP request: {self._broken_rule}"))

    def _say_last(self, error: GatewayError) -> None:
        """Answer what is no whole request, and close."""
        if self.transport.is_closing():
            return
        request_id = new_request_id()
        body = error_body(error, request_id.decode("ascii"))
        _log.info("request %s: %s", request_id.decode("ascii"), error.message)
        lines = b"".join([b"%s: %s\r\n" % header for header in error_headers(error)])
        self.transport.write(
            b"%scontent-type: application/json\r\nx-request-id: %s\r\nconnection: close\r\n"
            b"%scontent-length: %d\r\n\r\n%s"
            % (STATUS_LINE[error.status], request_id, lines, len(body), body)
        )
        if self.cycle is not None:
            # A request whose body broke off: nothing comes of it, and it answers no more.
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        self.transport.set_protocol(_LastWord(self))


class _ClosingTransport(asyncio.Transport):
    """What a request that closes its connection writes to."""

    def __init__(self, protocol: GatewayProtocol, cycle: RequestResponseCycle) -> None:
        self._protocol = protocol
        self._cycle = cycle
        self.write = protocol.transport.write  # type: ignore[method-assign]
        self.is_closing = protocol.transport.is_closing  # type: ignore[method-assign]

    def close(self) -> None:
        transport = self._protocol.transport
        if transport.is_closing() or transport.get_protocol() is not self._protocol:
            return
        if self._cycle.more_body or self._protocol.leaving:
            transport.set_protocol(_LastWord(self._protocol))
        else:
            transport.close()


class _LastWord(asyncio.Protocol):
    """Read on for a while after the last answer, then close.

    To close at once would reset the connection of a client that still sends, and a reset throws
    away an answer that was not read yet.
    """

    def __init__(self, protocol: GatewayProtocol) -> None:
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


def _write(cycle: RequestResponseCycle, status: int, lines: bytes, body: bytes) -> bool:
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

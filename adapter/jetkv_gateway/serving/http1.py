"""HTTP/1.1 as uvicorn speaks it, with better manners where it is broken or breaks off.

An answer that is there in full is written at once (`WRITER`). Broken HTTP gets the JSON body of
every other error, a URL ends, no part of a key is dropped in silence, and an answer that comes
before the end of the request's body is not lost to a reset.

The parser has special cases of its own, and none of them may change what is stored or lose an
answer. It skips the body of a request that offers to upgrade: an offer that nobody takes is removed
from the head, which is then parsed again (RFC 9110 §7.8 lets a server ignore it). It hands trailers
over as headers: they say nothing here (§6.5.1). What came whole from a client that has stopped
sending is answered.

When the server stops, a connection ends with an answer that says `Connection: close`: with the one
in flight, or else with the next, which it waits a moment for. Closed first, a connection that its
client has just begun to use would leave a write unknown.
"""

import asyncio
import logging
import select
import socket
import struct
from functools import partial
from typing import Any, NoReturn, cast

import httptools
from uvicorn.protocols.http.httptools_impl import (
    STATUS_LINE,
    HttpToolsProtocol,
    RequestResponseCycle,
)

from jetkv_gateway.http.call import (
    ABORT,
    STOPPING,
    WRITER,
    new_request_id,
    sane_request_id,
)
from jetkv_gateway.http.failures import failure
from jetkv_gateway.http.router import MATCH, Match, Route
from jetkv_gateway.http.routes import ROUTER
from jetkv_gateway.kv.errors import GatewayError, InvalidArgument, Unavailable
from jetkv_gateway.serving.admission import REFUSED, Admission, refusal
from jetkv_gateway.serving.answers import ClosingTransport, LastWord, unchunked, write_whole
from jetkv_gateway.serving.websocket import WatchProtocol

__all__ = ["GatewayProtocol"]

_log = logging.getLogger("jetkv.http")

_MAX_URL = 64 * 1024
# What websockets reads of a handshake is a little more.
_MAX_SOCKET_LINE = 8000
_MAX_SOCKET_HEADERS = 100
# A client that is busy sends its next request well within this; others use none for longer.
_LAST_REQUEST_SECONDS = 1
_LOOK_SECONDS = 0.05
_SILENCE_MILLISECONDS = 40_000
_NO_LINGER = struct.pack("ii", 1, 0)
# A client that has stopped sending may have left: a listing is not made for nobody.
_LISTING_SECONDS = 1


class GatewayProtocol(HttpToolsProtocol):
    """One connection."""

    leaving = False
    _receiving_headers = False
    _is_offered = False
    _handshake_waits = False
    _running: RequestResponseCycle | None = None
    _sent_url = b""
    _stopping: asyncio.Event | None = None
    _broken_rule = (
        "its method, path or headers break a rule of HTTP/1.1; a path has to be percent-encoded"
    )

    def data_received(self, data: bytes) -> None:
        self._unset_keepalive_if_required()
        try:
            self._parse(data)
        except httptools.HttpParserError:
            self.logger.warning("Invalid HTTP request received.")
            self.send_400_response("")

    def _parse(self, data: bytes | memoryview) -> None:
        while True:
            try:
                self.parser.feed_data(data)
            except httptools.HttpParserUpgrade as offer:
                # The parser has stopped behind the head.
                self._is_offered = False
                if self._should_upgrade():
                    self.handle_websocket_upgrade()
                    return
                head = self._head_without_offer()
                self.parser = httptools.HttpRequestParser(self)
                self.parser.set_dangerous_leniencies(lenient_data_after_close=True)
                self.parser.feed_data(head)
                data = memoryview(data)[offer.args[0] :]
            else:
                return

    def _head_without_offer(self) -> bytes:
        """Return the head that has just been parsed, without its `Upgrade`."""
        version = self.parser.get_http_version().encode()
        lines = [b"%s %s HTTP/%s\r\n" % (self.parser.get_method(), self._sent_url, version)]
        lines += [b"%s: %s\r\n" % header for header in self.headers if header[0] != b"upgrade"]
        return b"".join([*lines, b"\r\n"])

    def _should_upgrade(self) -> bool:
        """Return whether the head offers what is taken: a WebSocket, by GET."""
        if self.parser.get_method() != b"GET":
            return False
        offers = [value.strip().lower() for name, value in self.headers if name == b"upgrade"]
        return offers[-1:] == [b"websocket"]

    def on_header(self, name: bytes, value: bytes) -> None:
        name = name.lower()
        if not self._receiving_headers:
            if name == b"connection":
                # The parser obeys it, and would swallow what comes behind.
                self._refuse("a trailer must not be Connection")
            return
        if name == b"expect" and value.lower() == b"100-continue":
            self.expect_100_continue = self.parser.get_http_version() != "1.0"
        self.headers.append((name, value))

    def on_message_complete(self) -> None:
        cycle = self.cycle
        if not self._is_offered and not cycle.response_complete:
            cycle.more_body = False
            cycle.message_event.set()

    def eof_received(self) -> bool:  # type: ignore[override] # true: the connection goes on
        """Go on until what came whole is answered; of what broke off nothing comes."""
        if self.pipeline and self.pipeline[0][0].more_body:
            self.pipeline.popleft()
        cycles = [cycle for cycle, _ in self.pipeline]
        if self._running is not None and not self._running.response_complete:
            cycles.append(self._running)
        if not cycles or cycles[0].more_body or any(STOPPING in cycle.scope for cycle in cycles):
            return False
        self.cycle = cycles[0]
        self._make_last(self.cycle)
        if self._admission is not None and self._admission.forget(cycles[-1]):
            # It may well have left the line: its place is for others.
            self._refuse_for_now(cycles[-1], self.app)
        elif (route := _route_of(cycles[-1])) is not None and route.scans:
            self.loop.call_later(_LISTING_SECONDS, self._abandon, cycles[-1])
        return True

    def _abandon(self, cycle: RequestResponseCycle) -> None:
        if not cycle.response_complete:
            self.transport.close()

    def on_url(self, url: bytes) -> None:
        # It can come in pieces; on_message_begin empties self.url.
        self._receiving_headers = True
        self._sent_url = url = self._sent_url + url if self.url else url
        if len(url) > _MAX_URL:
            self._refuse("a URL has at most 64 KiB")
        if b"#" in url:
            # The parser would drop what follows, and with it the end of a key.
            self._refuse("a # in a key must be sent as %23")
        if url.endswith(b"?") and _names_a_key(url):
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
        cycle.transport = ClosingTransport(self, cycle)

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
            self.transport.set_protocol(LastWord(self))

    def on_response_complete(self) -> None:
        if self.leaving and self.transport.get_protocol() is not self:
            # Its last answer is out: what is in the pipeline has none to come.
            self.pipeline.clear()
            self.server_state.total_requests += 1
            return
        super().on_response_complete()
        if self._handshake_waits and not self._answering and not self.transport.is_closing():
            self._unset_keepalive_if_required()
            self.handle_websocket_upgrade()

    def handle_websocket_upgrade(self) -> None:
        if self._answering:
            # Else the answers of requests before it would come inside the WebSocket.
            self._handshake_waits = True
            self.flow.pause_reading()
            return
        super().handle_websocket_upgrade()
        if self.leaving:
            cast(WatchProtocol, self.transport.get_protocol()).shutdown()

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._admission: Admission | None = getattr(self.app, "admission", None)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._running is not None:
            if self._admission is not None:
                self._admission.forget(self._running)
            self._running.disconnected = True
            self._running.message_event.set()
        super().connection_lost(exc)

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        self._running = cycle
        version = cycle.scope["http_version"]
        if version != "1.1":
            if version != "1.0":
                self._broken_rule = "its version is neither HTTP/1.0 nor HTTP/1.1"
                self.send_400_response("")
                return
            app = partial(unchunked, app, cycle)
        admission = self._admission
        match = _match_of(cycle)
        method = cycle.scope["method"]
        limited = method not in match[0].unlimited if match is not None else method != "OPTIONS"
        if admission is not None and limited:
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
            if write_whole(cycle, 429, lines, body):
                return
        scope[REFUSED] = True
        super()._start_asgi_task(cycle, app)

    def on_headers_complete(self) -> None:
        self._receiving_headers = False
        if self.parser.should_upgrade():
            self._is_offered = True
            if self.parser.get_method() == b"CONNECT":
                self._refuse("CONNECT is a method of proxies")
            if not self._should_upgrade():
                return  # the same head comes again, without the offer
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
            scope: Any = self.scope
            match = scope[MATCH] if MATCH in scope else _match_of(cycle)
            route = _route_of(cycle) if match is not None and match[0].in_parts else None
            if route is not None and route.socket:
                self._stopping = self._stopping or asyncio.Event()
                if self.leaving:
                    self._stopping.set()
                scope[STOPPING], scope[ABORT] = self._stopping, self.transport.abort
                self._notice_silence()
            elif route is not None and route.long:
                scope[ABORT] = self._reset
            if cycle.keep_alive and not self.leaving:
                scope[WRITER] = partial(write_whole, cycle)
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

    def _reset(self) -> None:
        """End the connection so that its peer cannot take what it has for all there is."""
        raw = self.transport.get_extra_info("socket")
        if raw is not None and raw.fileno() >= 0 and raw.family != socket.AF_UNIX:
            # Else the kernel goes on sending what is in its buffers, and ends in good order.
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
        self.transport.abort()

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
        answer = failure(error, request_id)
        _log.info("request %s: %s", request_id.decode("ascii"), error.message)
        self.transport.write(
            b"%s%sconnection: close\r\n\r\n%s"
            % (STATUS_LINE[answer.status], answer.lines(request_id), answer.body)
        )
        if self.cycle is not None:
            # A request whose body broke off: nothing comes of it, and it answers no more.
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        self.transport.set_protocol(LastWord(self))


def _match_of(cycle: RequestResponseCycle) -> Match | None:
    """Return what the table of routes has for a request; it is looked up once."""
    scope: Any = cycle.scope
    if MATCH not in scope:
        scope[MATCH] = ROUTER.find(scope["raw_path"])
    match: Match | None = scope[MATCH]
    return match


def _route_of(cycle: RequestResponseCycle) -> Route | None:
    match = _match_of(cycle)
    return None if match is None else match[0].routes.get(cycle.scope["method"])


def _names_a_key(url: bytes) -> bool:
    match = ROUTER.find(url.partition(b"?")[0])
    return match is not None and "key" in match[0].parameters

"""HTTP/1.1 on one connection: strict, bounded, in order (docs/http-api.md#what-http-it-speaks).

Incoming data stays raw bytes until a head is complete. The connection handles one request at a
time. Pipelined requests wait as raw bytes, up to a limit, until the answer before them is written.
So a pipeline keeps its order and costs only its bytes. The gateway sees a head as soon as it is
complete, and may answer at once. A request that must run waits here for its body, and then for its
admission. So a slow client holds no place. `tick` checks the deadlines.

When the server stops, a connection ends with an answer that says `Connection: close`. This is the
present answer, or the next one, which the connection awaits for a moment. If the server closed it
earlier, a client that has just sent a write would not know its outcome.
"""

import asyncio
import logging
from typing import cast

from jetkv_gateway.http.call import Call
from jetkv_gateway.http.gateway import refuse, refuse_body
from jetkv_gateway.kv.errors import GatewayError, InternalError
from jetkv_gateway.serving.bodies import Body
from jetkv_gateway.serving.connection import SMALL
from jetkv_gateway.serving.deadlines import Phase
from jetkv_gateway.serving.dispatch import MAX_DISCARDED_BYTES, DispatchingConnection
from jetkv_gateway.serving.handshake import check_handshake, offers_websocket
from jetkv_gateway.serving.heads import CHUNKED, MAX_HEAD_BYTES, Head, invalid
from jetkv_gateway.serving.proxy_protocol import MOST_BYTES, Broken, proxy_header
from jetkv_gateway.serving.receive_buffer import check_size
from jetkv_gateway.serving.request import Request

__all__ = ["HttpConnection"]

_log = logging.getLogger("jetkv.http")

# Looked up once, since an enum look-up takes as long as a call before Python 3.12.
_IDLE, _BODY = Phase.IDLE, Phase.BODY

_MAX_BEHIND = 64 * 1024
"""Bytes that may wait behind a request. Beyond that, reading pauses."""

_UNSENT_BYTES = 64 * 1024
"""Bytes of an answer that may wait in a TLS connection before writing pauses."""

# A client that has stopped sending may have left, so a listing for it is stopped.
_LISTING_SECONDS = 1.0


class HttpConnection(DispatchingConnection):
    """One HTTP/1.1 connection. Its arguments are those of `BaseConnection`."""

    # --- called by the event loop

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self._state.connections.add(self)  # type: ignore[arg-type] # uvicorn lists only its own types
        name = transport.get_extra_info("peername")
        callers = self.worker.callers
        if isinstance(name, tuple):
            self.peer = callers.peer(str(name[0]))
        if transport.get_extra_info("sslcontext") is not None:
            self.scheme = "https"
            if self.worker.handshakes is not None:
                self.worker.handshakes.end(self)
            # Its own limit is eight times that of a plain connection.
            self.transport.set_write_buffer_limits(_UNSENT_BYTES)
        if callers.begins_with_proxy_header(self.peer):
            self._phase = Phase.PROXY
        if not self.worker.add(self, self.peer.account):
            self._refuse_connection()
            return
        if self._shutting_down or self.worker.stopping.is_set():
            self.shutdown()

    def eof_received(self) -> bool:
        """Continue until complete requests are answered. Drop an incomplete one."""
        self._eof = True
        if self.scheme == "https":
            # The end of one direction of TLS ends the other one, too.
            return False
        request = self._request
        if request is None:
            if self._phase is Phase.CLOSING:
                return False
            # Complete requests may still wait behind the answer.
            return bool(self._raw) and self._phase is Phase.IDLE
        if self._phase is not Phase.ANSWER or (self.worker.stopping.is_set() and request.started):
            return False
        call = self._call
        if call is None:
            return True
        if call.limited and self.worker.admission.cancel(request):
            # The client has probably left, so others get its place in the queue.
            request.context.run(refuse, call)
        elif call.route is not None and call.route.endless:
            return False
        elif call.route is not None and call.route.scans:
            self._loop.call_later(_LISTING_SECONDS, self._drop_listing, request)
        return True

    def data_received(self, data: bytes) -> None:
        try:
            if self._phase is _IDLE and not self._raw and not self._write_paused:
                known = self._reader.known(data)
                if known is not None:
                    self._begin(known[0], known[1])
                else:
                    self._take_head(data)
            else:
                self._receive(data)
        except Exception as error:  # noqa: BLE001 - a defect ends this connection only
            self._refuse(error)

    def _refuse(self, error: Exception) -> None:
        """Answer the error, and end this connection only."""
        if not isinstance(error, GatewayError):
            _log.error("a connection failed", exc_info=error)
            error = InternalError(hint="report it with the request id")
        self._answer_and_close(error)

    def resume_writing(self) -> None:
        self._write_paused = False
        self._update_buffered()
        if self._writable is not None:
            self._writable.set()
        if self._phase is Phase.IDLE:
            self._next_request()

    # --- from bytes to requests

    def _take_head(self, data: bytes) -> None:
        """Take the first bytes of a request on an idle connection."""
        end = data.find(b"\r\n\r\n", 0, MAX_HEAD_BYTES + 4) + 4
        if end < 4 or data[0] in b"\r\n":
            self._raw += data
            self._read_head()
        else:
            self._open(data[:end], data[end:])

    def _receive(self, data: bytes) -> None:
        """Take bytes that do not begin a request on an idle connection."""
        phase, raw = self._phase, self._raw
        if phase is _BODY:
            self._take_body(data)
        elif phase is Phase.HEAD:
            raw += data
            self._read_head()
            self._update_buffered(len(data))
        elif phase is Phase.PROXY:
            raw += data
            self._read_proxy_header()
        elif phase is not Phase.CLOSING:
            if self._is_endless:
                # The present answer has no end, so this request could never be answered.
                self.transport.close()
                return
            raw += data
            self._update_buffered(len(data))
            if len(raw) > _MAX_BEHIND:
                self._pause()

    def _read_proxy_header(self) -> None:
        """Read the client's address from the PROXY protocol header."""
        told = proxy_header(self._raw.peek(MOST_BYTES))
        if told is None:
            return
        if isinstance(told, Broken):
            invalid(told.rule)
        self._raw.take(told.size)
        self._phase = Phase.IDLE
        if told.address is not None:
            self.peer = self.worker.callers.peer(told.address, from_proxy=True)
            if not self.worker.move(self, self.peer.account):
                self._refuse_connection()
                return
        self._read_head()

    def _read_head(self) -> None:
        """Start the next request if its head is complete."""
        raw = self._raw
        head = raw.take_head()
        if head is not None:
            self._open(head, b"")
        elif raw and self._eof:
            self._close_lingering()  # the rest of it does not come
        elif raw and self._phase is not Phase.HEAD:
            self._enter_phase(Phase.HEAD)
            self._update_buffered(len(raw))

    def _open(self, raw: bytes, behind: bytes) -> None:
        """Read a head, and begin its request."""
        if len(raw) > MAX_HEAD_BYTES:
            check_size(raw, len(raw))
        head = self._reader.read(raw)
        accept_key = None
        target, headers, fields = head
        if fields.upgrades and offers_websocket(target.method, headers):
            accept_key = check_handshake(fields.version, raw.split(b" ", 2)[1], headers)
        self._begin(head, behind, accept_key)

    def _begin(self, head: Head, behind: bytes, accept_key: bytes | None = None) -> None:
        """Pass a request to the gateway, and run it as soon as its body is here.

        Args:
            behind: the bytes behind the head.
            accept_key: of a WebSocket's handshake.
        """
        _, headers, fields = head
        request = self._request = Request(self, head)
        if self.peer.trusted:
            callers = self.worker.callers
            request.caller, request.account = callers.forwarded(self.peer, headers, self.scheme)
        if accept_key is not None:
            request.accept_key, request.is_websocket = accept_key, True
        length = fields.length
        if length == len(behind) and not fields.expects:
            # Nearly always the whole request is here, and then nothing is buffered.
            if self._reader.waits_for_body:  # as `skip` checks, without a call
                self._reader.skip(behind)
            request.body = behind
            call = request.context.run(self._gateway.begin, request)
            if call is not None:
                self._call = call
                self._admit(request, call)
            return
        # Who waits for 100 Continue is answered as if the body had not come yet, whether it came
        # with the head or not.
        self._raw += behind
        if length:
            self._body = Body(length)
            self._expects = fields.expects
        call = request.context.run(self._gateway.begin, request)
        if length:
            self._open_body(call)
        elif call is not None:
            self._call = call
            self._admit(request, call)

    def _open_body(self, call: Call | None) -> None:
        body, raw = self._body, self._raw
        if body is None or self._phase is Phase.CLOSING:
            return  # it has been answered, and the connection ends
        self._call = call
        self._enter_phase(Phase.BODY)
        if call is not None:
            body.limit = call.body_limit
            if self._expects and not self._raw:
                self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        if raw:
            self._take_body(raw.take(None if body.left == CHUNKED else body.left))
        if self._eof and self._phase is Phase.BODY:
            self._close_lingering()  # the rest of it does not come

    def _take_body(self, data: bytes) -> None:
        """Read a part of the body. Bytes after its end wait."""
        body, call, request = self._body, self._call, self._request
        assert body is not None, "a body is read in its phase alone"
        assert request is not None, "a body belongs to a request"
        behind = body.feed(data)
        if body.left != CHUNKED:
            self._reader.skip(data[: len(data) - len(behind)] if behind else data)
        if behind:
            self._raw += behind
        if body.is_over and call is not None:
            body.drop()
            request.context.run(refuse_body, call)
        elif request.complete and body.size > MAX_DISCARDED_BYTES:
            self._close_lingering()
        elif body.done:
            request.body = body.take()
            if request.complete:
                self.on_answered(request)
            elif call is not None:
                self._admit(request, call)
                if self._is_buffered or len(request.body) >= SMALL:
                    self._update_buffered(len(data))
        else:
            self._update_buffered(len(data))
            self.worker.body_pacer.note_read(self, len(data))

    def pause_body(self) -> None:
        self._pause()

    def resume_body(self) -> None:
        if self._phase is Phase.BODY and not self.lost:
            self._resume()

    def _next_request(self) -> None:
        """Start the next request if one is waiting."""
        if self._phase is not Phase.IDLE or self._write_paused or self.lost:
            return
        self._resume()
        if self._raw:
            try:
                self._read_head()
            except Exception as error:  # noqa: BLE001 - as in data_received
                self._refuse(error)
        elif self._eof:
            self._close_lingering()

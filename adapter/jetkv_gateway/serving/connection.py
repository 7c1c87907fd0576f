"""One connection of a client: its state, its buffered bytes, and its end.

`http1.py` reads requests from it, and `dispatch.py` answers them.
"""

import asyncio
import logging
import time
from contextvars import Context
from typing import Any, cast

from uvicorn.config import Config
from uvicorn.server import ServerState

from jetkv_gateway.http.call import Call, new_request_id
from jetkv_gateway.http.failures import failure
from jetkv_gateway.http.gateway import refuse
from jetkv_gateway.http.reporting import report_refusal
from jetkv_gateway.kv.errors import (
    GatewayError,
    RequestTooSlow,
    TooManyRequests,
    Unavailable,
)
from jetkv_gateway.serving.bodies import Body
from jetkv_gateway.serving.closing import (
    LINGER_SECONDS,
    STOP_LINGER_SECONDS,
    LingeringClose,
    has_unread_data,
    reset,
)
from jetkv_gateway.serving.connections import Rank
from jetkv_gateway.serving.deadlines import Expired, Phase, Progress
from jetkv_gateway.serving.heads import HeadReader
from jetkv_gateway.serving.receive_buffer import ReceiveBuffer
from jetkv_gateway.serving.request import STATUS_LINES, Request
from jetkv_gateway.serving.shares import Account
from jetkv_gateway.serving.worker_state import WorkerState
from jetkv_gateway.telemetry.events import EVENTS
from jetkv_gateway.telemetry.line_limit import LineLimit

__all__ = ["SMALL", "BaseConnection", "is_watch"]

_log = logging.getLogger("jetkv.http")

# Anybody can send requests that are refused before they are complete.
_lines = LineLimit(_log, "incomplete requests", per_second=5.0)

SMALL = 16 * 1024
"""Fewer bytes are not counted, unless a request is incomplete. There may be as many incomplete
requests as connections.
"""

# A busy client sends its next request within this time. Other clients rarely use the connection
# again.
_LAST_REQUEST_SECONDS = 1.0
_POLL_SECONDS = 0.05


class BaseConnection(asyncio.Protocol):
    """The base of a connection, independent of its requests.

    Args:
        worker: the state that all connections share.

    uvicorn passes the other arguments to the class that `http=` names.

    Attributes:
        lost: whether the connection is closed.
        peer: the client, or the client behind a proxy that uses the PROXY protocol.
    """

    def __init__(
        self,
        worker: WorkerState,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],  # noqa: ARG002 - the interface has it
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        if not config.loaded:
            config.load()
        self.worker = worker
        self._gateway = worker.gateway
        self._loop = _loop or asyncio.get_running_loop()
        self._state = server_state
        self.transport = cast(asyncio.Transport, None)
        self.lost = False
        self.peer = worker.callers.unknown_peer
        self.scheme = "http"
        self._token: Account | None = None
        self._reader = HeadReader()
        self._phase = Phase.IDLE
        self._progress = Progress(worker.now)
        self._raw = ReceiveBuffer()
        self._reading = True
        self._eof = False
        self._shutting_down = False
        # State of the request that is read or answered:
        self._request: Request | None = None
        self._call: Call | None = None
        self._body: Body | None = None
        self._expects = False
        self._task: asyncio.Task[None] | None = None
        # State of the bytes that the client has not read:
        self._writable: asyncio.Event | None = None
        self._write_paused = False
        self._unsent = 0
        self._closed: asyncio.Event | None = None
        self._is_buffered = False
        self._running: Request | None = None

    # --- the client

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - the interface has it
        if self.lost:
            return
        self.lost = True
        self._state.connections.discard(self)
        self.worker.connections.remove(self)
        request, call = self._request, self._call
        if request is not None and call is not None and call.limited:
            self.worker.admission.cancel(request)
        self._finish()
        self._reader.close()
        if self._closed is not None:
            self._closed.set()
        if self._writable is not None:
            self._writable.set()

    def pause_writing(self) -> None:
        self._write_paused = True
        self._unsent = self.transport.get_write_buffer_size()
        self._progress.note_unsent(self._unsent, self.worker.now)
        if self._writable is not None:
            self._writable.clear()
        self._update_buffered()

    async def wait_writable(self) -> None:
        """Wait until the connection can take more.

        Raises:
            ConnectionError: the client is gone.
        """
        if self._write_paused:
            if self._writable is None:
                self._writable = asyncio.Event()
            await self._writable.wait()
        if self.lost:
            raise ConnectionError

    async def wait_closed(self) -> None:
        """Wait until the connection is closed."""
        if not self.lost:
            if self._closed is None:
                self._closed = asyncio.Event()
            await self._closed.wait()

    def reset(self) -> None:
        """Reset the connection, so that an incomplete answer cannot look complete."""
        if not self.transport.is_closing():
            reset(self.transport)

    # --- buffered bytes

    @property
    def rank(self) -> Rank:
        """The state of the connection, for `Connections`."""
        if self._write_paused or (self._raw and self._phase is Phase.IDLE):
            return Rank.BUSY
        return self._progress.rank(self._phase, self.worker.now)

    @property
    def since(self) -> float:
        return self._progress.since

    @property
    def _is_running(self) -> bool:
        """Whether the present request runs."""
        return self._request is not None and self._running is self._request

    def can_evict(self) -> bool:
        return self._phase is not Phase.IDLE or not has_unread_data(self.transport)

    def _update_buffered(self, moved: int = 0) -> None:
        """Update the number of buffered bytes, if they are worth counting.

        Args:
            moved: bytes that the client has sent or read since.
        """
        size = 0
        if self.lost and self._running is not None:
            return  # a running request stays counted until it ends
        if not self.lost and self._phase is not Phase.CLOSING:
            size = len(self._raw)
            if self._body is not None:
                size += self._body.kept
            if self._request is not None:
                size += len(self._request.body)
        if self._write_paused and not self.lost:
            size += self._unsent
        elif size < SMALL and self._phase not in (Phase.HEAD, Phase.BODY):
            size = 0
        if size or self._is_buffered:
            self._is_buffered = size > 0
            # A written answer may be aborted. A running request may be applied already.
            running = self._is_running and not self._write_paused
            self.worker.set_buffered(
                self,
                size,
                moved=moved,
                running=running,
                account=self.peer.account,
                token=self._token,
            )

    # --- the end

    def drop_slow(self) -> None:
        """Drop this client's buffered bytes, since slow clients hold too many."""
        # `_is_buffered` stays true. In the turn before, more bytes may have been counted, or the
        # request may have started. Whatever ends it sets the count to 0.
        call, request = self._call, self._request
        if self.lost:
            return
        if self._write_paused:
            self.reset()
        elif self._phase in (Phase.HEAD, Phase.BODY):
            error = TooManyRequests("too many bytes are held for slow clients")
            error.hint = "the request was not run: send it again, faster or later"
            self._answer_and_close(error)
        elif request is not None and call is not None and self.worker.admission.cancel(request):
            request.context.run(refuse, call)

    def evict(self) -> None:
        """Close the connection, since another one needs the room."""
        if self._phase in (Phase.HEAD, Phase.BODY):
            self._refuse_connection()
        elif self._phase is Phase.CLOSING or self.scheme == "https":
            # A closing connection of TLS waits for its peer, and the room is needed now.
            self._phase = Phase.CLOSING
            self.transport.abort()
        else:
            self._phase = Phase.CLOSING
            self.transport.close()

    def _refuse_connection(self) -> None:
        """Send the reason, and close without waiting."""
        error = TooManyRequests("too many connections")
        error.hint = "the request was not run: open fewer connections and reuse them"
        self._write_error(error)
        self._finish()
        self._close_soon()

    def _answer_and_close(self, error: GatewayError) -> None:
        """Answer an incomplete request with an error, and close."""
        if self.transport.is_closing() or self._phase is Phase.CLOSING:
            return
        self._write_error(error)
        self._close_lingering()

    def _write_error(self, error: GatewayError) -> None:
        """Answer an incomplete request with an error."""
        request = self._request
        if request is None or not request.started:
            request_id = new_request_id()
            status, lines, body = failure(error, request_id)
            report_refusal(error)
            self._report_end(request, status, request_id, error.message)
            shown = b"" if request is not None and request.target.method == "HEAD" else body
            if _lines.allows(str(status)):
                _log.info("request %s: %s", request_id.decode("ascii"), error.message)
            self.transport.write(
                b"%s%s%sx-request-id: %s\r\ncontent-length: %d\r\nconnection: close\r\n\r\n%s"
                % (STATUS_LINES[status], self.worker.date, lines, request_id, len(body), shown)
            )
        if request is not None:
            request.started = request.complete = True

    def _report_end(
        self, request: Request | None, status: int, request_id: bytes, reason: str
    ) -> None:
        """Report the end of an incomplete request."""
        target = None if request is None else request.target
        # The trace that the log names belongs to the request's context.
        run = Context().run if request is None else request.context.run
        names: tuple[str, ...] = () if self._call is None else self._call.names
        on_end = None if self._call is None else self._call.on_end
        for event in (EVENTS.request_failed, EVENTS.request_ended, on_end):
            if event is not None:
                run(
                    event,
                    "" if target is None else target.method,
                    None if target is None else target.template,
                    status,
                    0.0 if self._call is None else time.perf_counter() - self._call.began,
                    request_id,
                    reason,
                    names,
                )

    def _close_lingering(self) -> None:
        """Send nothing more, keep reading for a moment, and close."""
        # With TLS, the end of the answer is only visible to the client when the gateway closes.
        closes = self._eof or (self.scheme == "https" and self._has_whole_request)
        self._finish()
        if not self.transport.is_closing() and self.transport.get_protocol() is self:
            if closes:
                self.transport.close()
                return
            seconds = STOP_LINGER_SECONDS if self._shutting_down else LINGER_SECONDS
            last = LingeringClose(self.transport, self, self.worker.lingering, seconds)
            self.transport.set_protocol(last)

    @property
    def _has_whole_request(self) -> bool:
        """Whether the client has sent all of its request."""
        body = self._body
        return self._phase in (Phase.IDLE, Phase.ANSWER) and (body is None or body.done)

    def shutdown(self) -> None:
        """End with the present answer, or with the next one if it is requested soon."""
        self._shutting_down = True
        if self._request is None:
            self._loop.call_later(_LAST_REQUEST_SECONDS, self._close_if_idle)
        elif self._request.started:
            self._request.is_last = True
        elif self._task is not None and self._call is not None and is_watch(self._call):
            # The watch would end as soon as it is open.
            self._task.cancel()

    def _close_if_idle(self) -> None:
        if self._phase not in (Phase.IDLE, Phase.PROXY) or self.transport.is_closing():
            return
        if has_unread_data(self.transport):
            self._loop.call_later(_POLL_SECONDS, self._close_if_idle)
        elif self.scheme == "https":
            # TLS cannot announce the end and still read, so announce it now.
            self._finish()
            self._close_soon()
        else:
            self._close_lingering()

    def _close_soon(self) -> None:
        """Close without reading on. TLS waits for the peer's close, but only for a moment."""
        self.transport.close()
        if self.scheme == "https":
            self._loop.call_later(STOP_LINGER_SECONDS, self.transport.abort)

    def expire(self) -> None:
        """End the connection, since the stop cannot wait any longer.

        The server cancels the task of a running request, which sends an answer.
        """
        if self._phase is Phase.CLOSING:
            return  # it is closing already
        self._shutting_down = True
        self._raw.clear()
        if self._phase is Phase.ANSWER and self._is_running:
            return
        if self._phase is Phase.IDLE:
            self._close_lingering()
        else:
            self._answer_and_close(Unavailable("the gateway stops"))

    def _drop_listing(self, request: Request) -> None:
        if self._request is request and not request.complete:
            self.transport.close()

    def tick(self, now: float) -> None:
        """Check the deadlines. All of them depend on progress.

        Args:
            now: the time of the event loop, about a second after the last tick.
        """
        if self.lost:
            return
        body, transport = self._body, self.transport
        # Small amounts count too, since a closing connection waits for them.
        unsent = transport.get_write_buffer_size()
        if self._write_paused and unsent != self._unsent:
            taken, self._unsent = self._unsent - unsent, unsent
            self._update_buffered(max(0, taken))
        expired = self._progress.check(
            self._phase,
            now,
            size=0 if body is None else body.size,
            unsent=unsent,
        )
        if expired is Expired.UNREAD_ANSWER:
            # The incomplete answer must not look complete.
            self.reset()
        elif expired is Expired.INCOMPLETE_REQUEST:
            self._answer_and_close(RequestTooSlow())
        elif expired is Expired.NO_REQUEST:
            transport.close()

    def _enter_phase(self, phase: Phase) -> None:
        self._phase = phase
        self._progress.enter(phase, self.worker.now)

    def _finish(self) -> None:
        """Answer nothing more, and let go of what has come."""
        self._phase = Phase.CLOSING
        self._raw.clear()
        self._forget_request()

    def _forget_request(self) -> None:
        self._request = self._call = self._body = None
        if self._is_buffered:
            self._update_buffered()

    # --- reading

    def _pause(self) -> None:
        if self._reading and not self.transport.is_closing():
            self._reading = False
            self.transport.pause_reading()

    def _resume(self) -> None:
        if not self._reading and not self.transport.is_closing():
            self._reading = True
            self.transport.resume_reading()


def is_watch(call: Call) -> bool:
    """Return whether a call's answer has no end."""
    return call.route is not None and call.route.endless

"""Runs the requests of a connection one at a time: admission, the handler, the next request."""

from functools import partial

from uvicorn.server import ServerState

from jetkv_gateway.http.call import Call
from jetkv_gateway.http.gateway import refuse
from jetkv_gateway.serving.closing import set_user_timeout
from jetkv_gateway.serving.connection import BaseConnection, is_watch
from jetkv_gateway.serving.deadlines import Phase
from jetkv_gateway.serving.request import Request
from jetkv_gateway.serving.shares import Account
from jetkv_gateway.serving.stepper import start_task
from jetkv_gateway.serving.websockets import WebSocket
from jetkv_gateway.serving.worker_state import WorkerState

__all__ = ["MAX_DISCARDED_BYTES", "DispatchingConnection"]

# Looked up once, since an enum look-up takes as long as a call before Python 3.12.
_IDLE, _ANSWER = Phase.IDLE, Phase.ANSWER

MAX_DISCARDED_BYTES = 64 * 1024 * 1024
"""Bytes that are read of a body that is not needed. Beyond that, the connection ends."""


class DispatchingConnection(BaseConnection):
    """A connection that answers complete requests. `Request` calls it, too."""

    def _next_request(self) -> None:
        """Start the next request if one is waiting."""
        raise NotImplementedError

    def _admit(self, request: Request, call: Call) -> None:
        """Run a complete request as soon as it is admitted."""
        self._phase = _ANSWER
        if call.limited:
            account, token = request.account, None
            if account.limited:
                # The account is kept alive for the next request of this connection.
                token = self._token = self.worker.callers.of_token(account, call.principal)
            admission, now = self.worker.admission, self._loop.time()
            if not admission.try_enter(request, now, account, token):
                start = partial(self._start_soon, request, call)
                refused = partial(request.context.run, refuse, call)
                admission.wait(request, now, start, refused, account, token)
                return
        self._start(request, call)

    def _start_soon(self, request: Request, call: Call) -> None:
        # Another request's end has admitted this one, perhaps from its Task. This one must not run
        # inside that Task.
        self._loop.call_soon(self._start_admitted, request, call)

    def _start_admitted(self, request: Request, call: Call) -> None:
        if self._request is request and not request.started:
            self._start(request, call)
        else:
            # The client has left meanwhile, or was told that the request was not run.
            self.worker.admission.release(request)

    def _start(self, request: Request, call: Call) -> None:
        self._running = request
        if self._is_buffered:
            self._update_buffered()
        running, route = self._gateway.run(call), call.route
        if route is not None and route.steps:
            # A request is its own stepper, one object less, and gets what that needs here.
            request.coroutine, request.tasks = running, self._state.tasks
            request.step()
        else:
            done = partial(self.on_done, request)
            self._task = start_task(running, request.context, self._state.tasks, done)

    def on_stall(self, request: Request) -> None:
        """Handle that a request starts to wait for other requests."""
        self.worker.admission.stall(request)

    def on_done(self, request: Request) -> None:
        """Handle that a request's handler has ended, in any way."""
        admission = self.worker.admission
        if admission.leave(request):
            admission.admit_waiting()
        if self._running is request:
            self._running = None
            if self._is_buffered:
                self._update_buffered()
        if not request.complete and self._request is request:
            # The handler ended without a complete answer.
            self.reset()

    def is_last_answer(self, request: Request) -> bool:
        """Return whether the connection ends with a request's answer, which starts now."""
        if self._shutting_down or self.worker.is_stopping or (self._eof and not self._raw):
            request.is_last = True
        elif self._body is not None and not self._body.done:
            # It is unknown what a client that waits for 100 Continue sends now (RFC 9110 §10.1.1).
            request.is_last |= self._expects or self._body.left > MAX_DISCARDED_BYTES
        return request.is_last

    def on_streaming(self, request: Request) -> None:
        """Handle that the answer to a request is sent in parts."""
        match = request.target.match
        if match is not None and match[0].streamed:
            set_user_timeout(self.transport)
            if self._raw and self._is_endless:
                self.transport.close()

    @property
    def _is_endless(self) -> bool:
        """Whether the present answer has no end."""
        request, call = self._request, self._call
        if request is None or call is None or not is_watch(call):
            return False
        return request.started and not request.complete and request.target.method != "HEAD"

    def on_answered(self, request: Request) -> None:
        """Continue after an answer is written."""
        if self.lost or self._request is not request:
            return
        if request.is_last:
            self._close_lingering()
            return
        if self._body is not None and not self._body.done:
            return
        self._request = self._call = self._body = None
        if self._is_buffered:
            self._update_buffered()
        self._phase = _IDLE
        self._progress.enter_idle(self.worker.now)
        if self._raw or not self._reading:
            # Continue in another turn, so that one client's pipeline does not delay others.
            self._loop.call_soon(self._next_request)
        elif self._eof:
            self._close_lingering()

    def open_websocket(self, request: Request, subprotocol: str | None, lines: bytes) -> WebSocket:
        """Answer a handshake, and hand the connection over to its WebSocket.

        Raises:
            ConnectionError: the client is gone.
        """
        if self.lost or not request.is_websocket:
            raise ConnectionError
        state = self._state
        socket = WebSocket(
            self.transport,
            self._loop,
            ping_seconds=self.worker.ping_seconds,
            on_buffered=partial(_on_buffered, self.worker, self.peer.account, self._token),
            on_lost=partial(_on_lost, self.worker, state),
        )
        behind = self._raw.take()
        paused, self._write_paused = self._write_paused, False
        if self._is_buffered:
            self._update_buffered()  # from here on, the WebSocket counts its bytes
        socket.open(
            request.accept_key,
            subprotocol,
            self.worker.date + lines,
            behind=behind,
            paused=paused,
        )
        state.connections.add(socket)  # type: ignore[arg-type] # uvicorn lists only its own types
        request.started = request.complete = True
        self.worker.connections.replace(self, socket)
        self.connection_lost(None)  # the WebSocket owns the connection now
        if self._shutting_down:
            socket.shutdown()
        return socket


def _on_buffered(
    worker: WorkerState,
    account: Account,
    token: Account | None,
    socket: WebSocket,
    size: int,
    moved: int,
) -> None:
    worker.set_buffered(socket, size, moved=moved, account=account, token=token)


def _on_lost(worker: WorkerState, state: ServerState, socket: WebSocket) -> None:
    state.connections.discard(socket)
    worker.connections.remove(socket)

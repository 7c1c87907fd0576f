"""Requests to answers, one at a time: a place in `admission`, the handler, and what comes next."""

from functools import partial

from uvicorn.server import ServerState

from jetkv_gateway.http.call import Call
from jetkv_gateway.http.gateway import refuse
from jetkv_gateway.serving.closing import notice_silence
from jetkv_gateway.serving.connection import BaseConnection, is_watch
from jetkv_gateway.serving.deadlines import Phase
from jetkv_gateway.serving.request import Request
from jetkv_gateway.serving.shares import Account
from jetkv_gateway.serving.stepper import Stepper, start_task
from jetkv_gateway.serving.websockets import WebSocket
from jetkv_gateway.serving.worker_state import WorkerState

__all__ = ["MAX_SKIPPED", "DispatchingConnection"]

# Looked up once: of an enum, that takes as long as a call before Python 3.12.
_IDLE, _ANSWER = Phase.IDLE, Phase.ANSWER

MAX_SKIPPED = 64 * 1024 * 1024
"""Bytes of a body that nobody wants and that are read all the same; then the connection ends."""


class DispatchingConnection(BaseConnection):
    """A connection on which requests that are whole are answered; `Request` calls it, too."""

    def _next(self) -> None:
        """Begin the request that waits, if one does."""
        raise NotImplementedError

    def _admit(self, request: Request, call: Call) -> None:
        """Run a request that is whole, once there is a place for it."""
        self._phase = _ANSWER
        if call.limited:
            admission, now = self.worker.admission, self._loop.time()
            account = request.account
            token = None
            if account.limited:
                # It is kept, so that its next request finds it.
                token = self._token = self.worker.callers.of_token(account, call.principal)
            if not admission.enter(request, now, account, token):
                start = partial(self._start_soon, request, call)
                refused = partial(request.context.run, refuse, call)
                admission.wait(request, now, start, refused, account, token)
                return
        self._start(request, call)

    def _start_soon(self, request: Request, call: Call) -> None:
        # Another that leaves has let it in, perhaps from its Task: none of that is this one's.
        self._loop.call_soon(self._start_late, request, call)

    def _start_late(self, request: Request, call: Call) -> None:
        if self._request is request and not request.begun:
            self._start(request, call)
        else:
            # Its client has left meanwhile, or was told that nothing of it was done.
            self.worker.admission.leave(request)

    def _start(self, request: Request, call: Call) -> None:
        running, tasks = self._gateway.run(call), self._state.tasks
        self._runs, self._running = True, request
        if self._is_held:
            self._hold()
        if call.route is not None and call.route.steps:
            done, stalls = self._has_run, self.worker.admission.stall
            Stepper(running, request.context, tasks, done, stalls, request).step()
        else:
            done = partial(self._has_run, request)
            self._opening = start_task(running, request.context, tasks, done)

    def _has_run(self, request: Request) -> None:
        self.worker.admission.leave(request)
        if self._running is request:
            self._running = None
            if self._is_held:
                self._hold()
        if not request.complete and self._request is request:
            # Nobody will answer it any more.
            self.reset()

    def ends_with(self, request: Request) -> bool:
        """Return whether the connection ends with the answer to a request, which begins now."""
        if self._leaving or self.worker.stops or (self._eof and not self._raw):
            request.is_last = True
        elif self._body is not None and not self._body.done:
            # What a client that waits for a word does now, nobody knows (RFC 9110 §10.1.1).
            request.is_last |= self._expects or self._body.left > MAX_SKIPPED
        return request.is_last

    def streams(self, request: Request) -> None:
        """Note that the answer to a request goes out in parts."""
        if request.match is not None and request.match[0].in_parts:
            notice_silence(self.transport)
            if self._raw and self._is_endless:
                self.transport.close()

    @property
    def _is_endless(self) -> bool:
        """Whether the answer that goes out has no end."""
        request, call = self._request, self._call
        if request is None or call is None or not is_watch(call):
            return False
        return request.begun and not request.complete and request.method != "HEAD"

    def answered(self, request: Request) -> None:
        """Go on behind an answer that is written."""
        if self.lost or self._request is not request:
            return
        if request.is_last:
            self._leave()
            return
        if self._body is not None and not self._body.done:
            return
        self._request = self._call = self._body = None
        self._runs = False
        if self._is_held:
            self._hold()
        self._phase = _IDLE
        self._progress.rests(self.worker.now)
        if self._raw or not self._reading:
            # Not from here: one client's pipeline is not to hold up the others.
            self._loop.call_soon(self._next)
        elif self._eof:
            self._leave()

    def open_socket(self, request: Request, subprotocol: str | None, lines: bytes) -> WebSocket:
        """Answer a handshake, and leave the connection to its WebSocket.

        Raises:
            ConnectionError: the client is gone.
        """
        if self.lost or request.accepts is None:
            raise ConnectionError
        state = self._state
        socket = WebSocket(
            self.transport,
            self._loop,
            ping_seconds=self.worker.ping_seconds,
            on_held=partial(_held, self.worker, self.peer.account),
            on_lost=partial(_lost, self.worker, state),
        )
        behind = self._raw.take()
        socket.open(
            request.accepts,
            subprotocol,
            self.worker.date + lines,
            behind=behind,
            paused=self._is_full,
        )
        state.connections.add(socket)  # type: ignore[arg-type] # it names its own alone
        request.begun = request.complete = True
        self.worker.connections.replace(self, socket)
        self.connection_lost(None)  # it is the WebSocket's now
        if self._leaving:
            socket.shutdown()
        return socket


def _held(worker: WorkerState, account: Account, socket: WebSocket, size: int, moved: int) -> None:
    worker.hold(socket, size, moved=moved, account=account)


def _lost(worker: WorkerState, state: ServerState, socket: WebSocket) -> None:
    state.connections.discard(socket)
    worker.connections.closed(socket)

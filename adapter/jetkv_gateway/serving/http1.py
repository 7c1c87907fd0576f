"""HTTP/1.1 on one connection: strict, bounded, in order (docs/http-api.md#what-http-it-speaks).

What arrives stays raw bytes until a head is whole; a request is handled alone, and what a client
has sent behind it waits as raw bytes, up to a bound, until its answer is written. So a pipeline is
in order by itself, and costs no more than its bytes. The gateway sees a head as soon as it is there
and may answer at once; what it wants to run waits here for the body, and then for a place in
`admission`: a client that sends slowly holds none. Deadlines are looked at by `tick`.

When the server stops, a connection ends with an answer that says `Connection: close`: with the one
in flight, or else with the next, which it waits a moment for. Closed first, a connection that its
client has just begun to use would leave a write unknown.
"""

import asyncio
import logging
from functools import partial
from typing import Any, cast

from uvicorn.config import Config
from uvicorn.server import ServerState

from jetkv_gateway.http.call import Call, new_request_id
from jetkv_gateway.http.failures import failure
from jetkv_gateway.http.gateway import refuse, refuse_body
from jetkv_gateway.http.routes import ROUTER
from jetkv_gateway.kv.errors import (
    GatewayError,
    InternalError,
    RequestTooSlow,
    TooManyRequests,
    Unavailable,
)
from jetkv_gateway.serving.answers import (
    LINGER_SECONDS,
    LINGER_SECONDS_OF_A_STOP,
    LastWord,
    has_unread,
    notice_silence,
    reset,
)
from jetkv_gateway.serving.bodies import Body
from jetkv_gateway.serving.connections import Rank
from jetkv_gateway.serving.deadlines import Phase, Progress, Stuck
from jetkv_gateway.serving.front import Front
from jetkv_gateway.serving.handshake import check_handshake, offers_websocket
from jetkv_gateway.serving.heads import CHUNKED, MAX_HEAD_BYTES, Head, HeadReader, invalid
from jetkv_gateway.serving.incoming import Incoming, check_size
from jetkv_gateway.serving.proxy_protocol import MOST_BYTES, Broken, proxy_header
from jetkv_gateway.serving.request import STATUS_LINES, Request
from jetkv_gateway.serving.shares import Account
from jetkv_gateway.serving.steps import Steps, start_task
from jetkv_gateway.serving.websockets import WebSocket

__all__ = ["HttpConnection"]

_log = logging.getLogger("jetkv.http")

_MAX_BEHIND = 64 * 1024
"""Bytes that may wait behind a request; then reading pauses."""

_SMALL = 16 * 1024
"""Bytes that are not worth counting, if they are all that is held."""

_MAX_SKIPPED = 64 * 1024 * 1024
"""Bytes of a body that nobody wants and that are read all the same; then the connection ends."""

# A client that is busy sends its next request well within this; others use none for longer.
_LAST_REQUEST_SECONDS = 1.0
_LOOK_SECONDS = 0.05
# A client that has stopped sending may have left: a listing is not made for nobody.
_LISTING_SECONDS = 1.0


class HttpConnection(asyncio.Protocol):
    """One connection.

    Args:
        front: what it shares with all others.

    The others are what uvicorn hands over to a class that it gets by `http=`.

    Attributes:
        lost: whether it is gone.
        peer: the other end, or whoever is behind a proxy that passes on bytes.
    """

    def __init__(
        self,
        front: Front,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],  # noqa: ARG002 - the signature is given
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        if not config.loaded:
            config.load()
        self.front = front
        self._gateway = front.gateway
        self._loop = _loop or asyncio.get_running_loop()
        self._state = server_state
        self.transport = cast(asyncio.Transport, None)
        self.lost = False
        self.peer = front.callers.nowhere
        self.scheme = "http"
        self._token: Account | None = None
        self._reader = HeadReader()
        self._phase = Phase.IDLE
        self._progress = Progress(front.now)
        self._raw = Incoming()
        self._reading = True
        self._eof = False
        self._leaving = False
        # Of the request that is read or answered:
        self._request: Request | None = None
        self._call: Call | None = None
        self._runs = False
        self._body: Body | None = None
        self._expects = False
        self._endless = False
        # Of what it has not taken in:
        self._full: asyncio.Event | None = None
        self._is_full = False
        self._unsent = 0
        self._ended: asyncio.Event | None = None
        self._is_held = False
        self._running: Request | None = None

    # --- what the event loop calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self._state.connections.add(self)  # type: ignore[arg-type] # it names its own alone
        name = transport.get_extra_info("peername")
        callers = self.front.callers
        if isinstance(name, tuple):
            self.peer = callers.peer(str(name[0]))
        if transport.get_extra_info("sslcontext") is not None:
            self.scheme = "https"
        if callers.begins_with_proxy_header(self.peer):
            self._phase = Phase.PROXY
        if not self.front.opened(self, self.peer.account):
            self._turn_away()
            return
        if self._leaving or self.front.stopping.is_set():
            self.shutdown()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - the signature is given
        if self.lost:
            return
        self.lost = True
        self._state.connections.discard(self)
        self.front.connections.closed(self)
        request, call = self._request, self._call
        if request is not None and call is not None and call.limited:
            self.front.admission.forget(request)
        self._forget_request()
        self._phase = Phase.OVER
        self._raw.clear()
        self._reader.close()
        if self._ended is not None:
            self._ended.set()
        if self._full is not None:
            self._full.set()

    def eof_received(self) -> bool:
        """Go on until what came whole is answered; of what broke off nothing comes."""
        self._eof = True
        request = self._request
        if request is None:
            if self._phase is Phase.OVER:
                return False
            # Behind an answer, whole requests may still wait.
            return bool(self._raw) and self._phase is Phase.IDLE
        if self._phase is not Phase.ANSWER or (self.front.stopping.is_set() and request.begun):
            return False
        call = self._call
        if call is None:
            return True
        if call.limited and self.front.admission.forget(request):
            # It may well have left the line: its place is for others.
            request.context.run(refuse, call)
        elif call.route is not None and call.route.socket:
            return False
        elif call.route is not None and call.route.scans:
            self._loop.call_later(_LISTING_SECONDS, self._abandon, request)
        return True

    def data_received(self, data: bytes) -> None:
        try:
            self._receive(data)
        except Exception as error:  # noqa: BLE001 - a defect ends one connection, with a word
            self._refuse(error)

    def _refuse(self, error: Exception) -> None:
        """End this connection, and no other, for what is wrong with what came."""
        if not isinstance(error, GatewayError):
            _log.error("a connection failed", exc_info=error)
            error = InternalError(hint="report it with the request id")
        self._say_last(error)

    def pause_writing(self) -> None:
        self._is_full = True
        self._unsent = self.transport.get_write_buffer_size()
        self._progress.fills(self._unsent, self.front.now)
        if self._full is not None:
            self._full.clear()
        self._hold()

    def resume_writing(self) -> None:
        self._is_full = False
        self._hold()
        if self._full is not None:
            self._full.set()
        if self._phase is Phase.IDLE:
            self._next()

    # --- bytes to requests

    def _receive(self, data: bytes) -> None:
        phase, raw = self._phase, self._raw
        if phase is Phase.BODY:
            self._take_body(data)
        elif phase is Phase.IDLE and not raw and not self._is_full:
            end = data.find(b"\r\n\r\n", 0, MAX_HEAD_BYTES + 4) + 4
            if end < 4 or data[0] in b"\r\n":
                raw += data
                self._read_head()
            elif end == len(data):
                self._open(data, b"")
            else:
                self._open(data[:end], data[end:])
        elif phase is Phase.HEAD:
            raw += data
            self._read_head()
            self._hold(len(data))
        elif phase is Phase.PROXY:
            raw += data
            self._read_proxy_header()
        elif phase is not Phase.OVER:
            if self._endless:
                # It has no end that this could wait for.
                self.transport.close()
                return
            raw += data
            self._hold(len(data))
            if len(raw) > _MAX_BEHIND:
                self._pause()

    def _read_proxy_header(self) -> None:
        """Look who it is whom a trusted proxy passes on."""
        told = proxy_header(self._raw.peek(MOST_BYTES))
        if told is None:
            return
        if isinstance(told, Broken):
            invalid(told.rule)
        self._raw.take(told.size)
        self._phase = Phase.IDLE
        if told.address is not None:
            self.peer = self.front.callers.peer(told.address, told=True)
            if not self.front.moved(self, self.peer.account):
                self._turn_away()
                return
        self._read_head()

    def _read_head(self) -> None:
        """Begin the next request, if its head is there."""
        raw = self._raw
        head = raw.take_head()
        if head is not None:
            self._open(head, b"")
        elif raw and self._eof:
            self._leave()  # the rest of it does not come
        elif raw and self._phase is not Phase.HEAD:
            self._enter(Phase.HEAD)

    def _enter(self, phase: Phase) -> None:
        self._phase = phase
        self._progress.enters(phase, self.front.now)

    def _open(self, raw: bytes, behind: bytes) -> None:
        """Read a head, and have the gateway look at it."""
        if len(raw) > MAX_HEAD_BYTES:
            check_size(raw, len(raw))
        head = self._reader.read(raw)
        request = self._request = self._request_of(head)
        length = head.length
        whole = length == len(behind)  # nearly always: then nothing has to be kept
        if behind and not whole:
            self._raw += behind
        if length and not whole:
            self._body = Body(length)
        self._expects = head.expects
        if b"upgrade" in head.headers and offers_websocket(head.method, head.headers):
            target = raw.split(b" ", 2)[1]
            request.accepts = check_handshake(head.version, target, head.headers)
            request.handshake = True
        if whole:
            if length:
                self._reader.skip(behind)
            request.body = behind
            call = request.context.run(self._gateway.begin, request)
            if call is not None:
                self._call = call
                self._admit(request, call)
            return
        call = request.context.run(self._gateway.begin, request)
        if length:
            self._open_body(call)
        elif call is not None:
            self._call = call
            self._admit(request, call)

    def _request_of(self, head: Head) -> Request:
        query = head.query
        match = ROUTER.find(head.path)
        if query is None:
            query = b""
        elif not query and match is not None and "key" in match[0].parameters:
            # Dropped, it would be the end of a key; so it is a parameter that no route knows.
            query = b"?"
        request = Request(self, head, query, match)
        if self.peer.trusted:
            callers = self.front.callers
            caller, request.account = callers.behind(self.peer, head.headers, self.scheme)
            request.client, request.scheme = caller
        return request

    def _open_body(self, call: Call | None) -> None:
        body, raw = self._body, self._raw
        if body is None or self._phase is Phase.OVER:
            return  # it was answered, and that was the last answer
        self._call = call
        self._enter(Phase.BODY)
        if call is not None:
            body.limit = call.body_limit
            if self._expects and not self._raw:
                self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        if raw:
            self._take_body(raw.take(None if body.left == CHUNKED else body.left))
        if self._eof and self._phase is Phase.BODY:
            self._leave()  # the rest of it does not come

    def _take_body(self, data: bytes) -> None:
        """Take in what is of the body; what comes behind it waits."""
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
        elif request.complete and body.size > _MAX_SKIPPED:
            self._leave()
        elif body.done:
            request.body = body.take()
            if request.complete:
                self._end_of_request()
            elif call is not None:
                self._admit(request, call)
                if self._is_held or len(request.body) >= _SMALL:
                    self._hold(len(data))
        else:
            self._hold(len(data))

    # --- requests to answers

    def _admit(self, request: Request, call: Call) -> None:
        """Run a request that is whole, once there is a place for it."""
        self._phase = Phase.ANSWER
        if call.limited:
            admission, now = self.front.admission, self._loop.time()
            account = request.account
            token = None
            if account.limited:
                # It is kept, so that its next request finds it.
                token = self._token = self.front.callers.of_token(account, call.principal)
            if not admission.enter(request, now, account, token):
                start = partial(self._start_soon, request, call)
                refused = partial(request.context.run, refuse, call)
                admission.wait(request, now, start, refused, account, token)
                return
        self._start(request, call)

    def _start_soon(self, request: Request, call: Call) -> None:
        # Another that leaves has let it in, perhaps from its Task: none of that is this one's.
        self._loop.call_soon(self._start, request, call)

    def _start(self, request: Request, call: Call) -> None:
        running, done = self._gateway.run(call), partial(self._has_run, request, call)
        self._runs, self._running = True, request
        if self._is_held:
            self._hold()
        if call.route is not None and call.route.steps:
            Steps(running, request.context, self._state.tasks, done).step()
        else:
            start_task(running, request.context, self._state.tasks, done)

    def _has_run(self, request: Request, call: Call) -> None:
        if call.limited:
            self.front.admission.leave(request)
        if self._running is request:
            self._running = None
            if self._is_held:
                self._hold()
        if not request.complete and self._request is request and request.accepts is None:
            # Nobody will answer it any more.
            self.reset()

    def ends_with(self, request: Request) -> bool:
        """Return whether the connection ends with the answer to a request, which begins now."""
        if self._leaving or self.front.stops or (self._eof and not self._raw):
            request.is_last = True
        elif self._body is not None and not self._body.done:
            # What a client that waits for a word does now, nobody knows (RFC 9110 §10.1.1).
            request.is_last |= self._expects or self._body.left > _MAX_SKIPPED
        return request.is_last

    @property
    def _is_unread(self) -> bool:
        """Whether the body of the request has not come to its end."""
        return self._body is not None and not self._body.done

    def streams(self, request: Request) -> None:
        """Note that the answer to a request goes out in parts."""
        if request.match is not None and request.match[0].in_parts:
            notice_silence(self.transport)
            call = self._call
            self._endless = call is not None and call.route is not None and call.route.socket
            if self._endless and self._raw:
                self.transport.close()

    def answered(self, request: Request) -> None:
        """Go on behind an answer that is written."""
        if self.lost or self._request is not request:
            return
        if request.is_last:
            self._leave()
        elif self._body is None or self._body.done:
            self._end_of_request()

    def _end_of_request(self) -> None:
        self._request = self._call = self._body = None
        self._runs = False
        if self._is_held:
            self._hold()
        self._phase = Phase.IDLE
        self._progress.rests(self.front.now)
        if self._raw or not self._reading:
            # Not from here: one client's pipeline is not to hold up the others.
            self._loop.call_soon(self._next)
        elif self._eof:
            self._leave()

    def _forget_request(self) -> None:
        self._request = self._call = self._body = None
        self._runs = False
        if self._is_held:
            self._hold()

    def _next(self) -> None:
        """Begin the request that waits, if one does."""
        if self._phase is not Phase.IDLE or self._is_full or self.lost:
            return
        self._resume()
        if self._raw:
            try:
                self._read_head()
            except Exception as error:  # noqa: BLE001 - as in data_received
                self._refuse(error)
        elif self._eof:
            self._leave()

    # --- what a request needs of its connection

    async def room(self) -> None:
        """Wait until there is room for more to be sent.

        Raises:
            ConnectionError: the client is gone.
        """
        if self._is_full:
            if self._full is None:
                self._full = asyncio.Event()
            await self._full.wait()
        if self.lost:
            raise ConnectionError

    async def gone(self) -> None:
        """Wait until the client is gone."""
        if not self.lost:
            if self._ended is None:
                self._ended = asyncio.Event()
            await self._ended.wait()

    def reset(self) -> None:
        """End the connection so that its peer cannot take what it has for all there is."""
        if not self.transport.is_closing():
            reset(self.transport)

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
            ping_seconds=self.front.ping_seconds,
            on_held=partial(_held, self.front, self.peer.account),
            on_lost=partial(_lost, self.front, state),
        )
        behind = self._raw.take()
        socket.open(
            request.accepts,
            subprotocol,
            self.front.date + lines,
            behind=behind,
            paused=self._is_full,
        )
        state.connections.add(socket)  # type: ignore[arg-type] # as above
        request.begun = request.complete = True
        self.front.connections.replace(self, socket)
        self.connection_lost(None)  # it is the WebSocket's now
        if self._leaving:
            socket.shutdown()
        return socket

    # --- the end

    @property
    def rank(self) -> Rank:
        """What is under way, for `Connections`."""
        if self._is_full or (self._raw and self._phase is Phase.IDLE):
            return Rank.BUSY
        return self._progress.rank(self._phase, self.front.now)

    @property
    def since(self) -> float:
        return self._progress.since

    def may_go(self) -> bool:
        return self._phase is not Phase.IDLE or not has_unread(self.transport)

    def _hold(self, moved: int = 0) -> None:
        """Note what is held for the client, if that is worth it.

        Args:
            moved: bytes that it has sent or taken in.
        """
        size = 0
        if self.lost and self._running is not None:
            return  # what is carried out is held for as long
        if not self.lost and self._phase is not Phase.OVER:
            size = len(self._raw)
            if self._body is not None:
                size += self._body.kept
            if self._request is not None:
                size += len(self._request.body)
        if self._is_full and not self.lost:
            size += self._unsent
        elif size < _SMALL and self._phase is not Phase.BODY:
            size = 0
        if size or self._is_held:
            self._is_held = size > 0
            # What is written may be aborted; what is carried out may be applied already.
            stays = self._runs and not self._is_full
            self.front.hold(self, size, moved=moved, stays=stays, account=self.peer.account)

    def let_go(self) -> None:
        """End what is held, as too much is held for slow clients."""
        self._is_held = False
        call, request = self._call, self._request
        if self.lost:
            return
        if self._is_full:
            self.reset()
        elif self._phase in (Phase.HEAD, Phase.BODY):
            error = TooManyRequests("too much is held for slow clients")
            error.hint = "nothing was done: send it again, faster or later"
            self._say_last(error)
        elif request is not None and call is not None and self.front.admission.forget(request):
            request.context.run(refuse, call)

    def give_way(self) -> None:
        """Close, since another connection needs the room."""
        if self._phase in (Phase.HEAD, Phase.BODY):
            self._turn_away()
        elif self._phase is Phase.OVER:
            self.transport.abort()
        else:
            self._phase = Phase.OVER
            self.transport.close()

    def _turn_away(self) -> None:
        """Say why there is no room, and close without waiting for anything."""
        error = TooManyRequests("too many connections")
        error.hint = "nothing was done: open fewer, and use each of them again"
        self._write_last(error)
        self._forget_request()
        self._phase = Phase.OVER
        self._raw.clear()
        self.transport.close()

    def _say_last(self, error: GatewayError) -> None:
        """Answer what is no whole request, and close."""
        if self.transport.is_closing() or self._phase is Phase.OVER:
            return
        self._write_last(error)
        self._leave()

    def _write_last(self, error: GatewayError) -> None:
        """Answer what is no whole request."""
        request = self._request
        if request is None or not request.begun:
            request_id = new_request_id()
            status, lines, body = failure(error, request_id)
            _log.info("request %s: %s", request_id.decode("ascii"), error.message)
            self.transport.write(
                b"%s%s%sx-request-id: %s\r\ncontent-length: %d\r\nconnection: close\r\n\r\n%s"
                % (STATUS_LINES[status], self.front.date, lines, request_id, len(body), body)
            )
        if request is not None:
            request.begun = request.complete = True

    def _leave(self) -> None:
        """Send nothing more, read on for a moment, and close."""
        self._forget_request()
        self._phase = Phase.OVER
        self._raw.clear()
        if not self.transport.is_closing() and self.transport.get_protocol() is self:
            if self._eof:
                self.transport.close()
                return
            seconds = LINGER_SECONDS_OF_A_STOP if self._leaving else LINGER_SECONDS
            self.transport.set_protocol(LastWord(self.transport, self, seconds))

    def shutdown(self) -> None:
        """Make the answer in flight the last one, or else the next, if it is asked for soon."""
        self._leaving = True
        if self._request is None:
            self._loop.call_later(_LAST_REQUEST_SECONDS, self._leave_if_idle)
        elif self._request.begun:
            self._request.is_last = True

    def _leave_if_idle(self) -> None:
        if self._phase not in (Phase.IDLE, Phase.PROXY) or self.transport.is_closing():
            return
        if has_unread(self.transport):
            self._loop.call_later(_LOOK_SECONDS, self._leave_if_idle)
        else:
            self._leave()

    def expire(self) -> None:
        """End a connection that a stop cannot wait for any longer.

        The task of the request in flight is cancelled by the server, which makes an answer.
        """
        if self._phase is Phase.OVER:
            return  # on its way out already
        self._leaving = True
        self._raw.clear()
        if self._phase is Phase.ANSWER and self._runs:
            return
        if self._phase is Phase.IDLE:
            self._leave()
        else:
            self._say_last(Unavailable("the gateway stops"))

    def _abandon(self, request: Request) -> None:
        if self._request is request and not request.complete:
            self.transport.close()

    def tick(self, now: float) -> None:
        """Look at the deadlines; all of them are about progress.

        Args:
            now: the time of the event loop; about a second after the tick before.
        """
        if self.lost:
            return
        body, transport, unsent = self._body, self.transport, 0
        if self._is_full:
            unsent = transport.get_write_buffer_size()
            if unsent != self._unsent:
                taken, self._unsent = self._unsent - unsent, unsent
                self._hold(max(0, taken))
        stuck = self._progress.look(
            self._phase,
            now,
            size=0 if body is None else body.size,
            unsent=unsent,
        )
        if stuck is Stuck.TAKES_NO_ANSWER:
            # What it has of the answer is not to look whole.
            self.reset()
        elif stuck is Stuck.HALF_A_REQUEST:
            self._say_last(RequestTooSlow())
        elif stuck is Stuck.NO_REQUEST:
            transport.close()

    # --- reading

    def _pause(self) -> None:
        if self._reading and not self.transport.is_closing():
            self._reading = False
            self.transport.pause_reading()

    def _resume(self) -> None:
        if not self._reading and not self.transport.is_closing():
            self._reading = True
            self.transport.resume_reading()


def _held(front: Front, account: Account, socket: WebSocket, size: int, moved: int) -> None:
    front.hold(socket, size, moved=moved, account=account)


def _lost(front: Front, state: ServerState, socket: WebSocket) -> None:
    state.connections.discard(socket)
    front.connections.closed(socket)

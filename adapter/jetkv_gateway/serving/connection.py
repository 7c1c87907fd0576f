"""One connection of a client: its state, what is held for it, and how it ends.

`exchange.py` answers requests on it, and `http1.py` takes them off it.
"""

import asyncio
import logging
from typing import Any, cast

from uvicorn.config import Config
from uvicorn.server import ServerState

from jetkv_gateway.http.call import Call, new_request_id
from jetkv_gateway.http.failures import failure
from jetkv_gateway.http.gateway import refuse
from jetkv_gateway.kv.errors import (
    GatewayError,
    RequestTooSlow,
    TooManyRequests,
    Unavailable,
)
from jetkv_gateway.serving.bodies import Body
from jetkv_gateway.serving.closing import (
    LINGER_SECONDS,
    LINGER_SECONDS_OF_A_STOP,
    LingeringClose,
    has_unread,
    reset,
)
from jetkv_gateway.serving.connections import Rank
from jetkv_gateway.serving.deadlines import Expired, Phase, Progress
from jetkv_gateway.serving.heads import HeadReader
from jetkv_gateway.serving.receive_buffer import ReceiveBuffer
from jetkv_gateway.serving.request import STATUS_LINES, Request
from jetkv_gateway.serving.shares import Account
from jetkv_gateway.serving.worker_state import WorkerState

__all__ = ["SMALL", "BaseConnection", "is_watch"]

_log = logging.getLogger("jetkv.http")

SMALL = 16 * 1024
"""Bytes that are not worth counting, if they are all that is held and more than a part has come:
halves of requests may be as many as there are connections."""

# A client that is busy sends its next request well within this; others use none for longer.
_LAST_REQUEST_SECONDS = 1.0
_LOOK_SECONDS = 0.05


class BaseConnection(asyncio.Protocol):
    """One connection, whatever is asked on it.

    Args:
        worker: what it shares with all others.

    The others are what uvicorn hands over to a class that it gets by `http=`.

    Attributes:
        lost: whether it is gone.
        peer: the other end, or whoever is behind a proxy that passes on bytes.
    """

    def __init__(
        self,
        worker: WorkerState,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],  # noqa: ARG002 - the signature is given
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
        self.peer = worker.callers.nowhere
        self.scheme = "http"
        self._token: Account | None = None
        self._reader = HeadReader()
        self._phase = Phase.IDLE
        self._progress = Progress(worker.now)
        self._raw = ReceiveBuffer()
        self._reading = True
        self._eof = False
        self._leaving = False
        # Of the request that is read or answered:
        self._request: Request | None = None
        self._call: Call | None = None
        self._runs = False
        self._body: Body | None = None
        self._expects = False
        self._opening: asyncio.Task[None] | None = None
        # Of what it has not taken in:
        self._full: asyncio.Event | None = None
        self._is_full = False
        self._unsent = 0
        self._ended: asyncio.Event | None = None
        self._is_held = False
        self._running: Request | None = None

    # --- who is there

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - the signature is given
        if self.lost:
            return
        self.lost = True
        self._state.connections.discard(self)
        self.worker.connections.closed(self)
        request, call = self._request, self._call
        if request is not None and call is not None and call.limited:
            self.worker.admission.forget(request)
        self._forget_request()
        self._phase = Phase.OVER
        self._raw.clear()
        self._reader.close()
        if self._ended is not None:
            self._ended.set()
        if self._full is not None:
            self._full.set()

    def pause_writing(self) -> None:
        self._is_full = True
        self._unsent = self.transport.get_write_buffer_size()
        self._progress.fills(self._unsent, self.worker.now)
        if self._full is not None:
            self._full.clear()
        self._hold()

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

    # --- what is held

    @property
    def rank(self) -> Rank:
        """What is under way, for `Connections`."""
        if self._is_full or (self._raw and self._phase is Phase.IDLE):
            return Rank.BUSY
        return self._progress.rank(self._phase, self.worker.now)

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
        elif size < SMALL and self._phase not in (Phase.HEAD, Phase.BODY):
            size = 0
        if size or self._is_held:
            self._is_held = size > 0
            # What is written may be aborted; what is carried out may be applied already.
            stays = self._runs and not self._is_full
            self.worker.hold(self, size, moved=moved, stays=stays, account=self.peer.account)

    # --- the end

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
        elif request is not None and call is not None and self.worker.admission.forget(request):
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
            shown = b"" if request is not None and request.method == "HEAD" else body
            _log.info("request %s: %s", request_id.decode("ascii"), error.message)
            self.transport.write(
                b"%s%s%sx-request-id: %s\r\ncontent-length: %d\r\nconnection: close\r\n\r\n%s"
                % (STATUS_LINES[status], self.worker.date, lines, request_id, len(body), shown)
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
            last = LingeringClose(self.transport, self, self.worker.lingering, seconds)
            self.transport.set_protocol(last)

    def shutdown(self) -> None:
        """Make the answer in flight the last one, or else the next, if it is asked for soon."""
        self._leaving = True
        if self._request is None:
            self._loop.call_later(_LAST_REQUEST_SECONDS, self._leave_if_idle)
        elif self._request.begun:
            self._request.is_last = True
        elif self._opening is not None and self._call is not None and is_watch(self._call):
            # It would end as soon as it stands.
            self._opening.cancel()

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
        body, transport = self._body, self.transport
        # However little it is: a connection that closes waits for it, too.
        unsent = transport.get_write_buffer_size()
        if self._is_full and unsent != self._unsent:
            taken, self._unsent = self._unsent - unsent, unsent
            self._hold(max(0, taken))
        stuck = self._progress.look(
            self._phase,
            now,
            size=0 if body is None else body.size,
            unsent=unsent,
        )
        if stuck is Expired.TAKES_NO_ANSWER:
            # What it has of the answer is not to look whole.
            self.reset()
        elif stuck is Expired.HALF_A_REQUEST:
            self._say_last(RequestTooSlow())
        elif stuck is Expired.NO_REQUEST:
            transport.close()

    def _enter(self, phase: Phase) -> None:
        self._phase = phase
        self._progress.enters(phase, self.worker.now)

    def _forget_request(self) -> None:
        self._request = self._call = self._body = None
        self._runs = False
        if self._is_held:
            self._hold()

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
    """Return whether a call is one whose answer has no end."""
    return call.route is not None and call.route.socket

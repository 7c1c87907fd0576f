"""A limit on requests in flight, with a short line of those who wait for their turn.

More work at a time makes nothing faster: it only stands in the event loop and in NATS, until every
answer comes after its client has given up. So what is over the limit waits here, for a bounded time
and in a bounded number, and is refused after that, before anything of it was done
(`serving/admission_queue.py` decides). The refusal is 429 and not 503: 503 means that NATS cannot
be used, and a proxy that counts 503s takes a gateway out of service that does all it can.

Waiting has a second use. A client that is refused at once may ask again at once, and the refusals
alone can take all of the processor; one that has waited asks less often. For the same reason the
line stands where requests come off their connections, before there is a task or anything else of
them: who waits costs next to nothing, and so does a refusal.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from jetkv_gateway.kv.errors import TooManyRequests
from jetkv_gateway.serving.admission_queue import AdmissionLimits, AdmissionQueue, Request
from jetkv_gateway.serving.shares import Account

__all__ = ["Admission", "AdmissionLimits", "Refuse", "Request"]

_STARTS = 32
"""Of the line, in one turn of the event loop, and as many refusals: all that a turn begins stands
before everything that comes meanwhile, `/health` as well."""

Refuse = Callable[[TooManyRequests], None]


@dataclass(frozen=True, slots=True)
class _Waiting:
    start: Callable[[], None]
    refuse: Refuse


class Admission:
    """The line of a worker, in its event loop: `enter` or `wait`, and who was in says `leave`."""

    def __init__(self, limits: AdmissionLimits) -> None:
        self._line = AdmissionQueue(limits)
        self._waiting: dict[Request, _Waiting] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._tending = False
        self._starts = _STARTS
        self._renewing = False
        self._closed = False
        self.enter = self._line.enter

    @property
    def inside(self) -> int:
        """Requests that have a place."""
        return self._line.inside

    @property
    def waiting(self) -> int:
        """Requests that wait for their turn."""
        return self._line.waiting

    def wait(
        self,
        request: Request,
        now: float,
        start: Callable[[], None],
        refuse: Refuse,
        address: Account,
        token: Account | None = None,
    ) -> None:
        """Have `start` called when the turn has come, `refuse` when it does not in time.

        Args:
            now: the time of the event loop.
        """
        # Not at once: a refusal begins the next request of a pipeline, which comes back here.
        loop = asyncio.get_running_loop()
        if self._closed:
            loop.call_soon(refuse, TooManyRequests())
            return
        self._line.expel_stalled(now)
        if self._line.enter(request, now, address, token):
            start()
            return
        refusal = self._line.wait(request, now, address, token)
        if refusal is not None:
            loop.call_soon(refuse, refusal)
            return
        self._waiting[request] = _Waiting(start, refuse)
        self._let_in(now)
        if self._timer is None and not self._tending and self._waiting:
            self._tend_line()

    def forget(self, request: Request) -> bool:
        """Take out of the line whose client has left, and return whether it stood there."""
        self._waiting.pop(request, None)
        return self._line.forget(request)

    def leave(self, request: Request) -> None:
        """End a request that had its turn, if it had one, and make room for the next one."""
        if self._line.leave(request):
            self._let_in(asyncio.get_running_loop().time())

    def stall(self, request: Request) -> None:
        """Give the place of a request that only waits to the next one."""
        if self._line.stall(request):
            self._let_in(asyncio.get_running_loop().time())

    def close(self) -> None:
        """Refuse the line; who comes now is refused at once."""
        self._closed = True
        while (dropped := self._line.drop()) is not None:
            self._waiting.pop(dropped[0]).refuse(dropped[1])

    def _let_in(self, now: float) -> None:
        while self._starts > 0 and (request := self._line.next(now)) is not None:
            self._starts -= 1
            self._waiting.pop(request).start()
        if self._starts < _STARTS and not self._renewing:
            self._renewing = True
            asyncio.get_running_loop().call_soon(self._renew)

    def _renew(self) -> None:
        self._renewing = False
        self._starts = _STARTS
        if self._waiting:
            self._let_in(asyncio.get_running_loop().time())

    def _tend_line(self) -> None:
        loop = asyncio.get_running_loop()
        self._timer = None
        self._tending = True
        now = loop.time()
        self._line.expel_stalled(now)
        self._let_in(now)
        for _ in range(_STARTS):
            if (late := self._line.late(now)) is None:
                break
            self._waiting.pop(late[0]).refuse(late[1])
        self._tending = False
        # Who came together is late together: the rest of them has to wait for others, too.
        at = self._line.look_at(now)
        if at is not None:
            self._timer = loop.call_at(at, self._tend_line)

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
        self._queue = AdmissionQueue(limits)
        self._waiting: dict[Request, _Waiting] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._checking = False
        self._starts = _STARTS
        self._renewing = False
        self._closed = False
        self.try_enter = self._queue.try_enter

    @property
    def running(self) -> int:
        """Requests that have a place."""
        return self._queue.running

    @property
    def waiting(self) -> int:
        """Requests that wait for their turn."""
        return self._queue.waiting

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
        self._queue.move_stalled(now)
        if self._queue.try_enter(request, now, address, token):
            start()
            return
        refusal = self._queue.wait(request, now, address, token)
        if refusal is not None:
            loop.call_soon(refuse, refusal)
            return
        self._waiting[request] = _Waiting(start, refuse)
        self._admit_waiting(now)
        if self._timer is None and not self._checking and self._waiting:
            self._check_queue()

    def cancel(self, request: Request) -> bool:
        """Take out of the line whose client has left, and return whether it stood there."""
        self._waiting.pop(request, None)
        return self._queue.cancel(request)

    def release(self, request: Request) -> None:
        """End a request that had its turn, if it had one, and make room for the next one."""
        if self._queue.release(request):
            self._admit_waiting(asyncio.get_running_loop().time())

    def stall(self, request: Request) -> None:
        """Give the place of a request that only waits to the next one."""
        if self._queue.stall(request):
            self._admit_waiting(asyncio.get_running_loop().time())

    def close(self) -> None:
        """Refuse the line; who comes now is refused at once."""
        self._closed = True
        while (dropped := self._queue.pop()) is not None:
            self._waiting.pop(dropped[0]).refuse(dropped[1])

    def _admit_waiting(self, now: float) -> None:
        while self._starts > 0 and (request := self._queue.admit_next(now)) is not None:
            self._starts -= 1
            self._waiting.pop(request).start()
        if self._starts < _STARTS and not self._renewing:
            self._renewing = True
            asyncio.get_running_loop().call_soon(self._reset_starts)

    def _reset_starts(self) -> None:
        self._renewing = False
        self._starts = _STARTS
        if self._waiting:
            self._admit_waiting(asyncio.get_running_loop().time())

    def _check_queue(self) -> None:
        loop = asyncio.get_running_loop()
        self._timer = None
        self._checking = True
        now = loop.time()
        self._queue.move_stalled(now)
        self._admit_waiting(now)
        for _ in range(_STARTS):
            if (late := self._queue.next_expired(now)) is None:
                break
            self._waiting.pop(late[0]).refuse(late[1])
        self._checking = False
        # Who came together is late together: the rest of them has to wait for others, too.
        at = self._queue.next_check(now)
        if at is not None:
            self._timer = loop.call_at(at, self._check_queue)

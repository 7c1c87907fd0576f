"""Limits the running requests. Other requests wait in a short queue.

More requests at a time would not be served faster. They would only wait in the event loop and in
NATS, until every answer arrives after its client has given up. So requests over the limit wait
here, for a limited time and in a limited number. After that, they are refused without having run
(`serving/admission_queue.py` decides). The refusal is 429, not 503. 503 means that NATS cannot be
used, and a proxy that counts 503s would stop using a gateway that works at full capacity.

Waiting has a second purpose. A client that is refused at once may retry at once, and the refusals
alone can take all of the processor. A client that has waited retries less often. For the same
reason, requests wait before a task or anything else is created for them, so waiting and refusing
cost very little.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from jetkv_gateway.kv.errors import TooManyRequests
from jetkv_gateway.serving.admission_queue import AdmissionLimits, AdmissionQueue, Request
from jetkv_gateway.serving.shares import Account

__all__ = ["Admission", "AdmissionLimits", "Refuse", "Request"]

_STARTS = 32
"""Waiting requests that start, or are refused, in one turn of the event loop. More of them would
delay everything else, including `/health`.
"""

Refuse = Callable[[TooManyRequests], None]


@dataclass(slots=True)
class _Waiting:
    start: Callable[[], None]
    refuse: Refuse


class Admission:
    """The admission of a worker, in its event loop.

    Call `try_enter` or `wait`, and `release` after each admitted request.

    Attributes:
        try_enter: as in `AdmissionQueue`.
        leave: as `release`, but if it returns True, call `admit_waiting`.
    """

    def __init__(self, limits: AdmissionLimits) -> None:
        self._queue = AdmissionQueue(limits)
        self._waiting: dict[Request, _Waiting] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._checking = False
        self._starts = _STARTS
        self._renewing = False
        self._closed = False
        self.try_enter = self._queue.try_enter
        self.leave = self._queue.release

    @property
    def running(self) -> int:
        """The number of running requests that hold a place."""
        return self._queue.running

    @property
    def waiting(self) -> int:
        """The number of waiting requests."""
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
        """Call `start` when the request is admitted, or `refuse` if it waits too long.

        Args:
            now: the time of the event loop.
        """
        # Not at once, since a refusal starts the next request of a pipeline, which calls this
        # method.
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
        """Remove a waiting request whose client has left. Return whether it was waiting."""
        self._waiting.pop(request, None)
        return self._queue.cancel(request)

    def release(self, request: Request) -> None:
        """End an admitted request, if it was admitted, and admit the next one."""
        if self._queue.release(request):
            self.admit_waiting()

    def admit_waiting(self) -> None:
        """Admit the next requests, as far as there is room."""
        self._admit_waiting(asyncio.get_running_loop().time())

    def stall(self, request: Request) -> None:
        """Give the place of a request that is only waiting to the next request."""
        if self._queue.stall(request):
            self._admit_waiting(asyncio.get_running_loop().time())

    def close(self) -> None:
        """Refuse all waiting requests, and every later one at once."""
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
        # Requests that arrived together expire together. The rest is refused in later turns.
        at = self._queue.next_check(now)
        if at is not None:
            self._timer = loop.call_at(at, self._check_queue)

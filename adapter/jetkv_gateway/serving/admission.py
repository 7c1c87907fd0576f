"""A limit on requests in flight, with a short line of those who wait for their turn.

More work at a time makes nothing faster: it only stands in the event loop and in NATS, until every
answer comes after its client has given up. So what is over the limit waits here, first come first
served, for a bounded time and in a bounded number, and is refused after that, before anything of it
was done. A request that is in for a second only waits, and gives its place to another. The refusal
is 429 and not 503: the contract says 503 where NATS cannot be used, and a proxy that counts 503s
takes a gateway out of service that does all it can.

Waiting has a second use. A client that is refused at once may ask again at once, and the refusals
alone can take all of the processor; one that has waited asks less often. For the same reason the
line stands where requests come off their connections, before there is a task or anything else of
them: who waits costs next to nothing, and so does a refusal.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass

__all__ = ["Admission", "AdmissionLimits", "Request"]

_STARTS = 32
"""Of the line, in one turn of the event loop, and as many refusals: all that a turn begins stands
before everything that comes meanwhile, `/health` as well."""

_STALLED_SECONDS = 1.0
_STALLED_TIMES = 15
"""Of the limit: so many may be without a place, and still be carried out."""
_LOOK_SECONDS = 0.1


@dataclass(frozen=True, slots=True)
class AdmissionLimits:
    """Of one worker.

    Attributes:
        requests: carried out at the same time; 0 = no limit.
        waiting: requests that wait for their turn at most.
        wait: seconds that one of them waits at most.
    """

    requests: int = 128
    waiting: int = 4096
    wait: float = 0.5


Request = Hashable
"""A request as a protocol keeps it: only its identity counts."""


@dataclass(frozen=True, slots=True)
class _Waiting:
    start: Callable[[], None]
    refuse: Callable[[], None]
    deadline: float


class Admission:
    """Who is in: `enter` or `wait`, and `leave` in the end."""

    def __init__(self, limits: AdmissionLimits) -> None:
        self._limits = limits
        self._limit = limits.requests or 1 << 62
        self._inside: dict[Request, float] = {}
        # In the order of their coming, which is that of their deadlines, too.
        self._waiting: OrderedDict[Request, _Waiting] = OrderedDict()
        self._timer: asyncio.TimerHandle | None = None
        self._looked_at = 0.0
        self._stalled = 0
        self._starts = _STARTS
        self._renewing = False
        self._closed = False

    @property
    def inside(self) -> int:
        """Requests that are carried out."""
        return len(self._inside)

    @property
    def waiting(self) -> int:
        """Requests that wait for their turn."""
        return len(self._waiting)

    def enter(self, request: Request, now: float) -> bool:
        """Go in where there is room, and `leave` in the end; else `wait`.

        Args:
            now: the time of the event loop.
        """
        if len(self._inside) < self._limit and not self._waiting:
            self._inside[request] = now
            return True
        return False

    def wait(
        self,
        request: Request,
        now: float,
        start: Callable[[], None],
        refuse: Callable[[], None],
    ) -> None:
        """Have `start` called when the turn has come, `refuse` when it does not in time."""
        if self._closed:
            asyncio.get_running_loop().call_soon(refuse)
            return
        self._waiting[request] = _Waiting(start, refuse, now + self._limits.wait)
        self._expel_stalled(now)
        if request in self._waiting and len(self._waiting) > self._limits.waiting:
            del self._waiting[request]
            # Not at once: the refusal begins the next request of a pipeline, which comes back here.
            asyncio.get_running_loop().call_soon(refuse)
        elif self._timer is None:
            self._tend_line()

    def forget(self, request: Request) -> bool:
        """Take out of the line whose client has left, and return whether it stood there."""
        return self._waiting.pop(request, None) is not None

    def close(self) -> None:
        """Refuse the line; who comes now is refused at once."""
        self._closed = True
        while self._waiting:
            _, waiting = self._waiting.popitem(last=False)
            waiting.refuse()

    def leave(self, request: Request) -> None:
        """Make room for the next one."""
        if self._inside.pop(request, None) is None:
            self._stalled -= 1
        elif self._waiting:
            self._let_in(asyncio.get_running_loop().time())

    def _let_in(self, now: float) -> None:
        while self._waiting and len(self._inside) < self._limit and self._starts > 0:
            request, waiting = self._waiting.popitem(last=False)
            self._starts -= 1
            self._inside[request] = now
            waiting.start()
        if self._starts < _STARTS and not self._renewing:
            self._renewing = True
            asyncio.get_running_loop().call_soon(self._renew)

    def _renew(self) -> None:
        self._renewing = False
        self._starts = _STARTS
        if self._waiting:
            self._let_in(asyncio.get_running_loop().time())

    def _expel_stalled(self, now: float) -> None:
        """Take their places from those who only wait, for NATS or for their bodies.

        They take no work, and would keep out all others: while one bucket has no leader, every
        request for it is tried again for seconds.
        """
        if now < self._looked_at + _LOOK_SECONDS:
            return
        self._looked_at = now
        stalled: list[Request] = []
        room = self._limit * _STALLED_TIMES - self._stalled
        for request, since in self._inside.items():
            if since > now - _STALLED_SECONDS or len(stalled) >= room:
                break
            stalled.append(request)
        for request in stalled:
            del self._inside[request]
        self._stalled += len(stalled)
        self._let_in(now)

    def _tend_line(self) -> None:
        loop = asyncio.get_running_loop()
        self._timer = None
        now = loop.time()
        self._expel_stalled(now)
        for _ in range(_STARTS):
            if not self._waiting:
                return
            request, waiting = next(iter(self._waiting.items()))
            if waiting.deadline > now:
                break
            del self._waiting[request]
            waiting.refuse()
        # Who came together is late together: the rest of them has to wait for others, too.
        first = next(iter(self._waiting.values()), None)
        if first is not None:
            at = max(now, min(first.deadline, now + _STALLED_SECONDS))
            self._timer = loop.call_at(at, self._tend_line)

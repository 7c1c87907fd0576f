"""Decides which requests run, wait, or are refused. Pure: callers pass the time.

A worker has a number of places, and a queue for requests that wait for one. Each caller has its own
queue, and the queues take turns. So requests of one caller are served in order, and a caller with a
thousand requests does not delay a caller with one. Each caller has a share of the places and of the
queue (`serving/shares.py`). Callers that may not take another place now are skipped.

A request that has run for a second is probably only waiting, so it gives its place to another
request. A request that reports that it waits does so at once. A limited number of requests may run
without a place, and each caller has a share of that number, too.
"""

from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass

from jetkv_gateway.kv.errors import TooManyRequests
from jetkv_gateway.serving.shares import Account, Share

__all__ = ["CHECK_SECONDS", "STALLED_SECONDS", "AdmissionLimits", "AdmissionQueue", "Request"]

STALLED_SECONDS = 1.0
_STALLED_TIMES = 15
"""Requests that may run without a place, as a multiple of the limit."""
CHECK_SECONDS = 0.1
_NO_LIMIT = 1 << 62
_MAX_SKIPPED_QUEUES = 32
"""Queues that are skipped at a time. The others follow next time, since the queues take turns."""
_NOT_RUN = "the request was not run: try again after retry_after seconds"


@dataclass(frozen=True, slots=True)
class AdmissionLimits:
    """The limits of one worker.

    Attributes:
        requests: that run at the same time; 0 means no limit.
        waiting: requests that may wait.
        wait: seconds that a request may wait.
        share: the part of places and of the queue that one caller may take without leaving a
            reserve.
    """

    requests: int = 128
    waiting: int = 4096
    wait: float = 0.5
    share: float = 0.25


Request = Hashable
"""A request. Only its identity matters here."""


@dataclass(slots=True)
class _Entry:
    address: Account
    token: Account | None
    deadline: float

    @property
    def queue(self) -> Account:
        """The account of its queue. The token distinguishes callers behind one address."""
        return self.address if self.token is None else self.token


class AdmissionQueue:
    """The running and waiting requests. Call `try_enter`, else `wait`, and finally `release`.

    After `release`, and at the time of `next_check`, call `admit_next` for requests to start, and
    `next_expired` for requests to refuse.
    """

    def __init__(self, limits: AdmissionLimits) -> None:
        self._limits = limits
        self._limit = limit = limits.requests or _NO_LIMIT
        self._places = Share.of(limit, limits.share)
        self._shared = self._places.shared
        self._waiting_share = Share.of(limits.waiting, limits.share)
        self._stalled_share = Share.of(limit * _STALLED_TIMES, limits.share)
        # In the order of arrival.
        self._running: dict[Request, tuple[float, Account, Account | None]] = {}
        self._stalled: dict[Request, tuple[Account, Account | None]] = {}
        # All requests wait equally long, so this is also the order of their deadlines.
        self._waiting: OrderedDict[Request, _Entry] = OrderedDict()
        self._queues: OrderedDict[Account, OrderedDict[Request, None]] = OrderedDict()
        self._checked_at = float("-inf")

    @property
    def running(self) -> int:
        """The number of running requests that hold a place."""
        return len(self._running)

    @property
    def stalled(self) -> int:
        """The number of running requests without a place."""
        return len(self._stalled)

    @property
    def waiting(self) -> int:
        """The number of waiting requests."""
        return len(self._waiting)

    def try_enter(
        self, request: Request, now: float, address: Account, token: Account | None = None
    ) -> bool:
        """Admit a request if there is room and no other one waits. Otherwise call `wait`."""
        if self._waiting:
            return False
        running = self._running
        if len(running) >= self._shared and not (
            len(running) < self._limit and _within(self._places.own, address, token)
        ):
            return False
        # This repeats `_admit`, since every request passes here.
        running[request] = now, address, token
        address.places += 1
        if token is not None:
            token.places += 1
        return True

    def wait(
        self, request: Request, now: float, address: Account, token: Account | None = None
    ) -> TooManyRequests | None:
        """Let a request wait, or return why it cannot. Then call `admit_next`."""
        taken = len(self._waiting)
        if taken >= self._waiting_share.shared:
            if taken >= self._waiting_share.total:
                return self._refusal(address, token)
            if address.limited:
                for account in (address, token):
                    if account is not None and account.waiting >= self._waiting_share.own:
                        return self._share_error(
                            account, self._waiting_share, "places in the queue"
                        )
        entry = _Entry(address, token, now + self._limits.wait)
        self._waiting[request] = entry
        self._queues.setdefault(entry.queue, OrderedDict())[request] = None
        address.waiting += 1
        if token is not None:
            token.waiting += 1
        return None

    def cancel(self, request: Request) -> bool:
        """Remove a waiting request whose client has left. Return whether it was waiting."""
        entry = self._waiting.get(request)
        if entry is None:
            return False
        self._remove(request, entry)
        return True

    def release(self, request: Request) -> bool:
        """End a running request, and return whether another one may start now."""
        entry = self._running.pop(request, None)
        if entry is not None:
            _, address, token = entry
            address.places -= 1
            if token is not None:
                token.places -= 1
            return len(self._waiting) > 0
        stalled = self._stalled.pop(request, None)
        if stalled is not None:
            address, token = stalled
            address.stalled -= 1
            if token is not None:
                token.stalled -= 1
        return False

    def admit_next(self, now: float) -> Request | None:
        """Admit and return the next request, or None if there is none to admit."""
        taken = len(self._running)
        if taken >= self._limit:
            return None
        free = taken < self._shared
        for _ in range(min(len(self._queues), _MAX_SKIPPED_QUEUES)):
            account, queue = next(iter(self._queues.items()))
            request = next(iter(queue))
            entry = self._waiting[request]
            self._queues.move_to_end(account)
            if free or _within(self._places.own, entry.address, entry.token):
                self._remove(request, entry)
                self._admit(request, now, entry.address, entry.token)
                return request
        return None

    def next_expired(self, now: float) -> tuple[Request, TooManyRequests] | None:
        """Remove and return an expired request and its error, or None."""
        first = next(iter(self._waiting.items()), None)
        if first is None or first[1].deadline > now:
            return None
        return self._refuse(*first)

    def pop(self) -> tuple[Request, TooManyRequests] | None:
        """Remove and return the first waiting request, expired or not."""
        first = next(iter(self._waiting.items()), None)
        return None if first is None else self._refuse(*first)

    def next_check(self, now: float) -> float | None:
        """Return when to call `next_expired`, `move_stalled` and `admit_next` again, or None."""
        first = next(iter(self._waiting.values()), None)
        return None if first is None else max(now, min(first.deadline, now + STALLED_SECONDS))

    def move_stalled(self, now: float) -> None:
        """Free the places of requests that only wait for NATS or for their clients.

        They cause no work, but would block all others. While one bucket has no leader, every
        request for it is retried for seconds.
        """
        if now < self._checked_at + CHECK_SECONDS:
            return
        self._checked_at = now
        late: list[Request] = []
        for request, (since, _, _) in self._running.items():
            if since > now - STALLED_SECONDS:
                break
            late.append(request)
        for request in late:
            if len(self._stalled) >= self._stalled_share.total:
                break
            self._move_to_stalled(request)

    def stall(self, request: Request) -> bool:
        """Free the place of a request that waits. Return whether another one may start now."""
        return self._move_to_stalled(request) and bool(self._waiting)

    def _move_to_stalled(self, request: Request) -> bool:
        """Let a request run without a place, if possible. Return whether it does."""
        entry = self._running.get(request)
        taken = len(self._stalled)
        if entry is None or taken >= self._stalled_share.total:
            return False
        _, address, token = entry
        if (
            taken >= self._stalled_share.shared
            and address.limited
            and any(
                one is not None and one.stalled >= self._stalled_share.own
                for one in (address, token)
            )
        ):
            return False
        del self._running[request]
        self._stalled[request] = address, token
        address.stalled += 1
        address.places -= 1
        if token is not None:
            token.stalled += 1
            token.places -= 1
        return True

    def _admit(self, request: Request, now: float, address: Account, token: Account | None) -> None:
        self._running[request] = now, address, token
        address.places += 1
        if token is not None:
            token.places += 1

    def _remove(self, request: Request, entry: _Entry) -> None:
        del self._waiting[request]
        queue = self._queues[entry.queue]
        del queue[request]
        if not queue:
            del self._queues[entry.queue]
        entry.address.waiting -= 1
        if entry.token is not None:
            entry.token.waiting -= 1

    def _refuse(self, request: Request, entry: _Entry) -> tuple[Request, TooManyRequests]:
        self._remove(request, entry)
        return request, self._refusal(entry.address, entry.token)

    def _refusal(self, address: Account, token: Account | None) -> TooManyRequests:
        """Return the error of a refused request. It names the share if that is the reason."""
        if address.limited:
            for account in (address, token):
                if account is not None and account.places >= self._places.own < self._limit:
                    return self._share_error(account, self._places, "places")
        return _error("too many requests", _NOT_RUN)

    def _share_error(self, account: Account, share: Share, what: str) -> TooManyRequests:
        return _error(
            f"too many requests {account.name}",
            f"one caller has {share.own} of {share.total} {what} (max_share) and leaves the last "
            f"{share.total - share.shared} to others: send fewer at a time; {_NOT_RUN}",
        )


def _within(own: int, address: Account, token: Account | None) -> bool:
    return not address.limited or (address.places < own and (token is None or token.places < own))


def _error(message: str, hint: str) -> TooManyRequests:
    error = TooManyRequests(message)
    error.hint = hint
    return error

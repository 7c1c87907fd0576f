"""Which request is carried out, which waits, which is refused: decisions alone, at given times.

A worker has a number of places, and a line of those who wait for one. Each caller has a queue of
its own in the line, and the queues take turns: first come, first served holds within one caller,
and a caller with a thousand requests keeps nobody waiting who has one. Of places and of the line
each caller has a share (`serving/shares.py`): a queue whose caller may have no further place now is
passed over.

A request that is in for a second only waits, as one does that says so, and gives its place to
another. So many may be carried out without a place, and of these, too, each caller has a share.
"""

from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass

from jetkv_gateway.kv.errors import TooManyRequests
from jetkv_gateway.serving.shares import Account, Share

__all__ = ["LOOK_SECONDS", "STALLED_SECONDS", "AdmissionLimits", "AdmissionQueue", "Request"]

STALLED_SECONDS = 1.0
_STALLED_TIMES = 15
"""Of the limit: so many may be without a place, and still be carried out."""
LOOK_SECONDS = 0.1
_NO_LIMIT = 1 << 62
_MAX_SKIPPED_QUEUES = 32
"""Queues in one look: the others have theirs at the next one, since the queues take turns."""
_NOTHING_DONE = "nothing of it was done: come again after the seconds of retry_after"


@dataclass(frozen=True, slots=True)
class AdmissionLimits:
    """Of one worker.

    Attributes:
        requests: carried out at the same time; 0 = no limit.
        waiting: requests that wait for their turn at most.
        wait: seconds that one of them waits at most.
        share: of places and of the line, what one caller has without leaving any to others.
    """

    requests: int = 128
    waiting: int = 4096
    wait: float = 0.5
    share: float = 0.25


Request = Hashable
"""A request as a protocol keeps it: only its identity counts."""


@dataclass(frozen=True, slots=True)
class _Entry:
    address: Account
    token: Account | None
    deadline: float

    @property
    def queue(self) -> Account:
        """Whose queue it stands in: the token tells callers behind one address apart."""
        return self.address if self.token is None else self.token


class AdmissionQueue:
    """Who comes asks to `enter`, and else to `wait`; who is in says `leave` in the end.

    Then, and from time to time (`look_at`), `next` tells who goes in, and `late` whose wait was in
    vain.
    """

    def __init__(self, limits: AdmissionLimits) -> None:
        self._limits = limits
        self._limit = limit = limits.requests or _NO_LIMIT
        self._places = Share.of(limit, limits.share)
        self._shared = self._places.shared
        self._waiting_share = Share.of(limits.waiting, limits.share)
        self._stalled_share = Share.of(limit * _STALLED_TIMES, limits.share)
        # In the order of their coming.
        self._running: dict[Request, tuple[float, Account, Account | None]] = {}
        self._stalled: dict[Request, tuple[Account, Account | None]] = {}
        # All wait equally long, so that it is the order of their deadlines, too.
        self._waiting: OrderedDict[Request, _Entry] = OrderedDict()
        self._queues: OrderedDict[Account, OrderedDict[Request, None]] = OrderedDict()
        self._looked_at = float("-inf")

    @property
    def running(self) -> int:
        """Requests that have a place."""
        return len(self._running)

    @property
    def stalled(self) -> int:
        """Requests that are carried out without one."""
        return len(self._stalled)

    @property
    def waiting(self) -> int:
        """Requests that wait for their turn."""
        return len(self._waiting)

    def try_enter(
        self, request: Request, now: float, address: Account, token: Account | None = None
    ) -> bool:
        """Go in where there is room and nobody waits; else `wait`."""
        if self._waiting:
            return False
        inside = self._running
        if len(inside) >= self._shared and not (
            len(inside) < self._limit and _within(self._places.own, address, token)
        ):
            return False
        # As `_admit`: every request comes here.
        inside[request] = now, address, token
        address.places += 1
        if token is not None:
            token.places += 1
        return True

    def wait(
        self, request: Request, now: float, address: Account, token: Account | None = None
    ) -> TooManyRequests | None:
        """Stand in line, or return why not. Then ask `next`: it may be its turn at once."""
        taken = len(self._waiting)
        if taken >= self._waiting_share.shared:
            if taken >= self._waiting_share.total:
                return self._refusal(address, token)
            if address.limited:
                for account in (address, token):
                    if account is not None and account.waiting >= self._waiting_share.own:
                        return self._share_error(account, self._waiting_share, "places in the line")
        entry = _Entry(address, token, now + self._limits.wait)
        self._waiting[request] = entry
        self._queues.setdefault(entry.queue, OrderedDict())[request] = None
        address.waiting += 1
        if token is not None:
            token.waiting += 1
        return None

    def cancel(self, request: Request) -> bool:
        """Take out of the line whose client has left, and return whether it stood there."""
        entry = self._waiting.get(request)
        if entry is None:
            return False
        self._remove(request, entry)
        return True

    def release(self, request: Request) -> bool:
        """End a request that is carried out, and return whether somebody may go in now."""
        held = self._running.pop(request, None)
        if held is not None:
            _, address, token = held
            address.places -= 1
            if token is not None:
                token.places -= 1
            return bool(self._waiting)
        without = self._stalled.pop(request, None)
        if without is not None:
            address, token = without
            address.stalled -= 1
            if token is not None:
                token.stalled -= 1
        return False

    def admit_next(self, now: float) -> Request | None:
        """Have the next one go in and return it, None where nobody can."""
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
        """Take out of the line one whose wait is over, and return it and why; None: no more."""
        first = next(iter(self._waiting.items()), None)
        if first is None or first[1].deadline > now:
            return None
        return self._refuse(*first)

    def pop(self) -> tuple[Request, TooManyRequests] | None:
        """Take the first one out of the line, whether it is late or not."""
        first = next(iter(self._waiting.items()), None)
        return None if first is None else self._refuse(*first)

    def next_check(self, now: float) -> float | None:
        """Return when to ask `late`, `expel_stalled` and `next` again, None where nobody waits."""
        first = next(iter(self._waiting.values()), None)
        return None if first is None else max(now, min(first.deadline, now + STALLED_SECONDS))

    def move_stalled(self, now: float) -> None:
        """Take their places from those who only wait, for NATS or for somebody who reads.

        They take no work, and would keep out all others: while one bucket has no leader, every
        request for it is tried again for seconds.
        """
        if now < self._looked_at + LOOK_SECONDS:
            return
        self._looked_at = now
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
        """Take the place of one that is known to wait; return whether somebody may go in now."""
        return self._move_to_stalled(request) and bool(self._waiting)

    def _move_to_stalled(self, request: Request) -> bool:
        """Have one carried out without a place, if so many may be; return whether it is."""
        held = self._running.get(request)
        taken = len(self._stalled)
        if held is None or taken >= self._stalled_share.total:
            return False
        _, address, token = held
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
        """Return the error of who found no room: it names the share where that is the reason."""
        if address.limited:
            for account in (address, token):
                if account is not None and account.places >= self._places.own < self._limit:
                    return self._share_error(account, self._places, "places")
        return _error("too many requests", _NOTHING_DONE)

    def _share_error(self, account: Account, share: Share, what: str) -> TooManyRequests:
        return _error(
            f"too many requests {account.name}",
            f"one caller has {share.own} of {share.total} {what} (max_share) and leaves the last "
            f"{share.total - share.shared} to others: send fewer at a time; {_NOTHING_DONE}",
        )


def _within(own: int, address: Account, token: Account | None) -> bool:
    return not address.limited or (address.places < own and (token is None or token.places < own))


def _error(message: str, hint: str) -> TooManyRequests:
    error = TooManyRequests(message)
    error.hint = hint
    return error

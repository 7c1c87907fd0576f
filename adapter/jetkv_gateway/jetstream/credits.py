"""Credits for the bytes that NATS may be sending at a time.

All requests of a worker share one connection. nats-server closes a connection if more than
`max_pending` bytes (64 MiB) wait for it. So each request acquires credit for its largest possible
reply before it is sent, and releases the credit when the reply is here. The total is never
exceeded.

The credit is divided into pools, so that small replies do not wait behind large ones. The pool of
small replies may use everything that is free; each other pool has a capacity of its own. Within a
pool, requests are served in order of arrival. A later request of another pool may overtake a
waiting request, but it never takes the credit that the waiting one needs, so every request gets its
turn. A request holds nothing while it waits.

A reply can still arrive after its request was cancelled or has timed out. Its credit stays in use
until the reply to a later request is here: the connection delivers in order, so an earlier reply
that has not come by then is not in flight. The pool of small replies reclaims all credit that is
late in this way. Otherwise reads of a bucket without a leader would keep reads of all other buckets
waiting.
"""

import asyncio
from collections import deque
from collections.abc import Generator
from math import inf
from typing import Any, NamedTuple

from jetkv_gateway.stepping import Pending

__all__ = ["IN_FLIGHT_BYTES", "CreditPool", "CreditRequest", "ReadCredits"]

IN_FLIGHT_BYTES = 44 * 1024 * 1024
"""The default limit of a server is 64 MiB. The server counts bytes until it has sent everything
that was ready when it began to send, so bytes that have arrived, and whose credit was acquired
again, can count twice. That applies to the pools `large`, `bulk` and `live`. The sum stays below 64
MiB and leaves a few MiB for small messages that need no credit: acknowledgements, heartbeats and
stream infos."""

_LARGE = _BULK = 0.1
_LIVE = 0.15
_CAUTIOUS = 0.25
"""Fractions of the total. The pools of large replies are small, because other replies come behind
whatever is in flight."""

_FEED_DIVISOR = 16
"""The n-th feed gets 1/16 of an equal share for n feeds. The shares of ten thousand feeds add up to
about ten times the first share, and that sum has to fit."""

_FEED_MOST = 256 * 1024
_FEED_LEAST = 384


_SWEEP_SECONDS = 0.05
"""The precision of the time that a request waits."""


class _Waiter(Pending[int]):
    """A request that waits for credit. Await it for the amount.

    Attributes:
        pool, amount: what it waits for.
        number: its place in the order of arrival in all pools.
        deadline: when the wait ends with a `TimeoutError`, by the time of the event loop.
        granted: whether its credit is there and it has not gone on; it goes on in a later callback
            of the event loop.
    """

    __slots__ = ("amount", "deadline", "granted", "number", "pool")

    number: int
    deadline: float

    def __init__(self, pool: "CreditPool", amount: int) -> None:
        super().__init__()
        self.pool = pool
        self.amount = amount
        self.granted = False

    def __await__(self) -> Generator[Any, None, int]:
        try:
            amount = yield from super().__await__()
        except BaseException:
            # A Task may be cancelled after its turn has come and before it goes on.
            if self.granted:
                self.forgotten()
            raise
        self._claim()
        return amount

    def forgotten(self) -> None:
        # If the credit was granted at the same moment, return it. If not, the next waiter may fit
        # now.
        self.pool.release(self.amount if self._claim() else 0)

    def _claim(self) -> bool:
        granted, self.granted = self.granted, False
        if granted:
            self.pool.unclaimed -= self.amount
        return granted


class CreditPool:
    """The credit for one kind of replies.

    Attributes:
        capacity: bytes in use at a time. A single request may exceed it if it is alone in the pool.
        waiters: the waiting requests, in order.
        epoch: identifies the credit acquired now; pass it to `release`.
        unclaimed: bytes in use of requests that have not gone on, and so have not read `epoch`.
    """

    __slots__ = (
        "_abandoned",
        "_abandoned_before",
        "_credits",
        "_free",
        "_late",
        "_reclaimed_epoch",
        "capacity",
        "epoch",
        "unclaimed",
        "waiters",
    )

    def __init__(self, credits: "ReadCredits", capacity: int) -> None:
        self._credits = credits
        self._free = self.capacity = capacity
        self.waiters: deque[_Waiter] = deque()
        self.epoch = self._reclaimed_epoch = 0
        self._late = self._abandoned = self._abandoned_before = self.unclaimed = 0

    @property
    def taken(self) -> int:
        """Bytes in use now."""
        return self.capacity - self._free

    def try_acquire(self, amount: int) -> int:
        """Acquire credit without waiting; return the amount to `release`, or 0 if there is none."""
        credits = self._credits
        if (
            credits.waiting
            or amount > credits.free
            or amount > self._free
            or amount > credits.max_request
        ):
            amount = min(amount, credits.max_request)
            if self.waiters or not self.fits(amount, credits.unreserved()):
                return 0
        credits.free -= amount
        self._free -= amount
        return amount

    async def acquire(self, amount: int, seconds: float = inf) -> int:
        """Wait for credit, and return the amount to `release`.

        The amount is at most `ReadCredits.max_request`. The wait needs no Task.

        Raises:
            TimeoutError: there was no credit within `seconds`.
        """
        return self.try_acquire(amount) or await self.wait(amount, seconds)

    def wait(self, amount: int, seconds: float) -> Pending[int]:
        """Return what a request awaits that `try_acquire` has given nothing; see `acquire`."""
        credits = self._credits
        return credits.add(_Waiter(self, min(amount, credits.max_request)), seconds)

    def release(self, amount: int, epoch: int | None = None) -> None:
        """Return credit, or a part of it, because the reply is here or will not come.

        Args:
            epoch: the epoch in which the credit was acquired; None in a pool that never reclaims.
        """
        if epoch is not None and epoch != self.epoch:
            if epoch < self._reclaimed_epoch:
                return
            self._late -= amount
        credits = self._credits
        credits.free += amount
        self._free += amount
        if credits.waiting:
            credits.grant()

    def abandon(self, amount: int) -> None:
        """Leave credit to `ReadCredits.reclaim`, because the reply may still come."""
        if self is not self._credits.small:
            self._abandoned += amount

    @property
    def has_abandoned(self) -> bool:
        """Whether this pool has credit to reclaim."""
        return (
            bool(self.waiters)
            if self is self._credits.small
            else self._abandoned + self._abandoned_before > 0
        )

    def begin_reclaim(self) -> None:
        if self is self._credits.small:
            self.epoch += 1
            self._late = self.taken - self.unclaimed
        else:
            self._abandoned_before += self._abandoned
            self._abandoned = 0

    def reclaim(self) -> None:
        amount = self._late + self._abandoned_before
        self._late = self._abandoned_before = 0
        self._reclaimed_epoch = self.epoch
        self.release(amount)

    def fits(self, amount: int, free: int) -> bool:
        """Return whether a request fits into `free` bytes of the total and into this pool."""
        return amount <= free and (amount <= self._free or self._free == self.capacity)

    def reserved(self) -> int:
        """Return the bytes that other pools must leave free for the first waiter."""
        amount = self.waiters[0].amount
        if self is self._credits.small:
            return amount
        # Other pools must not use the rest of this pool's capacity either.
        return max(0, max(amount, self.capacity) - self.taken)

    def resize(self, capacity: int) -> None:
        """Change the capacity. Credit in use above it is not granted again after its release."""
        self._free += capacity - self.capacity
        self.capacity = capacity

    def grant_first(self) -> _Waiter:
        """Grant credit to the first waiter, and return it."""
        waiter = self._pop()
        waiter.granted = True
        self.unclaimed += waiter.amount
        self._credits.free -= waiter.amount
        self._free -= waiter.amount
        return waiter

    def drop_gone(self) -> bool:
        """Remove waiters that left from the front; return whether a waiter is left."""
        while self.waiters and self.waiters[0].done:
            self._pop()
        return bool(self.waiters)

    def _pop(self) -> _Waiter:
        self._credits.waiting -= 1
        return self.waiters.popleft()


class ReadCredits:
    """The credit of one connection.

    Args:
        total: bytes.

    Attributes:
        small: the pool of replies that are, or probably are, small.
        large: the pool of large replies.
        bulk: the pool of batches of messages, for listings and for watches that catch up.
        live: the pool of what live feeds may be sent at any time; see `open_feed`.
        max_request: the largest amount of one request in bytes.
        free: unused bytes.
        waiting: the number of waiting requests in all pools.
    """

    def __init__(self, total: int = IN_FLIGHT_BYTES) -> None:
        self.total = self.free = total
        self.small = CreditPool(self, total)
        self.large = CreditPool(self, int(total * _LARGE))
        self.bulk = CreditPool(self, int(total * _BULK))
        self.live = CreditPool(self, int(total * _LIVE))
        self.max_request = total - self.live.capacity
        self.waiting = 0
        self._pools = self.small, self.large, self.bulk, self.live
        self._number = 0
        self._granted: list[_Waiter] = []
        self._timer: asyncio.TimerHandle | None = None
        self._feeds = 0
        self._draining = False

    async def open_feed(self) -> int:
        """Return the bytes that another live feed may be sent at any time, 0 if none are left.

        The feed holds this credit of `live` until `close_feed`. The more feeds are open, the less a
        new one gets, so that there is credit for thousands of them: the n-th largest share is never
        more than the share of the n-th feed, and the sum of all shares grows only with the
        logarithm of the number of feeds.
        """
        pool = self.live
        share = pool.capacity // (_FEED_DIVISOR * (self._feeds + 1))
        amount = max(_FEED_LEAST, min(_FEED_MOST, share))
        if pool.waiters or pool.taken + amount > pool.capacity:
            return 0
        self._feeds += 1
        taken = False
        try:
            amount = await pool.acquire(amount)
            taken = True
        finally:
            self._feeds -= not taken
        return amount

    def close_feed(self, amount: int) -> None:
        """Release the credit of a feed."""
        self._feeds -= 1
        self.live.release(amount)

    def add(self, waiter: _Waiter, seconds: float) -> _Waiter:
        """Put a request at the end of its pool's line, and return it."""
        loop = asyncio.get_running_loop()
        self._number += 1
        waiter.number, waiter.deadline = self._number, loop.time() + seconds
        waiter.pool.waiters.append(waiter)
        self.waiting += 1
        if self._timer is None and seconds != inf:
            self._timer = loop.call_later(_SWEEP_SECONDS, self._sweep, loop)
        return waiter

    def _sweep(self, loop: asyncio.AbstractEventLoop) -> None:
        """End the waits that took too long."""
        now, ends = loop.time(), False
        for pool in self._pools:
            for waiter in tuple(pool.waiters):
                if waiter.deadline <= now:
                    waiter.fail(TimeoutError())
                ends = ends or waiter.deadline != inf
        self._timer = loop.call_later(_SWEEP_SECONDS, self._sweep, loop) if ends else None
        self.grant()

    def restrict_small(self) -> None:
        """Restrict the pool of small replies, because one of its replies was large.

        Every reply in flight in this pool may be large too. So no more are requested until all of
        them are here, and after that fewer at a time, until `lift_restriction`.
        """
        if self.small.capacity == self.total:
            self._draining = True
            self.small.resize(0)

    def lift_restriction(self) -> None:
        """Undo `restrict_small` after a while without another large reply."""
        self._draining = False
        self.small.resize(self.total)
        self.grant()

    def _end_drain(self) -> None:
        if self._draining and not self.small.taken:
            self._draining = False
            self.small.resize(int(self.total * _CAUTIOUS))

    def unreserved(self) -> int:
        """Return the free bytes that no waiting request needs."""
        self._end_drain()
        return self.free - sum(pool.reserved() for pool in self._pools if pool.drop_gone())

    @property
    def has_abandoned(self) -> bool:
        """Whether there is credit to reclaim."""
        return any(pool.has_abandoned for pool in self._pools)

    def begin_reclaim(self) -> None:
        """Note what is in flight. Call `reclaim` after the reply to a later request."""
        for pool in self._pools:
            pool.begin_reclaim()

    def reclaim(self) -> None:
        """Release abandoned and late credit from before `begin_reclaim`."""
        for pool in self._pools:
            pool.reclaim()

    def grant(self) -> None:
        """Grant credit to every waiter whose turn has come."""
        self._end_drain()
        pools = [pool for pool in self._pools if pool.waiters]
        if len(pools) == 1:  # nearly always: nobody else's turn can come
            pool = pools[0]
            while pool.drop_gone() and pool.fits(pool.waiters[0].amount, self.free):
                self._go_on_soon(pool.grant_first())
            return
        while self._grant_one():
            pass

    def _grant_one(self) -> bool:
        free = self.free
        for pool in sorted((pool for pool in self._pools if pool.drop_gone()), key=_first):
            if pool.fits(pool.waiters[0].amount, free):
                self._go_on_soon(pool.grant_first())
                return True
            # A later request must not take the credit that this one waits for.
            free -= pool.reserved()
        return False

    def _go_on_soon(self, waiter: _Waiter) -> None:
        # Not here: the credit may come from a Task, and a stepped request must not run inside it.
        if not self._granted:
            asyncio.get_running_loop().call_soon(self._go_on)
        self._granted.append(waiter)

    def _go_on(self) -> None:
        granted, self._granted = self._granted, []
        for waiter in granted:
            waiter.end(waiter.amount)


def _first(pool: CreditPool) -> int:
    return pool.waiters[0].number


class CreditRequest(NamedTuple):
    """The amount of credit that a read needs, and the pool to acquire it from."""

    pool: CreditPool
    amount: int

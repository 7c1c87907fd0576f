"""One budget of bytes that are under way from NATS: asked for, and not yet here.

All requests of a worker share one connection, and nats-server ends a connection that more than its
`max_pending` (64 MiB) wait for. So each one takes as much as its answer may have before it asks,
and gives it back when the answer is here. The sum never goes over the total, whatever comes.

The budget has lanes, so that small answers do not wait behind large ones. A lane other than that of
the small ones has a part of the total, which it may fill and not go over; the small ones may have
all that is free. Within a lane, requests are served in the order in which they came. A later
request of another lane may overtake one that waits, but never takes the bytes that it waits for, so
every request gets its turn. A request that waits holds nothing that another one waits for.

An answer that nobody waits for any more still comes, and one that is late may come or not. What
was taken for it is kept until a reply to something that was asked for later is here: a connection
is a queue, so what has not come by then is not under way. The lane of the small ones gives up all
that is so late. Where a bucket has no leader, reads of it would else keep out those of all others.
"""

import asyncio
from collections import deque
from typing import NamedTuple

__all__ = ["IN_FLIGHT_BYTES", "CreditPool", "CreditRequest", "ReadCredits"]

IN_FLIGHT_BYTES = 44 * 1024 * 1024
"""What a server allows by default is 64 MiB, and it counts what it has sent until it has sent all
that there was when it began to send. So what is here and asked for again can count twice: the large
lane, the feeds and the standing part. The sum of all that stays below the 64 MiB, with some MiB for
what is not counted, as each of it is small: acknowledgements, heartbeats, what a server says of a
stream."""

_LARGE = _FEEDS = 0.1
_STANDING = 0.15
_CAUTIOUS = 0.25
"""Parts of the total. Other replies come behind what is under way: the less of what is large, the
sooner."""

_FEEDS_AT_MOST = 16
"""The n-th feed gets this part of what n feeds could have each: the sum over ten thousand of them
is about ten times as much as the first one gets, and has to fit."""

_FEED_MOST = 256 * 1024
_FEED_LEAST = 384


class _Waiter(NamedTuple):
    number: int
    amount: int
    turn: asyncio.Future[None]


class CreditPool:
    """One kind of answers, and what it has of a budget.

    Attributes:
        capacity: bytes that it may have at a time; only one that asks for more than that gets more,
            and then it is alone in its lane.
        waiters: the requests that wait, in order.
        epoch: of what is taken now; `give` it back with that.
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
        "waiters",
    )

    def __init__(self, credits: "ReadCredits", capacity: int) -> None:
        self._credits = credits
        self._free = self.capacity = capacity
        self.waiters: deque[_Waiter] = deque()
        self.epoch = self._reclaimed_epoch = 0
        self._late = self._abandoned = self._abandoned_before = 0

    @property
    def taken(self) -> int:
        """Bytes that are taken now."""
        return self.capacity - self._free

    def try_acquire(self, amount: int) -> int:
        """Return what was taken, 0 where there is no room now: `give` it back."""
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

    async def acquire(self, amount: int) -> int:
        """Wait until that much is free, and return what was taken: `give` it back.

        Who asks for more than one can have (`ReadCredits.max_request`) gets that much.
        """
        taken = self.try_acquire(amount)
        if taken:
            return taken
        credits = self._credits
        amount = min(amount, credits.max_request)
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        waiter = _Waiter(credits.next_number(), amount, turn)
        self.waiters.append(waiter)
        credits.waiting += 1
        try:
            await turn
        except asyncio.CancelledError:
            # Its turn may have come at this very moment. Else the next one's may have.
            self.release(0 if turn.cancelled() else amount)
            raise
        return amount

    def release(self, amount: int, epoch: int | None = None) -> None:
        """Give back what was taken, or a part of it; it has come, or will not.

        Args:
            epoch: in which it was taken; None in a lane that gives up nothing.
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
        """Leave what was taken to `ReadCredits.reclaim`: it may still come."""
        if self is not self._credits.small:
            self._abandoned += amount

    @property
    def has_abandoned(self) -> bool:
        """Whether something waits to be settled."""
        return (
            bool(self.waiters)
            if self is self._credits.small
            else self._abandoned + self._abandoned_before > 0
        )

    def begin_reclaim(self) -> None:
        if self is self._credits.small:
            self.epoch += 1
            self._late = self.taken
        else:
            self._abandoned_before += self._abandoned
            self._abandoned = 0

    def reclaim(self) -> None:
        amount = self._late + self._abandoned_before
        self._late = self._abandoned_before = 0
        self._reclaimed_epoch = self.epoch
        self.release(amount)

    def fits(self, amount: int, free: int) -> bool:
        """Return whether somebody may go whom others leave so much."""
        return amount <= free and (amount <= self._free or self._free == self.capacity)

    def reserved(self) -> int:
        """Return what others have to leave free for the first of the line."""
        amount = self.waiters[0].amount
        if self is self._credits.small:
            return amount
        # The rest of its part as well, as that is its lane's own.
        return max(0, max(amount, self.capacity) - self.taken)

    def resize(self, capacity: int) -> None:
        """Let it have another part; what is over that is not taken again once it is given back."""
        self._free += capacity - self.capacity
        self.capacity = capacity

    def grant_first(self) -> None:
        """Let the first of the line go."""
        _, amount, turn = self._pop()
        self._credits.free -= amount
        self._free -= amount
        turn.set_result(None)

    def drop_cancelled(self) -> bool:
        """Forget who is first and no longer waits; return whether somebody still does."""
        while self.waiters and self.waiters[0].turn.done():
            self._pop()
        return bool(self.waiters)

    def _pop(self) -> _Waiter:
        self._credits.waiting -= 1
        return self.waiters.popleft()


class ReadCredits:
    """The bytes of one connection.

    Args:
        total: bytes.

    Attributes:
        small: the lane of answers that are small, or likely so.
        large: of those that are large.
        feeds: of batches of messages: listings, and what watches catch up with.
        live: of what live feeds may be sent at any time; see `open_feed`.
        max_request: bytes that one can have at most.
        free: bytes that nobody has.
        waiting: how many wait, in all lanes.
    """

    def __init__(self, total: int = IN_FLIGHT_BYTES) -> None:
        self.total = self.free = total
        self.small = CreditPool(self, total)
        self.large = CreditPool(self, int(total * _LARGE))
        self.bulk = CreditPool(self, int(total * _FEEDS))
        self.live = CreditPool(self, int(total * _STANDING))
        self.max_request = total - self.live.capacity
        self.waiting = 0
        self._pools = self.small, self.large, self.bulk, self.live
        self._number = 0
        self._feeds = 0
        self._draining = False

    async def open_feed(self) -> int:
        """Return what one more live feed may be sent at any time, 0 where nothing is left.

        It is taken of `live` for as long as the feed is open: `close_feed` gives it back. The
        more feeds are open, the less a new one gets, so that there is something for thousands:
        the n-th largest share is never more than what the n-th feed got, and the sum of all those
        grows with the logarithm of their number only.
        """
        pool = self.live
        share = pool.capacity // (_FEEDS_AT_MOST * (self._feeds + 1))
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
        """Give back what `open_feed` has taken."""
        self._feeds -= 1
        self.live.release(amount)

    def next_number(self) -> int:
        self._number += 1
        return self._number

    def restrict_small(self) -> None:
        """Be careful: what was taken for small is large.

        All that is under way in the lane of the small ones may be. None is asked for until that is
        here, and fewer at a time then, until `lift_restriction`.
        """
        if self.small.capacity == self.total:
            self._draining = True
            self.small.resize(0)

    def lift_restriction(self) -> None:
        """End what `restrict_small` began, as no other one came for a while."""
        self._draining = False
        self.small.resize(self.total)
        self.grant()

    def _drained(self) -> None:
        if self._draining and not self.small.taken:
            self._draining = False
            self.small.resize(int(self.total * _CAUTIOUS))

    def unreserved(self) -> int:
        """Return the free bytes that no waiting request needs."""
        self._drained()
        return self.free - sum(pool.reserved() for pool in self._pools if pool.drop_cancelled())

    @property
    def has_abandoned(self) -> bool:
        """Whether `begin_reclaim` has something to begin with."""
        return any(pool.has_abandoned for pool in self._pools)

    def begin_reclaim(self) -> None:
        """Note what is in flight. Call `reclaim` after the reply to a later request."""
        for pool in self._pools:
            pool.begin_reclaim()

    def reclaim(self) -> None:
        """Give back what was left or is late since before `begin_reclaim`: it did not come."""
        for pool in self._pools:
            pool.reclaim()

    def grant(self) -> None:
        """Let go whoever's turn has come."""
        self._drained()
        while self._grant_one():
            pass

    def _grant_one(self) -> bool:
        free = self.free
        for pool in sorted((pool for pool in self._pools if pool.drop_cancelled()), key=_first):
            if pool.fits(pool.waiters[0].amount, free):
                pool.grant_first()
                return True
            # Who came later does not take what this one waits for.
            free -= pool.reserved()
        return False


def _first(pool: CreditPool) -> int:
    return pool.waiters[0].number


class CreditRequest(NamedTuple):
    """What a read has to take, and of which lane."""

    pool: CreditPool
    amount: int

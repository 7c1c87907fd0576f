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

__all__ = ["READING_BYTES", "Budget", "Lane", "Share"]

READING_BYTES = 44 * 1024 * 1024
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
    units: int
    turn: asyncio.Future[None]


class Lane:
    """One kind of answers, and what it has of a budget.

    Attributes:
        part: bytes that it may have at a time; only one that asks for more than that gets more,
            and then it is alone in its lane.
        line: the requests that wait, in order.
        epoch: of what is taken now; `give` it back with that.
    """

    __slots__ = (
        "_budget",
        "_left",
        "_left_before",
        "_old",
        "_room",
        "_settled",
        "epoch",
        "line",
        "part",
    )

    def __init__(self, budget: "Budget", part: int) -> None:
        self._budget = budget
        self._room = self.part = part
        self.line: deque[_Waiter] = deque()
        self.epoch = self._settled = 0
        self._old = self._left = self._left_before = 0

    @property
    def taken(self) -> int:
        """Bytes that are taken now."""
        return self.part - self._room

    def take_now(self, units: int) -> int:
        """Return what was taken, 0 where there is no room now: `give` it back."""
        budget = self._budget
        if budget.waiting or units > budget.free or units > self._room or units > budget.most:
            units = min(units, budget.most)
            if self.line or not self.fits(units, budget.left_by_the_line()):
                return 0
        budget.free -= units
        self._room -= units
        return units

    async def take(self, units: int) -> int:
        """Wait until that much is free, and return what was taken: `give` it back.

        Who asks for more than one can have (`Budget.most`) gets that much.
        """
        taken = self.take_now(units)
        if taken:
            return taken
        budget = self._budget
        units = min(units, budget.most)
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        waiter = _Waiter(budget.next_number(), units, turn)
        self.line.append(waiter)
        budget.waiting += 1
        try:
            await turn
        except asyncio.CancelledError:
            # Its turn may have come at this very moment. Else the next one's may have.
            self.give(0 if turn.cancelled() else units)
            raise
        return units

    def give(self, units: int, epoch: int | None = None) -> None:
        """Give back what was taken, or a part of it; it has come, or will not.

        Args:
            epoch: in which it was taken; None in a lane that gives up nothing.
        """
        if epoch is not None and epoch != self.epoch:
            if epoch < self._settled:
                return
            self._old -= units
        budget = self._budget
        budget.free += units
        self._room += units
        if budget.waiting:
            budget.serve()

    def leave(self, units: int) -> None:
        """Leave what was taken to `Budget.settle`: it may still come."""
        if self is not self._budget.small:
            self._left += units

    @property
    def unsettled(self) -> bool:
        """Whether something waits to be settled."""
        return bool(self.line) if self is self._budget.small else self._left + self._left_before > 0

    def begin_settling(self) -> None:
        if self is self._budget.small:
            self.epoch += 1
            self._old = self.taken
        else:
            self._left_before += self._left
            self._left = 0

    def settle(self) -> None:
        units = self._old + self._left_before
        self._old = self._left_before = 0
        self._settled = self.epoch
        self.give(units)

    def fits(self, units: int, free: int) -> bool:
        """Return whether somebody may go whom others leave so much."""
        return units <= free and (units <= self._room or self._room == self.part)

    def wants(self) -> int:
        """Return what others have to leave free for the first of the line."""
        units = self.line[0].units
        if self is self._budget.small:
            return units
        # The rest of its part as well, as that is its lane's own.
        return max(0, max(units, self.part) - self.taken)

    def resize(self, part: int) -> None:
        """Let it have another part; what is over that is not taken again once it is given back."""
        self._room += part - self.part
        self.part = part

    def serve_first(self) -> None:
        """Let the first of the line go."""
        _, units, turn = self._pop()
        self._budget.free -= units
        self._room -= units
        turn.set_result(None)

    def skip_gone(self) -> bool:
        """Forget who is first and no longer waits; return whether somebody still does."""
        while self.line and self.line[0].turn.done():
            self._pop()
        return bool(self.line)

    def _pop(self) -> _Waiter:
        self._budget.waiting -= 1
        return self.line.popleft()


class Budget:
    """The bytes of one connection.

    Args:
        total: bytes.

    Attributes:
        small: the lane of answers that are small, or likely so.
        large: of those that are large.
        feeds: of batches of messages: listings, and what watches catch up with.
        standing: of what live feeds may be sent at any time; see `open_feed`.
        most: bytes that one can have at most.
        free: bytes that nobody has.
        waiting: how many wait, in all lanes.
    """

    def __init__(self, total: int = READING_BYTES) -> None:
        self.total = self.free = total
        self.small = Lane(self, total)
        self.large = Lane(self, int(total * _LARGE))
        self.feeds = Lane(self, int(total * _FEEDS))
        self.standing = Lane(self, int(total * _STANDING))
        self.most = total - self.standing.part
        self.waiting = 0
        self._lanes = self.small, self.large, self.feeds, self.standing
        self._number = 0
        self._feeds = 0
        self._draining = False

    async def open_feed(self) -> int:
        """Return what one more live feed may be sent at any time, 0 where nothing is left.

        It is taken of `standing` for as long as the feed is open: `close_feed` gives it back. The
        more feeds are open, the less a new one gets, so that there is something for thousands:
        the n-th largest share is never more than what the n-th feed got, and the sum of all those
        grows with the logarithm of their number only.
        """
        lane = self.standing
        share = lane.part // (_FEEDS_AT_MOST * (self._feeds + 1))
        units = max(_FEED_LEAST, min(_FEED_MOST, share))
        if lane.line or lane.taken + units > lane.part:
            return 0
        self._feeds += 1
        taken = False
        try:
            units = await lane.take(units)
            taken = True
        finally:
            self._feeds -= not taken
        return units

    def close_feed(self, units: int) -> None:
        """Give back what `open_feed` has taken."""
        self._feeds -= 1
        self.standing.give(units)

    def next_number(self) -> int:
        self._number += 1
        return self._number

    def surprise(self) -> None:
        """Be careful: what was taken for small is large.

        All that is under way in the lane of the small ones may be. None is asked for until that is
        here, and fewer at a time then, until `trust`.
        """
        if self.small.part == self.total:
            self._draining = True
            self.small.resize(0)

    def trust(self) -> None:
        """End what `surprise` began, as no other one came for a while."""
        self._draining = False
        self.small.resize(self.total)
        self.serve()

    def _drained(self) -> None:
        if self._draining and not self.small.taken:
            self._draining = False
            self.small.resize(int(self.total * _CAUTIOUS))

    def left_by_the_line(self) -> int:
        """Return the free bytes that no waiting request needs."""
        self._drained()
        return self.free - sum(lane.wants() for lane in self._lanes if lane.skip_gone())

    @property
    def unsettled(self) -> bool:
        """Whether `begin_settling` has something to begin with."""
        return any(lane.unsettled for lane in self._lanes)

    def begin_settling(self) -> None:
        """Note what is under way; ask for something after a while, and `settle` once it is here."""
        for lane in self._lanes:
            lane.begin_settling()

    def settle(self) -> None:
        """Give back what was left or is late since before `begin_settling`: it did not come."""
        for lane in self._lanes:
            lane.settle()

    def serve(self) -> None:
        """Let go whoever's turn has come."""
        self._drained()
        while self._serve_one():
            pass

    def _serve_one(self) -> bool:
        free = self.free
        for lane in sorted((lane for lane in self._lanes if lane.skip_gone()), key=_first):
            if lane.fits(lane.line[0].units, free):
                lane.serve_first()
                return True
            # Who came later does not take what this one waits for.
            free -= lane.wants()
        return False


def _first(lane: Lane) -> int:
    return lane.line[0].number


class Share(NamedTuple):
    """What a read has to take, and of which lane."""

    lane: Lane
    units: int

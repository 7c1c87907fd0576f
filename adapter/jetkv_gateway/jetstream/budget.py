"""Budgets that many share: of bytes or messages asked for and not yet here.

All requests of a worker share one connection, and the server ends a connection that it has 64 MiB
for. So what is asked for is counted before, as large as it may come, and given back once it is
here. Whoever waits for a budget holds none of it, so nobody waits for one who waits.
"""

import asyncio
from collections import deque
from typing import NamedTuple

__all__ = ["Budget", "Hold", "Reads", "Share"]


class Budget:
    """So many units for all; who asks first is served first.

    Args:
        total: units; who asks for more than that gets all of them.
    """

    def __init__(self, total: int) -> None:
        self._total = total
        self._free = total
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    def take_now(self, units: int) -> int:
        """Return what was taken, 0 where there is no room now: `give` it back."""
        units = min(units, self._total)
        if self._waiting or units > self._free:
            return 0
        self._free -= units
        return units

    async def take(self, units: int) -> int:
        """Wait until that much is free, and return what was taken: `give` it back."""
        taken = self.take_now(units)
        if taken:
            return taken
        units = min(units, self._total)
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((units, turn))
        try:
            await turn
        except asyncio.CancelledError:
            # A smaller one behind this may go now.
            self.give(units if turn.done() and not turn.cancelled() else 0)
            raise
        return units

    def give(self, units: int) -> None:
        """Give back what was taken."""
        self._free += units
        while self._waiting:
            units, turn = self._waiting[0]
            if turn.done():
                self._waiting.popleft()
            elif units <= self._free:
                self._waiting.popleft()
                self._free -= units
                turn.set_result(None)
            else:
                return


class Share(NamedTuple):
    """What a read has to take of which budget."""

    budget: Budget
    units: int


class Hold:
    """What was taken of a budget, to be given back in parts, or moved to another budget."""

    def __init__(self, budget: Budget, units: int) -> None:
        self._budget = budget
        self._units = units

    def keep(self, units: int) -> None:
        """Give back what is over so many units."""
        if units < self._units:
            self._budget.give(self._units - units)
            self._units = units

    def move(self, budget: Budget) -> None:
        """Take it of another budget instead, if that one has room now."""
        taken = budget.take_now(self._units)
        if taken:
            self.keep(0)
            self._budget, self._units = budget, taken


_MIB = 1024 * 1024
_BYTES_OF_SMALL = 8 * _MIB
_BYTES_OF_LARGE = 8 * _MIB
_BYTES_OF_UNKNOWN = 16 * _MIB
_BYTES_OF_HISTORIES = 16 * _MIB
_BYTES_OF_SMALL_HISTORIES = 4 * _MIB
_BYTES_OF_SLOW_HISTORIES = 64 * _MIB
"""With what catches up, and what is live, no more than the server allows. The more is on its way,
the longer takes every other reply that comes behind it."""

_SMALL = 64 * 1024
_KNOWN = 4096
_KNOWN_SECONDS = 10.0
_SLACK = 1024


class Reads:
    """Which budget a read of one message takes its share of.

    Nobody says how large an answer will be. Were each counted as the largest that it can be, small
    values would wait for one another where the server takes large ones. So sizes are remembered for
    a moment: a message that was small is counted as that, and does not stand in line behind large
    ones; one that nobody has read is counted as the largest, but apart from large ones as long as
    only small ones were seen in its bucket. What another gateway has made larger since is counted
    too low, once.
    """

    def __init__(self) -> None:
        self._small = Budget(_BYTES_OF_SMALL)
        self._large = Budget(_BYTES_OF_LARGE)
        self._unknown = Budget(_BYTES_OF_UNKNOWN)
        self._histories = Budget(_BYTES_OF_HISTORIES)
        self._small_histories = Budget(_BYTES_OF_SMALL_HISTORIES)
        self.slow_histories = Budget(_BYTES_OF_SLOW_HISTORIES)
        self._seen: dict[str, Share] = {}
        self._seen_before: dict[str, Share] = {}
        self._largest: dict[str, int] = {}
        self._largest_before: dict[str, int] = {}
        self._until = 0.0

    def known(self, subject: str) -> Share | None:
        """Return the share for the newest message of a subject, None where it is not known."""
        return self._seen.get(subject) or self._seen_before.get(subject)

    def _share(self, size: int) -> Share:
        return Share(self._small if size <= _SMALL else self._large, size)

    def unknown(self, bucket: str, bound: int) -> Share:
        """Return the share for any message of a bucket, whose answer has `bound` bytes at most."""
        if bound <= _SMALL:
            return Share(self._small, bound)
        largest = max(self._largest.get(bucket, 0), self._largest_before.get(bucket, 0))
        return Share(self._unknown if 0 < largest <= _SMALL else self._large, bound)

    def of_history(self, bound: int) -> Share:
        """Return the share for one revision of a history, which is held while it is sent.

        It is there twice then, as it came and as it goes out. Where all of a bucket's are small,
        none of them stands in line behind large ones.
        """
        return Share(self._small_histories if bound <= _SMALL else self._histories, 2 * bound)

    def saw(self, bucket: str, subject: str, size: int, now: float) -> None:
        """Note the size of a subject's newest message, in bytes of an answer.

        Args:
            now: the time of the event loop, in seconds.
        """
        if now > self._until or len(self._seen) >= _KNOWN:
            is_old = now > self._until + _KNOWN_SECONDS
            self._seen_before = {} if is_old else self._seen
            self._largest_before = {} if is_old else self._largest
            self._seen, self._largest = {}, {}
            self._until = now + _KNOWN_SECONDS
        size += _SLACK
        share = self._seen.get(subject)
        if share is not None and share.units == size:
            return
        self._seen[subject] = self._share(size)
        self._largest[bucket] = max(size, self._largest.get(bucket, 0))

    def grows(self, bucket: str, subject: str, size: int) -> None:
        """Note that a message is being written; what nobody has read stays unknown."""
        size += _SLACK
        share = self.known(subject)
        if share is not None and size > share.units:
            self._seen[subject] = self._share(size)
        if size > self._largest.get(bucket, size):
            self._largest[bucket] = size
        if size > self._largest_before.get(bucket, size):
            self._largest_before[bucket] = size

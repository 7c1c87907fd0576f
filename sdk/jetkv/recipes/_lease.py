"""How long something is held, by a clock of this machine alone."""

import os
import sys
import threading
import time
from dataclasses import dataclass

from jetkv.errors import InvalidArgumentError
from jetkv.models import BucketInfo

__all__ = ["Hold", "Lease", "clock", "ttl_of"]


def clock() -> float:
    """Return seconds of a clock that nobody sets, and that goes on while the machine sleeps."""
    if sys.platform == "linux":
        return time.clock_gettime(time.CLOCK_BOOTTIME)
    if sys.platform == "darwin":
        return time.clock_gettime(time.CLOCK_MONOTONIC)
    return time.monotonic()


def ttl_of(info: BucketInfo, what: str) -> float:
    """Return the seconds after which a bucket's keys expire.

    Raises:
        InvalidArgumentError: they do not, or too soon for `what`.
    """
    if info.ttl is None:
        raise InvalidArgumentError(
            f"{what} needs a bucket whose keys expire; those of {info.name!r} never do",
            hint="create_bucket(name, ttl=timedelta(seconds=30))",
        )
    seconds = info.ttl.total_seconds()
    if seconds < 1:
        raise InvalidArgumentError(
            f"{what} needs a bucket with a ttl of 1 s or more; that of {info.name!r} is {info.ttl}"
        )
    return seconds


@dataclass(frozen=True, slots=True)
class Hold:
    """A key that is held.

    Attributes:
        fencing: the revision that it was first held with.
        revision: the newest one.
        since: when the write of that was begun, by `clock`. The server wrote later, so the key
            lives at least for the bucket's TTL from there.
    """

    fencing: int
    revision: int
    since: float


class Lease:
    """A hold that ends with its time, and once it has ended, for good.

    Any thread may ask. It belongs to the process that made it: a forked child holds nothing.
    """

    def __init__(self, hold: Hold, ttl: float) -> None:
        self.ttl = ttl
        self._hold = hold
        self._lost = False
        self._guard = threading.Lock()
        self._pid = os.getpid()

    @property
    def ours(self) -> bool:
        """Whether this process made it, rather than its parent before a fork."""
        return self._pid == os.getpid()

    @property
    def hold(self) -> Hold:
        return self._hold

    @property
    def alive(self) -> bool:
        # The guard may have been taken at the moment of a fork: a child does not touch it.
        if not self.ours:
            return False
        with self._guard:
            return self._alive()

    @property
    def left(self) -> float:
        """Seconds until it ends unless it is renewed, 0 when it has."""
        return max(self._hold.since + self.ttl - clock(), 0.0) if self.alive else 0.0

    def renewed(self, hold: Hold) -> bool:
        """Take in a renewal; return whether it came in time."""
        with self._guard:
            alive = self._alive()
            self._hold = hold
            return alive and self._alive()

    def end(self) -> None:
        """End it now."""
        with self._guard:
            self._lost = True

    def _alive(self) -> bool:
        # Remembered: who saw it lost must not see it held again.
        if clock() >= self._hold.since + self.ttl:
            self._lost = True
        return not self._lost

"""How long this process owns a key, by this machine's clock alone."""

import os
import sys
import threading
import time
from dataclasses import dataclass

from jetkv.errors import InvalidArgumentError
from jetkv.models import BucketInfo

__all__ = ["Lease", "Ownership", "clock", "ttl_of"]


def clock() -> float:
    """Return the seconds of a clock that nobody can set and that counts the machine's sleep."""
    if sys.platform == "linux":
        return time.clock_gettime(time.CLOCK_BOOTTIME)
    if sys.platform == "darwin":
        return time.clock_gettime(time.CLOCK_MONOTONIC)
    return time.monotonic()


def ttl_of(info: BucketInfo, purpose: str) -> float:
    """Return the seconds after which a bucket's keys expire.

    Args:
        info: the bucket.
        purpose: what needs the TTL, for errors: `a lock`.

    Raises:
        InvalidArgumentError: the keys never expire, or expire after less than 1 s.
    """
    if info.ttl is None:
        raise InvalidArgumentError(
            f"{purpose} needs a bucket whose keys expire; those of {info.name!r} never do",
            hint="create_bucket(name, ttl=timedelta(seconds=30))",
        )
    seconds = info.ttl.total_seconds()
    if seconds < 1:
        raise InvalidArgumentError(
            f"{purpose} needs a bucket with a ttl of 1 s or more; {info.name!r} has {info.ttl}"
        )
    return seconds


@dataclass(frozen=True, slots=True)
class Ownership:
    """A key that this process owns.

    Attributes:
        fencing: the revision of the first write.
        revision: the revision of the newest write.
        written_at: when the newest write was started, by `clock`. The server applied it later, so
            the key lives at least until the bucket's TTL has passed since then.
    """

    fencing: int
    revision: int
    written_at: float


class Lease:
    """Tells whether this process still owns a key. Once it does not, that never changes.

    Any thread may ask. In a forked child, the lease is not alive.

    Args:
        ownership: the key's ownership.
        ttl: the bucket's TTL in seconds.
    """

    def __init__(self, ownership: Ownership, ttl: float) -> None:
        self.ttl = ttl
        self._ownership = ownership
        self._lost = False
        self._guard = threading.Lock()
        self._pid = os.getpid()

    @property
    def in_this_process(self) -> bool:
        """Whether this process made the lease, and not its parent before a fork."""
        return self._pid == os.getpid()

    @property
    def ownership(self) -> Ownership:
        return self._ownership

    @property
    def alive(self) -> bool:
        # A forked child must not use the lock: it may have been taken at the moment of the fork.
        if not self.in_this_process:
            return False
        with self._guard:
            return self._alive()

    @property
    def seconds_left(self) -> float:
        """Seconds until the lease ends unless it is renewed; 0 if it has ended."""
        end = self._ownership.written_at + self.ttl
        return max(end - clock(), 0.0) if self.alive else 0.0

    def renewed(self, ownership: Ownership) -> bool:
        """Record a renewal; return whether it came in time."""
        with self._guard:
            alive = self._alive()
            self._ownership = ownership
            return alive and self._alive()

    def end(self) -> None:
        """End the lease now."""
        with self._guard:
            self._lost = True

    def _alive(self) -> bool:
        # Recorded, so that a lease which was seen as lost is never seen as alive again.
        if clock() >= self._ownership.written_at + self.ttl:
            self._lost = True
        return not self._lost

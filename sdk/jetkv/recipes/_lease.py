"""How long this process owns a key, by this machine's clock alone."""

import os
import sys
import threading
import time
from dataclasses import dataclass
from datetime import timedelta

from jetkv._core.ttls import ttl_seconds
from jetkv.errors import InvalidArgumentError
from jetkv.models import BucketInfo

__all__ = ["KeyTtl", "Lease", "Ownership", "checked_ttl", "clock", "key_ttl"]


def clock() -> float:
    """Return the seconds of a clock that nobody can set and that counts the machine's sleep."""
    if sys.platform == "linux":
        return time.clock_gettime(time.CLOCK_BOOTTIME)
    if sys.platform == "darwin":
        return time.clock_gettime(time.CLOCK_MONOTONIC)
    return time.monotonic()


@dataclass(frozen=True, slots=True)
class KeyTtl:
    """When a recipe's keys expire.

    Attributes:
        seconds: how long a key lives after it was written.
        own: the TTL to send with each write; None if that of the bucket applies.
        keeps_history: whether the bucket keeps older values. A value with a TTL of its own can then
            only be created and touched, not replaced.
    """

    seconds: float
    own: int | None = None
    keeps_history: bool = False


def checked_ttl(ttl: int | timedelta | None, purpose: str) -> int | None:
    """Return the seconds of a recipe's own TTL; None for that of the bucket.

    Raises:
        InvalidArgumentError: it is not whole seconds from 1.
    """
    if ttl is None:
        return None
    seconds = ttl_seconds(ttl)
    if seconds == "never":
        raise InvalidArgumentError(f"{purpose} must expire, so its ttl cannot be {ttl!r}")
    return seconds


def key_ttl(info: BucketInfo, own: int | None, purpose: str, *, replaced: bool = False) -> KeyTtl:
    """Return when keys in a bucket expire.

    Args:
        info: the bucket.
        own: seconds after which they have to; None for the bucket's TTL.
        purpose: what needs the TTL, for errors: `a lock`.
        replaced: whether the keys get new values that have to expire as well.

    Raises:
        InvalidArgumentError: the keys would never expire, or at another time.
    """
    if own is None or (info.ttl is not None and info.ttl == timedelta(seconds=own)):
        return KeyTtl(_bucket_ttl(info, purpose))
    if info.ttl is not None and info.ttl < timedelta(seconds=own):
        raise InvalidArgumentError(
            f"{purpose} with a ttl of {own} s needs a bucket that keeps its keys for as long; "
            f"those of {info.name!r} expire after {info.ttl}",
            hint="use a shorter ttl, or a bucket without one",
        )
    if not info.key_ttl:
        raise InvalidArgumentError(
            f"{purpose} with a ttl of {own} s needs a bucket that allows TTLs of single values; "
            f"{info.name!r} does not",
            hint="use a bucket with that ttl; or key_ttl=True, on nats-server 2.11 or newer",
        )
    if replaced and info.history > 1:
        raise InvalidArgumentError(
            f"{purpose} with a ttl of its own needs a bucket with a history of 1; {info.name!r} "
            f"has {info.history}",
            hint="use another bucket, or one with that ttl",
        )
    return KeyTtl(float(own), own, info.history > 1)


def _bucket_ttl(info: BucketInfo, purpose: str) -> float:
    if info.ttl is None:
        raise InvalidArgumentError(
            f"{purpose} needs a bucket whose keys expire; those of {info.name!r} never do",
            hint="give it a ttl of its own, or use create_bucket(name, ttl=timedelta(seconds=30))",
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
            the key lives at least until its TTL has passed since then.
    """

    fencing: int
    revision: int
    written_at: float


class Lease:
    """Tells whether this process still owns a key. Once it does not, that never changes.

    Any thread may ask. In a forked child, the lease is not alive.

    Args:
        ownership: the key's ownership.
        ttl: the key's TTL in seconds.
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

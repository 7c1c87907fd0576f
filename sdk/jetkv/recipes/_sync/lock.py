# Made from sdk/jetkv/recipes/_async/lock.py by `make format`. Edit that file.
"""A lock with a TTL, a heartbeat and a fencing revision."""

import math
import os
import socket
import threading
from datetime import timedelta
from types import TracebackType
from typing import Any, Self

from jetkv._core.process import ProcessBound
from jetkv._core.retry import jitter
from jetkv._sync.bucket import Bucket
from jetkv._sync.runtime import now
from jetkv.errors import (
    DeadlineExceededError,
    JetKVError,
    LockError,
    LockLostError,
    LockTimeoutError,
    OutcomeUnknownError,
    UnavailableError,
)
from jetkv.recipes._lease import Lease, Ownership, checked_ttl, clock, key_ttl
from jetkv.recipes._sync.claimed_key import ClaimedKey
from jetkv.recipes._sync.heartbeat import Heartbeat, OnLost
from jetkv.recipes._sync.release_watch import ReleaseWatch
from jetkv.recipes._sync.view import checked_bucket

__all__ = ["Lock"]

_RETRIED = (UnavailableError, DeadlineExceededError, OutcomeUnknownError)
_MAX_POLL_SECONDS = 1.0


class Lock(ProcessBound):
    """A lock across machines. If its holder crashes, it becomes free.

        lock = Lock(client.kv().bucket("locks"), "report", ttl=30)
        with lock:
            for page in report():
                lock.check()
                store(page, fencing=lock.fencing)

    You can rely on:
        - While the key lives, there is one holder: every write of the key is a compare-and-set.
        - If the holder crashes or loses its connection, another can hold the lock after at most the
          TTL.
        - `held` becomes False as soon as the TTL has passed since the last renewal *began*, by this
          machine's clock, even without a connection. Then it stays False.
        - `fencing` grows from holder to holder, until the bucket is deleted and created again.
        - If the outcome of a write is unknown, the key is read; nothing is assumed.

    You cannot rely on:
        - Nothing else running at the same time. Between `check` and your next step, the process can
          be paused (garbage collection, SIGSTOP, a virtual machine that moves) for longer than the
          TTL. Only `fencing` makes this safe: the resource that the lock protects must refuse a
          number that is smaller than one it has seen.
        - The server's clock. If it is set forward, or if the clock of the next leader is ahead, the
          lock ends that much earlier.
        - Order: the process that waits longest need not be the next holder.
        - Progress: the heartbeat shows that the process lives, not that its work advances.

    The lock is not re-entrant. Use one object for each thread or task. It stores JSON of its own,
    whatever the bucket's type. Each `acquire` reads the bucket's settings; if its TTL is made
    shorter while the lock is held, the lock may end early without notice. If you cancel an
    `acquire`, the key may stay taken for up to the TTL: use a timeout instead.

    Args:
        bucket: any bucket that allows TTLs of single values; without `ttl`, a bucket with a TTL of
            1 s or more.
        name: the lock's key.
        ttl: how long a crash blocks others, and how long a holder may be without a connection:
            seconds or a timedelta; 10 to 60 s suit most programs. None for the TTL of the bucket.
        holder: what others read about the holder; None for host name and process id.
        timeout: seconds that `with` waits for the lock; None to wait without a limit.
        on_lost: called once if the lock is lost, in the heartbeat's thread (async: task).

    Raises:
        InvalidArgumentError: `bucket` is not a bucket of this client, or `ttl` is not whole seconds
            from 1.
    """

    def __init__(
        self,
        bucket: Bucket[Any],
        name: str,
        *,
        ttl: int | timedelta | None = None,
        holder: str | None = None,
        timeout: float | None = None,
        on_lost: OnLost | None = None,
    ) -> None:
        self._bucket = checked_bucket(bucket, self)
        self._ttl = checked_ttl(ttl, "a lock")
        self._name = name
        self._fields = {"holder": holder or f"{socket.gethostname()}:{os.getpid()}"}
        self._timeout = timeout
        self._on_lost = on_lost
        self._heartbeat: Heartbeat | None = None
        self._guard = threading.Lock()
        self._busy = False

    def __repr__(self) -> str:
        state = "held" if self.held else "not held"
        return f"<Lock {self._name!r} in bucket {self._bucket.name!r}, {state}>"

    @property
    def held(self) -> bool:
        """Whether this object holds the lock now. This does no I/O: it reads the clock."""
        heartbeat = self._heartbeat
        return heartbeat is not None and heartbeat.lease.alive

    @property
    def fencing(self) -> int:
        """The revision that the lock was acquired with, for the resource that the lock protects.

        It stays after the lock is lost, so that the resource can refuse late work.

        Raises:
            LockError: the lock was not acquired, or was released.
        """
        heartbeat = self._heartbeat
        if heartbeat is None:
            raise LockError(f"{self._description} is not acquired", hint="call acquire() first")
        return heartbeat.lease.ownership.fencing

    def check(self) -> None:
        """Check that this object holds the lock now.

        Raises:
            LockLostError: it does not; stop the work that the lock protects.
        """
        if self.held:
            return
        state = "is lost" if self._heartbeat is not None else "is not acquired"
        raise LockLostError(
            f"{self._description} {state}",
            hint="stop the work; to start again, release() and acquire()",
        )

    def acquire(self, timeout: float | None = None) -> None:
        """Wait until the lock is free, and take it.

        Args:
            timeout: seconds to wait; 0 to try once; None to wait without a limit. A request that is
                running when the time ends may take as long as the client's own timeout allows.

        Raises:
            LockTimeoutError: another holder held it all the time.
            LockError: this object already holds the lock, or is acquiring it.
            InvalidArgumentError: neither the lock nor the bucket has a TTL, or the bucket cannot
                give the lock's key its TTL.
            BucketUnsuitableError: the TTL is shorter than the bucket allows; see `shortest_ttl`.
            UnavailableError, DeadlineExceededError: the gateway is away. The first attempt raises
                this at once. Later ones wait, and raise it if it lasts until `timeout`.
            OutcomeUnknownError: as these. You do not hold the lock, but the key may block others
                for the TTL.
        """
        with self._guard:
            if self._busy or self.held:
                raise LockError(
                    f"this object already holds {self._description}, or is acquiring it",
                    hint="make one Lock for each thread or task",
                )
            self._busy = True
        try:
            self._end()
            # Read each time: the bucket may have been created again with another TTL.
            ttl = key_ttl(self._bucket.info(), self._ttl, "a lock")
            claimed_key = ClaimedKey(self._bucket, self._name, ttl)
            ownership = self._wait_for(claimed_key, ttl.seconds, timeout)
            lease = Lease(ownership, ttl.seconds)
            self._heartbeat = Heartbeat(
                self._description, claimed_key, self._fields, lease, self._on_lost
            )
            self._heartbeat.start()
        finally:
            self._busy = False

    def release(self) -> None:
        """Release the lock. If it was lost or not acquired, this does nothing.

        Only a key that this object wrote is deleted. If the key cannot be deleted, a warning is
        logged, and the lock becomes free after its TTL.
        """
        self._end()

    def __enter__(self) -> Self:
        self.acquire(self._timeout)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Release the lock.

        Raises:
            LockLostError: the lock was lost before the end of the block, and the block raised no
                error.
        """
        if not self._end() and error is None:
            raise LockLostError(
                f"{self._description} was lost before the end of the block",
                hint="the block may have run at the same time as another holder",
            )

    @property
    def _description(self) -> str:
        return f"lock {self._name!r} in bucket {self._bucket.name!r}"

    def _end(self) -> bool:
        with self._guard:
            heartbeat, self._heartbeat = self._heartbeat, None
        return heartbeat is None or heartbeat.end()

    def _wait_for(self, claimed_key: ClaimedKey, ttl: float, timeout: float | None) -> Ownership:
        deadline = math.inf if timeout is None else now() + timeout
        failure: JetKVError | None = None
        waited = False
        release_watch = ReleaseWatch(self._bucket, self._name)
        try:
            while True:
                ownership = None
                try:
                    ownership = claimed_key.acquire(self._fields)
                    failure = None
                    if ownership is not None and clock() >= ownership.written_at + ttl:
                        # The answer came so late that the TTL has passed.
                        claimed_key.release(ownership)
                        ownership = None
                except _RETRIED as error:
                    if not waited:
                        raise
                    failure = error
                if ownership is not None:
                    return ownership
                left = deadline - now()
                if left <= 0:
                    raise failure or self._timed_out(claimed_key, timeout)
                waited = True
                poll = min(_MAX_POLL_SECONDS, ttl / 4) * (0.5 + 0.5 * jitter())
                release_watch.wait(min(left, poll))
        finally:
            release_watch.close()

    def _timed_out(self, claimed_key: ClaimedKey, timeout: float | None) -> LockTimeoutError:
        holder = claimed_key.other.get("holder", "another holder")
        return LockTimeoutError(
            f"{self._description} was not free within {timeout:g} s: held by {holder}",
            hint="use a longer timeout, or try again later",
        )

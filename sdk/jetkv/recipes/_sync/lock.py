# Made from sdk/jetkv/recipes/_async/lock.py by `make format`; edit that one.
"""A lock with a TTL, a heartbeat and a fencing revision."""

import math
import os
import socket
import threading
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
from jetkv.recipes._lease import Hold, Lease, clock, ttl_of
from jetkv.recipes._sync.doorbell import Doorbell
from jetkv.recipes._sync.owned import Owned
from jetkv.recipes._sync.tenure import OnLost, Tenure
from jetkv.recipes._sync.view import checked_bucket

__all__ = ["Lock"]

_TROUBLE = (UnavailableError, DeadlineExceededError, OutcomeUnknownError)
_LONGEST_POLL = 1.0


class Lock(ProcessBound):
    """A lock that many machines agree on, and that a crash does not keep.

        locks = client.kv().bucket("locks")  # made with ttl=timedelta(seconds=30)
        lock = Lock(locks, "report")
        with lock:
            for page in report():
                lock.check()
                store(page, fencing=lock.fencing)

    Guaranteed:
        - While the key lives, one holds it: every write of it is a compare-and-set.
        - A holder that crashes, or is cut off from the gateway, is followed by another after at
          most the bucket's TTL.
        - `held` is False from the moment when the TTL has passed since the last renewal *began*,
          by this machine's clock alone, even while it is cut off; once False, it stays False.
        - `fencing` grows from holder to holder, as long as the bucket is the same.
        - A write whose outcome is unknown is settled by reading, never by assumption.

    Not guaranteed:
        - That nothing runs beside you. Between a look at `held` and what you do next, a process
          can be paused (GC, SIGSTOP, a virtual machine that moves) for longer than the TTL. What
          the lock guards must refuse a smaller `fencing` than it has seen; only that is safe.
        - Expiry is by the clock of the nats-server: one that is set forward, or another leader's
          that is ahead, ends a lock early by as much.
        - Order: who waits longest need not be next.
        - Progress of the holder: the heartbeat says that its process lives, not that it works.

    It is not re-entrant, and an object is one holder: make one for each thread or task. What is
    stored is JSON of its own, whatever the type of the bucket. The bucket needs a TTL, which each
    `acquire` reads; one that is shortened while the lock is held ends it early, unseen. An
    `acquire` that is cancelled may leave the name taken for up to the TTL: give it a timeout.

    Args:
        bucket: made with a ttl of 1 s or more. It bounds how long a crash blocks others, and how
            long a holder may be cut off; 10 to 60 s suit most.
        name: the key.
        holder: what others are told about who holds it; None = host name and process id.
        timeout: seconds that `with` waits for others; None = as long as it takes.
        on_lost: called once when it is lost, in the heartbeat's thread (async: task).
    """

    def __init__(
        self,
        bucket: Bucket[Any],
        name: str,
        *,
        holder: str | None = None,
        timeout: float | None = None,
        on_lost: OnLost | None = None,
    ) -> None:
        self._bucket = checked_bucket(bucket, self)
        self._name = name
        self._facts = {"holder": holder or f"{socket.gethostname()}:{os.getpid()}"}
        self._timeout = timeout
        self._on_lost = on_lost
        self._tenure: Tenure | None = None
        self._guard = threading.Lock()
        self._busy = False

    def __repr__(self) -> str:
        state = "held" if self.held else "not held"
        return f"<Lock {self._name!r} in bucket {self._bucket.name!r}, {state}>"

    @property
    def held(self) -> bool:
        """Whether it is held now. No I/O: it goes by the clock."""
        tenure = self._tenure
        return tenure is not None and tenure.lease.alive

    @property
    def fencing(self) -> int:
        """The revision that it was acquired with; what it guards refuses smaller ones.

        It stays when the lock is lost, so that late work is refused rather than let through.

        Raises:
            LockError: it was not acquired, or was released.
        """
        tenure = self._tenure
        if tenure is None:
            raise LockError(f"{self._what} is not acquired", hint="acquire() it first")
        return tenure.lease.hold.fencing

    def check(self) -> None:
        """Return if it is held now.

        Raises:
            LockLostError: it is not; what it guards must stop.
        """
        if self.held:
            return
        lost = "is lost" if self._tenure is not None else "is not acquired"
        raise LockLostError(
            f"{self._what} {lost}", hint="stop; release() and acquire() it to begin again"
        )

    def acquire(self, timeout: float | None = None) -> None:
        """Take it, as soon as nobody else holds it.

        Args:
            timeout: seconds to wait for others; 0 = try once; None = as long as it takes. A call
                that is on its way has the client's own timeout besides.

        Raises:
            LockTimeoutError: somebody else held it all the time.
            LockError: this object holds it, or is acquiring it, already.
            InvalidArgumentError: the bucket has no TTL.
            UnavailableError, DeadlineExceededError: at once when the first try fails so; one that
                waits already goes on, and raises them if they last until `timeout`.
            OutcomeUnknownError: as these; it is not held, but may block others for the TTL.
        """
        with self._guard:
            if self._busy or self.held:
                raise LockError(
                    f"this object holds {self._what} already, or is about to",
                    hint="make one Lock for each thread or task",
                )
            self._busy = True
        try:
            self._end()
            # Each time: the bucket may be another one by now.
            ttl = ttl_of(self._bucket.info(), "a lock")
            owned = Owned(self._bucket, self._name, ttl)
            hold = self._take(owned, ttl, timeout)
            lease = Lease(hold, ttl)
            self._tenure = Tenure(self._what, owned, self._facts, lease, self._on_lost)
            self._tenure.start()
        finally:
            self._busy = False

    def release(self) -> None:
        """Give it back; nothing happens when it is lost, or was not acquired.

        Only what this object wrote is deleted. When that cannot be done a warning is logged, and
        the TTL frees it.
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
        """Release it.

        Raises:
            LockLostError: it was lost meanwhile, and nothing else was raised.
        """
        if not self._end() and error is None:
            raise LockLostError(
                f"{self._what} was lost before its end",
                hint="what ran under it may have run beside another holder",
            )

    @property
    def _what(self) -> str:
        return f"lock {self._name!r} in bucket {self._bucket.name!r}"

    def _end(self) -> bool:
        with self._guard:
            tenure, self._tenure = self._tenure, None
        return tenure is None or tenure.end()

    def _take(self, owned: Owned, ttl: float, timeout: float | None) -> Hold:
        deadline = math.inf if timeout is None else now() + timeout
        trouble: JetKVError | None = None
        waited = False
        bell = Doorbell(self._bucket, self._name)
        try:
            while True:
                hold = None
                try:
                    hold = owned.take(self._facts)
                    trouble = None
                    if hold is not None and clock() >= hold.since + ttl:
                        # The answer came so late that there is nothing left of it.
                        owned.drop(hold)
                        hold = None
                except _TROUBLE as error:
                    if not waited:
                        raise
                    trouble = error
                if hold is not None:
                    return hold
                left = deadline - now()
                if left <= 0:
                    raise trouble or self._timed_out(owned, timeout)
                waited = True
                poll = min(_LONGEST_POLL, ttl / 4) * (0.5 + 0.5 * jitter())
                bell.wait(min(left, poll))
        finally:
            bell.close()

    def _timed_out(self, owned: Owned, timeout: float | None) -> LockTimeoutError:
        holder = owned.other.get("holder", "somebody else")
        return LockTimeoutError(
            f"{self._what} was not free within {timeout:g} s: held by {holder}",
            hint="wait longer, or try again later",
        )

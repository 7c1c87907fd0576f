# Made from sdk/jetkv/recipes/_async/election.py by `make format`; edit that one.
"""Leader election: one of many candidates leads, and everybody can know which."""

from collections.abc import Iterator
from typing import Any, Self

from jetkv._core.process import ProcessBound
from jetkv._core.retry import Retry, jitter
from jetkv._sync.bucket import Bucket
from jetkv._sync.runtime import sleep
from jetkv.errors import InvalidArgumentError, JetKVError, WatchLostError
from jetkv.models import Operation, Update
from jetkv.recipes._documents import DOCUMENTS
from jetkv.recipes._sync.lock import Lock
from jetkv.recipes._sync.tenure import OnLost
from jetkv.recipes._sync.view import bucket_view, checked_bucket, filters_for

__all__ = ["Election"]

_BACK_OFF = Retry(first_delay=0.1, longest_delay=5.0)


class Election(ProcessBound):
    """An election among those who name the same bucket and key.

        election = Election(bucket, "scheduler", candidate="host-7")
        election.campaign()
        while election.is_leader:
            run_one(term=election.term)

    It is a lock whose holder has a name, so all that `Lock` guarantees, and does not, holds
    here: there is never more than one who *may* believe to lead by the server's time, a leader
    that crashes is followed after at most the bucket's TTL, `is_leader` goes by the clock of this
    machine and turns False by itself, and `term` is the fencing revision that what the leader
    writes to should check. A leader that lost does not campaign again by itself.

    Not guaranteed: that the best, or the first, candidate wins; that `leader()` is still true
    when it returns.

    Args:
        bucket: of any type, made with a ttl of 1 s or more.
        name: the key.
        candidate: what the others see as the leader; two may have the same and are two still.
        on_lost: called once when leadership is lost, in the heartbeat's thread (async: task).
    """

    def __init__(
        self,
        bucket: Bucket[Any],
        name: str,
        candidate: str,
        *,
        on_lost: OnLost | None = None,
    ) -> None:
        if not isinstance(candidate, str) or not candidate:
            raise InvalidArgumentError(f"a candidate is text, and not empty: {candidate!r}")
        self.candidate = candidate
        self._name = name
        self._bucket = bucket_view(checked_bucket(bucket, self), DOCUMENTS)
        self._lock = Lock(bucket, name, holder=candidate, on_lost=on_lost)

    @property
    def is_leader(self) -> bool:
        """Whether this candidate leads now. No I/O: it goes by the clock."""
        return self._lock.held

    @property
    def term(self) -> int:
        """The revision that this candidate was elected with; it grows from leader to leader.

        Raises:
            LockError: it was not elected, or resigned.
        """
        return self._lock.fencing

    def check(self) -> None:
        """Return if this candidate leads now.

        Raises:
            LockLostError: it does not.
        """
        self._lock.check()

    def campaign(self, timeout: float | None = None) -> None:
        """Wait until this candidate leads; arguments and errors are those of `acquire`.

        Raises:
            LockTimeoutError: another led all the time.
        """
        self._lock.acquire(timeout)

    def resign(self) -> None:
        """Lead no more; another can at once. Nothing happens when it does not lead."""
        self._lock.release()

    def leader(self) -> str | None:
        """Return who leads, as the gateway says now; None when nobody does."""
        found = self._bucket.get_or_none(self._name)
        return None if found is None else _candidate(found.value)

    def observe(self) -> Iterator[str | None]:
        """Yield who leads, now and whenever that changes; None while nobody does.

        It goes on through restarts of gateway and NATS; short terms in between may be left out.
        Where the bucket has no expiry markers, a leader that crashed is seen until the next one.

        Raises:
            BucketNotFoundError: there is no such bucket, or no more.
            UnavailableError, DeadlineExceededError: the gateway is away as this begins.
        """
        yielded: tuple[str | None] | None = None
        failed = 0
        while True:
            leader: str | None = None
            try:
                with self._bucket.watch(*filters_for(self._name), snapshot=True) as watch:
                    for update in watch.snapshot():
                        if update.key == self._name:
                            leader = _leader_after(update)
                    failed = 0
                    if yielded != (leader,):
                        yielded = (leader,)
                        yield leader
                    for update in watch:
                        if update.key == self._name:
                            leader = _leader_after(update)
                        if yielded != (leader,):
                            yielded = (leader,)
                            yield leader
            except WatchLostError:
                continue
            except JetKVError as error:
                # An open watch waits while the gateway is away. So does one that replaces it.
                if yielded is None or not error.retryable:
                    raise
                failed += 1
                sleep(_BACK_OFF.delay(failed, 0.0, jitter()))

    def __enter__(self) -> Self:
        self.campaign()
        return self

    def __exit__(self, *_exc: object) -> None:
        self.resign()


def _leader_after(update: Update[Any]) -> str | None:
    return _candidate(update.value or {}) if update.operation is Operation.PUT else None


def _candidate(document: Any) -> str | None:
    holder = document.get("holder")
    return holder if isinstance(holder, str) else None

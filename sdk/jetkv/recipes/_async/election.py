"""Leader election: one of several candidates leads, and every client can see which."""

from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any, Self

from jetkv._async.bucket import AsyncBucket
from jetkv._async.runtime import sleep
from jetkv._core.process import ProcessBound
from jetkv._core.retry import Retry, jitter
from jetkv.errors import InvalidArgumentError, JetKVError, WatchLostError
from jetkv.models import Operation, Update
from jetkv.recipes._async.heartbeat import OnLost
from jetkv.recipes._async.lock import AsyncLock
from jetkv.recipes._async.view import bucket_view, checked_bucket, filters_for
from jetkv.recipes._documents import DOCUMENTS

__all__ = ["AsyncElection"]

_BACK_OFF = Retry(first_delay=0.1, longest_delay=5.0)


class AsyncElection(ProcessBound):
    """An election among the candidates that use the same bucket and name.

        election = AsyncElection(bucket, "scheduler", candidate="host-7")
        await election.campaign()
        while election.is_leader:
            await run_one(term=election.term)

    An election is a lock whose holder has a name, so you can rely on the same as with `AsyncLock`:

    - By the server's time, never more than one candidate leads.
    - If the leader crashes, another candidate leads after at most the TTL.
    - `is_leader` uses this machine's clock, and becomes False in time even without a connection.
    - `term` is a fencing revision: whatever the leader writes to should refuse a smaller one.

    A candidate that loses leadership does not campaign again by itself.

    You cannot rely on: the best or the first candidate winning; the result of `leader()` still
    being true when the call returns.

    Args:
        bucket: a bucket of any type, as for a lock.
        name: the election's key.
        candidate: what others see as the leader. Two candidates with the same text stay two.
        ttl: as for a lock; None for the TTL of the bucket.
        on_lost: called once if leadership is lost, in the heartbeat's thread (async: task).

    Raises:
        InvalidArgumentError: `candidate` is no text or empty, `bucket` is not a bucket of this
            client, or `ttl` is not whole seconds from 1.
    """

    def __init__(
        self,
        bucket: AsyncBucket[Any],
        name: str,
        candidate: str,
        *,
        ttl: int | timedelta | None = None,
        on_lost: OnLost | None = None,
    ) -> None:
        if not isinstance(candidate, str) or not candidate:
            raise InvalidArgumentError(f"a candidate must be text and not empty: {candidate!r}")
        self.candidate = candidate
        self._name = name
        self._bucket = bucket_view(checked_bucket(bucket, self), DOCUMENTS)
        self._lock = AsyncLock(bucket, name, ttl=ttl, holder=candidate, on_lost=on_lost)

    @property
    def is_leader(self) -> bool:
        """Whether this candidate leads now. This does no I/O: it reads the clock."""
        return self._lock.held

    @property
    def term(self) -> int:
        """The revision that this candidate was elected with. It grows from leader to leader.

        Raises:
            LockError: this candidate was not elected, or has resigned.
        """
        return self._lock.fencing

    def check(self) -> None:
        """Check that this candidate leads now.

        Raises:
            LockLostError: this candidate does not lead.
        """
        self._lock.check()

    async def campaign(self, timeout: float | None = None) -> None:
        """Wait until this candidate leads.

        Args:
            timeout: seconds to wait; 0 to try once; None to wait without a limit.

        Raises:
            LockTimeoutError: another candidate led all the time.
            LockError, InvalidArgumentError, UnavailableError, DeadlineExceededError,
                OutcomeUnknownError: as in `AsyncLock.acquire`.
        """
        await self._lock.acquire(timeout)

    async def resign(self) -> None:
        """Give up leadership, so that another candidate can lead at once.

        If this candidate does not lead, this does nothing.
        """
        await self._lock.release()

    async def leader(self) -> str | None:
        """Return the candidate that leads now, or None."""
        found = await self._bucket.get_or_none(self._name)
        return None if found is None else _candidate(found.value)

    async def observe(self) -> AsyncIterator[str | None]:
        """Yield the candidate that leads, now and after each change; None while nobody leads.

        It continues through restarts of the gateway and of NATS. It may skip short terms. In a
        bucket without expiry markers, it shows a crashed leader until the next one is elected.

        Raises:
            BucketNotFoundError: the bucket does not exist, or was deleted.
            UnavailableError, DeadlineExceededError: the gateway is away at the start.
        """
        yielded: tuple[str | None] | None = None
        failed = 0
        while True:
            leader: str | None = None
            try:
                async with self._bucket.watch(*filters_for(self._name), snapshot=True) as watch:
                    for update in await watch.snapshot():
                        if update.key == self._name:
                            leader = _leader_after(update)
                    failed = 0
                    if yielded != (leader,):
                        yielded = (leader,)
                        yield leader
                    async for update in watch:
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
                await sleep(_BACK_OFF.delay(failed, 0.0, jitter()))

    async def __aenter__(self) -> Self:
        await self.campaign()
        return self

    async def __aexit__(self, *_exc: object) -> None:
        await self.resign()


def _leader_after(update: Update[Any]) -> str | None:
    return _candidate(update.value or {}) if update.operation is Operation.PUT else None


def _candidate(document: Any) -> str | None:
    holder = document.get("holder")
    return holder if isinstance(holder, str) else None

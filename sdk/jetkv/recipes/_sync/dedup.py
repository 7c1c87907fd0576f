# Made from sdk/jetkv/recipes/_async/dedup.py by `make format`. Edit that file.
"""Does a command once, even if it arrives several times."""

import logging
import os
import socket
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from jetkv._core.process import ProcessBound
from jetkv._core.retry import Retry, jitter
from jetkv._sync.bucket import Bucket
from jetkv._sync.runtime import now, resolve, sleep
from jetkv.errors import (
    DeadlineExceededError,
    InvalidArgumentError,
    JetKVError,
    OutcomeUnknownError,
    UnavailableError,
    ValueTooLargeError,
)
from jetkv.recipes._claim import Claim, Run
from jetkv.recipes._lease import KeyTtl, Ownership, checked_ttl, key_ttl
from jetkv.recipes._sync.claimed_key import ClaimedKey
from jetkv.recipes._sync.view import checked_bucket

__all__ = ["CommandDedup"]

log = logging.getLogger("jetkv.recipes")

_RETRIED = (UnavailableError, DeadlineExceededError, OutcomeUnknownError)
_RECORD_SECONDS = 30.0
_BACK_OFF = Retry(first_delay=0.1, longest_delay=2.0)
_CLAIMED = "claimed"
_DONE = "done"


class CommandDedup(ProcessBound):
    """Lets one process do a command, and gives the others its result.

        claim = dedup.claim(message.id)
        if claim.won:
            try:
                result = charge(message)
            except CardDeclined:
                dedup.release(claim)
                raise
            dedup.finalize(claim, result)

    You can rely on: of all calls that claim an id while its key lives, one wins. Only the winner
    can finalize or release the claim. After `finalize`, every claim gets the result, for the
    TTL. If the outcome of a write is unknown, the key is read; nothing is assumed.

    You cannot rely on: exactly once. If a winner crashes between claim and finalize, the id stays
    claimed until the TTL ends. Then another process wins, and repeats what the first had
    done. The same happens if the work takes longer than the TTL: `finalize` then raises
    `RevisionMismatchError`, and the work may have been done twice. So choose a TTL that is longer
    than the longest work, and longer than the time in which duplicates arrive. If doing the work
    twice does harm, the work itself must check the id.

    `run_once` does all of this for a function: once per period, if the id names the period.

    Args:
        bucket: a bucket of any type that has a TTL, or allows TTLs of single values if you give a
            `ttl`. The first claim checks this.
        prefix: a text in front of the ids, if the bucket also has other keys.
        holder: what the other processes read about the winner; None for host name and process id.
        ttl: how long a claim or a result is kept: seconds or a timedelta. None for the TTL of the
            bucket. In a bucket with a `history` above 1, a process that crashes inside `finalize`
            may leave a result that is kept for the bucket's TTL.

    Raises:
        InvalidArgumentError: `bucket` is not a bucket of this client, or `ttl` is not whole seconds
            from 1.
    """

    def __init__(
        self,
        bucket: Bucket[Any],
        *,
        prefix: str = "",
        holder: str | None = None,
        ttl: int | timedelta | None = None,
    ) -> None:
        self._bucket = checked_bucket(bucket, self)
        self._prefix = prefix
        self._holder = holder
        self._own_ttl = checked_ttl(ttl, "a claim")
        self._ttl: KeyTtl | None = None

    def claim(self, id: str) -> Claim:
        """Claim a command.

        Returns:
            A claim. If it is `won`, do the command. If it is `done`, use its `result`. If neither,
            another process is doing the command or has crashed: ask again later.

        Raises:
            InvalidArgumentError: the keys of the bucket would not expire as they have to, or the id
                cannot be a key.
            OutcomeUnknownError: the id may be claimed without a winner until the TTL ends.
        """
        if not isinstance(id, str) or not id:
            raise InvalidArgumentError(f"a command's id must be a text that is not empty: {id!r}")
        if self._ttl is None:
            self._ttl = key_ttl(self._bucket.info(), self._own_ttl, "a claim")
        claimed_key = ClaimedKey(self._bucket, self._prefix + id, self._ttl)
        own_holder = self._holder_name()
        ownership = claimed_key.acquire({"state": _CLAIMED, "holder": own_holder})
        if ownership is not None:
            return Claim(
                id, won=True, holder=own_holder, _ownership=ownership, _claimed_key=claimed_key
            )
        other = claimed_key.other
        done = other.get("state") == _DONE
        holder = other.get("holder")
        return Claim(
            id,
            won=False,
            done=done,
            result=other.get("result") if done else None,
            holder=holder if isinstance(holder, str) else None,
        )

    def run_once(self, id: str, fn: Callable[[], Any]) -> Run:
        """Run a function, unless it has run or is running under this id anywhere.

            today = f"report:{datetime.now(UTC):%Y-%m-%d}"
            if (dedup.run_once(today, write_report)).ran:
                log.info("this host wrote today's report")

        One of the callers runs `fn`. Later callers get its result. A caller that comes while `fn`
        runs is told who runs it. No caller waits.

        - If `fn` raises an error, the id is released, and the next call runs `fn`, here or
          elsewhere.
        - If the process dies while it runs `fn`, the id stays claimed until its TTL ends, and no
          process runs `fn` before that. For a shorter pause, use a shorter TTL; but it must be
          longer than `fn` runs, and longer than the time between the first call and the last.
        - If the result cannot be stored for 30 seconds, the error is raised and the id stays
          claimed: `fn` has run, and does not run again.

        Args:
            id: what runs once. For once per period, put the period into the id.
            fn: takes no argument, and returns JSON or None. It may be async in the async client.

        Raises:
            RevisionMismatchError: `fn` took longer than the TTL; another process may have run it,
                too.
            InvalidArgumentError: the keys of the bucket would not expire as they have to, or the id
                cannot be a key.
            InvalidArgumentError, ValueTooLargeError: the result of `fn` is not JSON, or too large.
                `fn` has run, as a note of the error says, and None is stored as its result.
            UnavailableError, DeadlineExceededError: the gateway is away. `fn` was not called,
                unless a note of the error says that it has run.
            OutcomeUnknownError: as these. The id may be claimed without a winner until the TTL
                ends.
        """
        claim = self.claim(id)
        if not claim.won:
            return Run(id, False, claim.done, claim.result, claim.holder)
        try:
            result = resolve(fn())
        except BaseException:
            try:
                self.release(claim)
            except JetKVError as error:
                log.warning("%r stays claimed until its TTL ends: %s", id, error)
            raise
        try:
            self._record(claim, result)
        except JetKVError as error:
            error.add_note(f"the function under the id {id!r} has run")
            raise
        return Run(id, True, True, result, claim.holder)

    def finalize(self, claim: Claim, result: Any = None) -> None:
        """Store a command's result. From now on, every claim of its id gets it.

        Args:
            claim: a claim that was won.
            result: a JSON value.

        Raises:
            RevisionMismatchError: the claim has expired; another process may do the command, or
                have done it.
            InvalidArgumentError: the claim was not won, or the result is not JSON.
            OutcomeUnknownError: the result may have been stored, or may be stored later; call
                `finalize` again.
        """
        claimed_key, ownership = self._won(claim)
        claimed_key.renew(ownership, {"state": _DONE, "result": result, "holder": claim.holder})

    def release(self, claim: Claim) -> None:
        """Give up a claim, so that another process can win it at once.

        If the claim has expired or was finalized, this does nothing.

        Raises:
            InvalidArgumentError: the claim was not won.
            OutcomeUnknownError: the id may stay claimed until the TTL ends; call `release` again.
        """
        claimed_key, ownership = self._won(claim)
        claimed_key.release(ownership, unchanged=True)

    def _record(self, claim: Claim, result: Any) -> None:
        """Store the result, and try again for 30 seconds: the function must not run again."""
        until = now() + _RECORD_SECONDS
        tried = 0
        while True:
            tried += 1
            try:
                self.finalize(claim, result)
            except (InvalidArgumentError, ValueTooLargeError):
                self.finalize(claim)
                raise
            except _RETRIED:
                delay = _BACK_OFF.delay(tried, 0.0, jitter())
                if now() + delay >= until:
                    raise
                sleep(delay)
            else:
                return

    def _holder_name(self) -> str:
        # Read each time, because a forked child has another process id.
        return self._holder or f"{socket.gethostname()}:{os.getpid()}"

    def _won(self, claim: Claim) -> tuple[ClaimedKey, Ownership]:
        ownership: Ownership | None = claim._ownership  # noqa: SLF001 - for this recipe
        if not claim.won or ownership is None:
            raise InvalidArgumentError(
                f"the claim of {claim.id!r} was not won",
                hint="only the winner can finalize or release it",
            )
        claimed_key: ClaimedKey = claim._claimed_key  # noqa: SLF001 - for this recipe
        return claimed_key, ownership

"""Commands that come more than once, and are done once."""

import logging
import os
import socket
from collections.abc import Callable
from typing import Any

from jetkv._async.bucket import AsyncBucket
from jetkv._async.runtime import MaybeAwaitable, now, resolve, sleep
from jetkv._core.process import ProcessBound
from jetkv._core.retry import Retry, jitter
from jetkv.errors import (
    DeadlineExceededError,
    InvalidArgumentError,
    JetKVError,
    OutcomeUnknownError,
    UnavailableError,
    ValueTooLargeError,
)
from jetkv.recipes._async.owned import AsyncOwned
from jetkv.recipes._async.view import checked_bucket
from jetkv.recipes._claim import Claim, Run
from jetkv.recipes._lease import Hold, ttl_of

__all__ = ["AsyncCommandDedup"]

log = logging.getLogger("jetkv.recipes")

_TROUBLE = (UnavailableError, DeadlineExceededError, OutcomeUnknownError)
_RECORD_SECONDS = 30.0
_BACK_OFF = Retry(first_delay=0.1, longest_delay=2.0)
_CLAIMED = "claimed"
_DONE = "done"


class AsyncCommandDedup(ProcessBound):
    """Lets one of many do a command, and gives the others its result.

        claim = await dedup.claim(message.id)
        if claim.won:
            try:
                result = await charge(message)
            except CardDeclined:
                await dedup.release(claim)
                raise
            await dedup.finalize(claim, result)

    Guaranteed: of all who claim an id while its key lives one wins; only that one can finalize or
    release it, by the revision; after `finalize` every claim gets the result, for the bucket's
    TTL. A write whose outcome is unknown is settled by reading, never by assumption.

    Not guaranteed: exactly once. A winner that crashes between claim and finalize leaves the id
    claimed until the bucket's TTL is up; then another wins, and does again whatever the first had
    done. The same happens when the work takes longer than the TTL: `finalize` then raises
    `RevisionMismatchError`, and the work has perhaps been done twice. So the TTL has to be longer
    than the longest work, and than the time within which duplicates come, and where twice does
    harm, the work must be told apart by the id itself.

    `run_once` does all of this around a function: once per period, when the id names the period.

    Args:
        bucket: of any type, made with a ttl; that it has one is checked once.
        prefix: in front of the ids, where the bucket holds other things, too.
        holder: what others are told about who won; None = host name and process id.
    """

    def __init__(
        self, bucket: AsyncBucket[Any], *, prefix: str = "", holder: str | None = None
    ) -> None:
        self._bucket = checked_bucket(bucket, self)
        self._prefix = prefix
        self._holder = holder
        self._ttl: float | None = None

    async def claim(self, id: str) -> Claim:
        """Claim a command.

        Returns:
            `won`: do it. `done`: here is the `result`. Neither: somebody else is at it, or
            crashed over it; ask again later.

        Raises:
            InvalidArgumentError: the bucket has no TTL, or the id is no key.
            OutcomeUnknownError: it may be claimed, for nobody, until the TTL is up.
        """
        if not isinstance(id, str) or not id:
            raise InvalidArgumentError(f"a command's id is text, and not empty: {id!r}")
        if self._ttl is None:
            self._ttl = ttl_of(await self._bucket.info(), "a claim")
        owned = AsyncOwned(self._bucket, self._prefix + id, self._ttl)
        me = self._me()
        hold = await owned.take({"state": _CLAIMED, "holder": me})
        if hold is not None:
            return Claim(id, won=True, holder=me, _hold=hold, _owned=owned)
        other = owned.other
        done = other.get("state") == _DONE
        holder = other.get("holder")
        return Claim(
            id,
            won=False,
            done=done,
            result=other.get("result") if done else None,
            holder=holder if isinstance(holder, str) else None,
        )

    async def run_once(self, id: str, fn: Callable[[], MaybeAwaitable[Any]]) -> Run:
        """Run a function unless it has run, or runs, under this id anywhere.

            today = f"report:{datetime.now(UTC):%Y-%m-%d}"
            if (await dedup.run_once(today, write_report)).ran:
                log.info("this host wrote today's report")

        Of all who call it, one runs `fn`. Those who come later get its result, those who come
        meanwhile are told who is at it; nobody waits.

        - When `fn` raises, the id is given back, and the next call runs it, here or elsewhere.
        - When the process dies in it, the id stays claimed until the bucket's TTL is up: nobody
          runs it before. Where it must be made up for sooner, give the bucket a shorter TTL, but
          a longer one than `fn` and than the time between the first call and the last.
        - When its result cannot be stored for 30 seconds, the error is raised, and the id stays
          claimed: it has run, and does not run again.

        Args:
            id: of what is to run once: with the period in it, for what runs once per period.
            fn: takes nothing, and returns JSON, or None; it may be async there.

        Raises:
            RevisionMismatchError: `fn` took longer than the TTL; another may have run it, too.
            InvalidArgumentError: the bucket has no TTL, or the id is no key.
            InvalidArgumentError, ValueTooLargeError: what `fn` returned is no JSON, or too large.
                It has run then, as a note of the error says, and None is stored as its result.
            UnavailableError, DeadlineExceededError: the gateway is away. `fn` was not called,
                unless a note of the error says that it has run.
            OutcomeUnknownError: as these; the id may be claimed, for nobody, until the TTL is up.
        """
        claim = await self.claim(id)
        if not claim.won:
            return Run(id, False, claim.done, claim.result, claim.holder)
        try:
            result = await resolve(fn())
        except BaseException:
            try:
                await self.release(claim)
            except JetKVError as error:
                log.warning("%r stays claimed until its TTL is up: %s", id, error)
            raise
        try:
            await self._record(claim, result)
        except JetKVError as error:
            error.add_note(f"the function under the id {id!r} has run")
            raise
        return Run(id, True, True, result, claim.holder)

    async def finalize(self, claim: Claim, result: Any = None) -> None:
        """Store a command's result, for all who claim it from now on.

        Args:
            claim: a won one.
            result: JSON.

        Raises:
            RevisionMismatchError: its time was up: somebody else may do it, or have done it.
            InvalidArgumentError: the claim was not won, or the result is no JSON.
            OutcomeUnknownError: it may have been stored, or may be later; finalize again.
        """
        owned, hold = self._won(claim)
        await owned.renew(hold, {"state": _DONE, "result": result, "holder": claim.holder})

    async def release(self, claim: Claim) -> None:
        """Give a command back undone, so that another can claim it at once.

        Nothing happens when its time was up before, or when it is finalized.

        Raises:
            InvalidArgumentError: the claim was not won.
            OutcomeUnknownError: it may stay claimed until the TTL is up; release it again.
        """
        owned, hold = self._won(claim)
        await owned.drop(hold, strict=True)

    async def _record(self, claim: Claim, result: Any) -> None:
        """Store that it has run, for as long as it takes: it must not run again."""
        until = now() + _RECORD_SECONDS
        tried = 0
        while True:
            tried += 1
            try:
                await self.finalize(claim, result)
            except (InvalidArgumentError, ValueTooLargeError):
                await self.finalize(claim)
                raise
            except _TROUBLE:
                delay = _BACK_OFF.delay(tried, 0.0, jitter())
                if now() + delay >= until:
                    raise
                await sleep(delay)
            else:
                return

    def _me(self) -> str:
        # Asked each time, since a forked child is another process.
        return self._holder or f"{socket.gethostname()}:{os.getpid()}"

    def _won(self, claim: Claim) -> tuple[AsyncOwned, Hold]:
        hold: Hold | None = claim._hold  # noqa: SLF001 - a claim carries what its recipe needs
        if not claim.won or hold is None:
            raise InvalidArgumentError(
                f"the claim of {claim.id!r} was not won",
                hint="only the winner finalizes or releases",
            )
        owned: AsyncOwned = claim._owned  # noqa: SLF001 - as above
        return owned, hold

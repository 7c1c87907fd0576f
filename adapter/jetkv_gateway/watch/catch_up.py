"""How a session reads a snapshot or missed changes, and then joins the live feed.

A session joins the live feed before a round of reading starts, so it keeps all live changes
meanwhile. The round reads up to the newest revision at its start. A value that is overwritten
during the round is missing from it, but the newer value is among the kept changes. If too many
changes arrive, the kept ones are dropped, and another round starts where this one ended. Each round
is shorter than the one before, and memory stays bounded.

If the bucket forgets (`watch.loss`), a round is valid only for as long as no change can be lost
unnoticed. If neither time nor order proves that, the round reads all changes, whatever the filters,
since only a gap between revisions shows a loss.
"""

import asyncio
import copy
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass, replace
from math import inf

from jetkv_gateway.kv.errors import (
    BucketDeleted,
    BucketNotFound,
    GatewayError,
    Resync,
    TooManyRequests,
    Unavailable,
)
from jetkv_gateway.kv.filters import EVERYTHING, Filter
from jetkv_gateway.kv.model import BucketState
from jetkv_gateway.kv.store import Changes, FeedBatch, NewestRevision
from jetkv_gateway.watch.live import NO_ROOM_SECONDS, LiveFeed, Pauses
from jetkv_gateway.watch.loss import (
    LOST,
    first_gap,
    gap_is_loss,
    is_short,
    loss_reason,
    seconds_proven,
    seconds_safe,
)
from jetkv_gateway.watch.session import Session, State

__all__ = ["CatchUp", "WatchRequest", "same_moment"]

_REACH_SECONDS = 2.0
_MAX_TIMES_BEHIND = 2
_MAX_TRIES_FOR_A_PAUSE = 5
_NEARLY_OVER_SECONDS = 10.0
_TESTS_PER_TURN = 8000
"""Keys tested by simple filters in one turn of the event loop, about three milliseconds."""


@dataclass(frozen=True, slots=True)
class WatchRequest:
    """The parameters of a watch (docs/watch.md#parameters).

    Attributes:
        filters: a change matches if any of them accepts its key.
        snapshot: send the current values first, and tell when they are complete.
        resume_after: send the changes since this revision first.
        created_at: creation time of the bucket that `resume_after` belongs to, if the caller knows
            it. The number alone cannot tell a bucket from a later one of the same name.
        ignore_deletes: omit tombstones.
        wait_for_nats: accept the watch while NATS is away, and wait for NATS.
    """

    filters: tuple[Filter, ...] = (EVERYTHING,)
    snapshot: bool = False
    resume_after: int | None = None
    created_at: str | None = None
    ignore_deletes: bool = False
    wait_for_nats: bool = False


class CatchUp:
    """The catching up of one session. Call `read` until the session is live."""

    def __init__(
        self, changes: Changes, live_feed: LiveFeed, session: Session, request: WatchRequest
    ) -> None:
        self._changes = changes
        self._live_feed = live_feed
        self._bucket = live_feed.bucket
        self._session = session
        self._request = request
        self._snapshot = request.snapshot and request.resume_after is None
        self._latest = self._snapshot
        self._through = request.resume_after or 0
        self._created_at: str | None = None
        self._as_of = -inf
        self._safe_until = inf
        self._times_behind = 0
        self._absent_through: int | None = None

    async def read(self) -> AsyncGenerator[None, None]:
        """Read in rounds until the session is live. Yield after each part.

        Permanent errors close the session. Other errors lead to another try.
        """
        pauses = Pauses(self._changes)
        loop = asyncio.get_running_loop()
        no_room_since: float | None = None
        while self._session.state is State.CATCHING_UP:
            try:
                async with aclosing(self._round()) as parts:
                    async for _ in parts:
                        pauses.reset()
                        no_room_since = None
                        yield
            except BucketNotFound as error:
                self._session.close(BucketDeleted() if self._created_at else error)
            except GatewayError as error:
                if not isinstance(error, TooManyRequests):
                    no_room_since = None
                elif no_room_since is None:
                    no_room_since = loop.time()
                waited = 0.0 if no_room_since is None else loop.time() - no_room_since
                if not error.retryable or waited >= NO_ROOM_SECONDS:
                    self._session.close(error)
                else:
                    await pauses.wait()

    async def _round(self) -> AsyncGenerator[None, None]:
        session = self._session
        await self._live_feed.wait_opened()
        if self._live_feed.position is None:
            # All sessions of the feed get this error.
            raise copy.copy(self._live_feed.error) or Unavailable
        session.restart()
        kept_from = self._live_feed.newest_offered
        asked = asyncio.get_running_loop().time()
        state = await self._changes.state(self._bucket)
        self._check(state, kept_from)
        await self._assess_loss(state, asked)
        if state.history == 1 or self._checks_gaps:
            # Each stored message is the newest of its key, so NATS need not select those. Or all
            # messages are needed, to see which are missing.
            self._latest = False
        newest = await self._changes.newest(self._bucket)
        if newest is not None and newest.revision > self._through:
            async with aclosing(self._read_through(newest)) as parts:
                async for _ in parts:
                    yield
        # No message is stored after the newest stored revision.
        await self._check_gaps(FeedBatch([], state.last, -inf))
        self._through = max(self._through, state.last)
        self._as_of = max(self._as_of, asked)
        self._latest = False
        if self._request.snapshot:
            await self._wait_for_overwritten()
        session.join_live(self._through)

    def _check(self, state: BucketState, kept_from: int) -> None:
        """Check that reading on from `_through` shows all changes since.

        Raises:
            BucketDeleted, Resync: it would not show them.
            Unavailable: it is too early to know.
        """
        if self._created_at is None:
            resumes = self._request.resume_after is not None
            given = self._request.created_at
            if resumes and given is not None and not same_moment(given, state.created_at):
                raise Resync("the bucket is another one by now")
            self._created_at = state.created_at
        if self._created_at != state.created_at:
            raise BucketDeleted
        if self._live_feed.created_at != state.created_at:
            # The bucket was re-created, and the feed has not noticed yet.
            self._live_feed.end(BucketDeleted())
            return
        if state.last < max(kept_from, self._through):
            # A new leader may not have applied all messages yet.
            self._times_behind += 1
            if self._times_behind > _MAX_TIMES_BEHIND and self._through > state.last >= kept_from:
                raise Resync(
                    f"revision {self._through} lies in the future, the bucket's newest is "
                    f"{state.last}"
                )
            raise Unavailable("the leader is behind")

    @property
    def _required_after(self) -> int:
        """The revision after which every change must be sent.

        Changes before a snapshot need not be sent, since its reader knew no key then.
        """
        return max(self._through, self._absent_through or 0)

    @property
    def _checks_gaps(self) -> bool:
        return self._safe_until == -inf

    async def _assess_loss(self, state: BucketState, asked: float) -> None:
        """Find out how long no change can be lost unnoticed, or whether to check each gap.

        Raises:
            Resync: a change may be lost already.
        """
        self._as_of = max(self._as_of, asked - state.age)
        if self._snapshot and self._absent_through is None:
            # Only changes after the newest revision count, and that revision is not known yet.
            self._safe_until, self._as_of = inf, asked
            return
        after = self._required_after
        # The reply is slightly newer than the request, so take the time that is safe for both.
        safe = seconds_safe(state, after, asyncio.get_running_loop().time() - self._as_of)
        if safe == LOST:
            raise Resync(loss_reason(after))
        if safe < _NEARLY_OVER_SECONDS:
            safe = max(safe, await seconds_proven(self._changes, self._bucket, state, after))
        self._safe_until = -inf if is_short(safe, state) else asked + safe

    async def _check_gaps(self, batch: FeedBatch) -> None:
        """Check that a batch has all the changes that must be sent.

        Raises:
            BucketDeleted, Resync: a change is missing.
            Unavailable: the safe time has passed. Another round checks again.
        """
        if not self._checks_gaps:
            if asyncio.get_running_loop().time() >= self._safe_until:
                raise Unavailable("what is read may be older than what the bucket keeps")
            return
        before = first_gap(batch, self._required_after)
        if before is None:
            return
        state = await self._changes.state(self._bucket)
        if state.created_at != self._created_at:
            raise BucketDeleted
        age = asyncio.get_running_loop().time() - self._as_of
        if gap_is_loss(state, before, age):
            raise Resync(loss_reason(before))

    async def _read_through(self, newest: NewestRevision) -> AsyncGenerator[None, None]:
        session = self._session
        if self._snapshot and self._absent_through is None:
            # A key that was deleted before the snapshot is absent from it.
            self._absent_through = newest.revision
        absent_through = self._absent_through or 0
        async with self._changes.follow(
            self._bucket,
            after=self._through,
            latest=self._latest,
            filters=(EVERYTHING,) if self._checks_gaps else self._request.filters,
            through=newest,
        ) as feed:
            reached = tests = 0
            while reached < newest.revision:
                changes, reached, as_of, expired = await feed.read()
                # Newer changes also arrive on the live feed.
                changes = [change for change in changes if change.revision <= newest.revision]
                await self._check_gaps(FeedBatch(changes, min(reached, newest.revision), as_of))
                for change in changes:
                    # Before the snapshot, an expired value is no value. After it, it is a change.
                    present = change.live and change.revision not in expired
                    shown = present or change.revision > absent_through
                    if shown and session.matches(change.key):
                        past = change
                        if change.traceparent is not None and change.revision <= absent_through:
                            # It may have been written long ago, in a trace that is over.
                            past = replace(change, traceparent=None)
                        session.add_past(past)
                    tests += session.cost
                    if tests > _TESTS_PER_TURN:
                        tests = 0
                        await asyncio.sleep(0)
                if not self._latest:
                    self._through = max(self._through, min(reached, newest.revision))
                    if reached <= newest.revision:
                        # Otherwise `as_of` also covers changes that were not read here.
                        self._as_of = max(self._as_of, as_of)
                yield
                if session.state is not State.CATCHING_UP:
                    return
        self._through = max(self._through, newest.revision)

    async def _wait_for_overwritten(self) -> None:
        """Wait until values that were overwritten during the round have arrived on the live feed.

        They have arrived once the live feed has caught up with the bucket. If writes never pause,
        it may never catch up; then it has stayed close behind for some time.
        """
        for _ in range(_MAX_TRIES_FOR_A_PAUSE):
            shown = self._live_feed.position or 0
            newest = await self._changes.newest(self._bucket)
            if newest is None or shown >= newest.revision:
                return
            if not await self._live_feed.reached(newest.revision, _REACH_SECONDS):
                raise Unavailable("the live feed is behind")


def same_moment(given: str, precise: str) -> bool:
    """Return whether two RFC 3339 times in UTC are equal to the precision of `given`.

    Most languages keep fewer than the nine fractional digits that a server prints.
    """
    second, _, digits = given.removesuffix("Z").removesuffix("+00:00").partition(".")
    precise_second, _, precise_digits = precise.removesuffix("Z").partition(".")
    return second == precise_second and precise_digits.ljust(9, "0").startswith(digits)

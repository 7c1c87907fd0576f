"""The live feed of one bucket, and the sessions that it feeds.

One consumer serves all watchers of a bucket. The live feed opens it for the first session and
removes it with the last one. When the consumer ends, the live feed opens another one after the last
revision it has seen, and checks that no change was lost in between. It ends every session with a
reason if a change may be lost, if NATS refuses a consumer (for good, or for `NO_ROOM_SECONDS`), or
if the bucket no longer exists. It checks the bucket regularly.

If the bucket forgets (`watch.loss`), the live feed checks each gap between two revisions. A gap
that is as old as the bucket's limit may have been more than an overwritten value.
"""

import asyncio
import logging
import random
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from math import inf
from typing import TypeVar

from jetkv_gateway.kv.errors import (
    BucketDeleted,
    BucketNotFound,
    GatewayError,
    InternalError,
    Resync,
    TooManyRequests,
    Unavailable,
    WatchEnded,
)
from jetkv_gateway.kv.filters import EVERYTHING
from jetkv_gateway.kv.model import BucketState, Change, SilentLoss, share
from jetkv_gateway.kv.store import Changes, Feed, FeedBatch
from jetkv_gateway.telemetry.events import EVENTS
from jetkv_gateway.watch.loss import (
    LOST,
    first_gap,
    gap_is_loss,
    loss_reason,
    seconds_proven,
    seconds_safe,
    stricter,
)
from jetkv_gateway.watch.session import Session, weight

__all__ = ["NO_ROOM_SECONDS", "LiveFeed", "Pauses"]

_log = logging.getLogger("jetkv.watch")

NO_ROOM_SECONDS = 10.0
"""Seconds that watches wait if NATS has no room for another consumer."""

_NO_FEED_SECONDS = 60.0
"""Seconds that watches wait for a feed of a bucket that answers otherwise."""

LOOK_SECONDS = 15.0
"""Seconds between two checks of a watched bucket. Feeds do not report changes of its stream."""

_PAUSE_FIRST = 0.05
_PAUSE_LAST = 1.0
_OFFERS_PER_TURN = 8000
_MAX_PART = 64
"""Changes that are offered to each session at a time. Most of the work is per offer, and the last
session waits while the others are served.
"""
_TESTS_AS_AN_OFFER = 4
_TESTS_A_PART = 4000
_SECOND_LOOKS = 5
_CLOSELY_SECONDS = 2.0
"""For a bucket that forgets within this time, feeds report their position twice as often."""

_IN_STEP_SECONDS = 1.0
"""Seconds that a feed may be behind and still deliver each change before it is evicted."""

_Name = TypeVar("_Name")


class Pauses:
    """Pauses between an unlimited number of tries. They double up to a second, with jitter."""

    def __init__(self, changes: Changes) -> None:
        self._changes = changes
        self._pause = _PAUSE_FIRST

    def reset(self) -> None:
        self._pause = _PAUSE_FIRST

    async def wait(self) -> None:
        await asyncio.sleep(self._pause * random.uniform(0.5, 1.0))  # noqa: S311 - jitter
        self._pause = min(self._pause * 2, _PAUSE_LAST)
        await self._changes.wait_available(60)


class LiveFeed:
    """The live feed of a bucket.

    Attributes:
        position: each change up to this revision was offered to the sessions. None until the first
            check of the bucket.
        newest_offered: the newest revision that was offered to at least one session. A session
            that joins starts after it.
        created_at: creation time of the watched bucket.
        error: the reason why there is no feed now, or None.
        stalled: the reason why there has been no feed for some time although the bucket answers, or
            None.
        ended: whether it has ended, together with all sessions.
    """

    def __init__(self, changes: Changes, bucket: str) -> None:
        self.bucket = bucket
        self.position: int | None = None
        self.newest_offered = 0
        self.created_at: str | None = None
        self.error: GatewayError | None = None
        self.stalled: GatewayError | None = None
        self.ended = False
        self._changes = changes
        self._sessions: set[Session] = set()
        self._by_key: dict[str, set[Session]] = {}
        self._by_filters: dict[tuple[str, ...], set[Session]] = {}
        self._at_once: tuple[int, float] | None = None
        self._moved = asyncio.Event()
        self._opened_once = asyncio.Event()
        self._as_of = -inf
        self._answers = False
        self._no_feed_since: float | None = None
        self._forgets: SilentLoss | None = None
        self._opened = False
        self._behind = 0
        self._task = asyncio.create_task(self._run(), name=f"watch {bucket}")

    def __len__(self) -> int:
        return len(self._sessions)

    def join(self, session: Session) -> None:
        """Offer changes to a session from now on."""
        self._sessions.add(session)
        self._at_once = None
        for key in session.keys:
            self._by_key.setdefault(key, set()).add(session)
        if not session.keys:
            self._by_filters.setdefault(session.name, set()).add(session)

    def leave(self, session: Session) -> None:
        self._sessions.discard(session)
        self._at_once = None
        for key in session.keys:
            _remove(self._by_key, key, session)
        if not session.keys:
            _remove(self._by_filters, session.name, session)

    @property
    def lag(self) -> int:
        """Revisions by which the slowest session is behind the bucket, as far as it is known."""
        newest = self.newest_offered
        sessions = [session.lag(newest) for session in self._sessions]
        return max(self._behind, *sessions, 0)

    async def wait_opened(self) -> None:
        """Wait until opening the feed has succeeded or failed."""
        await self._opened_once.wait()

    async def reached(self, revision: int, timeout: float) -> bool:
        """Return whether `position` reaches `revision` within `timeout` seconds."""
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                while not self.ended and (self.position is None or self.position < revision):
                    self._moved.clear()
                    await self._moved.wait()
        return self.position is not None and self.position >= revision

    def end(self, reason: GatewayError) -> None:
        """End the feed and all sessions."""
        self.ended = True
        self.error = reason
        for session in self._sessions:
            session.close(reason)
        self._moved.set()
        self._opened_once.set()

    async def close(self) -> None:
        """Remove the feed. Sessions get no notice."""
        self.ended = True
        self._task.cancel()
        with suppress(asyncio.CancelledError):
            await self._task

    async def _run(self) -> None:
        pauses = Pauses(self._changes)
        try:
            while not self.ended:
                try:
                    await self._follow(pauses)
                except BucketNotFound as error:
                    self.end(BucketDeleted() if self._opened else error)
                except GatewayError as error:
                    if not error.retryable or self._is_given_up(error):
                        if not isinstance(error, WatchEnded):
                            _log.warning("watches of bucket %s end: %s", self.bucket, error.message)
                        self.end(error)
                        return
                    _log.info("bucket %s: %s", self.bucket, error.message)
                    self.error = error
                    self._opened_once.set()
                    await pauses.wait()
        except Exception:  # noqa: BLE001 - it must not end unnoticed
            # A watch without a feed must not look like one without changes.
            _log.exception("the feed of bucket %s failed", self.bucket)
            self.end(InternalError())

    def _is_given_up(self, error: GatewayError) -> bool:
        """Return whether there was no feed for too long although the bucket answers."""
        if not self._answers:
            self._no_feed_since = self.stalled = None
            return False
        now = asyncio.get_running_loop().time()
        if self._no_feed_since is None:
            self._no_feed_since = now
        waited = now - self._no_feed_since
        full = isinstance(error, TooManyRequests)
        if full or waited >= NO_ROOM_SECONDS:
            if self.stalled is None:
                _log.warning("bucket %s cannot be watched now: %s", self.bucket, error.message)
            self.stalled = error
        return waited >= (NO_ROOM_SECONDS if full else _NO_FEED_SECONDS)

    async def _follow(self, pauses: Pauses) -> None:
        asked = asyncio.get_running_loop().time()
        self._answers = False
        state = await self._changes.state(self.bucket)
        self._answers = True
        await self._check(state)
        if self.position is None:
            self.position = self.newest_offered = state.last
            self._as_of = asked
        # Both the present limits and those at the last check may have applied since.
        self._forgets, before = state.silent_loss, self._forgets
        silent_loss = stricter(state.silent_loss, before)
        self.created_at = state.created_at
        fast_heartbeat = silent_loss is not None and silent_loss.after < _CLOSELY_SECONDS
        async with self._changes.follow(
            self.bucket, after=self.position, fast_heartbeat=fast_heartbeat
        ) as feed:
            # The bucket may have been re-created between the check and the feed.
            if (await self._changes.state(self.bucket)).created_at != state.created_at:
                raise BucketDeleted
            if self._opened and EVENTS.feed_rebuilt is not None:
                EVENTS.feed_rebuilt()
            self._opened = True
            self.error = None
            self._opened_once.set()
            self._moved.set()
            reading = asyncio.create_task(self._read(feed, pauses, silent_loss))
            looking = asyncio.create_task(self._check_bucket_regularly(state))
            try:
                await asyncio.wait({reading, looking}, return_when=asyncio.FIRST_COMPLETED)
            finally:
                ended = [task for task in (reading, looking) if task.done()]
                for task in (reading, looking):
                    task.cancel()
                await asyncio.gather(reading, looking, return_exceptions=True)
            for task in ended:
                task.result()

    async def _check_bucket_regularly(self, state: BucketState) -> None:
        """Check regularly that the watched bucket still exists.

        Raises:
            BucketDeleted, BucketNotFound, BucketUnsuitable
            Unavailable: the feed has not reached the bucket's revision of the last check.
        """
        behind: tuple[int, int] | None = None
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            position = self.position or 0
            if behind is not None and position == behind[0] and position < behind[1]:
                raise Unavailable("the feed stands still")
            try:
                found = await self._changes.state(self.bucket)
            except GatewayError as error:
                if not error.retryable:
                    raise
                behind = None
                continue
            if found.created_at != state.created_at:
                raise BucketDeleted
            behind = position, found.last
            self._behind = max(0, found.last - (self.position or 0))

    async def _check(self, state: BucketState) -> None:
        """Check that the changes after `position` can be complete.

        Raises:
            BucketDeleted, Resync
        """
        position = self.position
        if position is None:
            return
        if state.created_at != self.created_at:
            raise BucketDeleted
        for _ in range(_SECOND_LOOKS):
            if state.last >= position:
                break
            # A new leader may not have applied all messages yet.
            await asyncio.sleep(0.2)
            state = await self._changes.state(self.bucket)
            if state.created_at != self.created_at:
                raise BucketDeleted
        else:
            raise Resync(f"the bucket is at revision {state.last}, before {position}")
        if seconds_safe(state, position, self._age()) == LOST:
            raise Resync(loss_reason(position))

    def _age(self) -> float:
        """Return the greatest possible age of the next change after `position`, in seconds."""
        return asyncio.get_running_loop().time() - self._as_of

    async def _check_gaps(self, batch: FeedBatch, silent_loss: SilentLoss) -> None:
        """Check that a gap in a feed is not the loss of a change.

        Raises:
            BucketDeleted, Resync
        """
        age = self._age()
        if age < max(silent_loss.after, _IN_STEP_SECONDS):
            return
        # Proof for one gap is proof for all later gaps.
        before = first_gap(batch, self.position or 0)
        if before is None:
            return
        state = await self._changes.state(self.bucket)
        if state.created_at != self.created_at:
            raise BucketDeleted
        state = replace(state, silent_loss=stricter(state.silent_loss, silent_loss))
        if gap_is_loss(state, before, age) and not await seconds_proven(
            self._changes, self.bucket, state, before
        ):
            raise Resync(loss_reason(before))

    async def _read(self, feed: Feed, pauses: Pauses, silent_loss: SilentLoss | None) -> None:
        offers = 0
        while True:
            batch = await feed.read()
            pauses.reset()
            self._no_feed_since = self.stalled = None
            if silent_loss is not None:
                await self._check_gaps(batch, silent_loss)
            if len(self._sessions) > 1:
                share(batch.changes)
            for changes in self._parts(batch.changes):
                self.newest_offered = changes[-1].revision
                for some in self._offer(changes):
                    offers += some
                    if offers > _OFFERS_PER_TURN:
                        # Let readers run first, or readers that keep up would look slow. Then let
                        # everything else run.
                        offers = 0
                        await asyncio.sleep(0)
                self.position = changes[-1].revision
            if self.position is None or batch.reached > self.position:
                self.position = batch.reached
            self.newest_offered = max(self.newest_offered, self.position)
            self._as_of = max(self._as_of, batch.as_of)
            self._moved.set()

    def _parts(self, changes: list[Change]) -> Iterator[list[Change]]:
        """Yield changes in parts that can be offered without a pause.

        A part fits into one turn of the event loop, and does not fill the queue of a session, whose
        reader would need a turn then.
        """
        size, at = weight(changes), 0
        while at < len(changes):
            if self._at_once is None:
                most, most_bytes = (
                    min(_MAX_PART, _OFFERS_PER_TURN // max(1, len(self._sessions))),
                    inf,
                )
                for session in self._sessions:
                    cost, limits = max(1, session.cost), session.limits
                    most = min(most, limits.changes // 4, _TESTS_A_PART // 4 // cost)
                    most_bytes = min(most_bytes, limits.bytes // 4)
                self._at_once = max(1, most), most_bytes
            most, most_bytes = self._at_once
            part = changes[at : at + (most if size <= most_bytes else 1)]
            at += len(part)
            yield part

    def _offer(self, changes: Sequence[Change]) -> Iterator[int]:
        """Offer changes to matching sessions. Yield the work done after each part.

        Sessions may join and leave between the parts.
        """
        offers, tests = len(changes), 0
        if self._by_key:
            for change in changes:
                for session in self._by_key.get(change.key, ()):
                    offers += _OFFERS_PER_TURN if session.add_live(change) else 1
        for sessions in list(self._by_filters.values()):
            # All sessions of a group have the same filters, so one answers for all.
            one = next(iter(sessions), None)
            if one is None:
                continue  # they left during a pause
            wanted = changes
            if one.filters[0] is not EVERYTHING:
                tests += one.cost * len(changes)
                wanted = [change for change in changes if one.matches(change.key)]
            if wanted:
                for session in sessions:
                    offers += _OFFERS_PER_TURN if session.add_live(*wanted) else len(wanted)
            if tests > _TESTS_A_PART:
                yield offers + tests // _TESTS_AS_AN_OFFER
                offers = tests = 0
        yield offers + tests // _TESTS_AS_AN_OFFER


def _remove(index: dict[_Name, set[Session]], name: _Name, session: Session) -> None:
    group = index[name]
    group.discard(session)
    if not group:
        del index[name]

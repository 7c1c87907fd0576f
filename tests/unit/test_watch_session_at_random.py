"""A watch's session beside a bucket, a live feed and a reader, in any order of events."""

from itertools import pairwise

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from jetkv_gateway.kv.errors import BucketDeleted, SlowConsumer
from jetkv_gateway.kv.model import Change
from jetkv_gateway.watch.session import Item, Limits, Session, SnapshotEnd, State
from tests.support.sessions import WEIGHT, filters, put, tombstone


class Watching(RuleBasedStateMachine):
    """A bucket of history 1, its live feed, and a reader, as live feed, hub and catching up do it.

    Catching up reads what is still stored; the live feed shows every revision, and repeats some.
    """

    @initialize(
        limits=st.builds(
            Limits, changes=st.sampled_from([3, 6, 12]), bytes=st.sampled_from([1500, 10**6])
        ),
        filter=st.sampled_from(["", "a", "a.*"]),
        before=st.lists(st.sampled_from(["a", "a.1", "a.2", "b"]), max_size=6),
        snapshot_end=st.booleans(),
    )
    def begin(self, limits: Limits, filter: str, before: list[str], snapshot_end: bool) -> None:
        self.limits = limits
        self.session = Session(
            filters(filter), limits=limits, snapshot_end=snapshot_end, on_news=self.told
        )
        self.log: list[Change] = []
        self.stored: dict[str, Change] = {}
        self.last = 0
        self.taken: list[Item] = []
        self.caught_since_taken = 0
        self.news = 0
        self.through = 0
        self.target: int | None = None
        self.missed = self.kept = self.kept_bytes = 0
        self.closed = False
        for key in before:
            self.write(key, True, 1, 1)
        self.offered = self.last
        self.joined_at: int | None = None

    def told(self) -> None:
        self.news += 1

    # the bucket

    @rule(
        key=st.sampled_from(["a", "a.1", "a.2", "b"]),
        live=st.booleans(),
        size=st.sampled_from([0, 1, 600]),
        step=st.sampled_from([1, 1, 1, 3]),
    )
    def write(self, key: str, live: bool, size: int, step: int) -> None:
        self.last += step
        change = put(self.last, key, bytes(size)) if live else tombstone(self.last, key)
        self.log.append(change)
        self.stored.pop(key, None)
        self.stored[key] = change

    # the live feed

    @rule(count=st.integers(1, 8))
    def the_feed_moves_on(self, count: int) -> None:
        for change in [change for change in self.log if change.revision > self.offered][:count]:
            self.offer(change)
            self.offered = change.revision

    @rule(back=st.integers(1, 6))
    def the_feed_repeats(self, back: int) -> None:
        for change in [change for change in self.log if change.revision <= self.offered][-back:]:
            self.offer(change)

    def offer(self, change: Change) -> None:
        if not self.session.matches(change.key):
            return
        if self.session.state is State.CATCHING_UP and not self.missed:
            self.kept += 1
            self.kept_bytes += WEIGHT + len(change.value)
            self.missed = 2 * self.kept > self.limits.changes or (
                self.kept > 1 and 2 * self.kept_bytes > self.limits.bytes
            )
        self.session.add_live(change)

    @rule()
    def the_bucket_is_deleted(self) -> None:
        if self.last > 12:
            self.session.close(BucketDeleted())

    # the past

    @precondition(lambda self: self.session.state is State.CATCHING_UP)
    @rule()
    def a_round_begins(self) -> None:
        """Also where one is under way: it is given up, as after a gap."""
        self.session.restart()
        self.missed = self.kept = self.kept_bytes = 0
        self.target = self.last

    @precondition(lambda self: self.target is not None)
    @rule(count=st.integers(1, 4))
    def a_part_is_read(self, count: int) -> None:
        left = [c for c in self.stored.values() if self.through < c.revision <= self.target]
        for change in left[:count]:
            if self.session.matches(change.key):
                self.session.add_past(change)
                self.caught_since_taken += 1
            self.through = change.revision
        if len(left) <= count:
            self.through = self.target
        self.take(2**60)

    @precondition(lambda self: self.target is not None)
    @rule()
    def a_part_is_read_again(self) -> None:
        for change in list(self.stored.values()):
            if change.revision <= self.through and self.session.matches(change.key):
                self.session.add_past(change)
                self.caught_since_taken += 1

    @precondition(lambda self: self.target is not None and self.through >= self.target)
    @rule()
    def it_joins(self) -> None:
        newest = self.last
        while self.offered < newest:
            self.the_feed_moves_on(1)
        was = self.session.state
        joined = self.session.join_live(self.through)
        if was is State.CATCHING_UP:
            assert joined is (not self.missed)
            assert self.session.state is (State.LIVE if joined else State.CATCHING_UP)
        else:
            assert joined is (was is State.LIVE)
        self.target = None

    # the reader

    @rule(max_bytes=st.sampled_from([1, 700, 2**60]))
    def take(self, max_bytes: int) -> None:
        items = self.session.take(max_bytes)
        assert bool(items) or self.session.idle
        weights = [WEIGHT + len(item.value) for item in items if isinstance(item, Change)]
        assert len(items) <= 1 or sum(weights) <= max_bytes
        assert len(items) <= self.limits.changes + self.caught_since_taken
        waiting_bytes = self.limits.bytes + (self.caught_since_taken + 2) * (WEIGHT + 600)
        assert sum(weights) <= waiting_bytes
        self.taken += items
        if self.session.idle:
            self.caught_since_taken = 0

    # what holds at all times

    @invariant()
    def revisions_increase_strictly(self) -> None:
        seen = [item.revision for item in self.taken if isinstance(item, Change)]
        assert all(one < other for one, other in pairwise(seen)), seen

    @invariant()
    def only_what_is_wanted_is_handed_out(self) -> None:
        changes = [item for item in self.taken if isinstance(item, Change)]
        assert all(self.session.matches(change.key) for change in changes)

    @invariant()
    def a_live_session_has_handed_out_all_up_to_its_position(self) -> None:
        if self.session.state is not State.LIVE:
            return
        while not self.session.idle:
            self.take(2**60)
        position = self.session.position
        truth: dict[str, bytes] = {}
        for change in self.log:
            if change.revision <= position and self.session.matches(change.key):
                fold(truth, change)
        seen: dict[str, bytes] = {}
        for item in self.taken:
            if isinstance(item, Change):
                fold(seen, item)
        assert seen == truth

    @invariant()
    def nothing_is_handed_out_after_the_end(self) -> None:
        if self.session.state is not State.CLOSED:
            return
        if not self.closed:
            self.closed = True
            if isinstance(self.session.end, SlowConsumer):
                assert self.session.idle
            while not self.session.idle:
                self.take(2**60)
            self.news_at_the_end = self.news
        assert self.session.idle
        assert self.news == self.news_at_the_end

    @invariant()
    def the_end_of_the_snapshot_is_said_once_and_is_the_newest(self) -> None:
        ends = [index for index, item in enumerate(self.taken) if isinstance(item, SnapshotEnd)]
        assert len(ends) <= 1
        for index in ends:
            end = self.taken[index].revision
            assert all(item.revision <= end for item in self.taken[:index])
            assert all(item.revision > end for item in self.taken[index + 1 :])


def fold(known: dict[str, bytes], change: Change) -> None:
    if change.live:
        known[change.key] = change.value
    else:
        known.pop(change.key, None)


class WatchingSlowly(Watching):
    """The same, by a reader that takes only when it likes: overflow while live is common."""

    @invariant()
    def a_live_session_has_handed_out_all_up_to_its_position(self) -> None:
        """Only what was taken can be seen, and a slow reader does not take all."""


Watching.TestCase.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
WatchingSlowly.TestCase.settings = Watching.TestCase.settings
TestWatching = Watching.TestCase
TestWatchingSlowly = WatchingSlowly.TestCase

"""The decision whether a resume can have missed something, against a bucket that does as told."""

import asyncio
from dataclasses import dataclass, field
from math import inf
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jetkv_gateway.jetstream.silent_loss import silent_loss_of
from jetkv_gateway.kv.model import BucketState, Change, Operation, SilentLoss
from jetkv_gateway.kv.store import FeedBatch, StoredRevision
from jetkv_gateway.watch.loss import (
    CHECK_GAPS,
    LOST,
    first_gap,
    gap_is_loss,
    is_short,
    seconds_proven,
    seconds_safe,
    stricter,
)

SECOND = 1_000_000_000
NEVER = inf


@dataclass
class Stored:
    revision: int
    key: str
    kind: str
    at: int
    ttl: float | None


@dataclass
class Server:
    """A bucket: what is written, when it goes, and what marks where it was. A tick is a second."""

    config: dict[str, Any]
    now: int = 0
    last: int = 0
    stored: list[Stored] = field(default_factory=list)
    log: list[Stored] = field(default_factory=list)

    def write(self, key: str, kind: str = "put", ttl: float | None = None) -> None:
        self.last += 1
        if ttl is not None and self.config["max_msgs_per_subject"] > 1:
            # Seen on 2.11.11 to 2.15.1: with a history, no TTL is below that of the markers.
            ttl = max(ttl, self.config["subject_delete_marker_ttl"] / SECOND)
        message = Stored(self.last, key, kind, self.now, ttl)
        self.log.append(message)
        of_key = [old for old in self.stored if old.key == key]
        if kind == "marker":
            dropped = of_key
        else:
            dropped = of_key[: len(of_key) + 1 - self.config["max_msgs_per_subject"]]
        self.stored = [old for old in self.stored if old not in dropped]
        self.stored.append(message)
        if self.config["discard"] == "old" and self.config["max_msgs"] > 0:
            self.stored = self.stored[-self.config["max_msgs"] :]

    def tick(self) -> None:
        self.now += 1
        for message in list(self.stored):
            age_limit = self.config["max_age"] / SECOND or inf
            lives = age_limit if message.ttl is None else min(message.ttl, age_limit)
            if message.ttl == NEVER:
                lives = inf
            if self.now - message.at < lives:
                continue
            self.stored.remove(message)
            markers = self.config["subject_delete_marker_ttl"] / SECOND
            alone = all(other.key != message.key for other in self.stored)
            if markers and alone and message.kind != "marker":
                self.write(message.key, "marker", markers)

    def state(self) -> BucketState:
        first = self.stored[0] if self.stored else None
        return BucketState(
            created_at="",
            age=self.now,
            now=self.now,
            first=first.revision if first else self.last + 1,
            first_age=self.now - first.at if first else inf,
            last=self.last,
            history=self.config["max_msgs_per_subject"],
            silent_loss=silent_loss_of(self.config, 0.0),
        )

    async def first_at_or_after(self, bucket: str, revision: int) -> StoredRevision | None:
        found = [message for message in self.stored if message.revision >= revision]
        return StoredRevision(found[0].revision, found[0].at) if found else None

    def loses(self, after: int) -> bool:
        """Whether who saw all up to `after`, and reads what is left of the rest, is wrong."""
        for key in {message.key for message in self.log if message.revision > after}:
            left = [message for message in self.stored if message.key == key]
            if left and left[-1].revision > after:
                continue
            seen = [old for old in self.log if old.key == key and old.revision <= after]
            held = seen[-1].revision if seen and seen[-1].kind == "put" else None
            truth = left[-1].revision if left and left[-1].kind == "put" else None
            if held != truth:
                return True
        return False

    def keeps_all(self, after: int) -> bool:
        return sum(message.revision > after for message in self.stored) == self.last - after


def goes_on(server: Server, after: int, age: float) -> bool:
    """Whether a resume goes on, by the same steps that one takes."""
    state = server.state()
    sure = seconds_safe(state, after, age)
    if sure == LOST:
        return False
    sure = max(sure, asyncio.run(seconds_proven(server, "b", state, after)))
    if not is_short(sure, state):
        return True
    left = [
        Change(message.key, b"", message.revision, Operation.PUT)
        for message in server.stored
        if message.revision > after
    ]
    gap = first_gap(FeedBatch(left, server.last, -inf), after)
    return gap is None or not gap_is_loss(state, gap, age)


configs = st.fixed_dictionaries(
    {
        "max_msgs_per_subject": st.sampled_from([1, 2]),
        "max_age": st.sampled_from([0, 4 * SECOND, 9 * SECOND]),
        "allow_msg_ttl": st.booleans(),
        "subject_delete_marker_ttl": st.sampled_from([0, 2 * SECOND, 5 * SECOND]),
        "discard": st.sampled_from(["new", "new", "old"]),
        "max_msgs": st.sampled_from([-1, 3]),
    }
)
keys = st.sampled_from("abc")
steps = st.lists(
    st.one_of(
        st.tuples(st.just("put"), keys, st.sampled_from([None, None, 1, 2, 6, NEVER])),
        st.tuples(st.just("delete"), keys, st.none()),
        st.tuples(st.just("tick"), st.just(""), st.none()),
        st.tuples(st.just("tick"), st.just(""), st.none()),
    ),
    max_size=40,
)


@settings(max_examples=800, deadline=None)
@given(configs, steps, st.data())
def test_a_resume_goes_on_only_where_nothing_is_lost_and_wherever_all_is_there(
    config: dict[str, Any], script: list, data: st.DataObject
) -> None:
    # The server switches TTLs on with markers, and knows none without.
    config["allow_msg_ttl"] |= bool(config["subject_delete_marker_ttl"])
    server = Server(config)
    for step, key, ttl in script:
        if step == "tick":
            server.tick()
        else:
            server.write(key, step, ttl if config["allow_msg_ttl"] else None)
    after = data.draw(st.integers(0, server.last))
    follow = [message.at for message in server.log if message.revision > after]
    known = data.draw(st.sampled_from([0, *follow[:1]]))
    went_on = goes_on(server, after, server.now - known)
    if server.loses(after):
        assert not went_on
    if server.keeps_all(after):
        assert went_on


# --- what a bucket's settings say


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({}, None),
        ({"max_age": 60 * SECOND}, SilentLoss(60, oldest_first=True)),
        ({"discard": "old"}, None),
        ({"discard": "old", "max_bytes": 5}, SilentLoss(0, oldest_first=True)),
        ({"discard": "new", "max_msgs": 5}, None),
        ({"allow_msg_ttl": True}, SilentLoss(1, oldest_first=False)),
        ({"allow_msg_ttl": True, "max_age": 60 * SECOND}, SilentLoss(1, oldest_first=False)),
        (
            {"allow_msg_ttl": True, "subject_delete_marker_ttl": 9 * SECOND},
            SilentLoss(9, oldest_first=False),
        ),
        (
            {
                "allow_msg_ttl": True,
                "subject_delete_marker_ttl": 90 * SECOND,
                "max_age": 60 * SECOND,
            },
            SilentLoss(60, oldest_first=False),
        ),
        ({"retention": "interest"}, SilentLoss(0, oldest_first=False)),
    ],
    ids=str,
)
def test_a_bucket_forgets_as_its_settings_say(
    config: dict[str, Any], expected: SilentLoss | None
) -> None:
    assert silent_loss_of(config, 0.0) == expected


def test_a_bucket_that_forgot_in_two_ways_is_taken_for_the_worse() -> None:
    short, long = SilentLoss(1, oldest_first=True), SilentLoss(60, oldest_first=False)
    assert stricter(None, None) is None
    assert stricter(short, None) == stricter(None, short) == short
    assert stricter(short, long) == stricter(long, short) == SilentLoss(1, oldest_first=False)


def test_what_is_sure_is_sure_for_as_long_as_the_youngest_witness_lives() -> None:
    server = Server(
        {
            "max_msgs_per_subject": 1,
            "max_age": 10 * SECOND,
            "allow_msg_ttl": True,
            "subject_delete_marker_ttl": 10 * SECOND,
            "discard": "new",
            "max_msgs": -1,
        }
    )
    server.write("old", ttl=NEVER)
    for _ in range(100):
        server.tick()
    for number in range(20):
        server.write(f"k{number}")
    server.tick()
    server.write("hot")
    server.write("hot")
    state = server.state()
    assert seconds_safe(state, 21, 101) == CHECK_GAPS
    assert asyncio.run(seconds_proven(server, "b", state, 21)) == 9
    assert goes_on(server, 21, 101)

"""What one watcher is owed: the state machine of `watch/session.py`, row by row."""

import re
from collections.abc import Callable, Sequence

import pytest

from jetkv_gateway.kv.errors import BucketDeleted, Resync, SlowConsumer, Unavailable
from jetkv_gateway.kv.filters import EVERYTHING
from jetkv_gateway.kv.model import Operation
from jetkv_gateway.watch import session as module
from jetkv_gateway.watch.session import Item, Limits, Session, SnapshotEnd, State
from tests.support.sessions import WEIGHT, filters, put, tombstone


def live_session(through: int = 0, **options: object) -> Session:
    session = Session(**options)
    assert session.join_live(through)
    session.take()
    return session


def everything(session: Session) -> list[Item]:
    return session.take(max_bytes=2**60)


def revisions(items: Sequence[Item]) -> list[int]:
    return [item.revision for item in items]


_rows: set[tuple[str, str]] = set()


def row(state: str, comes: str) -> Callable:
    """Mark a test as one of a row of the table."""
    _rows.add((state, comes))
    return lambda test: test


def test_each_row_of_the_table_has_a_test_here() -> None:
    table = re.findall(r"^\| (\w+) +\| `?(\w+)`? +\|", module.__doc__, re.MULTILINE)
    assert table[0] == ("In", "comes")
    assert _rows == set(table[1:])


def test_a_session_begins_by_catching_up() -> None:
    session = Session()
    assert session.state is State.CATCHING_UP
    assert (session.position, session.missed, session.end, session.idle) == (0, False, None, True)


@row("CATCHING_UP", "add_past")
def test_what_catching_up_reads_is_handed_out_in_order() -> None:
    session = Session()
    changes = [put(3), put(4, "other"), tombstone(9)]
    for change in changes:
        session.add_past(change)
    assert session.position == 9
    assert everything(session) == changes


@row("CATCHING_UP", "add_past")
def test_what_catching_up_reads_again_is_not_handed_out_again() -> None:
    session = Session()
    for revision in (3, 5, 3, 4, 5, 6):
        session.add_past(put(revision))
    assert revisions(everything(session)) == [3, 5, 6]


@row("CATCHING_UP", "add_live")
def test_a_live_change_is_kept_while_it_catches_up() -> None:
    session = Session()
    session.add_live(put(7))
    assert session.idle
    assert session.position == 0


@row("CATCHING_UP", "add_live")
@pytest.mark.parametrize(("kept", "missed"), [(2, False), (3, True)])
def test_half_of_the_changes_that_may_wait_are_kept(kept: int, missed: bool) -> None:
    session = Session(limits=Limits(changes=5))
    for revision in range(1, kept + 1):
        session.add_live(put(revision))
    assert session.missed is missed


@row("CATCHING_UP", "add_live")
@pytest.mark.parametrize(("size", "missed"), [(100, False), (101, True)])
def test_half_of_the_bytes_that_may_wait_are_kept(size: int, missed: bool) -> None:
    session = Session(limits=Limits(bytes=4 * (WEIGHT + 100)))
    session.add_live(put(1, value=bytes(100)))
    session.add_live(put(2, value=bytes(size)))
    assert session.missed is missed


@row("CATCHING_UP", "add_live")
def test_what_was_kept_is_dropped_where_too_much_is_kept() -> None:
    session = Session(limits=Limits(changes=4))
    for revision in (1, 2, 3, 4):
        session.add_live(put(revision))
    session.join_live(0)
    assert session.idle


@row("CATCHING_UP", "add_live")
def test_a_single_change_is_kept_however_large_it_is() -> None:
    session = Session(limits=Limits(changes=2, bytes=1))
    session.add_live(put(1, value=bytes(1000)))
    assert not session.missed
    session.join_live(0)
    assert revisions(everything(session)) == [1]


@row("CATCHING_UP", "join_live")
def test_joining_hands_out_what_was_kept_and_is_newer() -> None:
    session = Session()
    session.add_past(put(3))
    for revision in (2, 4, 6, 8):
        session.add_live(put(revision, f"k{revision}"))
    assert session.join_live(through=5)
    assert session.state is State.LIVE
    assert session.position == 8
    assert revisions(everything(session)) == [3, 6, 8]


@row("CATCHING_UP", "join_live")
def test_joining_hands_out_a_change_that_was_kept_twice_once() -> None:
    session = Session()
    for revision in (5, 6, 4, 5, 6, 7):
        session.add_live(put(revision))
    session.join_live(through=4)
    assert revisions(everything(session)) == [5, 6, 7]


@row("CATCHING_UP", "join_live")
def test_joining_never_takes_the_position_back() -> None:
    session = Session()
    session.add_past(put(9))
    session.add_live(put(8))
    assert session.join_live(through=5)
    assert session.position == 9
    assert revisions(everything(session)) == [9]


@row("CATCHING_UP", "join_live")
def test_a_session_that_missed_something_does_not_join() -> None:
    session = Session(limits=Limits(changes=1), snapshot_end=True)
    session.add_live(put(7))
    assert not session.join_live(through=6)
    assert session.state is State.CATCHING_UP
    assert session.position == 6
    assert session.idle


@row("CATCHING_UP", "join_live")
def test_another_round_makes_up_for_what_was_missed() -> None:
    session = Session(limits=Limits(changes=2))
    session.add_past(put(1, "a"))
    for revision in (2, 3):
        session.add_live(put(revision, "b"))
    assert not session.join_live(through=1)
    session.restart()
    session.add_past(put(3, "b"))
    session.add_live(put(4, "c"))
    assert session.join_live(through=3)
    assert revisions(everything(session)) == [1, 3, 4]


def test_a_new_round_forgets_what_was_kept_before() -> None:
    session = Session()
    session.add_live(put(7))
    session.restart()
    assert session.join_live(through=3)
    assert session.idle
    assert session.position == 3


def test_a_new_round_keeps_changes_again_after_some_were_missed() -> None:
    session = Session(limits=Limits(changes=2))
    session.add_live(put(1))
    session.add_live(put(2))
    assert session.missed
    session.restart()
    assert not session.missed
    session.add_live(put(3))
    assert session.join_live(through=2)
    assert revisions(everything(session)) == [3]


@row("LIVE", "add_live")
def test_a_live_change_is_handed_out() -> None:
    session = live_session(through=4)
    change = put(5)
    session.add_live(change)
    assert everything(session) == [change]
    assert session.position == 5


@row("LIVE", "add_live")
def test_a_live_change_that_is_repeated_is_not_handed_out_again() -> None:
    session = live_session(through=4)
    for revision in (3, 4, 5, 6, 5, 6, 7):
        session.add_live(put(revision))
    assert revisions(everything(session)) == [5, 6, 7]


@row("LIVE", "add_live")
def test_as_many_changes_as_are_allowed_may_wait() -> None:
    session = live_session(limits=Limits(changes=3))
    for revision in (1, 2, 3):
        session.add_live(put(revision))
    assert session.state is State.LIVE
    assert revisions(everything(session)) == [1, 2, 3]


@row("LIVE", "add_live")
def test_a_reader_for_whom_too_many_changes_wait_is_too_slow() -> None:
    session = live_session(limits=Limits(changes=3))
    for revision in (1, 2, 3, 4, 5):
        session.add_live(put(revision))
    assert session.state is State.CLOSED
    assert isinstance(session.end, SlowConsumer)


@row("LIVE", "add_live")
@pytest.mark.parametrize(("size", "state"), [(10, State.LIVE), (11, State.CLOSED)])
def test_a_reader_for_whom_too_many_bytes_wait_is_too_slow(size: int, state: State) -> None:
    session = live_session(limits=Limits(bytes=3 * (WEIGHT + 10)))
    session.add_live(put(1, value=bytes(10)))
    session.add_live(put(2, value=bytes(10)))
    session.add_live(put(3, value=bytes(size)))
    assert session.state is state


@row("LIVE", "add_live")
def test_what_was_taken_does_not_wait_any_more() -> None:
    session = live_session(limits=Limits(changes=3, bytes=3 * (WEIGHT + 10)))
    for revision in range(1, 50):
        session.add_live(put(revision, value=bytes(10)))
        if revision % 3 == 0:
            assert len(everything(session)) == 3
    assert session.state is State.LIVE


@row("LIVE", "add_live")
def test_a_single_change_may_wait_however_large_it_is() -> None:
    session = live_session(limits=Limits(bytes=1))
    session.add_live(put(1, value=bytes(1000)))
    assert session.state is State.LIVE
    assert revisions(everything(session)) == [1]


def test_what_catching_up_reads_late_is_nothing_to_a_live_session() -> None:
    session = live_session(through=4)
    session.add_past(put(9))
    assert session.idle
    assert session.position == 4


def test_joining_a_live_session_changes_nothing() -> None:
    session = live_session(through=4)
    assert session.join_live(through=9)
    assert session.position == 4


@row("any", "close")
@pytest.mark.parametrize("live", [False, True])
def test_a_session_is_closed_with_a_reason(live: bool) -> None:
    session = live_session() if live else Session()
    reason = BucketDeleted()
    session.close(reason)
    assert session.state is State.CLOSED
    assert session.end is reason


@row("any", "close")
def test_the_first_reason_counts() -> None:
    session = Session()
    first = Resync("one")
    session.close(first)
    session.close(BucketDeleted())
    assert session.end is first


@row("any", "close")
def test_a_reader_that_is_too_slow_first_stays_so_and_gets_nothing() -> None:
    session = live_session()
    session.add_live(put(1))
    session.close(SlowConsumer())
    session.close(BucketDeleted())
    assert isinstance(session.end, SlowConsumer)
    assert session.idle


@row("any", "close")
def test_what_waits_for_a_reader_that_is_too_slow_is_dropped() -> None:
    session = live_session(limits=Limits(changes=2))
    for revision in (1, 2, 3):
        session.add_live(put(revision))
    assert session.idle
    assert everything(session) == []


@row("any", "close")
@pytest.mark.parametrize("reason", [BucketDeleted(), Resync("gone"), Unavailable()])
def test_what_was_handed_out_can_be_taken_after_any_other_end(reason: BucketDeleted) -> None:
    session = live_session()
    session.add_live(put(1))
    session.add_live(put(2))
    session.close(reason)
    assert not session.idle
    assert revisions(everything(session)) == [1, 2]


@row("any", "close")
def test_what_was_only_kept_is_not_handed_out_at_the_end() -> None:
    session = Session()
    session.add_past(put(1))
    session.add_live(put(2))
    session.close(BucketDeleted())
    assert revisions(everything(session)) == [1]


@row("CLOSED", "anything")
def test_a_closed_session_takes_in_nothing() -> None:
    session = live_session(through=1)
    session.close(BucketDeleted())
    session.restart()
    session.add_live(put(2))
    session.add_past(put(3))
    assert not session.join_live(through=4)
    assert session.state is State.CLOSED
    assert session.position == 1
    assert everything(session) == []


@row("CLOSED", "anything")
def test_a_session_closed_while_it_catches_up_says_no_end_of_a_snapshot() -> None:
    session = Session(snapshot_end=True)
    session.close(BucketDeleted())
    assert not session.join_live(through=4)
    assert everything(session) == []


def test_as_much_is_taken_at_once_as_fits() -> None:
    session = live_session()
    for revision in (1, 2, 3, 4, 5):
        session.add_live(put(revision, value=bytes(44)))
    assert revisions(session.take(max_bytes=2 * 300)) == [1, 2]
    assert revisions(session.take(max_bytes=3 * 300 - 1)) == [3, 4]
    assert revisions(session.take(max_bytes=300)) == [5]
    assert session.take() == []


def test_one_is_taken_however_large_it_is() -> None:
    session = live_session()
    session.add_live(put(1, value=bytes(5000)))
    session.add_live(put(2))
    assert revisions(session.take(max_bytes=10)) == [1]
    assert revisions(session.take(max_bytes=10)) == [2]


def test_a_session_is_idle_when_all_was_taken() -> None:
    session = live_session()
    session.add_live(put(1))
    assert not session.idle
    session.take()
    assert session.idle


def test_the_reader_is_told_when_there_is_something_to_take() -> None:
    idle: list[bool] = []
    session = Session(on_news=lambda: idle.append(session.idle))
    session.add_past(put(1))
    assert idle == [False]
    session.add_live(put(2))
    assert idle == [False], "what is kept cannot be taken"
    session.join_live(1)
    assert idle == [False, False]
    session.add_live(put(3))
    assert idle == [False, False, False]


def test_the_reader_is_told_of_the_end_once() -> None:
    states: list[State] = []
    session = Session(on_news=lambda: states.append(session.state))
    session.close(BucketDeleted())
    session.close(BucketDeleted())
    assert states == [State.CLOSED]


def test_the_reader_is_told_of_nothing_new_by_a_repeat() -> None:
    calls: list[None] = []
    session = live_session(through=5, on_news=lambda: calls.append(None))
    session.add_live(put(5))
    assert calls == []


def test_the_end_of_a_snapshot_comes_after_what_was_kept_and_names_the_newest() -> None:
    session = Session(snapshot_end=True)
    session.add_past(put(2))
    session.add_live(put(7))
    session.join_live(through=4)
    session.add_live(put(8))
    items = everything(session)
    assert items[2] == SnapshotEnd(7)
    assert revisions(items) == [2, 7, 7, 8]


def test_the_end_of_an_empty_snapshot_names_where_the_bucket_stands() -> None:
    told: list[None] = []
    session = Session(snapshot_end=True, on_news=lambda: told.append(None))
    session.join_live(through=4)
    assert everything(session) == [SnapshotEnd(4)]
    assert told == [None]


def test_the_end_of_a_snapshot_is_said_once() -> None:
    session = Session(snapshot_end=True)
    session.join_live(through=4)
    session.join_live(through=5)
    assert everything(session) == [SnapshotEnd(4)]


def test_no_end_of_a_snapshot_is_said_where_none_was_asked_for() -> None:
    session = Session()
    session.join_live(through=4)
    assert session.idle


@pytest.mark.parametrize("operation", [Operation.DELETE, Operation.PURGE])
def test_tombstones_are_left_out_where_they_are_not_wanted(operation: Operation) -> None:
    session = Session(ignore_deletes=True)
    session.add_past(put(1))
    session.add_past(tombstone(2, operation=operation))
    session.add_live(tombstone(3, operation=operation))
    session.join_live(2)
    session.add_live(tombstone(4, operation=operation))
    session.add_live(put(5))
    assert revisions(everything(session)) == [1, 5]


def test_the_position_moves_past_a_tombstone_that_is_left_out() -> None:
    calls: list[None] = []
    session = live_session(ignore_deletes=True, on_news=lambda: calls.append(None))
    session.add_live(tombstone(4))
    assert session.position == 4
    assert session.idle
    assert calls == []


def test_tombstones_that_are_left_out_do_not_make_a_reader_slow() -> None:
    session = live_session(ignore_deletes=True, limits=Limits(changes=2))
    for revision in range(1, 10):
        session.add_live(tombstone(revision))
    assert session.state is State.LIVE


def test_a_change_is_wanted_when_any_filter_accepts_its_key() -> None:
    session = Session(filters("a.*", "b"))
    assert [key for key in ("a.1", "b", "a", "b.1", "c") if session.matches(key)] == ["a.1", "b"]


def test_everything_is_wanted_where_no_filter_is_given() -> None:
    session = Session()
    assert session.matches("any:key")
    assert session.filters == (EVERYTHING,)


@pytest.mark.parametrize(
    ("texts", "keys"),
    [
        (["a"], {"a"}),
        (["a", "b:1", "a"], {"a", "b:1"}),
        (["a", "b.*"], set()),
        (["a."], set()),
        ([""], set()),
    ],
)
def test_the_keys_of_a_session_are_known_where_no_filter_accepts_more(
    texts: list[str], keys: set[str]
) -> None:
    assert Session(filters(*texts)).keys == keys


def test_sessions_with_the_same_filters_have_the_same_name() -> None:
    assert Session(filters("b", "a.*", "b")).name == Session(filters("a.*", "b")).name
    assert Session(filters("b", "a.*")).name != Session(filters("b")).name
    assert Session().name == Session(filters("")).name

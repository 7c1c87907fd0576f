"""A watch of the SDK that began with a snapshot, where a resume cannot show all that happened."""

from datetime import timedelta

import pytest

from jetkv import errors
from jetkv._core.messages import Answer, Broken
from jetkv._core.retry import Resend
from jetkv._core.session import SnapshotEnd, WatchSession
from tests.unit.test_sdk_session import (
    MADE,
    asked,
    error,
    feed,
    items,
    session,
    snapshot_end,
    update,
)


def begun(*chunks: bytes, **options) -> WatchSession:
    """Return a watch that had a snapshot, and was told to resync."""
    watch = session(snapshot=True, **options)
    feed(watch, b"".join(chunks))
    lost(watch)
    return watch


def lost(watch: WatchSession) -> None:
    """Come back in vain: the gateway cannot go on from there."""
    watch.request(MADE)
    with pytest.raises(Broken):
        feed(watch, error("resync"))
    assert watch.must_check_bucket
    watch.check_bucket(MADE, MADE)
    watch.request(MADE)


def told(found: list) -> list[tuple]:
    return [
        (one.key, one.revision, one.operation.value, one.reason)
        for one in found
        if not isinstance(one, SnapshotEnd)
    ]


AB = (update(1, "a"), update(2, "b"), snapshot_end(2))


def test_it_takes_a_new_snapshot_and_tells_what_differs_in_order() -> None:
    watch = begun(*AB, update(3, "c"))
    query, headers = asked(watch)
    assert query["snapshot"] == "true"
    assert "Last-Event-ID" not in headers
    found = feed(watch, update(2, "b") + update(7, "c", b"2") + update(8, "new") + snapshot_end(9))
    assert told(found) == [
        ("c", 7, "put", None),
        ("new", 8, "put", None),
        ("a", 9, "delete", "vanished"),
    ]
    assert (found[-1].value, found[-1].raw) == (None, b"")
    assert told(feed(watch, update(10, "a"))) == [("a", 10, "put", None)]


def test_where_nothing_differs_nothing_is_told() -> None:
    watch = begun(*AB)
    assert feed(watch, update(1, "a") + update(2, "b") + snapshot_end(9)) == []
    assert watch.last_revision == 9


def test_what_was_told_to_be_gone_is_not_told_again() -> None:
    gone = update(3, "a", b"", operation="delete")
    watch = begun(*AB, gone)
    assert feed(watch, update(2, "b") + snapshot_end(9)) == []


def test_what_is_gone_comes_in_the_order_of_its_last_revision() -> None:
    watch = begun(*AB, update(3, "c"), update(4, "a"))
    assert [one.key for one in feed(watch, snapshot_end(9))] == ["b", "c", "a"]


def test_deletes_that_are_not_wanted_are_not_made_up() -> None:
    watch = begun(*AB, ignore_deletes=True)
    assert feed(watch, update(2, "b") + snapshot_end(9)) == []
    lost(watch)
    assert told(feed(watch, update(2, "b") + update(12, "a") + snapshot_end(12))) == [
        ("a", 12, "put", None)
    ]


def test_a_reader_that_stops_within_a_resync_keeps_its_position() -> None:
    watch = begun(*AB)
    came = watch.feed(update(5, "b", b"2") + update(6, "c"))
    assert [one.position for one in came] == [None, None]
    assert (watch.resyncing, watch.last_revision) == (True, 2)
    came = watch.feed(snapshot_end(7) + update(8, "d"))
    assert [(one.item.key, one.position) for one in came] == [("a", 7), ("d", 8)]
    assert (watch.resyncing, watch.last_revision) == (False, 8)


def test_a_connection_that_breaks_within_it_goes_on_where_it_was() -> None:
    watch = begun(*AB)
    feed(watch, update(5, "b", b"2"))
    query, headers = asked(watch)
    assert (query["snapshot"], headers["Last-Event-ID"]) == ("true", "5")
    found = feed(watch, update(6, "c") + snapshot_end(7))
    assert told(found) == [("c", 6, "put", None), ("a", 7, "delete", "vanished")]


def test_a_second_resync_within_it_begins_it_again_and_repeats_nothing() -> None:
    watch = begun(*AB)
    assert told(feed(watch, update(5, "b", b"2") + update(6, "c"))) == [
        ("b", 5, "put", None),
        ("c", 6, "put", None),
    ]
    lost(watch)
    found = feed(watch, update(5, "b", b"2") + update(8, "d") + snapshot_end(9))
    assert told(found) == [
        ("d", 8, "put", None),
        ("a", 9, "delete", "vanished"),
        ("c", 9, "delete", "vanished"),
    ]


def test_a_resync_within_the_first_snapshot_leaves_one_snapshot_and_one_end() -> None:
    watch = begun(update(1, "a"), update(2, "b"))
    found = feed(watch, update(2, "b") + update(4, "c") + snapshot_end(5))
    assert told(found) == [("c", 4, "put", None), ("a", 5, "delete", "vanished")]
    assert found[-1] == SnapshotEnd(5)


def test_a_key_that_comes_and_goes_while_it_is_read_is_told_once() -> None:
    watch = begun(*AB)
    gone = update(5, "a", b"", operation="delete")
    found = feed(watch, update(1, "a") + update(2, "b") + gone + snapshot_end(5))
    assert told(found) == [("a", 5, "delete", None)]


def test_a_bucket_that_went_back_reports_its_values() -> None:
    watch = begun(*AB, update(9, "c"))
    found = feed(
        watch, update(1, "a") + update(2, "b", b"other") + update(4, "c") + snapshot_end(4)
    )
    assert told(found) == [("b", 2, "put", None), ("c", 4, "put", None)]
    assert watch.last_revision == 4
    assert asked(watch)[1]["Last-Event-ID"] == "4"


def test_another_bucket_of_the_name_is_a_lost_watch() -> None:
    watch = session(snapshot=True)
    feed(watch, b"".join(AB))
    with pytest.raises(Broken):
        feed(watch, error("resync"))
    with pytest.raises(errors.WatchLostError) as caught:
        watch.check_bucket(MADE, MADE + timedelta(seconds=1))
    assert (caught.value.reason, caught.value.last_revision) == ("bucket_deleted", 2)


def test_a_bucket_that_is_gone_by_then_is_a_lost_watch() -> None:
    watch = begun(*AB)
    body = b'{"error":"bucket not found","code":"not_found","retryable":false,"request_id":"r"}'
    verdict = watch.judge(Answer(404, {}, body), "here")
    assert verdict.resend is Resend.NO
    assert isinstance(verdict.error, errors.WatchLostError)
    assert verdict.error.reason == "bucket_deleted"


@pytest.mark.parametrize("options", [{}, {"resume_after": 0}])
def test_one_without_a_snapshot_is_lost_and_says_what_to_do(options) -> None:
    watch = session(**options)
    feed(watch, update(1))
    with pytest.raises(errors.WatchLostError, match=r"snapshot=True.*by itself") as caught:
        feed(watch, error("resync"))
    assert (caught.value.reason, caught.value.last_revision) == ("resync", 1)


def test_after_a_long_outage_it_is_taken_at_once() -> None:
    watch = session(snapshot=True)
    feed(watch, b"".join(AB))
    for _ in range(9):
        watch.delay(0.0, 1.0, lasted=0.0)
    items(watch, error("resync"))
    assert watch.delay(0.0, 1.0, lasted=0.0) == 0.0


def test_repeated_resyncs_reconnect_later_each_time() -> None:
    watch = session(snapshot=True)
    delays = []
    for number in range(4):
        items(watch, update(number + 1) + snapshot_end(number + 1) + error("resync"))
        delays.append(watch.delay(0.0, 1.0, lasted=0.0))
        watch.request(MADE)
    assert delays == [0.0, 0.1, 0.2, 0.4]
    assert watch.delay(0.0, 0.0, lasted=60.0) == 0.0

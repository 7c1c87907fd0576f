"""A watch of the SDK as a state machine: where it stands, and whether it can go on."""

import json
from base64 import b64encode
from collections import Counter
from datetime import UTC, datetime
from random import Random
from urllib.parse import parse_qsl, urlsplit

import pytest

from jetkv import errors
from jetkv._core.answers import decoder
from jetkv._core.messages import Answer, Broken, NotSent
from jetkv._core.retry import Resend
from jetkv._core.session import SnapshotEnd, WatchSession
from jetkv.codec import codec_for

MADE = datetime(2026, 11, 25, 10, 0, 0, 123456, tzinfo=UTC)


def session(*filters: str, kind=None, **options) -> WatchSession:
    options = {"snapshot": False, "resume_after": None, "ignore_deletes": False, **options}
    return WatchSession("flags", filters, decoder(codec_for(kind), "flags"), **options)


def update(revision: int, key: str = "k", value: bytes = b"1", **fields) -> bytes:
    frame = {
        "type": "kv_update",
        "bucket": "flags",
        "key": key,
        "value": b64encode(value).decode(),
        "revision": revision,
        "operation": "put",
        **fields,
    }
    return b"id: %d\ndata: %s\n\n" % (revision, json.dumps(frame).encode())


def snapshot_end(revision: int) -> bytes:
    return b'id: %d\ndata: {"type":"kv_snapshot_end","revision":%d}\n\n' % (revision, revision)


def error(code: str, message: str = "trouble") -> bytes:
    return (
        b"id:\ndata: %s\n\n"
        % json.dumps({"type": "error", "code": code, "message": message}).encode()
    )


def feed(watch: WatchSession, chunk: bytes) -> list:
    """Return what a chunk brings, and raise what it ends with."""
    came = items(watch, chunk)
    watch.check()
    return came


def items(watch: WatchSession, chunk: bytes) -> list:
    return [came.item for came in watch.feed(chunk)]


def asked(watch: WatchSession) -> tuple[dict[str, str], dict[str, str]]:
    request = watch.request(MADE)
    return dict(parse_qsl(urlsplit(request.target).query)), dict(request.headers)


def test_the_first_request_asks_for_what_the_caller_wants() -> None:
    query, headers = asked(session("user.*", snapshot=True, ignore_deletes=True))
    assert query == {
        "key": "user.*",
        "snapshot": "true",
        "ignore_deletes": "true",
        "bucket_created_at": "2026-11-25T10:00:00.123456Z",
    }
    assert headers == {"Accept": "text/event-stream"}


def test_a_watch_that_has_seen_nothing_begins_again_as_it_was_asked_for() -> None:
    watch = session(resume_after=4)
    asked(watch)
    query, headers = asked(watch)
    assert query["resume_after"] == "4"
    assert "Last-Event-ID" not in headers


def test_a_bookmark_is_a_place_to_resume_from_before_anything_has_happened() -> None:
    watch = session()
    assert (watch.opened, watch.last_revision) == (False, None)
    assert items(watch, b"retry: 1000\n\nid: 12\n\n") == []
    assert (watch.opened, watch.last_revision) == (True, 12)
    assert asked(watch)[1]["Last-Event-ID"] == "12"


def test_a_resumed_watch_no_longer_asks_to_resume_where_it_began() -> None:
    watch = session(resume_after=4)
    watch.feed(update(9))
    query, headers = asked(watch)
    assert "resume_after" not in query
    assert headers["Last-Event-ID"] == "9"


def test_an_update_has_its_value_decoded_and_a_delete_none() -> None:
    watch = session()
    put, gone = feed(
        watch,
        update(1, value=b'{"on":true}')
        + update(2, value=b"", operation="delete", reason="expired"),
    )
    assert (put.key, put.value, put.raw, put.revision) == ("k", {"on": True}, b'{"on":true}', 1)
    assert (put.operation, put.reason) == ("put", None)
    assert (gone.value, gone.raw, gone.operation, gone.reason) == (None, b"", "delete", "expired")


def test_a_value_that_does_not_fit_is_said_where_it_is_asked_for_and_ends_nothing() -> None:
    watch = session(kind=int)
    wrong, right = feed(watch, update(1, value=b'"text"') + update(2, value=b"2"))
    with pytest.raises(errors.ValueDecodeError) as caught:
        _ = wrong.value
    assert caught.value.raw == b'"text"'
    assert right.value == 2


def test_what_was_seen_before_is_not_seen_again() -> None:
    watch = session()
    watch.feed(update(1) + update(2))
    watch.request(MADE)
    assert [item.revision for item in feed(watch, update(2) + update(3))] == [3]


def test_the_end_of_the_snapshot_is_told_once() -> None:
    watch = session(snapshot=True)
    assert feed(watch, update(1) + snapshot_end(1))[-1] == SnapshotEnd(1)
    assert watch.synced
    assert feed(watch, snapshot_end(5)) == []


def test_a_chunk_that_breaks_off_is_forgotten_with_its_connection() -> None:
    watch = session()
    watch.feed(update(1) + update(2)[:30])
    watch.request(MADE)
    assert [item.revision for item in feed(watch, update(2))] == [2]


@pytest.mark.parametrize("code", ["bucket_deleted", "resync"])
def test_what_resuming_cannot_cure_is_a_lost_watch_with_its_reason(code: str) -> None:
    watch = session()
    watch.feed(update(3))
    with pytest.raises(errors.WatchLostError) as caught:
        feed(watch, error(code))
    assert (caught.value.reason, caught.value.last_revision) == (code, 3)
    assert "snapshot=True" in str(caught.value)


def test_a_bucket_that_was_never_there_is_not_found() -> None:
    with pytest.raises(errors.BucketNotFoundError):
        feed(session(), error("not_found", "bucket not found"))


def test_a_bucket_that_is_gone_when_the_watch_comes_back_was_deleted() -> None:
    watch = session()
    watch.feed(update(3))
    with pytest.raises(errors.WatchLostError) as caught:
        feed(watch, error("not_found"))
    assert caught.value.reason == "bucket_deleted"


@pytest.mark.parametrize("code", ["slow_consumer", "unavailable", "internal", "of a later gateway"])
def test_any_other_end_is_a_connection_that_broke(code: str) -> None:
    watch = session()
    watch.feed(update(3))
    with pytest.raises(Broken):
        feed(watch, error(code))
    assert asked(watch)[1]["Last-Event-ID"] == "3"


@pytest.mark.parametrize(
    "junk", [b"data: no json\n\n", b"data: []\n\n", b'data: {"type":"kv_update"}\n\n']
)
def test_what_is_no_frame_ends_the_watch_since_it_would_come_again(junk: bytes) -> None:
    with pytest.raises(errors.UnexpectedAnswerError, match="an event that this SDK cannot read"):
        feed(session(), junk)


def test_what_came_before_the_end_in_the_same_chunk_is_handed_on() -> None:
    watch = session()
    assert [
        item.revision for item in items(watch, update(1) + update(2) + error("slow_consumer"))
    ] == [1, 2]
    with pytest.raises(Broken):
        watch.check()
    assert asked(watch)[1]["Last-Event-ID"] == "2"
    watch.check()


def test_a_frame_of_a_later_gateway_is_passed_over() -> None:
    assert items(session(), b'id: 1\ndata: {"type":"kv_news"}\n\n') == []


def test_a_connection_that_brought_something_comes_back_at_once_and_the_next_ones_later() -> None:
    watch = session()
    delays = [watch.delay(0.0, 1.0, lasted=0.0) for _ in range(9)]
    assert delays == [0.0, 0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0]
    watch.feed(update(1))
    assert watch.delay(0.0, 1.0, lasted=0.0) == 0.0


def test_a_connection_that_stood_for_a_while_comes_back_within_a_second() -> None:
    watch = session()
    for _ in range(5):
        watch.delay(0.0, 1.0, lasted=0.0)
    assert watch.delay(0.0, 1.0, lasted=60.0) == 1.0
    assert watch.delay(0.0, 0.25, lasted=60.0) == 0.25
    assert watch.delay(2.0, 0.25, lasted=60.0) == 2.25


def test_thousands_that_end_in_one_moment_do_not_come_back_in_one() -> None:
    random = Random(1)
    times = [session().delay(0.0, random.random(), lasted=60.0) for _ in range(10_000)]
    in_a_tenth = Counter(int(10 * time) for time in times)
    assert set(in_a_tenth) == set(range(10))
    assert max(in_a_tenth.values()) < 1200


def test_one_that_needs_another_snapshot_takes_it_at_once_however_long_it_stood() -> None:
    watch = session(snapshot=True)
    items(watch, update(1) + snapshot_end(1) + error("resync"))
    assert watch.delay(0.0, 1.0, lasted=60.0) == 0.0
    assert watch.delay(0.0, 1.0, lasted=60.0) == 1.0


def test_connections_that_end_right_after_the_same_bookmark_come_back_later_and_later() -> None:
    watch = session()
    for expected in (0.0, 0.1, 0.2):
        watch.feed(b"id: 7\n\n")
        assert watch.delay(0.0, 1.0, lasted=0.0) == expected


def test_hours_of_trouble_are_outlasted() -> None:
    watch = session()
    assert max(watch.delay(0.0, 1.0, lasted=0.0) for _ in range(3000)) == 5.0


def test_a_long_retry_after_does_not_stop_a_watch() -> None:
    assert session().delay(86_400.0, 1.0, lasted=0.0) == 30.0


def test_an_answer_that_is_no_stream_ends_the_watch_with_what_it_says() -> None:
    said = {"error": "permission denied", "code": "permission_denied", "retryable": False}
    body = json.dumps(said | {"request_id": "r"}).encode()
    verdict = session().judge(Answer(403, {}, body), "here")
    assert verdict.resend is Resend.NO
    assert type(verdict.error) is errors.PermissionDeniedError


def test_a_page_instead_of_a_stream_is_no_gateway() -> None:
    verdict = session().judge(Answer(200, {"Content-Type": "text/html"}, b"<html>"), "here")
    assert type(verdict.error) is errors.UnexpectedAnswerError
    assert verdict.resend is Resend.NO


def test_a_gateway_that_is_away_may_come_back() -> None:
    assert session().judge(NotSent("refused"), "here").resend is Resend.YES


@pytest.mark.parametrize(
    "wrong",
    [
        {"snapshot": True, "resume_after": 1},
        {"resume_after": -1},
        {"resume_after": True},
        {"resume_after": "7"},
    ],
)
def test_what_contradicts_itself_is_refused_at_once(wrong) -> None:
    with pytest.raises(errors.InvalidArgumentError):
        session(**wrong)


@pytest.mark.parametrize("filter", ["", 7, "\ud800"])
def test_a_filter_is_text(filter) -> None:
    with pytest.raises(errors.InvalidArgumentError):
        session(filter).request(MADE)

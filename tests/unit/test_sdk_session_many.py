"""A watch of the SDK over several buckets as a state machine: its bookmark, and each bucket."""

import json
from base64 import b64encode
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jetkv import errors
from jetkv._core.answers import decoder
from jetkv._core.messages import Answer, Broken
from jetkv._core.retry import Resend
from jetkv._core.session_base import SnapshotEnd
from jetkv._core.session_many import ManyWatchSession
from jetkv.codec import codec_for

MADE = datetime(2026, 11, 25, 10, 0, 0, tzinfo=UTC)


def session(**options: Any) -> ManyWatchSession[Any]:
    filters = options.pop("filters", {"a": ["user.*", "x"], "b": []})
    options = {"snapshot": False, "resume": None, "ignore_deletes": False, **options}
    decode = {name: decoder(codec_for(None), name) for name in filters}
    return ManyWatchSession(filters, decode, **options)


def block(document: dict[str, Any], id: str = "") -> bytes:
    return f"id: {id}\ndata: {json.dumps(document)}\n\n".encode()


def update(bucket: str, revision: int, key: str = "k", value: bytes = b"1", **fields: Any) -> bytes:
    frame = {
        "type": "kv_update",
        "bucket": bucket,
        "key": key,
        "value": b64encode(value).decode(),
        "revision": revision,
        "operation": "put",
        **fields,
    }
    return block(frame, f"1-{bucket}{revision}")


def snapshot_end(a: int, b: int, id: str = "1-end") -> bytes:
    return block({"type": "kv_snapshot_end", "revisions": {"a": a, "b": b}}, id)


def error(code: str, bucket: str = "b", message: str = "trouble") -> bytes:
    return block({"type": "error", "code": code, "message": message, "bucket": bucket})


def feed(watch: ManyWatchSession[Any], *chunks: bytes) -> list[Any]:
    """Return what chunks bring, and raise what they end with."""
    came = watch.feed(b"".join(chunks))
    watch.check()
    return [(told(one.item), one.position) for one in came]


def told(item: Any) -> Any:
    if isinstance(item, SnapshotEnd):
        return "end"
    return item.bucket, item.key, item.revision, item.reason or item.operation.value


def asked(watch: ManyWatchSession[Any]) -> tuple[list[tuple[str, str]], str | None]:
    request = watch.request(MADE)
    url = urlsplit(request.target)
    assert url.path == "/api/v1/kv/watch"
    return parse_qsl(url.query), request.headers.get("Last-Event-ID")


def test_the_request_names_every_filter_of_every_bucket() -> None:
    query, last = asked(session(snapshot=True, ignore_deletes=True))
    assert query == [
        ("watch", "a/user.*"),
        ("watch", "a/x"),
        ("watch", "b"),
        ("snapshot", "true"),
        ("ignore_deletes", "true"),
    ]
    assert last is None


def test_updates_carry_their_bucket_and_the_bookmark_behind_them() -> None:
    found = feed(session(), update("a", 1), update("b", 1), update("a", 2))
    assert found == [
        (("a", "k", 1, "put"), "1-a1"),
        (("b", "k", 1, "put"), "1-b1"),
        (("a", "k", 2, "put"), "1-a2"),
    ]


def test_a_watch_goes_on_after_its_last_bookmark() -> None:
    watch = session(resume="1-x")
    assert (watch.position, watch.has_fixed_start) == ("1-x", True)
    assert asked(watch)[0][-1] == ("resume", "1-x")
    assert feed(watch, b"id: 1-first\n\n") == []
    assert watch.opened
    assert asked(watch) == ([("watch", "a/user.*"), ("watch", "a/x"), ("watch", "b")], "1-first")
    assert watch.position == "1-first"


@pytest.mark.parametrize("id", ["", "\u00e9", "a b", "x" * 9000])
def test_what_is_no_bookmark_moves_nothing(id: str) -> None:
    watch = session(resume="1-x")
    feed(watch, f"id: {id}\n\n".encode("latin-1"))
    assert watch.position == "1-x"


def test_a_snapshot_of_all_buckets_ends_once() -> None:
    watch = session(snapshot=True)
    found = feed(watch, update("a", 4), update("b", 2), snapshot_end(4, 2))
    assert found[-1] == ("end", "1-end")
    assert watch.synced
    assert feed(watch, snapshot_end(4, 2, "1-again")) == []


def resynced(*reported: bytes, **options: Any) -> ManyWatchSession[Any]:
    """Return a watch that had a snapshot, and was told to take a new one."""
    watch = session(snapshot=True, **options)
    feed(watch, *reported)
    with pytest.raises(Broken):
        feed(watch, error("resync"))
    assert watch.must_check_bucket
    for bucket in watch.buckets:
        watch.check_bucket(MADE, MADE, bucket)
    query, last = asked(watch)
    assert ("snapshot", "true") in query
    assert last is None
    return watch


BOTH = (update("a", 1, "x"), update("b", 1, "x"), update("b", 2, "y"), snapshot_end(1, 2))


def test_a_new_snapshot_shows_what_differs_in_each_bucket() -> None:
    watch = resynced(*BOTH)
    assert watch.resyncing
    found = feed(watch, update("a", 1, "x"), update("b", 5, "new"), snapshot_end(1, 6, "1-new"))
    assert found == [
        (("b", "new", 5, "put"), None),
        (("b", "x", 6, "vanished"), None),
        (("b", "y", 6, "vanished"), "1-new"),
    ]
    assert not watch.resyncing
    assert watch.position == "1-new"


def test_inside_a_new_snapshot_the_bookmark_stays_and_a_break_goes_on() -> None:
    watch = resynced(*BOTH)
    feed(watch, update("a", 7, "x"))
    assert watch.position == "1-end"
    assert asked(watch)[1] == "1-a7"
    found = feed(watch, update("b", 2, "y"), snapshot_end(7, 9))
    assert found == [(("b", "x", 9, "vanished"), "1-end")]


def test_without_deletes_a_new_snapshot_shows_only_what_is_newer() -> None:
    watch = resynced(*BOTH, ignore_deletes=True)
    found = feed(watch, update("b", 2, "y"), update("b", 3, "z"), snapshot_end(1, 3))
    assert found == [(("b", "z", 3, "put"), None)]


def test_a_bucket_that_went_back_is_compared_once_more() -> None:
    watch = resynced(*BOTH, ignore_deletes=True)
    with pytest.raises(Broken, match="'b' went back to revision 1"):
        feed(watch, snapshot_end(1, 1))


def test_without_a_snapshot_a_resync_ends_the_watch_and_names_the_bucket() -> None:
    watch = session()
    feed(watch, update("a", 1))
    with pytest.raises(errors.WatchLostError) as lost:
        feed(watch, error("resync"))
    assert (lost.value.reason, lost.value.bucket) == ("resync", "b")
    assert (lost.value.bookmark, lost.value.last_revision) == ("1-a1", None)


def test_a_bucket_that_was_created_again_is_lost_for_good() -> None:
    watch = session(snapshot=True)
    with pytest.raises(errors.WatchLostError) as lost:
        watch.check_bucket(MADE, MADE + timedelta(seconds=1), "b")
    assert (lost.value.reason, lost.value.bucket) == ("bucket_deleted", "b")


def test_an_unknown_bucket_is_named() -> None:
    with pytest.raises(errors.BucketNotFoundError, match="watch of bucket 'b'"):
        feed(session(), error("not_found"))


@pytest.mark.parametrize("code", ["slow_consumer", "unavailable", "of a newer gateway"])
def test_other_trouble_means_another_connection(code: str) -> None:
    with pytest.raises(Broken):
        feed(session(), error(code))


def test_a_bookmark_of_other_buckets_is_an_error_for_good() -> None:
    body = b'{"error":"query parameter \'resume\' is the bookmark of a watch over other buckets"}'
    verdict = session(resume="1-x").judge(Answer(400, {}, body), "http://x")
    assert verdict.resend is Resend.NO
    assert isinstance(verdict.error, errors.InvalidArgumentError)


@pytest.mark.parametrize(
    "frame",
    [
        {"type": "kv_snapshot_end"},
        {"type": "kv_snapshot_end", "revisions": []},
        {"type": "kv_snapshot_end", "revisions": {"a": 1}},
        {"type": "kv_snapshot_end", "revisions": {"a": 1, "b": -1}},
        {"type": "kv_update", "bucket": "c", "key": "k", "revision": 1, "operation": "put"},
        {"type": "kv_update", "key": "k", "revision": 1, "operation": "put", "value": ""},
        {"type": 7},
        {},
    ],
)
def test_what_no_gateway_sends_is_said(frame: dict[str, Any]) -> None:
    with pytest.raises(errors.UnexpectedAnswerError, match="cannot read"):
        feed(session(snapshot=True), block(frame, "1-x"))


@pytest.mark.parametrize("resume", ["", 7, True, b"x", "a b", "é", "x\n", "x" * 9000])
def test_what_cannot_be_a_bookmark_is_refused(resume: Any) -> None:
    with pytest.raises(errors.InvalidArgumentError, match="bookmark"):
        session(resume=resume)


def test_a_watch_needs_a_bucket_and_one_beginning() -> None:
    with pytest.raises(errors.InvalidArgumentError, match="at least one"):
        session(filters={})
    with pytest.raises(errors.InvalidArgumentError, match="not both"):
        session(snapshot=True, resume="1-x")
    with pytest.raises(errors.InvalidArgumentError, match="filter"):
        session(filters={"a": [""]})


BUCKET = st.dictionaries(st.integers(1, 30), st.sampled_from("klmn")).map(
    lambda found: {key: revision for revision, key in found.items()}
)
"""What a bucket holds: the revision of each key. No two keys have the same."""
PAIR = st.tuples(BUCKET, BUCKET)


@given(PAIR, PAIR, st.lists(st.integers(0, 9), max_size=3))
def test_whatever_changes_unseen_the_reader_knows_it_afterwards(
    before: Any, after: Any, cuts: list[int]
) -> None:
    def snapshot(state: Any, id: str) -> list[bytes]:
        shown = [
            update(bucket, revision, key, b"%d" % revision)
            for bucket, keys in zip("ab", state, strict=True)
            for key, revision in sorted(keys.items(), key=lambda item: item[1])
        ]
        return [*shown, snapshot_end(40, 40, id)]

    known: dict[tuple[str, str], int] = {}

    def read(watch: ManyWatchSession[Any], chunk: bytes) -> None:
        for one, _ in feed(watch, chunk):
            if one == "end":
                continue
            bucket, key, revision, change = one
            if change == "put":
                known[bucket, key] = revision
            else:
                del known[bucket, key]

    watch = session(snapshot=True)
    for chunk in snapshot(before, "1-one"):
        read(watch, chunk)
    with pytest.raises(Broken):
        feed(watch, error("resync"))
    watch.request(MADE)
    for place, chunk in enumerate(snapshot(after, "1-two")):
        if place in cuts:
            watch.request(MADE)
        read(watch, chunk)
    assert known == {
        (bucket, key): revision
        for bucket, keys in zip("ab", after, strict=True)
        for key, revision in keys.items()
    }
    assert watch.position == "1-two"

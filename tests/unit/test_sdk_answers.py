"""Answers of a broken or hostile server: a value of its type, or an error of the SDK's own tree."""

import json
import sys
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jetkv import errors
from jetkv._core import answers
from jetkv._core.answers import decoder
from jetkv._core.messages import Answer, Broken, Kind, Request
from jetkv._core.retry import judge
from jetkv._core.session import SnapshotEnd
from jetkv.codec import codec_for
from jetkv.models import BucketInfo, Change, Entry, Update
from tests.unit.test_sdk_session import session

GET = Request("GET", "/", Kind.READ, "a read")
PUT = Request("PUT", "/", Kind.KEYED, "a write", body=b"1", how_to_check="look")
DECODE = decoder(codec_for(bytes), "b")

ENTRY = {
    "key": "k",
    "value": "MQ==",
    "revision": 7,
    "created_at": "2026-11-25T10:00:00.123456789Z",
    "operation": "put",
}
BUCKET = {
    "name": "b",
    "values": 1,
    "bytes": 2,
    "history": 1,
    "created_at": "2026-11-25T10:00:00Z",
    "description": "d",
    "ttl_seconds": 300,
    "storage": "file",
    "replicas": 1,
    "max_value_size": 10,
    "max_bytes": 1000,
    "compression": "s2",
    "placement": {"cluster": "east", "tags": ["ssd"]},
    "metadata": {"team": "web"},
    "republish": {"source": ">", "destination": "copies.>", "headers_only": True},
    "expiry_markers": True,
    "key_ttl": True,
    "batches": True,
    "protected": True,
    "marker_ttl_seconds": 300,
    "warnings": [{"code": "c", "message": "m"}],
}
FRAME = {"type": "kv_update", "bucket": "b", **ENTRY, "reason": "purge"}
ERROR = {
    "error": "revision mismatch",
    "code": "failed_precondition",
    "retryable": False,
    "request_id": "r",
    "hint": "h",
    "details": {"current_revision": 7, "limit_bytes": 9},
}


def a_revision(found: Any) -> None:
    assert type(found) is int
    assert 0 < found < 2**64


def an_entry(found: Any) -> None:
    assert isinstance(found, Entry)
    assert isinstance(found.key, str)
    assert isinstance(found.raw, bytes)
    a_revision(found.revision)
    assert found.created_at.astimezone(UTC).tzinfo is UTC
    repr(found)
    hash(found)


def entries(found: Any) -> None:
    for one in found:
        an_entry(one)


def texts(found: Any) -> None:
    for one in found:
        assert one.encode().decode() == one


def a_bucket(found: Any) -> None:
    assert isinstance(found, BucketInfo)
    assert isinstance(found.name, str)
    assert isinstance(found.description, str)
    assert type(found.history) is int
    # Who may read a part of a bucket is not told how much it holds.
    assert {type(found.values), type(found.bytes)} <= {int, type(None)}
    assert found.created_at.utcoffset() is not None
    assert found.ttl is None or found.ttl.total_seconds() > 0
    assert found.marker_ttl is None or found.marker_ttl.total_seconds() > 0
    texts([found.compression, found.placement.cluster, *found.placement.tags])
    texts([found.republish.destination, found.republish.source, *found.metadata.values()])
    flags = (found.key_ttl, found.batches, found.protected, found.republish.headers_only)
    assert {type(flag) for flag in flags} == {bool}
    assert all(isinstance(one.code + one.message, str) for one in found.warnings)
    repr(found)


def a_change(found: Any) -> None:
    assert isinstance(found, Change)
    a_bucket(found.bucket)
    texts(found.changed)
    assert type(found.created) is bool


def buckets(found: Any) -> None:
    for one in found:
        a_bucket(one)


READERS: dict[str, tuple[Any, Callable[[Answer], Any], Callable[[Any], None]]] = {
    "entry": (ENTRY, lambda one: answers.read_entry(one, GET, "k", DECODE), an_entry),
    "history": (
        {"entries": [ENTRY, {**ENTRY, "operation": "delete", "value": ""}]},
        lambda one: answers.read_entries(one, GET, DECODE),
        entries,
    ),
    "revision": ({"revision": 7}, lambda one: answers.read_revision(one, PUT), a_revision),
    "keys": ({"keys": ["a", "ü"], "count": 2}, lambda one: answers.read_keys(one, GET), texts),
    "features": ({"features": ["kv"]}, lambda one: answers.read_features(one, GET), texts),
    "bucket": (BUCKET, lambda one: answers.read_bucket(one, GET), a_bucket),
    "change": (
        {**BUCKET, "changed": ["ttl_seconds"], "created": True},
        lambda one: answers.read_change(one, PUT),
        a_change,
    ),
    "buckets": ({"buckets": [BUCKET]}, lambda one: answers.read_buckets(one, GET), buckets),
}

every_reader = pytest.mark.parametrize("reader", READERS)

ODD = [
    None,
    True,
    False,
    0,
    -1,
    1,
    7.0,
    1.5,
    1e300,
    -1e300,
    float("inf"),
    float("nan"),
    2**63,
    2**64,
    10**400,
    10**6000,
    "",
    "7",
    "1e999",
    "\ud800",
    "put",
    "0001-01-01T00:00:00+23:59",
    "9999-12-31T23:59:59-23:59",
    "2026-13-01T00:00:00Z",
    "٢٠٢٦-١١-٢٥T10:00:00Z",
    [],
    {},
    [[]],
    [None],
    ["\ud800"],
    [{}],
    {"a": 1},
]
anything = st.recursive(
    st.sampled_from(ODD) | st.text() | st.integers() | st.floats() | st.booleans(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)


def places(document: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Return the places in a document, its own whole first."""
    found = [at]
    if isinstance(document, dict):
        for name, inner in document.items():
            found += places(inner, (*at, name))
    elif isinstance(document, list):
        for number, inner in enumerate(document):
            found += places(inner, (*at, number))
    return found


def changed(document: Any, at: tuple[Any, ...], value: Any) -> Any:
    """Return a document with another value at a place; with Ellipsis nothing is there."""
    if not at:
        return value
    step, rest = at[0], at[1:]
    copy = list(document) if isinstance(document, list) else dict(document)
    if rest or value is not ...:
        copy[step] = changed(document[step], rest, value)
    else:
        del copy[step]
    return copy


def encoded(document: Any) -> bytes:
    # Larger ones than Python itself would write.
    limited = json.dumps(document, default=str) if document is not ... else ""
    return limited.replace("Infinity", "1e999").encode()


def spoilt(document: Any) -> st.SearchStrategy[bytes]:
    one = st.builds(
        lambda at, value: encoded(changed(document, at, value)),
        st.sampled_from(places(document)),
        anything | st.just(...),
    )
    return one | st.binary(max_size=40) | anything.map(encoded)


@pytest.fixture(autouse=True, scope="module")
def _long_numbers():
    """A test may write numbers that are longer than Python reads."""
    before = sys.get_int_max_str_digits()
    sys.set_int_max_str_digits(0)
    yield
    sys.set_int_max_str_digits(before)


@every_reader
def test_what_a_gateway_sends_is_read(reader: str) -> None:
    document, read, right = READERS[reader]
    found = read(Answer(200, {}, encoded(document)))
    right(found)
    assert found is not None


@every_reader
def test_no_odd_value_at_any_place_is_a_bare_exception(reader: str) -> None:
    document, read, right = READERS[reader]
    refused = 0
    for at in places(document):
        for value in (..., *ODD):
            try:
                found = read(Answer(200, {}, encoded(changed(document, at, value))))
            except errors.UnexpectedAnswerError:
                refused += 1
            else:
                right(found)
    assert refused > len(ODD)


def test_no_odd_value_in_a_frame_is_a_bare_exception() -> None:
    for at in places(FRAME):
        for value in (..., *ODD):
            watch = session(kind=bytes)
            for came in watch.feed(b"data: %s\n\n" % encoded(changed(FRAME, at, value))):
                a_revision(came.item.revision)
            with suppress(errors.UnexpectedAnswerError):
                watch.check()


@every_reader
@given(data=st.data())
def test_whatever_comes_is_a_value_of_its_type_or_no_gateways_answer(
    reader: str, data: st.DataObject
) -> None:
    document, read, right = READERS[reader]
    body = data.draw(spoilt(document))
    try:
        found = read(Answer(200, {}, body))
    except errors.UnexpectedAnswerError:
        return
    right(found)


@pytest.mark.parametrize("request_", [GET, PUT], ids=["read", "write"])
@given(
    status=st.sampled_from([300, 400, 404, 409, 412, 413, 429, 500, 502, 503, 504, 507, 599]),
    body=spoilt(ERROR),
    after=st.text(),
)
def test_whatever_error_comes_is_one_of_the_tree(
    request_: Request, status: int, body: bytes, after: str
) -> None:
    answer = Answer(status, {"retry-after": after}, body)
    found = answers.error_of(answer, request_)
    assert isinstance(found, errors.JetKVError)
    assert len(str(found)) < 10_000
    for name in ("current_revision", "limit_bytes"):
        assert type(getattr(found, name, None)) in (int, type(None))
    verdict = judge(request_, answer, "here")
    assert 0 <= verdict.min_delay < 100_000


@pytest.mark.parametrize("snapshot", [True, False])
@given(
    frame=spoilt(FRAME)
    | spoilt({"type": "kv_snapshot_end", "revision": 7})
    | spoilt({"type": "error", "code": "resync", "message": "m"}),
    id=st.sampled_from([b"7", b"", b"-1", b"1e999", b"9" * 30, b"9" * 5000, "²".encode(), b"x"]),
)
def test_whatever_frame_comes_is_an_update_or_the_end_of_the_watch(
    snapshot: bool, frame: bytes, id: bytes
) -> None:
    watch = session(kind=bytes, snapshot=snapshot)
    for came in watch.feed(b"id: %s\ndata: %s\n\n" % (id, frame.replace(b"\n", b" "))):
        item = came.item
        assert isinstance(item, Update | SnapshotEnd)
        assert type(item.revision) is int
        if isinstance(item, Update):
            assert item.key.encode()
            assert isinstance(item.value, bytes | None)
    assert watch.last_revision is None or 0 <= watch.last_revision < 2**64
    with suppress(Broken, errors.JetKVError):
        watch.check()
    watch.request(datetime(2026, 11, 25, tzinfo=UTC))


@pytest.mark.parametrize("body", [b"[" * 200_000, b'{"a":' * 200_000], ids=["lists", "objects"])
def test_what_is_nested_without_end_is_no_gateways_answer(body: bytes) -> None:
    with pytest.raises(errors.UnexpectedAnswerError):
        answers.read_revision(Answer(200, {}, body), PUT)
    assert isinstance(answers.error_of(Answer(500, {}, body), PUT), errors.UnexpectedAnswerError)
    watch = session()
    assert watch.feed(b"data: " + body + b"\n\n") == []
    with pytest.raises(errors.UnexpectedAnswerError):
        watch.check()


def test_a_moment_is_told_in_utc() -> None:
    moved = {**ENTRY, "created_at": "2026-11-25T12:00:00+02:00"}
    found = answers.read_entry(Answer(200, {}, encoded(moved)), GET, "k", DECODE)
    assert found.created_at == datetime(2026, 11, 25, 10, tzinfo=UTC)
    assert found.created_at.tzinfo is UTC


@pytest.mark.parametrize("operation", ["delete", "purge"])
def test_a_tombstone_is_no_live_entry(operation: str) -> None:
    gone = {**ENTRY, "operation": operation, "value": ""}
    with pytest.raises(errors.UnexpectedAnswerError):
        answers.read_entry(Answer(200, {}, encoded(gone)), GET, "k", DECODE)

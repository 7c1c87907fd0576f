"""What watchers are sent (docs/watch.md#frames): JSON, WebSocket frames and events."""

import base64
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.frames import Frame, Opcode
from websockets.streams import StreamReader

from jetkv_gateway.http.failures import failure_frame
from jetkv_gateway.http.frames import (
    FrameFormat,
    as_event,
    as_frame,
    as_frames,
    as_json,
    bookmark_event,
    text_frame,
)
from jetkv_gateway.kv.errors import BucketDeleted, BucketNotFound, GatewayError, Resync
from jetkv_gateway.kv.model import Change, Operation, share
from jetkv_gateway.watch.session import SnapshotEnd

BASE64 = FrameFormat("b")
TEXT = FrameFormat("b", text=True)
META = FrameFormat("b", meta_only=True)
TEXT_META = FrameFormat("b", text=True, meta_only=True)
FORMS = [BASE64, TEXT, META, TEXT_META]


def put(value: bytes, key: str = "k", revision: int = 7) -> Change:
    return Change(key, value, revision, Operation.PUT)


def tombstone(operation: Operation = Operation.DELETE, *, expired: bool = False) -> Change:
    return Change("k", b"", 7, operation, expired=expired)


def decode(frame: bytes) -> str:
    """Read a text frame as a client does; it has to be all of what is given."""
    stream = StreamReader()
    stream.feed_data(frame)
    stream.feed_eof()
    parsing = Frame.parse(stream.read_exact, mask=False)
    try:
        next(parsing)
        pytest.fail("the frame is cut off")
    except StopIteration as done:
        read = done.value
    assert not stream.buffer
    assert read.opcode is Opcode.TEXT
    assert read.fin
    return bytes(read.data).decode()


def decode_event(event: bytes) -> dict[str, str]:
    """Read one event as an `EventSource` does, lines of every kind included."""
    assert event.endswith(b"\n\n")
    text = event.decode().replace("\r\n", "\n").replace("\r", "\n")
    lines = text[:-2].split("\n")
    assert "" not in lines
    fields = [line.partition(": ")[::2] for line in lines]
    assert len(dict(fields)) == len(fields)
    return dict(fields)


# --- JSON


@pytest.mark.parametrize(
    ("form", "change", "text"),
    [
        pytest.param(
            BASE64,
            put(b"hello"),
            '{"type":"kv_update","bucket":"b","key":"k","value":"aGVsbG8=",'
            '"revision":7,"operation":"put"}',
            id="put",
        ),
        pytest.param(
            BASE64,
            put(b""),
            '{"type":"kv_update","bucket":"b","key":"k","value":"","revision":7,"operation":"put"}',
            id="put of nothing",
        ),
        pytest.param(
            BASE64,
            tombstone(),
            '{"type":"kv_update","bucket":"b","key":"k","value":"",'
            '"revision":7,"operation":"delete"}',
            id="delete",
        ),
        pytest.param(
            BASE64,
            tombstone(Operation.PURGE),
            '{"type":"kv_update","bucket":"b","key":"k","value":"",'
            '"revision":7,"operation":"delete","reason":"purge"}',
            id="purge",
        ),
        pytest.param(
            BASE64,
            tombstone(Operation.PURGE, expired=True),
            '{"type":"kv_update","bucket":"b","key":"k","value":"",'
            '"revision":7,"operation":"delete","reason":"expired"}',
            id="expiry",
        ),
        pytest.param(
            TEXT,
            put('{"role":"é"}'.encode()),
            '{"type":"kv_update","bucket":"b","key":"k","value":"{\\"role\\":\\"é\\"}",'
            '"revision":7,"operation":"put","encoding":"text"}',
            id="text",
        ),
        pytest.param(
            TEXT,
            put(b"\xff\x00"),
            '{"type":"kv_update","bucket":"b","key":"k","value":"/wA=",'
            '"revision":7,"operation":"put","encoding":"base64"}',
            id="not a text",
        ),
        pytest.param(
            TEXT,
            put(b""),
            '{"type":"kv_update","bucket":"b","key":"k","value":"",'
            '"revision":7,"operation":"put","encoding":"text"}',
            id="text of nothing",
        ),
        pytest.param(
            TEXT,
            tombstone(),
            '{"type":"kv_update","bucket":"b","key":"k","value":"",'
            '"revision":7,"operation":"delete"}',
            id="delete as text",
        ),
        pytest.param(
            META,
            put(b"hello"),
            '{"type":"kv_update","bucket":"b","key":"k","size":5,"revision":7,"operation":"put"}',
            id="size of a put",
        ),
        pytest.param(
            TEXT_META,
            put("é".encode()),
            '{"type":"kv_update","bucket":"b","key":"k","size":2,"revision":7,"operation":"put"}',
            id="size of a text in bytes",
        ),
        pytest.param(
            META,
            tombstone(Operation.PURGE),
            '{"type":"kv_update","bucket":"b","key":"k","size":0,'
            '"revision":7,"operation":"delete","reason":"purge"}',
            id="size of a tombstone",
        ),
    ],
)
def test_a_change_is_this_json(form: FrameFormat, change: Change, text: str) -> None:
    assert as_json(change, form).decode() == text


@pytest.mark.parametrize("form", FORMS)
def test_the_end_of_a_snapshot_is_the_same_json_in_every_form(form: FrameFormat) -> None:
    assert as_json(SnapshotEnd(9), form) == b'{"type":"kv_snapshot_end","revision":9}'


@given(st.binary(), st.text(st.characters(exclude_categories=["Cs"])))
def test_a_value_comes_back_byte_for_byte(value: bytes, key: str) -> None:
    plain = json.loads(as_json(put(value, key), BASE64))
    assert base64.b64decode(plain["value"], validate=True) == value
    assert plain["key"] == key
    text = json.loads(as_json(put(value, key), TEXT))
    if text["encoding"] == "text":
        assert text["value"].encode() == value
    else:
        assert base64.b64decode(text["value"], validate=True) == value
        with pytest.raises(UnicodeDecodeError):
            value.decode()


@given(st.text(st.sampled_from('\r\n\u2028\u0085\x00\x1f"\\é😀a')))
def test_json_has_no_line_breaks_whatever_the_value(text: str) -> None:
    for form in FORMS:
        assert not {b"\r", b"\n"} & {bytes([byte]) for byte in as_json(put(text.encode()), form)}


def test_the_largest_revision_is_a_number_in_full() -> None:
    revision = 2**63 - 1
    assert json.loads(as_json(put(b"", revision=revision), BASE64))["revision"] == revision


# --- frames are made once


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("make", [as_frame, as_event])
def test_a_form_of_a_shared_change_is_made_once(make: type(as_frame), form: FrameFormat) -> None:
    change = put(b"hello")
    share([change])
    first = make(change, form)
    same = FrameFormat(form.bucket, text=form.text, meta_only=form.meta_only)
    assert make(change, same) is first


@pytest.mark.parametrize("size", [0, 60, 200, 70_000])
def test_the_frames_of_one_watcher_are_those_of_many(size: int) -> None:
    changes = [put(b"v" * size, f"k{number}", number) for number in range(1, 4)]
    alone = as_frames(changes, BASE64)
    share(changes)
    assert as_frames(changes, BASE64) == as_frames(changes, BASE64) == alone
    assert alone == b"".join([as_frame(change, BASE64) for change in changes])


def test_each_form_of_a_change_is_its_own() -> None:
    change = put(b"hello")
    share([change])
    made = [make(change, form) for make in (as_frame, as_event) for form in FORMS]
    made += [make(change, FrameFormat("other")) for make in (as_frame, as_event)]
    # Neither shows the value: text or not is all the same to them.
    assert made[2] == made[3]
    assert made[6] == made[7]
    assert len(set(made)) == len(made) - 2


# --- WebSocket frames


@pytest.mark.parametrize(
    ("size", "head"),
    [
        (0, b"\x81\x00"),
        (1, b"\x81\x01"),
        (125, b"\x81\x7d"),
        (126, b"\x81\x7e\x00\x7e"),
        (127, b"\x81\x7e\x00\x7f"),
        (65535, b"\x81\x7e\xff\xff"),
        (65536, b"\x81\x7f\x00\x00\x00\x00\x00\x01\x00\x00"),
    ],
)
def test_a_text_frame_of_any_size_is_one(size: int, head: bytes) -> None:
    payload = b"x" * size
    frame = text_frame(payload)
    assert frame == head + payload
    assert decode(frame) == payload.decode()


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("size", [0, 10, 100, 70_000])
def test_a_change_is_framed_as_its_json(form: FrameFormat, size: int) -> None:
    change = put(b"x" * size)
    assert decode(as_frame(change, form)).encode() == as_json(change, form)


def test_the_end_of_a_snapshot_is_framed_as_its_json() -> None:
    assert decode(as_frame(SnapshotEnd(9), BASE64)) == '{"type":"kv_snapshot_end","revision":9}'


# --- events


def test_an_event_is_its_revision_and_its_json() -> None:
    change = put(b"hello")
    assert as_event(change, BASE64) == b"id: 7\ndata: " + as_json(change, BASE64) + b"\n\n"


@pytest.mark.parametrize("form", FORMS)
def test_an_event_has_one_line_of_data_whatever_its_value_and_key_hold(form: FrameFormat) -> None:
    change = put(b"one\ntwo\r\nthree\rfour\n\nid: 1\n\n", "a\u2028b\u0085")
    fields = decode_event(as_event(change, form))
    assert fields == {"id": "7", "data": as_json(change, form).decode()}


def test_the_end_of_a_snapshot_can_be_resumed_after() -> None:
    fields = decode_event(as_event(SnapshotEnd(9), TEXT))
    assert fields == {"id": "9", "data": '{"type":"kv_snapshot_end","revision":9}'}


def test_a_bare_id_has_no_data_and_so_is_no_event() -> None:
    assert decode_event(bookmark_event(12)) == {"id": "12"}


# --- errors


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (BucketNotFound(), '{"type":"error","message":"bucket not found","code":"not_found"}'),
        (BucketDeleted(), '{"type":"error","message":"bucket deleted","code":"bucket_deleted"}'),
        (Resync("gone\né"), '{"type":"error","message":"resync: gone\\né","code":"resync"}'),
    ],
)
def test_an_error_is_its_message_and_its_code(error: GatewayError, text: str) -> None:
    assert failure_frame(error).decode() == text

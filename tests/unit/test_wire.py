"""The server's side of the NATS protocol, taken apart."""

import asyncio
import itertools
import json
import re
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nats.protocol.command import hpub_cmd, pub_cmd
from nats.protocol.parser import Parser

from jetkv_gateway.jetstream.headers import read_headers, write_headers
from jetkv_gateway.jetstream.wire import (
    END,
    FLUSH_AT,
    LARGE,
    MAX_LINE,
    ProtocolBroken,
    Violation,
    WireReader,
    WireWriter,
    violation,
)

Message = tuple[bytes, bytes, bytes, bytes, bytes]
Control = tuple[bytes, bytes]

STREAM = (
    b'INFO {"max_payload":1}\r\n'
    b"MSG a.b 7 5\r\nhello\r\n"
    b"PING\r\n"
    b"MSG a.\xff\xfe 8 _INBOX.x 0\r\n\r\n"
    b"HMSG a\x0bb 9 r.1 12 17\r\nNATS/1.0\r\n\r\nMSG x\r\n"
    b"-ERR 'Permissions Violation for Publish to \"S\"'\r\n"
    b"HMSG c 9 12 12\r\nNATS/1.0\r\n\r\n\r\n"
    b"+OK\r\nPONG\r\n"
)
MESSAGES: list[Message] = [
    (b"7", b"a.b", b"", b"", b"hello"),
    (b"8", b"a.\xff\xfe", b"_INBOX.x", b"", b""),
    (b"9", b"a\x0bb", b"r.1", b"NATS/1.0\r\n\r\n", b"MSG x"),
    (b"9", b"c", b"", b"NATS/1.0\r\n\r\n", b""),
]
CONTROLS: list[Control] = [
    (b"INFO", b'{"max_payload":1}'),
    (b"PING", b""),
    (b"-ERR", b"'Permissions Violation for Publish to \"S\"'"),
    (b"+OK", b""),
    (b"PONG", b""),
]


class _Everyone(dict[bytes, Callable[..., None]]):
    """A handler for the messages of every subscription, which is told which one it is."""

    def __init__(self, handle: Callable[..., object]) -> None:
        self._handle = handle

    def get(self, sid: bytes, _default: object = None) -> Callable[..., None]:
        return lambda *message: self._handle(sid, *message)


def _fail(subject: bytes, error: BaseException) -> None:
    raise error


def _reader() -> tuple[WireReader, list[Message], list[Control]]:
    messages: list[Message] = []
    controls: list[Control] = []
    reader = WireReader(
        _Everyone(lambda *message: messages.append(message)),
        lambda *line: controls.append(line),
        _fail,
    )
    return reader, messages, controls


def _read(*pieces: bytes) -> tuple[list[Message], list[Control]]:
    reader, messages, controls = _reader()
    for piece in pieces:
        reader.feed(piece)
    return messages, controls


def test_messages_and_lines_come_out_as_bytes_in_order() -> None:
    assert _read(STREAM) == (MESSAGES, CONTROLS)
    order: list[bytes] = []
    WireReader(
        _Everyone(lambda _sid, subject, *_: order.append(subject)),
        lambda verb, _: order.append(verb),
        _fail,
    ).feed(STREAM)
    assert order[:3] == [b"INFO", b"a.b", b"PING"]
    assert order[-4:] == [b"-ERR", b"c", b"+OK", b"PONG"]


@pytest.mark.parametrize("cut", range(1, len(STREAM)))
def test_it_does_not_matter_where_the_bytes_are_cut(cut: int) -> None:
    assert _read(STREAM[:cut], STREAM[cut:]) == (MESSAGES, CONTROLS)


def test_bytes_one_by_one_come_to_the_same() -> None:
    assert _read(*(STREAM[place : place + 1] for place in range(len(STREAM)))) == (
        MESSAGES,
        CONTROLS,
    )


def test_a_handler_that_fails_costs_its_own_message_alone() -> None:
    failed: list[tuple[bytes, str]] = []
    order: list[bytes] = []

    def handle(_sid: bytes, subject: bytes, *_: bytes) -> None:
        order.append(subject)
        raise ValueError(subject.decode("latin-1"))

    reader = WireReader(
        _Everyone(handle),
        lambda verb, _: order.append(verb),
        lambda subject, error: failed.append((subject, str(error))),
    )
    reader.feed(STREAM[:-20])
    reader.feed(STREAM[-20:])
    assert [subject for subject, _ in failed] == [message[1] for message in MESSAGES]
    assert order[-3:] == [b"c", b"+OK", b"PONG"]


def test_a_message_without_a_handler_is_dropped() -> None:
    controls: list[bytes] = []
    for cut in range(1, len(STREAM)):
        controls.clear()
        reader = WireReader({}, lambda verb, _: controls.append(verb), _fail)
        reader.feed(STREAM[:cut])
        reader.feed(STREAM[cut:])
        assert controls == [verb for verb, _ in CONTROLS]


@pytest.mark.parametrize("line", [b"MSG a b 3 r 1", b"MSG a x 1", b"MSG x 1", b"HMSG a x 0 1"])
def test_a_message_for_nobody_known_is_passed_over_in_its_length(line: bytes) -> None:
    messages, controls = _read(line + b"\r\nx\r\nPING\r\n")
    assert len(messages) == 1
    assert messages[0][0] in (b"x", b"3")
    assert controls == [(b"PING", b"")]


@pytest.mark.parametrize(
    "broken",
    [
        b"MSG a 1 many\r\n",
        b"MSG \r\n",
        b"MSG a 1 -1\r\n",
        b"MSG a 1 99999999999\r\n",
        b"HMSG a 1 5 4\r\n",
        b"MSG a 1 1\r\nxyz\r\n",
        b"x" * (MAX_LINE + 2),
    ],
)
def test_what_nobody_can_find_an_end_of_breaks_the_connection_and_no_message_before(
    broken: bytes,
) -> None:
    reader, messages, _ = _reader()
    with pytest.raises(ProtocolBroken):
        reader.feed(b"MSG a 1 1\r\nx\r\n" + broken)
    assert messages == [(b"1", b"a", b"", b"", b"x")]


def test_a_line_without_an_end_breaks_the_connection_however_it_comes() -> None:
    reader, _, _ = _reader()
    for _ in range(MAX_LINE // 1024):
        reader.feed(b"x" * 1024)
    with pytest.raises(ProtocolBroken):
        reader.feed(b"x")


@pytest.mark.parametrize(
    ("text", "read"),
    [
        (
            'Permissions Violation for Publish to "$KV.b.SeCrEt"',
            Violation("publish", "$KV.b.SeCrEt"),
        ),
        (
            'Permissions Violation for Subscription to "_INBOX.x"',
            Violation("subscription", "_INBOX.x"),
        ),
        (
            'Permissions Violation for Subscription to "a" using queue "q"',
            Violation("subscription", "a"),
        ),
        ('Permissions Violation for Publish with Reply of "r.1"', Violation("reply", "r.1")),
        ('Permissions Violation for Publish to "a\\"b"', None),
        ('Permissions Violation for Publish to "a\\xff"', None),
        ('Permissions Violation for Publish to "cut off', None),
        ("Maximum Payload Violation", None),
    ],
)
def test_a_refusal_keeps_the_case_of_its_subject_and_is_not_read_where_the_server_escaped_it(
    text: str, read: Violation | None
) -> None:
    assert violation(text) == read


# Beside nats-py's own parser.

_WORD = st.binary(min_size=1, max_size=20).filter(lambda word: not re.search(rb"\s", word))
_SID = st.integers(1, 2**40)
_BYTES = st.binary(max_size=300)


@st.composite
def _messages(draw: st.DrawFn) -> bytes:
    """A message as a server writes it, its data anything, such as other commands."""
    subject, sid = draw(_WORD), draw(_SID)
    reply = draw(st.one_of(st.just(b""), _WORD.map(lambda word: word + b" ")))
    headers = draw(st.one_of(st.just(b""), _BYTES.map(lambda block: b"NATS/1.0" + block)))
    data = draw(st.one_of(_BYTES, st.just(b"\r\n"), st.just(b"MSG a 1 1\r\n")))
    if headers:
        sizes = b"%d %d" % (len(headers), len(headers) + len(data))
        return b"HMSG %b %d %b%b\r\n%b%b\r\n" % (subject, sid, reply, sizes, headers, data)
    return b"MSG %b %d %b%d\r\n%b\r\n" % (subject, sid, reply, len(data), data)


_LINES = st.sampled_from(
    [
        b"PING\r\n",
        b"PONG\r\n",
        b"+OK\r\n",
        b"-ERR 'Permissions Violation for Publish to \"a\"'\r\n",
        b'INFO {"max_payload":1048576,"ldm":true}\r\n',
    ]
)
_STREAMS = st.lists(st.one_of(_messages(), _LINES), max_size=12).map(b"".join)


class _Theirs:
    """What nats-py's parser tells its client."""

    def __init__(self) -> None:
        self.told: list[object] = []

    async def _process_msg(
        self, sid: int, subject: bytes, reply: bytes, data: bytes, headers: bytes | None
    ) -> None:
        self.told.append((b"%d" % sid, subject, reply, headers or b"", data))

    async def _process_err(self, text: str) -> None:
        self.told.append((b"-ERR", text))

    async def _process_ping(self) -> None:
        self.told.append((b"PING", ""))

    async def _process_pong(self) -> None:
        self.told.append((b"PONG", ""))

    async def _process_info(self, info: object) -> None:
        self.told.append((b"INFO", info))


def _ours(pieces: list[bytes]) -> list[object]:
    told: list[object] = []

    def obey(verb: bytes, rest: bytes) -> None:
        if verb == b"INFO":
            told.append((verb, json.loads(rest)))
        elif verb != b"+OK":
            told.append((verb, rest.decode().lower()))

    reader = WireReader(_Everyone(lambda *message: told.append(message)), obey, _fail)
    for piece in pieces:
        reader.feed(piece)
    return told


@given(stream=_STREAMS, data=st.data())
def test_any_stream_cut_anywhere_comes_to_what_nats_pys_own_parser_makes_of_it(
    stream: bytes, data: st.DataObject
) -> None:
    cuts = sorted(data.draw(st.sets(st.integers(0, len(stream)), max_size=20)))
    edges = [0, *cuts, len(stream)]
    pieces = [stream[start:end] for start, end in itertools.pairwise(edges)]
    theirs = _Theirs()
    asyncio.run(Parser(theirs).parse(stream))
    assert _ours(pieces) == theirs.told


@given(stream=st.binary(max_size=200), data=st.data())
def test_whatever_comes_breaks_nothing_but_the_connection_and_cuts_change_nothing(
    stream: bytes, data: st.DataObject
) -> None:
    def told(*pieces: bytes) -> tuple[list[Message], list[Control], bool]:
        reader, messages, controls = _reader()
        try:
            for piece in pieces:
                reader.feed(piece)
        except ProtocolBroken:
            return messages, controls, True
        return messages, controls, False

    lines = b"MSG a 1 2\r\n" + stream.replace(b"\x00", b"\r\n").replace(b"\x01", b"\r\nMSG ")
    cut = data.draw(st.integers(0, len(lines)))
    assert told(lines) == told(lines[:cut], lines[cut:])


# What is sent.


_TEXT = st.text("abcXYZ0_-.$", min_size=1)


@given(
    subject=_TEXT,
    reply=_TEXT,
    headers=st.sampled_from([{}, {"Nats-Expected-Stream": "KV_b", "X": "ä: b"}]),
    payload=_BYTES,
)
def test_a_message_is_sent_as_nats_py_sends_it(
    subject: str, reply: str, headers: dict[str, str], payload: bytes
) -> None:
    block = write_headers(headers) if headers else b""
    theirs = (
        hpub_cmd(subject, reply, block, payload) if headers else pub_cmd(subject, reply, payload)
    )
    writer, written, _ = _writer()
    writer.publish(subject.encode(), reply.encode(), block, payload)
    writer.flush()
    writer.flush()
    assert written == [theirs]


def _writer() -> tuple[WireWriter, list[bytes], list[Callable[[], None]]]:
    written: list[bytes] = []
    soon: list[Callable[[], None]] = []
    writer = WireWriter(soon.append)
    writer.write = written.append
    return writer, written, soon


@pytest.mark.parametrize("headers", [{}, {"Nats-Expected-Stream": "KV_b"}])
def test_a_large_payload_is_a_piece_of_its_own(headers: dict[str, str]) -> None:
    writer, written, _ = _writer()
    block = write_headers(headers) if headers else b""
    payload = b"v" * LARGE
    writer.publish(b"a", b"", block, b"1")
    writer.publish(b"b", b"r", block, payload)
    writer.send(b"PING\r\n")
    writer.flush()
    before, large, after = written
    assert large is payload
    assert after == END + b"PING\r\n"
    command = hpub_cmd if headers else lambda *names: pub_cmd(names[0], names[1], names[3])
    assert before + large + END == b"".join(
        (command("a", "", block, b"1"), command("b", "r", block, payload))
    )
    writer.publish(b"a", b"", block, b"1")
    writer.flush()
    assert len(written) == 4


def test_what_is_sent_is_written_soon_and_a_payload_too_many_at_once() -> None:
    writer, written, soon = _writer()
    writer.send(b"PING\r\n")
    writer.publish(b"a", b"", b"", b"v" * FLUSH_AT)
    assert soon == [writer.flush]
    assert written == []
    writer.publish(b"a", b"", b"", b"v")
    assert b"".join(written).endswith(b"v\r\nPUB a  1\r\nv\r\n")
    assert len(soon) == 1
    writer.publish(b"a", b"", b"", b"v")
    assert soon == [writer.flush] * 2


def test_nothing_is_written_before_there_is_a_connection_nor_after_its_end() -> None:
    writer, written, _ = _writer()
    write, writer.write = writer.write, None
    writer.send(b"PING\r\n")
    writer.flush()
    assert written == []
    writer.write = write
    writer.flush()
    assert written == [b"PING\r\n"]
    writer.send(b"PONG\r\n")
    writer.close()
    writer.flush()
    assert written == [b"PING\r\n"]


def test_a_header_is_one_line_whatever_it_holds() -> None:
    block = write_headers({"A": "1\r\nB: 2\n", "C": "3"})
    assert read_headers(block) == {"A": "1  B: 2", "C": "3"}


@pytest.mark.parametrize("line", [b"MSG\r\n", b"HMSG\r\n", b"HMSG 5\r\n"])
def test_a_message_without_a_size_ends_the_connection(line: bytes) -> None:
    reader, _, _ = _reader()
    with pytest.raises(ProtocolBroken):
        reader.feed(line)

"""The server's side of the NATS protocol, taken apart."""

import pytest

from jetkv_gateway.jetstream.wire import (
    MAX_LINE,
    NOBODY,
    Control,
    ProtocolBroken,
    Violation,
    WireReader,
    violation,
)

Message = tuple[int, bytes, bytes, bytes, bytes]

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
    (7, b"a.b", b"", b"", b"hello"),
    (8, b"a.\xff\xfe", b"_INBOX.x", b"", b""),
    (9, b"a\x0bb", b"r.1", b"NATS/1.0\r\n\r\n", b"MSG x"),
    (9, b"c", b"", b"NATS/1.0\r\n\r\n", b""),
]
CONTROLS = [
    Control(b"INFO", b'{"max_payload":1}'),
    Control(b"PING", b""),
    Control(b"-ERR", b"'Permissions Violation for Publish to \"S\"'"),
    Control(b"+OK", b""),
    Control(b"PONG", b""),
]


def _read(*pieces: bytes) -> tuple[list[Message], list[Control]]:
    messages: list[Message] = []
    reader = WireReader(lambda *message: messages.append(message))
    controls = [control for piece in pieces for control in reader.feed(piece)]
    return messages, controls


def test_messages_and_lines_come_out_as_bytes_in_order() -> None:
    assert _read(STREAM) == (MESSAGES, CONTROLS)


@pytest.mark.parametrize("cut", range(1, len(STREAM)))
def test_it_does_not_matter_where_the_bytes_are_cut(cut: int) -> None:
    assert _read(STREAM[:cut], STREAM[cut:]) == (MESSAGES, CONTROLS)


def test_bytes_one_by_one_come_to_the_same() -> None:
    assert _read(*(STREAM[place : place + 1] for place in range(len(STREAM)))) == (
        MESSAGES,
        CONTROLS,
    )


@pytest.mark.parametrize("line", [b"MSG a b 3 r 1", b"MSG a x 1", b"MSG x 1", b"HMSG a x 0 1"])
def test_a_message_for_nobody_known_is_passed_over_in_its_length(line: bytes) -> None:
    messages, controls = _read(line + b"\r\nx\r\nPING\r\n")
    assert len(messages) == 1
    assert messages[0][0] in (NOBODY, 3)
    assert controls == [Control(b"PING", b"")]


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
    messages: list[Message] = []
    reader = WireReader(lambda *message: messages.append(message))
    with pytest.raises(ProtocolBroken):
        reader.feed(b"MSG a 1 1\r\nx\r\n" + broken)
    assert messages == [(1, b"a", b"", b"", b"x")]


def test_a_reader_that_was_reset_begins_anew() -> None:
    messages: list[Message] = []
    reader = WireReader(lambda *message: messages.append(message))
    reader.feed(b"MSG a 1 1000\r\nhalf")
    reader.reset()
    assert reader.feed(b"PING\r\n") == [Control(b"PING", b"")]
    assert messages == []


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
def test_a_refusal_keeps_the_case_of_its_subject_and_is_none_where_the_server_escaped_it(
    text: str, read: Violation | None
) -> None:
    assert violation(text) == read

"""Parses and writes the header blocks of NATS messages. No other module does.

Blocks are parsed as bytes, whatever they contain.

Everyone who may publish to a bucket's subjects controls every byte of a block, and the server
stores it unchanged. So all readers of a message follow the same rules (a read from the leader or a
replica, a listing, a watch, a history, a write that reads the key):

- A block begins with `NATS/1.0`, and there is a line end before its last two bytes. Any other block
  has no headers: where the server adds its own headers it cuts off the last two bytes, so nobody
  could tell what they were.
- A line ends with CR LF. Names are compared byte for byte, the first of several equal names counts,
  and nothing after an empty line counts: as in NATS's Go client.
- A value is text as far as it is UTF-8.
- The server adds its own headers behind the stored ones. They are taken from there, never from an
  earlier line of the same name.
"""

import re
from collections.abc import Mapping
from typing import NamedTuple

from jetkv_gateway.kv.unreadable import report_unreadable

__all__ = [
    "NO_RESPONDERS",
    "Direct",
    "End",
    "Status",
    "bucket_of",
    "is_block",
    "read_direct",
    "read_direct_of",
    "read_end",
    "read_headers",
    "read_several",
    "status",
    "stream_line_of",
    "subject_text",
    "value_of",
    "with_line",
    "without_size",
    "write_headers",
]

NO_RESPONDERS = b"NATS/1.0 503"
"""The beginning of the block with which a server answers, without data, if nobody listens."""

_VERSION = b"NATS/1.0"
_END = b"\r\n"
_LAST = _END + _END
_BARE = b"NATS/1.0\r\n\r\n"
_OF_A_VALUE = (b"Nats-Mark", b"Nats-TTL:")
_NEWLINES = str.maketrans("\r\n", "  ")
_NO_TEXT = re.compile("[\udc80-\udcff]")
_SIZE = b"Nats-Msg-Size: "
_STREAM = b"\r\nNats-Stream: "
_TIME = b"\r\nNats-Time-Stamp: "
_DIRECT = re.compile(
    rb"(.*)\r\nNats-Subject: (.*)\r\nNats-Sequence: ([0-9]+)\r\nNats-Time-Stamp: (.*)\r\n\r\n\Z"
)

_END_OF_SEVERAL = re.compile(
    rb"NATS/1\.0 (?:204 EOB\r\nNats-Num-Pending: ([0-9]+)\r\nNats-Last-Sequence: [0-9]+"
    rb"\r\nNats-UpTo-Sequence: ([0-9]+)|[0-9]{3}(?: [^\r\n]*)?)\r\n\r\n"
)


class Status(NamedTuple):
    """The first line of a block from a server, such as 404 and "No Messages"."""

    code: bytes
    text: bytes


Direct = tuple[bytes, bytes, int, str]
"""A message in the answer to a direct get: the block that was stored with it or one with the same
meaning, subject, sequence, and time.
"""


class End(NamedTuple):
    """The end of the answer to a direct get of several messages.

    Attributes:
        pending: the number of messages left out; None after an error or if nothing was found.
        reached: the newest sequence of the server's stream at that moment, 0 after an error.
    """

    pending: int | None
    reached: int


def read_headers(block: bytes, where: str = "a bucket") -> dict[str, str]:
    """Parse a stored block by the rules above.

    Args:
        where: its origin, for the log.
    """
    if not is_block(block):
        if block:
            report_unreadable("headers", where, "the message is read as one without headers")
        return {}
    headers: dict[str, str] = {}
    for line in block.split(_END)[1:]:
        if not line:
            break
        name, colon, value = line.partition(b":")
        if colon:
            text = value.strip(b" \t").decode("utf-8", "replace")
            headers.setdefault(name.decode("latin-1"), text)
    return headers


def is_block(block: bytes) -> bool:
    """Return whether a block satisfies the first rule above."""
    return block[:8] == _VERSION and block[-4:-2] == _END


def write_headers(headers: Mapping[str, str]) -> bytes:
    """Return a block to send. Line ends in a value become spaces."""
    lines = [f"{name}: {value.translate(_NEWLINES)}\r\n" for name, value in headers.items()]
    return b"%s\r\n%s\r\n" % (_VERSION, "".join(lines).encode())


def with_line(block: bytes, name: str, value: str) -> bytes:
    """Return a block to send with one more header, whose value is one line of ASCII."""
    return block[:-2] + f"{name}: {value}\r\n\r\n".encode("ascii")


def status(block: bytes) -> Status:
    """Read the first line of a block that a server made; of any other message both are empty."""
    line = block.partition(_END)[0]
    if not line.startswith(_VERSION + b" "):
        return Status(b"", b"")
    code, _, text = line[9:].partition(b" ")
    return Status(code, text.strip())


def subject_text(subject: bytes) -> str:
    """Return a subject as text; each byte that is not UTF-8 becomes U+FFFD.

    The server does the same with subjects in JSON.
    """
    try:
        return subject.decode()
    except UnicodeDecodeError:
        text = _NO_TEXT.sub("\ufffd", subject.decode("utf-8", "surrogateescape"))
        report_unreadable(
            "subject", bucket_of(subject), "its key is shown with U+FFFD for bad bytes"
        )
        return text


def bucket_of(subject: bytes) -> str:
    """Return the bucket in a message's subject, for a log."""
    return subject.split(b".", 2)[1 if subject.startswith(b"$KV.") else 0].decode(
        "utf-8", "replace"
    )


def value_of(block: bytes, name: bytes) -> bytes | None:
    """Return a header's value in a block from a server, None if it is missing."""
    for line in block.split(_END)[1:]:
        found, colon, value = line.partition(b":")
        if colon and found == name:
            return value.strip(b" \t")
    return None


def without_size(block: bytes) -> bytes:
    """Return the stored block, or one with the same meaning, without the size of the value.

    A consumer that delivers headers only adds that size.
    """
    place = block.rfind(_SIZE)
    return block if place < 0 else block[:place] + _END


def read_end(block: bytes) -> End | None:
    """Read the end of an answer with several messages; None where the block is not that.

    A message is never taken for one, whatever it was stored with: the server adds more to it.
    """
    found = _END_OF_SEVERAL.fullmatch(block)
    if found is None:
        return None
    pending, reached = found.groups()
    return End(None, 0) if pending is None else End(int(pending), int(reached))


def read_direct_of(block: bytes, stream: bytes, subject: bytes) -> Direct | None:
    """Read what a direct get answers where it is a message of the subject.

    It takes half the time of `read_direct`, which has to read whatever this returns None for.

    Args:
        stream: the name of the stream.
    """
    # The server's lines are the last ones, because stored headers come before them. So nothing may
    # follow the time.
    start = b"%s%s\r\nNats-Subject: %s\r\nNats-Sequence: " % (_STREAM, stream, subject)
    stored, _, rest = block.rpartition(start)
    sequence, _, last = rest.partition(_TIME)
    time, _, end = last.partition(_END)
    if end != _END or not sequence.isdigit() or not stored:
        return None
    return stored + _LAST, subject, int(sequence), time.decode("latin-1")


def read_several(block: bytes, stream_line: bytes) -> Direct | None:
    """Read one of the messages that a direct get for several subjects answers.

    It is None where it is no message of the stream. `stored` is what was stored, without the lines
    that say nothing of a value.

    Args:
        stream_line: what the server says of the stream, `stream_line_of`.
    """
    lines = block.split(_END)
    # From the end, where nobody but the server writes: six lines, and an empty one.
    if len(lines) < 9 or lines[-8] != stream_line:
        return None
    stored = _BARE
    if len(lines) > 9:
        kept = [one for one in lines[:-8] if one[:5] != b"Nats-" or one[:9] in _OF_A_VALUE]
        stored = _END.join(kept) + _END * 2
    try:
        sequence = int(lines[-6][15:])
    except ValueError:
        return None
    return stored, lines[-7][14:], sequence, lines[-5][17:].decode("latin-1")


def stream_line_of(stream: str) -> bytes:
    """Return the header line with which a server names the stream in a direct get."""
    return b"Nats-Stream: " + stream.encode()


def read_direct(block: bytes, stream: bytes) -> Direct | None:
    """Parse the answer to a direct get; None if it is not a message of the stream."""
    # The last line of that name is the server's, because stored headers come before it.
    place = block.rfind(_STREAM)
    found = _DIRECT.match(block, place + len(_STREAM)) if place >= 0 else None
    if found is None:
        return None
    where, subject, sequence, time = found.groups()
    if where != stream:
        return None
    return block[: place + 2] + _END, subject, int(sequence), time.decode("latin-1")

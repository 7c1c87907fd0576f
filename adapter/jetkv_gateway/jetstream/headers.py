"""Header blocks of NATS messages: the one place that reads and writes them.

They are read as bytes, whatever they hold.

Anybody who may publish to a bucket's subjects chooses every byte of a block, and the server stores
it as it is. So there are rules, and all ways to a value go by them (a read of the leader or of a
replica, a listing, a watch, a history, a write that looks at what is there):

- A block begins with `NATS/1.0`, and there is a line's end before its last two bytes. Any other has
  no headers. The server cuts those two bytes off where it adds headers of its own, so nobody could
  tell what they were.
- A line ends with CR LF. Names are compared byte for byte, of a name that is repeated the first
  value counts, and nothing counts after an empty line: as in NATS's own Go client.
- A value is text as far as it is UTF-8.
- What the server adds to an answer stands behind what was stored. It is taken from there, never
  from a line of the same name before.
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
    "read_end",
    "read_headers",
    "status",
    "subject_text",
    "value_of",
    "with_line",
    "without_size",
    "write_headers",
]

NO_RESPONDERS = b"NATS/1.0 503"
"""How the block begins that a server answers by, without data, where nobody listens."""

_VERSION = b"NATS/1.0"
_END = b"\r\n"
_NEWLINES = str.maketrans("\r\n", "  ")
_NO_TEXT = re.compile("[\udc80-\udcff]")
_SIZE = b"Nats-Msg-Size: "
_STREAM = b"\r\nNats-Stream: "
_DIRECT = re.compile(
    rb"(.*)\r\nNats-Subject: (.*)\r\nNats-Sequence: ([0-9]+)\r\nNats-Time-Stamp: (.*)\r\n\r\n\Z"
)

_OF_SEVERAL = re.compile(
    rb"(.*)\r\nNats-Subject: (.*)\r\nNats-Sequence: ([0-9]+)\r\nNats-Time-Stamp: (.*)"
    rb"\r\nNats-Num-Pending: [0-9]+\r\nNats-Last-Sequence: [0-9]+\r\n\r\n\Z"
)
_END_OF_SEVERAL = re.compile(
    rb"NATS/1\.0 (?:204 EOB\r\nNats-Num-Pending: ([0-9]+)\r\nNats-Last-Sequence: [0-9]+"
    rb"\r\nNats-UpTo-Sequence: ([0-9]+)|[0-9]{3}(?: [^\r\n]*)?)\r\n\r\n"
)


class Status(NamedTuple):
    """What a server says in the first line of a block, such as 404 and "No Messages"."""

    code: bytes
    text: bytes


class Direct(NamedTuple):
    """A message as a direct get answers it.

    Attributes:
        stored: the block that was stored with it, or one that reads the same.
    """

    stored: bytes
    subject: bytes
    sequence: int
    time: str


class End(NamedTuple):
    """What stands behind the messages of a direct get that asks for several.

    Attributes:
        pending: how many more there are, None where there was an error, or nothing at all.
        reached: the newest sequence of the server's stream at that moment, 0 with an error.
    """

    pending: int | None
    reached: int


def read_headers(block: bytes, where: str = "a bucket") -> dict[str, str]:
    """Read a block that was stored, by the rules above.

    Args:
        where: where it came from, should it have to be said.
    """
    if not is_block(block):
        if block:
            report_unreadable("headers", where, "the message counts as one without headers")
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
    """Return whether it is one by the first rule above."""
    return block[:8] == _VERSION and block[-4:-2] == _END


def write_headers(headers: Mapping[str, str]) -> bytes:
    """Return a block to be sent; a value is one line, whatever it holds."""
    lines = [f"{name}: {value.translate(_NEWLINES)}\r\n" for name, value in headers.items()]
    return b"%s\r\n%s\r\n" % (_VERSION, "".join(lines).encode())


def with_line(block: bytes, name: str, value: str) -> bytes:
    """Return a block to be sent that has one header more, whose value is a line of ASCII."""
    return block[:-2] + f"{name}: {value}\r\n\r\n".encode("ascii")


def status(block: bytes) -> Status:
    """Read the first line of a block that a server made; of any other message both are empty."""
    line = block.partition(_END)[0]
    if not line.startswith(_VERSION + b" "):
        return Status(b"", b"")
    code, _, text = line[9:].partition(b" ")
    return Status(code, text.strip())


def subject_text(subject: bytes) -> str:
    """Return a subject as text; each byte that is no UTF-8 shows as U+FFFD.

    So they do in what the server says of subjects in JSON.
    """
    try:
        return subject.decode()
    except UnicodeDecodeError:
        text = _NO_TEXT.sub("\ufffd", subject.decode("utf-8", "surrogateescape"))
        report_unreadable("subject", bucket_of(subject), "its key is shown as far as it is text")
        return text


def bucket_of(subject: bytes) -> str:
    """Return the bucket that a message's subject names, for a log."""
    return subject.split(b".", 2)[1 if subject.startswith(b"$KV.") else 0].decode(
        "utf-8", "replace"
    )


def value_of(block: bytes, name: bytes) -> bytes | None:
    """Return a header's value in a block that a server made, None where it is not there."""
    for line in block.split(_END)[1:]:
        found, colon, value = line.partition(b":")
        if colon and found == name:
            return value.strip(b" \t")
    return None


def without_size(block: bytes) -> bytes:
    """Return a block as it was stored, or one that reads the same, without the size of the value.

    A consumer that delivers headers only adds it.
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


def read_direct(block: bytes, stream: bytes, *, of_several: bool = False) -> Direct | None:
    """Read what a direct get answers; None where it is no message of the stream.

    Args:
        of_several: whether the get asked for several messages, of which each says its place.
    """
    # The last line of that name is the server's: what was stored stands before it.
    place = block.rfind(_STREAM)
    pattern = _OF_SEVERAL if of_several else _DIRECT
    found = pattern.match(block, place + len(_STREAM)) if place >= 0 else None
    if found is None:
        return None
    where, subject, sequence, time = found.groups()
    if where != stream:
        return None
    fields = block[: place + 2] + _END, subject, int(sequence), time.decode("latin-1")
    # As `Direct(*fields)`, without a call in Python: one comes with each read.
    return tuple.__new__(Direct, fields)

"""What a NATS server sends, taken apart. No I/O, and no decoding of what others wrote.

Bytes go in, in pieces as they come; messages go out by a call each, as bytes, and everything else
as a list. Nothing that a client of NATS can publish ends this: a subject is any bytes but the
space and the end of a line, and a header block is as long as the server says, whatever it holds.
Only bytes that are no NATS protocol at all do, because nobody can tell where the next message
begins after them.
"""

import re
from collections.abc import Callable
from typing import NamedTuple

__all__ = ["Control", "ProtocolBroken", "Taker", "Violation", "WireReader", "violation"]

MAX_LINE = 1024 * 1024
"""Bytes. The longest is an INFO that names every member of a cluster; what is longer is no line."""

MAX_MESSAGE = 128 * 1024 * 1024
"""Bytes. No server takes half as much, so that a line which says more is none of NATS."""

NOBODY = -1
"""The subscription of a message whose line names none that can be read."""

_END = b"\r\n"

_VIOLATION = re.compile(
    r"permissions violation for "
    r'(?P<kind>publish with reply of|publish to|subscription to) "(?P<subject>[^"\\]+)"',
    re.IGNORECASE,
)
_KINDS = {"publish to": "publish", "publish with reply of": "reply"}

Taker = Callable[[int, bytes, bytes, bytes, bytes], None]
"""Takes (subscription, subject, reply subject, header block, data) of a message."""


class ProtocolBroken(Exception):
    """Raised when what came is no NATS protocol; the connection is of no more use."""


class Control(NamedTuple):
    """A line that is no message: `INFO`, `-ERR`, `+OK`, `PING`, `PONG`, and what follows it."""

    verb: bytes
    rest: bytes


class Violation(NamedTuple):
    """What the server refused for want of a permission.

    Attributes:
        kind: `publish`, `reply` (a publish, for its reply subject), `subscription`.
        subject: as it was sent.
    """

    kind: str
    subject: str


def violation(text: str) -> Violation | None:
    """Read the text of an `-ERR`, in the server's own case; None where it is no such refusal.

    The server quotes a subject as Go does. One that it had to escape is not read back, since
    nothing of ours has such a subject.
    """
    found = _VIOLATION.search(text)
    if found is None:
        return None
    kind = _KINDS.get(found["kind"].lower(), "subscription")
    return Violation(kind, found["subject"])


class WireReader:
    """Takes the server's side of a connection apart.

    Args:
        take: called for each message as soon as it is whole; it must not raise.
    """

    def __init__(self, take: Taker) -> None:
        self._take = take
        self._kept = bytearray()
        self._needed = 0
        self._message: tuple[int, bytes, bytes, int, int] | None = None

    def reset(self) -> None:
        """Forget what has come so far: another connection begins."""
        self._kept = bytearray()
        self._needed = 0
        self._message = None

    def feed(self, data: bytes) -> list[Control]:
        """Take in the next bytes; return the lines that have become whole and are no messages.

        Raises:
            ProtocolBroken: the messages before the fault have been handed on.
        """
        controls: list[Control] = []
        if self._kept:
            self._kept += data
            if len(self._kept) < self._needed:
                return controls
            data = bytes(self._kept)
            self._kept = bytearray()
        place, length = 0, len(data)
        message = self._message
        while True:
            if message is None:
                end = data.find(_END, place)
                if end < 0:
                    if length - place > MAX_LINE:
                        raise ProtocolBroken("a line without an end")
                    self._needed = 0
                    break
                line = data[place:end]
                place = end + 2
                if line.startswith((b"MSG ", b"HMSG ")):
                    message = _message(line)
                elif line:
                    verb, _, rest = line.partition(b" ")
                    controls.append(Control(verb.upper(), rest.strip()))
                continue
            sid, subject, reply, header_size, size = message
            end = place + size
            if length < end + 2:
                self._needed = end + 2 - place
                break
            if data[end : end + 2] != _END:
                raise ProtocolBroken("a message is not as long as its line says")
            split = place + header_size
            self._take(sid, subject, reply, data[place:split], data[split:end])
            place = end + 2
            message = None
        self._message = message
        if place < length:
            self._kept = bytearray(data[place:] if place else data)
        return controls


def _message(line: bytes) -> tuple[int, bytes, bytes, int, int]:
    """Read (subscription, subject, reply, size of headers, size) off a message's line.

    Raises:
        ProtocolBroken: it says no size, so nobody knows what follows.
    """
    verb, *parts = line.split(b" ")
    try:
        size = int(parts.pop())
        header_size = int(parts.pop()) if verb == b"HMSG" else 0
    except (ValueError, IndexError) as error:
        raise ProtocolBroken(f"no message begins with {line[:80]!r}") from error
    if not 0 <= header_size <= size <= MAX_MESSAGE:
        raise ProtocolBroken(f"no message begins with {line[:80]!r}")
    reply = parts.pop() if len(parts) > 2 else b""
    try:
        sid = int(parts.pop())
    except (ValueError, IndexError):
        sid = NOBODY
    # A subject with a space comes from no publish, but perhaps from a backup that was restored.
    return sid, b" ".join(parts), reply, header_size, size

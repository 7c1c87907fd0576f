"""The NATS protocol: what a server sends, taken apart, and what it is sent. No I/O.

Bytes go in, in pieces as they come; messages and all other lines go out by a call each, in their
order and as bytes: nothing that others wrote is decoded. Nothing that a client of NATS can publish
ends this: a subject is any bytes but the space and the end of a line, and a header block is as long
as the server says, whatever it holds. Only bytes that are no NATS protocol at all do, because
nobody can tell where the next message begins after them.
"""

import re
from collections.abc import Callable
from typing import NamedTuple

__all__ = [
    "END",
    "PING",
    "PONG",
    "MessageHandler",
    "ProtocolBroken",
    "Violation",
    "WireReader",
    "publish",
    "publish_line",
    "subscribe",
    "unsubscribe",
    "violation",
]

MAX_LINE = 1024 * 1024
"""Bytes. The longest is an INFO that names every member of a cluster; what is longer is no line."""

MAX_MESSAGE = 128 * 1024 * 1024
"""Bytes. No server takes half as much, so that a line which says more is none of NATS."""

END = b"\r\n"
PING = b"PING\r\n"
PONG = b"PONG\r\n"

_VIOLATION = re.compile(
    r"permissions violation for "
    r'(?P<kind>publish with reply of|publish to|subscription to) "(?P<subject>[^"\\]+)"',
    re.IGNORECASE,
)
_KINDS = {"publish to": "publish", "publish with reply of": "reply"}

MessageHandler = Callable[[bytes, bytes, bytes, bytes, bytes], None]
"""Takes (subscription as it was named, subject, reply subject, header block, data) of a message."""

LineHandler = Callable[[bytes, bytes], None]
"""Takes (verb, rest) of a line that is no message: `INFO`, `-ERR`, `+OK`, `PING`, `PONG`."""


class ProtocolBroken(Exception):
    """Raised when what came is no NATS protocol; the connection is of no more use."""


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
        obey: called for each other line, its verb in upper case; it must not raise.
    """

    def __init__(self, take: MessageHandler, obey: LineHandler) -> None:
        self._take = take
        self._obey = obey
        self._kept = bytearray()
        # (subscription, subject, reply subject, size of headers, size) of the one that comes in
        self._message: tuple[bytes, bytes, bytes, int, int] | None = None

    def feed(self, data: bytes) -> None:
        """Take in the next bytes.

        Raises:
            ProtocolBroken: what came before the fault has been handed on.
        """
        message = self._message
        if self._kept:
            seen = len(self._kept)
            self._kept += data
            if message is not None:
                if len(self._kept) < message[4] + 2:
                    return
                data = self._whole(message)
                message = None
            elif self._kept.find(END, seen - 1) < 0:
                if len(self._kept) > MAX_LINE:
                    raise ProtocolBroken("a line without an end")
                return
            else:
                data = bytes(self._kept)
                self._kept = bytearray()
        place, length = 0, len(data)
        take = self._take
        while place < length:
            if message is None:
                end = data.find(END, place)
                if end < 0:
                    if length - place > MAX_LINE:
                        raise ProtocolBroken("a line without an end")
                    break
                words = data[place:end].split(b" ")
                verb = words[0]
                if verb == b"MSG" or verb == b"HMSG":
                    place = end + 2
                    sid, subject, reply, header_size, size = _message(words)
                else:
                    line = data[place:end]
                    place = end + 2
                    if line:
                        verb, _, rest = line.partition(b" ")
                        self._obey(verb.upper(), rest.strip())
                    continue
            else:
                sid, subject, reply, header_size, size = message
            end = place + size
            if length < end + 2:
                message = sid, subject, reply, header_size, size
                break
            if data[end] != 13 or data[end + 1] != 10:
                raise ProtocolBroken(_TOO_LONG)
            if header_size:
                split = place + header_size
                take(sid, subject, reply, data[place:split], data[split:end])
            else:
                take(sid, subject, reply, b"", data[place:end])
            place = end + 2
            message = None
        self._message = message
        if place < length:
            self._kept = bytearray(memoryview(data)[place:])

    def _whole(self, message: tuple[bytes, bytes, bytes, int, int]) -> bytes:
        """Hand on a message that came in several pieces; return what came behind it.

        A large one is copied once here, since each copy of it counts.
        """
        sid, subject, reply, header_size, size = message
        self._message = None
        with memoryview(self._kept) as kept:
            end = bytes(kept[size : size + 2])
            headers, data = bytes(kept[:header_size]), bytes(kept[header_size:size])
            rest = bytes(kept[size + 2 :])
        self._kept = bytearray()
        if end != END:
            raise ProtocolBroken(_TOO_LONG)
        self._take(sid, subject, reply, headers, data)
        return rest


_TOO_LONG = "a message is not as long as its line says"


def _message(words: list[bytes]) -> tuple[bytes, bytes, bytes, int, int]:
    """Read (subscription, subject, reply, size of headers, size) off a message's line.

    Raises:
        ProtocolBroken: it says no size, so nobody knows what follows.
    """
    count = len(words)
    header_size = 0
    try:
        size = int(words[-1])
        if words[0] == b"HMSG":
            header_size = int(words[-2])
            count -= 1
    except ValueError as error:
        raise _no_message(words) from error
    if not 0 <= header_size <= size <= MAX_MESSAGE:
        raise _no_message(words)
    if count == 4:
        return words[2], words[1], b"", header_size, size
    if count == 5:
        return words[2], words[1], words[3], header_size, size
    # A subject with a space comes from no publish, but perhaps from a backup that was restored.
    parts = words[1 : count - 1]
    reply = parts.pop() if len(parts) > 2 else b""
    sid = parts.pop() if parts else b""
    return sid, b" ".join(parts), reply, header_size, size


def _no_message(words: list[bytes]) -> ProtocolBroken:
    return ProtocolBroken(f"no message begins with {b' '.join(words)[:80]!r}")


def publish(subject: bytes, reply: bytes, headers: bytes, payload: bytes) -> bytes:
    """Return the command that publishes a message.

    Args:
        reply: where answers go, b"" for nowhere.
        headers: a whole block, b"" for none.
    """
    if headers:
        return b"HPUB %b %b %d %d\r\n%b%b\r\n" % (
            subject,
            reply,
            len(headers),
            len(headers) + len(payload),
            headers,
            payload,
        )
    return b"PUB %b %b %d\r\n%b\r\n" % (subject, reply, len(payload), payload)


def publish_line(subject: bytes, reply: bytes, headers: bytes, size: int) -> bytes:
    """Return what stands before a payload of `size` bytes in that command; `END` comes behind it.

    So a large payload is sent without a copy of it.
    """
    if headers:
        return b"HPUB %b %b %d %d\r\n%b" % (
            subject,
            reply,
            len(headers),
            len(headers) + size,
            headers,
        )
    return b"PUB %b %b %d\r\n" % (subject, reply, size)


def subscribe(subject: bytes, sid: bytes) -> bytes:
    return b"SUB %b %b\r\n" % (subject, sid)


def unsubscribe(sid: bytes) -> bytes:
    return b"UNSUB %b\r\n" % sid

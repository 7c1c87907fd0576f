"""The NATS protocol: parses what a server sends and formats what it is sent. No I/O.

Bytes go in as they arrive. Each message and each other line comes out by one call, in order and as
bytes: nothing that others wrote is decoded. No message that a client can publish stops the parser:
a subject may contain any bytes but space and line ends, and a header block is as long as the server
says, whatever it contains. Only bytes that are not NATS protocol at all stop it, because nobody can
tell where the next message begins after them.
"""

import re
from collections.abc import Callable, Mapping
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
"""Bytes. The longest line is an INFO with all members of a cluster; anything longer is not a line.
"""

MAX_MESSAGE = 128 * 1024 * 1024
"""Bytes. No server accepts half as much, so a line with a larger size is not NATS protocol."""

END = b"\r\n"
PING = b"PING\r\n"
PONG = b"PONG\r\n"

_VIOLATION = re.compile(
    r"permissions violation for "
    r'(?P<kind>publish with reply of|publish to|subscription to) "(?P<subject>[^"\\]+)"',
    re.IGNORECASE,
)
_KINDS = {"publish to": "publish", "publish with reply of": "reply"}

MessageHandler = Callable[[bytes, bytes, bytes, bytes], None]
"""Called with (subject, reply subject, header block, data) of a message."""

LineHandler = Callable[[bytes, bytes], None]
"""Called with (verb, rest) of any other line: `INFO`, `-ERR`, `+OK`, `PING`, `PONG`."""

FailureHandler = Callable[[bytes, BaseException], None]
"""Called with the subject of a message, and the error of its handler."""


class ProtocolBroken(Exception):
    """Raised for bytes that are not NATS protocol; the connection is unusable from then on."""


class Violation(NamedTuple):
    """A permission that the server says is missing.

    Attributes:
        kind: `publish`, `reply` (a publish refused for its reply subject) or `subscription`.
        subject: as it was sent.
    """

    kind: str
    subject: str


def violation(text: str) -> Violation | None:
    """Parse the text of an `-ERR`, in the server's own case; None if it is no permission violation.

    The server quotes subjects like Go. A subject that it had to escape is not unescaped, because
    the gateway uses no such subjects.
    """
    found = _VIOLATION.search(text)
    if found is None:
        return None
    kind = _KINDS.get(found["kind"].lower(), "subscription")
    return Violation(kind, found["subject"])


class WireReader:
    """Parses the server's side of a connection.

    Args:
        handlers: by subscription id, what to call for each complete message. A message without a
            handler is dropped.
        on_line: called for each other line with its verb in upper case; must not raise.
        on_failure: called with the subject of a message and the error that its handler has raised.
            It raises the error again if the reading must not go on.
    """

    def __init__(
        self,
        handlers: Mapping[bytes, MessageHandler],
        on_line: LineHandler,
        on_failure: FailureHandler,
    ) -> None:
        self._handlers = handlers
        self._on_line = on_line
        self._on_failure = on_failure
        self._kept = bytearray()
        # (subscription id, subject, reply subject, header size, total size) of the incomplete
        # message
        self._message: tuple[bytes, bytes, bytes, int, int] | None = None

    def feed(self, data: bytes) -> None:
        """Parse the next bytes.

        Raises:
            ProtocolBroken: everything before the error has been handled.
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
        handlers = self._handlers
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
                    # What `_message` returns, without a call: every message comes here.
                    count = len(words)
                    try:
                        if count == 4 and verb == b"MSG":
                            _, subject, sid, text = words
                            reply, header_size, size = b"", 0, int(text)
                        elif count == 5:
                            if verb == b"MSG":
                                _, subject, sid, reply, text = words
                                header_size, size = 0, int(text)
                            else:
                                _, subject, sid, head, text = words
                                reply, header_size, size = b"", int(head), int(text)
                        elif count == 6 and verb == b"HMSG":
                            _, subject, sid, reply, head, text = words
                            header_size, size = int(head), int(text)
                        else:
                            sid, subject, reply, header_size, size = _message(words)
                    except ValueError:
                        raise _no_message(words) from None
                    if not 0 <= header_size <= size <= MAX_MESSAGE:
                        raise _no_message(words)
                else:
                    line = data[place:end]
                    place = end + 2
                    if line:
                        verb, _, rest = line.partition(b" ")
                        self._on_line(verb.upper(), rest.strip())
                    continue
            else:
                sid, subject, reply, header_size, size = message
            end = place + size
            if length < end + 2:
                message = sid, subject, reply, header_size, size
                break
            if data[end] != 13 or data[end + 1] != 10:
                raise ProtocolBroken(_TOO_LONG)
            handle = handlers.get(sid)
            if handle is not None:
                try:
                    if header_size:
                        split = place + header_size
                        handle(subject, reply, data[place:split], data[split:end])
                    else:
                        handle(subject, reply, b"", data[place:end])
                except BaseException as error:  # noqa: BLE001 - it is raised again if it must be
                    self._on_failure(subject, error)
            place = end + 2
            message = None
        self._message = message
        if place < length:
            self._kept = bytearray(memoryview(data)[place:])

    def _whole(self, message: tuple[bytes, bytes, bytes, int, int]) -> bytes:
        """Handle a message that arrived in several pieces; return the bytes behind it.

        This copies a large message once, because each further copy costs time.
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
        handle = self._handlers.get(sid)
        if handle is not None:
            try:
                handle(subject, reply, headers, data)
            except BaseException as error:  # noqa: BLE001 - as in `feed`
                self._on_failure(subject, error)
        return rest


_TOO_LONG = "a message is not as long as its line says"


def _message(words: list[bytes]) -> tuple[bytes, bytes, bytes, int, int]:
    """Parse a message's line: (subscription id, subject, reply subject, header size, total size).

    Raises:
        ProtocolBroken: the line has no size, so the end of the message is unknown.
    """
    count = len(words)
    size, header_size = _size(words[-1]), 0
    if words[0] == b"HMSG":
        header_size = _size(words[-2]) if count > 1 else -1
        count -= 1
    if not 0 <= header_size <= size:
        raise _no_message(words)
    if count == 4:
        return words[2], words[1], b"", header_size, size
    if count == 5:
        return words[2], words[1], words[3], header_size, size
    # No publish can have a space in its subject, but a restored backup can.
    parts = words[1 : count - 1]
    reply = parts.pop() if len(parts) > 2 else b""
    sid = parts.pop() if parts else b""
    return sid, b" ".join(parts), reply, header_size, size


def _size(text: bytes) -> int:
    """Return a size in bytes, or -1 if it is none."""
    try:
        size = int(text)
    except ValueError:
        return -1
    return size if 0 <= size <= MAX_MESSAGE else -1


def _no_message(words: list[bytes]) -> ProtocolBroken:
    return ProtocolBroken(f"no message begins with {b' '.join(words)[:80]!r}")


def publish(subject: bytes, reply: bytes, headers: bytes, payload: bytes) -> bytes:
    """Return the command that publishes a message.

    Args:
        reply: the subject for answers, b"" for none.
        headers: a complete block, b"" for none.
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
    """Return the part of that command before the payload, which `END` follows.

    With it, a large payload is sent without a copy.
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

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
    "WireWriter",
    "subscribe",
    "unsubscribe",
    "violation",
]

MAX_LINE = 1024 * 1024
"""Bytes. The longest line is an INFO with all members of a cluster; anything longer is not a line.
"""

MAX_MESSAGE = 128 * 1024 * 1024
"""Bytes. No server accepts half as much, so a line with a larger size is not NATS protocol."""

FLUSH_AT = 256 * 1024
"""Bytes of payload that are kept at most before they are written."""

LARGE = 16 * 1024
"""Bytes. A payload of this size or more is sent without a copy."""

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
        if self._kept or self._message is not None:
            joined = self._join(data)
            if joined is None:
                return
            data = joined
        place, length = 0, len(data)
        handlers = self._handlers
        while place < length:
            end = data.find(END, place)
            if end < 0:
                if length - place > MAX_LINE:
                    raise ProtocolBroken("a line without an end")
                break
            words = data[place:end].split(b" ")
            count = len(words)
            place = end + 2
            try:
                # What `_message` parses, without a call: the first two are the replies of reads
                # and of writes, the next two the messages of a watch.
                if count == 5 and words[0] == b"HMSG":
                    _, subject, sid, head, text = words
                    reply = b""
                    header_size = int(head)
                    size = int(text)
                elif count == 4 and words[0] == b"MSG":
                    _, subject, sid, text = words
                    reply = b""
                    header_size = 0
                    size = int(text)
                elif count == 6 and words[0] == b"HMSG":
                    _, subject, sid, reply, head, text = words
                    header_size = int(head)
                    size = int(text)
                elif count == 5 and words[0] == b"MSG":
                    _, subject, sid, reply, text = words
                    header_size = 0
                    size = int(text)
                elif words[0] == b"MSG" or words[0] == b"HMSG":
                    sid, subject, reply, header_size, size = _message(words)
                else:
                    self._line(words)
                    continue
            except ValueError:
                raise _no_message(words) from None
            if not 0 <= header_size <= size:
                raise _no_message(words)
            end = place + size
            if data[end : end + 2] != END:
                if size > MAX_MESSAGE:
                    raise _no_message(words)
                if length >= end + 2:
                    raise ProtocolBroken(_TOO_LONG)
                self._message = sid, subject, reply, header_size, size
                break
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
        if place < length:
            self._kept = bytearray(memoryview(data)[place:])

    def _join(self, data: bytes) -> bytes | None:
        """Add bytes to those that are kept; return what can be parsed now, None to wait for more.

        Raises:
            ProtocolBroken: as `feed`.
        """
        message, seen = self._message, len(self._kept)
        self._kept += data
        if message is not None:
            return None if len(self._kept) < message[4] + 2 else self._whole(message)
        # The line end itself may have been cut.
        if self._kept.find(END, seen - 1) < 0:
            if len(self._kept) > MAX_LINE:
                raise ProtocolBroken("a line without an end")
            return None
        data = bytes(self._kept)
        self._kept = bytearray()
        return data

    def _line(self, words: list[bytes]) -> None:
        """Handle a line that is no message."""
        line = b" ".join(words)
        if line:
            verb, _, rest = line.partition(b" ")
            self._on_line(verb.upper(), rest.strip())

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


class WireWriter:
    """Formats what is sent to a server, and keeps it until `flush` or for `FLUSH_AT` bytes.

    Args:
        call_soon: of the event loop; calls `flush` behind what is handled now.

    Attributes:
        write: called with the bytes that are sent, a piece each time; None to keep them.
    """

    def __init__(self, call_soon: Callable[[Callable[[], None]], object]) -> None:
        self._call_soon = call_soon
        self.write: Callable[[bytes], object] | None = None
        self._pieces: list[bytes] = []
        self._size = 0
        self._has_large = False

    def publish(self, subject: bytes, reply: bytes, headers: bytes, payload: bytes) -> None:
        """Publish a message.

        Args:
            reply: the subject for answers, b"" for none.
            headers: a complete block, b"" for none.
        """
        pieces, size = self._pieces, len(payload)
        if not pieces:
            self._call_soon(self.flush)
        if size >= LARGE:
            self._has_large = True
            pieces += _large(subject, reply, headers, payload)
        elif headers:
            block = len(headers)
            pieces.append(
                b"HPUB %b %b %d %d\r\n%b%b\r\n"
                % (subject, reply, block, block + size, headers, payload)
            )
        else:
            pieces.append(b"PUB %b %b %d\r\n%b\r\n" % (subject, reply, size, payload))
        self._size = size = self._size + size
        if size > FLUSH_AT:
            self.flush()

    def send(self, command: bytes) -> None:
        """Send another command, such as `PING`."""
        if not self._pieces:
            self._call_soon(self.flush)
        self._pieces.append(command)

    def flush(self) -> None:
        """Write what is kept, if it can be written.

        A payload of `LARGE` bytes or more is a piece of its own, so it is written without a copy.
        """
        pieces, write = self._pieces, self.write
        if not pieces or write is None:
            return
        self._pieces = []
        self._size = 0
        if not self._has_large:
            write(b"".join(pieces))
            return
        self._has_large = False
        # `writelines` of CPython 3.12 to 3.13.1 never calls `pause_writing`, so write each piece.
        small: list[bytes] = []
        for piece in pieces:
            if len(piece) < LARGE:
                small.append(piece)
            else:
                write(b"".join(small))
                small.clear()
                write(piece)
        if small:
            write(b"".join(small))

    def close(self) -> None:
        """Drop what is kept, and write nothing more."""
        self.write = None
        self._pieces.clear()


def _large(subject: bytes, reply: bytes, headers: bytes, payload: bytes) -> tuple[bytes, ...]:
    """Return the command that publishes a message, without a copy of its payload."""
    if headers:
        block = len(headers)
        sizes = block, block + len(payload)
        return b"HPUB %b %b %d %d\r\n%b" % (subject, reply, *sizes, headers), payload, END
    return b"PUB %b %b %d\r\n" % (subject, reply, len(payload)), payload, END


def subscribe(subject: bytes, sid: bytes) -> bytes:
    return b"SUB %b %b\r\n" % (subject, sid)


def unsubscribe(sid: bytes) -> bytes:
    return b"UNSUB %b\r\n" % sid

"""Messages that no client of a bucket would write, and that NATS stores all the same.

Whoever may publish to a bucket's subjects chooses every byte of a message, so they are written
here by a plain socket. Each says what a reader is owed: the key that shows, and whether it is live.
"""

import json
import socket
from dataclasses import dataclass

from tests.support.native import Native
from tests.support.waiting import eventually

_HEAD = b"NATS/1.0\r\n"


@dataclass(frozen=True)
class Hostile:
    """One message.

    Attributes:
        subject: behind the bucket's prefix.
        headers: the whole block, None for a message without one.
        key: as it is shown; that of `subject` where None is given.
        named: whether a request can name the key.
        type: the content type that is shown.
        indexed: whether the server finds it by its subject; its index has no place for some.
    """

    subject: bytes
    headers: bytes | None = None
    data: bytes = b"x"
    live: bool = True
    type: str | None = None
    key: str = ""
    named: bool = True
    indexed: bool = True

    def shown(self) -> str:
        return self.key or self.subject.decode()


def _block(*lines: bytes) -> bytes:
    return _HEAD + b"".join(line + b"\r\n" for line in lines) + b"\r\n"


def _unnamed(subject: bytes, key: str) -> Hostile:
    return Hostile(subject, key=key, named=False)


SUBJECTS = [
    _unnamed(b"\xff\xfe", "\ufffd\ufffd"),
    _unnamed(b"cut.\xe2\x82", "cut.\ufffd\ufffd"),
    _unnamed(b"mid\xc3.dle", "mid\ufffd.dle"),
    _unnamed(b"sur\xed\xa0\x80rogate", "sur\ufffd\ufffd\ufffdrogate"),
    _unnamed(b"vertical\x0btab", "vertical\x0btab"),
    _unnamed(b"form\x0cfeed", "form\x0cfeed"),
    _unnamed(b"nul\x00byte", "nul\x00byte"),
    Hostile(b"del\x7fete", named=False, indexed=False),
    _unnamed(b"next\xc2\x85line", "next\x85line"),
    _unnamed(b"line\xe2\x80\xa8separator", "line\u2028separator"),
    _unnamed(b'quote"s\\', 'quote"s\\'),
    _unnamed(b"l" * 3000, "l" * 3000),
    _unnamed(b"t." * 200 + b"t", "t." * 200 + "t"),
    _unnamed(b"Nats-Stream:", "Nats-Stream:"),
]
BLOCKS = [
    Hostile(b"no-end", b"NATS/1.0"),
    Hostile(b"one-end", b"NATS/1.0\r\n"),
    Hostile(b"cut-short", b"NATS/1.0\r\nKV-Operation: DEL"),
    Hostile(b"cut-at-line", b"NATS/1.0\r\nKV-Operation: DEL\r\n"),
    Hostile(b"cut-in-end", b"NATS/1.0\r\nKV-Operation: DEL\r\n\r"),
    Hostile(b"end-of-garbage", b"NATS/1.0\r\nKV-Operation: DEL\r\nzz", live=False),
    Hostile(b"only-newlines", b"NATS/1.0\nKV-Operation: DEL\n\n"),
    Hostile(b"other-protocol", b"HTTP/1.1 200 OK\r\nKV-Operation: DEL\r\n\r\n"),
    Hostile(b"empty-block", _block()),
    Hostile(b"two-bytes", b"\r\n"),
    Hostile(b"bytes", b"\xff" * 40),
    Hostile(b"behind-empty-line", _block(b"A: b", b"", b"KV-Operation: DEL")),
    Hostile(b"no-colon", _block(b"KV-Operation DEL", b"Content-Type: a/b"), type="a/b"),
    Hostile(b"no-name", _block(b": DEL", b"KV-Operation:DEL"), live=False),
    Hostile(b"bad-bytes", _block(b"X-A: \xff\xfe", b"Content-Type: a/\xff")),
    Hostile(b"nul", _block(b"Content-Type: a/b\x00c", b"X\x00: y")),
    Hostile(b"folded", _block(b"Content-Type: text/html", b"\tX: y"), type="text/html"),
    Hostile(b"lone-newline", _block(b"Content-Type: text/html\nSet-Cookie: x=y")),
    Hostile(b"huge-headers", _block(b"X: " + b"h" * 65_000, b"KV-Operation: DEL"), live=False),
    Hostile(b"many-headers", _block(*(b"X-%d: y" % number for number in range(5000)))),
    Hostile(b"huge-value", None, b"v" * 1_000_000),
]
CONTRADICTIONS = [
    Hostile(b"put-then-del", _block(b"KV-Operation: PUT", b"KV-Operation: DEL")),
    Hostile(b"del-then-put", _block(b"KV-Operation: DEL", b"KV-Operation: PUT"), live=False),
    Hostile(b"other-case", _block(b"kv-operation: DEL", b"KV-OPERATION: PURGE")),
    Hostile(b"spaced-name", _block(b"KV-Operation : DEL", b" KV-Operation: DEL")),
    Hostile(b"unknown-operation", _block(b"KV-Operation: MOVE")),
    Hostile(b"two-types", _block(b"Content-Type: a/b", b"Content-Type: c/d"), type="a/b"),
    Hostile(b"put-and-marker", _block(b"KV-Operation: PUT", b"Nats-Marker-Reason: MaxAge")),
    Hostile(b"marker-with-value", _block(b"Nats-Marker-Reason: MaxAge"), live=False),
    Hostile(b"removed-with-value", _block(b"Nats-Marker-Reason: Remove"), live=False),
    Hostile(b"unknown-marker", _block(b"Nats-Marker-Reason: Whim")),
]
FORGERIES = [
    Hostile(
        b"forged-place",
        _block(
            b"Nats-Stream: KV_other",
            b"Nats-Subject: $KV.other.k",
            b"Nats-Sequence: 1",
            b"Nats-Time-Stamp: 1999-01-01T00:00:00Z",
        ),
    ),
    Hostile(
        b"forged-place-cut",
        b"NATS/1.0\r\nNats-Subject: $KV.other.k\r\nNats-Sequence: 1\r\nKV-Operation: DEL",
    ),
    Hostile(b"forged-size", _block(b"KV-Operation: DEL", b"Nats-Msg-Size: 0"), live=False),
    Hostile(b"forged-503", b"NATS/1.0 503\r\n\r\n", b""),
    Hostile(b"forged-404", b"NATS/1.0 404 Message Not Found\r\n\r\n", b""),
    Hostile(b"forged-409", b"NATS/1.0 409 Consumer Deleted\r\n\r\n", b""),
    Hostile(b"forged-204", b"NATS/1.0 204 EOB\r\nNats-Num-Pending: 0\r\n\r\n", b""),
    Hostile(
        b"forged-heartbeat",
        b"NATS/1.0 100 Idle Heartbeat\r\nNats-Last-Consumer: 99\r\nNats-Last-Stream: 1\r\n\r\n",
        b"",
    ),
    Hostile(b"wire-in-value", None, b"\r\nMSG $KV.x.y 1 5\r\nhello\r\n-ERR 'Stale Connection'\r\n"),
]
MESSAGES = [*SUBJECTS, *BLOCKS, *CONTRADICTIONS, *FORGERIES]


def commands(bucket: str, messages: list[Hostile]) -> bytes:
    """What a client sends to publish them."""
    out = bytearray()
    for message in messages:
        subject = f"$KV.{bucket}.".encode() + message.subject
        if message.headers is None:
            out += b"PUB %s %d\r\n%s\r\n" % (subject, len(message.data), message.data)
        else:
            size = len(message.headers) + len(message.data)
            out += b"HPUB %s %d %d\r\n" % (subject, len(message.headers), size)
            out += message.headers + message.data + b"\r\n"
    return bytes(out)


def publish_raw(port: int, sent: bytes) -> None:
    """Publish by a plain socket; return when the server has taken it in."""
    hello = json.dumps({"verbose": False, "pedantic": False, "headers": True, "protocol": 1})
    with socket.create_connection(("127.0.0.1", port), timeout=10) as raw:
        answers = raw.makefile("rb")
        raw.sendall(b"CONNECT " + hello.encode() + b"\r\n" + sent + b"PING\r\n")
        while (line := answers.readline()) != b"PONG\r\n":
            assert line, "the server has closed the connection"
            assert not line.startswith(b"-ERR"), line


async def stored(native: Native, bucket: str, count: int) -> None:
    """Wait until a bucket holds so many messages."""

    async def holds() -> bool:
        return (await native.state(bucket))["messages"] == count

    await eventually(holds, f"{count} messages are stored")

"""What a client may send, byte for byte, and what it is owed: RFC 9110 and RFC 9112 as a table.

Each row is one case on a connection of its own. `@K` stands for the path of a key that nobody has
written, so a row can say what is stored under it afterwards.
"""

from dataclasses import dataclass
from typing import TypedDict, Unpack

__all__ = [
    "CHUNKED",
    "END",
    "HEAD_LIMIT",
    "HOST",
    "Case",
    "chunks",
    "closed",
    "coded",
    "first_line",
    "get",
    "host",
    "kept",
    "length",
    "put",
    "request",
    "sized",
]

HOST = b"Host: localhost"
CHUNKED = b"Transfer-Encoding: chunked"
HEAD_LIMIT = 64 * 1024
END = b"0\r\n\r\n"


@dataclass(frozen=True)
class Case:
    """One row.

    Attributes:
        sent: all bytes, `@K` for the path of a key.
        answers: the statuses, in order; interim ones (1xx) are left out.
        kept: whether a request behind these bytes is answered; else the connection is closed.
        stored: what the key holds afterwards; None where it must not be there.
        bodiless: whether the answers have no body, as those to HEAD.
        says: what the text of the last error has to hold.
    """

    name: str
    sent: bytes
    answers: tuple[int, ...]
    kept: bool
    stored: bytes | None = None
    bodiless: bool = False
    says: str = ""


class Details(TypedDict, total=False):
    """What a row may say beside its answer: fields of a `Case`."""

    stored: bytes | None
    bodiless: bool
    says: str


def kept(name: str, sent: bytes, *answers: int, **details: Unpack[Details]) -> Case:
    return Case(name, sent, answers, kept=True, **details)


def closed(name: str, sent: bytes, *answers: int, **details: Unpack[Details]) -> Case:
    return Case(name, sent, answers, kept=False, **details)


def request(line: bytes, *headers: bytes, body: bytes = b"") -> bytes:
    return b"\r\n".join([line, *headers, b"", body])


def get(*headers: bytes, path: bytes = b"/health") -> bytes:
    return request(b"GET %s HTTP/1.1" % path, HOST, *headers)


def first_line(line: bytes) -> bytes:
    return request(line, HOST)


def host(*values: bytes, version: bytes = b"1.1") -> bytes:
    return request(b"GET /health HTTP/" + version, *[b"Host:" + value for value in values])


def put(*headers: bytes, body: bytes = b"", version: bytes = b"1.1") -> bytes:
    return request(b"PUT @K HTTP/" + version, HOST, *headers, body=body)


def length(value: bytes, body: bytes = b"value") -> bytes:
    return put(b"Content-Length:" + value, body=body)


def coded(value: bytes, *headers: bytes, version: bytes = b"1.1") -> bytes:
    """Return a PUT whose body would do for `chunked`."""
    lines = [b"Transfer-Encoding:" + value, *headers]
    return put(*lines, body=b"5\r\nvalue\r\n0\r\n\r\n", version=version)


def chunks(body: bytes) -> bytes:
    return put(CHUNKED, body=body)


def sized(size: int) -> bytes:
    """Return a GET whose head, with the empty line that ends it, has so many bytes."""
    rest = len(get(b"X: "))
    return get(b"X: " + b"x" * (size - rest))

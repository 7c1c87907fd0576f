"""Requests, answers, and the errors of a connection."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum

__all__ = [
    "CONNECT_SECONDS",
    "IDLE_SECONDS",
    "MAX_ANSWER_BYTES",
    "MAX_SMALL_ANSWER_BYTES",
    "REFUSAL_SECONDS",
    "Answer",
    "Broken",
    "Kind",
    "NoAnswer",
    "NotHTTP",
    "NotSent",
    "Request",
    "TransportError",
    "Unreadable",
    "not_http",
]

CONNECT_SECONDS = 5.0

IDLE_SECONDS = 50.0
"""How long an unused connection is kept. Servers and proxies keep one for longer: if they closed it
just as a write goes out, the outcome of the write would be unknown."""

REFUSAL_SECONDS = 5.0
"""How long the client reads the rest of an answer that is an error instead of an event stream."""

MAX_SMALL_ANSWER_BYTES = 1024 * 1024
"""The largest answer that is an error, or has neither values nor lists."""

MAX_ANSWER_BYTES = 128 * 1024 * 1024
"""The largest other answer, unless the client sets `max_response_bytes`. This is enough for 64
revisions of a value of 1 MiB, which have 86 MiB in base64, or for a million keys of 100 bytes."""


class Kind(Enum):
    """Whether a request may be sent twice."""

    READ = "read"
    """It may: it changes nothing."""
    KEYED = "keyed"
    """It may if the gateway honours its idempotency key (docs/http-api.md)."""
    WRITE = "write"
    """It must not."""


@dataclass(frozen=True, slots=True)
class Request:
    """One request.

    Attributes:
        method: the HTTP method.
        target: path and query, percent-encoded, without the base URL.
        kind: whether it may be sent twice.
        description: the call, for errors: `put of 'user:1' in bucket 'users'`.
        headers: beside those that every request has.
        body: the bytes to send.
        how_to_check: for a write: how a caller finds out whether it was applied.
        large: whether the answer has values or lists.
    """

    method: str
    target: str
    kind: Kind
    description: str
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | None = None
    how_to_check: str = ""
    large: bool = False


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer. The names of `headers` are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class TransportError(Exception):
    """Raised by a transport if a request got no complete answer."""


class NotSent(TransportError):
    """Raised if no connection was made, so nothing was sent.

    Attributes:
        permanent: whether another attempt would fail, too.
    """

    def __init__(self, message: str, *, permanent: bool = False) -> None:
        super().__init__(message)
        self.permanent = permanent


class Broken(TransportError):
    """Raised if the connection ended before the answer was complete."""


class NoAnswer(TransportError):
    """Raised if no complete answer came in time."""


class Unreadable(TransportError):
    """Raised for an answer that is too large, or has a content coding that is not supported."""


class NotHTTP(TransportError):
    """Raised if the server does not speak HTTP, so it did not do what the request asked."""


def not_http(text: str) -> NotHTTP | None:
    """Return an error if a text shows a server that does not speak HTTP, else None.

    Args:
        text: the first bytes that the server sent, or an error that quotes them.
    """
    # A nats-server sends this first, before the client has sent anything.
    if "INFO {" in text:
        return NotHTTP("this is a NATS server, not a gateway: it speaks the NATS protocol")
    return None

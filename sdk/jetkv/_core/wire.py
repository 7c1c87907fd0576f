"""A request, an answer, and what can go wrong between them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum

__all__ = [
    "CONNECT_SECONDS",
    "IDLE_SECONDS",
    "MOST_BYTES",
    "REFUSAL_SECONDS",
    "SMALL_BYTES",
    "Answer",
    "Broken",
    "Kind",
    "NoAnswer",
    "NotSent",
    "Request",
    "Stranger",
    "TransportError",
    "Unreadable",
    "stranger",
]

CONNECT_SECONDS = 5.0

IDLE_SECONDS = 50.0
"""Shorter than servers and proxies keep a quiet connection: one that they close just as a request
goes out leaves a write unknown."""

REFUSAL_SECONDS = 5.0
"""For which an answer is read that should have been a stream and is none."""

SMALL_BYTES = 1024 * 1024
"""What an answer has at most that is an error, or carries neither values nor lists."""

MOST_BYTES = 128 * 1024 * 1024
"""What any other has at most, where the client says nothing else: 64 revisions of a value of 1 MiB,
which are 86 MiB in base64, or a million keys of 100 bytes."""


class Kind(Enum):
    """What doing a request twice does."""

    READ = "read"
    """Nothing."""
    KEYED = "keyed"
    """Nothing, where the gateway honours the idempotency key (docs/http-api.md)."""
    WRITE = "write"
    """Harm."""


@dataclass(frozen=True, slots=True)
class Request:
    """One request.

    Attributes:
        target: path and query, percent-encoded, below the base URL.
        what: the call in words, for errors: `put of 'user:1' in bucket 'users'`.
        check: for a write: what tells whether it was applied.
        large: whether its answer carries values or lists.
    """

    method: str
    target: str
    kind: Kind
    what: str
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | None = None
    check: str = ""
    large: bool = False


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer; names of headers are looked up in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class TransportError(Exception):
    """Raised by a driver when a request got no whole answer."""


class NotSent(TransportError):
    """No connection was made: nothing was sent."""

    def __init__(self, message: str, *, permanent: bool = False) -> None:
        super().__init__(message)
        self.permanent = permanent


class Broken(TransportError):
    """The connection ended before the whole answer was there."""


class NoAnswer(TransportError):
    """No whole answer came in time."""


class Unreadable(TransportError):
    """An answer came that is too large, or in a coding that nobody asked for."""


class Stranger(TransportError):
    """Somebody answers who is no HTTP server, and does nothing of what was asked."""


def stranger(said: str) -> Stranger | None:
    """Return who it is that says something which is not HTTP, None for somebody unknown.

    Args:
        said: the beginning of it, or a text that has it.
    """
    # nats-server speaks first.
    if "INFO {" in said:
        return Stranger("this is a NATS server, not a gateway: it speaks NATS' own protocol")
    return None

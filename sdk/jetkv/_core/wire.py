"""A request, an answer, and what can go wrong between them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum

__all__ = [
    "CONNECT_SECONDS",
    "IDLE_SECONDS",
    "REFUSAL_BYTES",
    "REFUSAL_SECONDS",
    "Answer",
    "Broken",
    "Kind",
    "NoAnswer",
    "NotSent",
    "Request",
    "TransportError",
]

CONNECT_SECONDS = 5.0

IDLE_SECONDS = 50.0
"""Shorter than servers and proxies keep a quiet connection: one that they close just as a request
goes out leaves a write unknown."""

REFUSAL_SECONDS = 5.0
REFUSAL_BYTES = 1024 * 1024
"""What is read of an answer that should have been a stream and is none."""


class Kind(Enum):
    """What doing a request twice does."""

    READ = "read"
    """Nothing."""
    KEYED = "keyed"
    """Nothing, where the gateway honours the idempotency key (contract 2.5)."""
    WRITE = "write"
    """Harm."""


@dataclass(frozen=True, slots=True)
class Request:
    """One request.

    Attributes:
        target: path and query, percent-encoded, below the base URL.
        what: the call in words, for errors: `put of 'user:1' in bucket 'users'`.
        check: for a write: what tells whether it was applied.
    """

    method: str
    target: str
    kind: Kind
    what: str
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | None = None
    check: str = ""


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

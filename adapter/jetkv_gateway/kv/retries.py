"""How often a request was tried again; it is shown in its answer and counted."""

from contextvars import ContextVar

__all__ = ["begin", "note_retry", "retries"]

_retries: ContextVar[int] = ContextVar("retries", default=0)


def begin() -> None:
    """Say that this task serves a request from here on; another may have begun it."""
    _retries.set(0)


def note_retry() -> None:
    """Say that the request which this task serves is tried again."""
    _retries.set(_retries.get() + 1)


def retries() -> int:
    """Return how often the request which this task serves was tried again so far."""
    return _retries.get()

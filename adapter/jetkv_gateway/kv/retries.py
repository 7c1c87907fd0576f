"""How often a request was tried again; it is shown in its answer and counted."""

from contextvars import ContextVar

__all__ = ["note_retry", "retries"]

_retries: ContextVar[int] = ContextVar("retries", default=0)


def note_retry() -> None:
    """Say that the request which this task serves is tried again."""
    _retries.set(_retries.get() + 1)


def retries() -> int:
    """Return how often the request which this task serves was tried again so far."""
    return _retries.get()

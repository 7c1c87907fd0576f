"""What a recipe that only helps does while the gateway is away: it asks seldom, and remembers."""

import time
import weakref
from collections import OrderedDict

from jetkv.errors import (
    DeadlineExceededError,
    JetKVError,
    OutcomeUnknownError,
    UnavailableError,
    UnexpectedAnswerError,
)

__all__ = ["CoolDown", "Remembered", "cool_down_of", "is_away"]

COOL_DOWN_SECONDS = 5.0
_MOST_VALUES = 1024
_MOST_BYTES = 8 * 1024 * 1024

_AWAY = (UnavailableError, DeadlineExceededError, OutcomeUnknownError, UnexpectedAnswerError)


def is_away(error: JetKVError) -> bool:
    """Return whether an error says that nobody can be asked now, rather than what was asked."""
    return isinstance(error, _AWAY)


class CoolDown:
    """Whether to ask a gateway that was away: one call every few seconds does.

    It has no lock, so that a forked child can use it. Two calls may ask at once; that harms nobody.
    """

    def __init__(self) -> None:
        self._until: float | None = None

    def asks(self) -> bool:
        """Return whether this call is to ask; it then says what came of it."""
        until = self._until
        if until is None:
            return True
        if time.monotonic() < until:
            return False
        # This call finds out for all; the next one is due after another while.
        self.failed()
        return True

    def failed(self) -> None:
        self._until = time.monotonic() + COOL_DOWN_SECONDS

    def worked(self) -> None:
        self._until = None


_of_transports: "weakref.WeakKeyDictionary[object, CoolDown]" = weakref.WeakKeyDictionary()


def cool_down_of(transport: object) -> CoolDown:
    """Return the one of a client's connections: what one function finds out holds for all."""
    return _of_transports.setdefault(transport, CoolDown())


class Remembered:
    """Values that were seen in a bucket lately, to stand in while it is away.

    The newest 1024 are kept, of 8 MiB at most. Whoever calls holds a lock.

    Args:
        seconds: for which a value stands in after it was seen; 0 keeps nothing.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._values: OrderedDict[str, tuple[float, bytes]] = OrderedDict()
        self._bytes = 0

    def add(self, key: str, raw: bytes) -> None:
        self.drop(key)
        if self._seconds <= 0 or len(raw) > _MOST_BYTES:
            return
        self._values[key] = (time.monotonic(), raw)
        self._bytes += len(raw)
        while len(self._values) > _MOST_VALUES or self._bytes > _MOST_BYTES:
            _, (_, oldest) = self._values.popitem(last=False)
            self._bytes -= len(oldest)

    def get(self, key: str) -> bytes | None:
        """Return a value that may still stand in."""
        found = self._values.get(key)
        if found is None:
            return None
        if time.monotonic() - found[0] > self._seconds:
            self.drop(key)
            return None
        return found[1]

    def drop(self, key: str) -> None:
        _, raw = self._values.pop(key, (0.0, b""))
        self._bytes -= len(raw)

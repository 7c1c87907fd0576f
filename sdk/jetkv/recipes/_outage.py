"""How `cached` behaves while the gateway is away: it tries seldom, and uses recent values."""

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

__all__ = ["CoolDown", "RecentValues", "cool_down_for", "is_outage"]

COOL_DOWN_SECONDS = 5.0
_MAX_VALUES = 1024
_MAX_BYTES = 8 * 1024 * 1024

_OUTAGE = (UnavailableError, DeadlineExceededError, OutcomeUnknownError, UnexpectedAnswerError)


def is_outage(error: JetKVError) -> bool:
    """Return whether an error means that the gateway is away, and not that the call was wrong."""
    return isinstance(error, _OUTAGE)


class CoolDown:
    """Decides which calls try a gateway that was away: one every few seconds.

    It has no lock, so that a forked child can use it. Two calls may try at the same time, which
    does no harm.
    """

    def __init__(self) -> None:
        self._until: float | None = None

    def should_try(self) -> bool:
        """Return whether to try the gateway. The caller then calls `failed` or `worked`."""
        until = self._until
        if until is None:
            return True
        if time.monotonic() < until:
            return False
        # Starts the next cool-down at once, so that only this call tries.
        self.failed()
        return True

    def failed(self) -> None:
        self._until = time.monotonic() + COOL_DOWN_SECONDS

    def worked(self) -> None:
        self._until = None


_cool_downs: "weakref.WeakKeyDictionary[object, CoolDown]" = weakref.WeakKeyDictionary()


def cool_down_for(transport: object) -> CoolDown:
    """Return the cool-down that all cached functions of a client share.

    Args:
        transport: the client's connections.
    """
    return _cool_downs.setdefault(transport, CoolDown())


class RecentValues:
    """The values that were seen in a bucket recently, for use while the gateway is away.

    It keeps the newest 1,024 values, 8 MiB at most. The caller holds a lock.

    Args:
        seconds: how long a value may be used after it was seen; 0 keeps no values.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._values: OrderedDict[str, tuple[float, bytes]] = OrderedDict()
        self._bytes = 0

    def add(self, key: str, raw: bytes) -> None:
        self.remove(key)
        if self._seconds <= 0 or len(raw) > _MAX_BYTES:
            return
        self._values[key] = (time.monotonic(), raw)
        self._bytes += len(raw)
        while len(self._values) > _MAX_VALUES or self._bytes > _MAX_BYTES:
            _, (_, oldest) = self._values.popitem(last=False)
            self._bytes -= len(oldest)

    def get(self, key: str) -> bytes | None:
        """Return the value of a key, or None if there is no recent one."""
        found = self._values.get(key)
        if found is None:
            return None
        if time.monotonic() - found[0] > self._seconds:
            self.remove(key)
            return None
        return found[1]

    def remove(self, key: str) -> None:
        _, raw = self._values.pop(key, (0.0, b""))
        self._bytes -= len(raw)

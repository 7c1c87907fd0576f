"""Slows down callers whose credentials are refused again and again. Pure.

The answer to such a caller is delayed, longer with each failure. A valid credential is never
delayed: callers behind one address could otherwise lock each other out.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice

__all__ = ["FailedLogins"]

_FREE = 10
"""Failures of one address without a delay."""
_FORGET_SECONDS = 6.0
"""After each such time, one failure is forgotten."""
_FIRST_DELAY = 0.25
_LONGEST_DELAY = 5.0
_MOST_DELAYED = 1000
_MOST_DELAYED_PER_ADDRESS = 32
_FIRST_SWEEP = 1024
_MOST = 65_536


@dataclass(slots=True)
class _Failures:
    count: float = 0.0
    at: float = 0.0
    delayed: int = 0


class FailedLogins:
    """The refused credentials of a worker, by address."""

    def __init__(self) -> None:
        self._addresses: dict[str, _Failures] = {}
        self._delayed = 0
        self._sweep_at = _FIRST_SWEEP

    def __len__(self) -> int:
        return len(self._addresses)

    def note(self, address: str, now: float) -> float | None:
        """Count a failure.

        Args:
            now: the time, in seconds.

        Returns:
            The seconds by which to delay the answer. None if so many answers are delayed that this
            one has to be refused at once.
        """
        found = self._addresses.get(address)
        if found is None:
            if len(self._addresses) >= self._sweep_at:
                self._sweep(now)
            found = self._addresses[address] = _Failures(at=now)
        found.count = _remaining(found, now) + 1
        found.at = now
        over = found.count - _FREE
        if over <= 0:
            return 0.0
        if self._delayed >= _MOST_DELAYED or found.delayed >= _MOST_DELAYED_PER_ADDRESS:
            return None
        return float(min(_LONGEST_DELAY, _FIRST_DELAY * 2 ** min(over, 10)))

    @contextmanager
    def delayed(self, address: str) -> Iterator[None]:
        """Count an answer while it is delayed."""
        found = self._addresses.setdefault(address, _Failures())
        found.delayed += 1
        self._delayed += 1
        try:
            yield
        finally:
            found.delayed -= 1
            self._delayed -= 1

    def _sweep(self, now: float) -> None:
        self._addresses = {
            address: one
            for address, one in self._addresses.items()
            if one.delayed or _remaining(one, now) > 0
        }
        if len(self._addresses) >= _MOST:
            # An eighth at a time, so that not each new address causes a sweep.
            for address in list(islice(self._addresses, _MOST // 8)):
                del self._addresses[address]
        self._sweep_at = max(_FIRST_SWEEP, min(2 * len(self._addresses), _MOST))


def _remaining(one: _Failures, now: float) -> float:
    return max(0.0, one.count - (now - one.at) / _FORGET_SECONDS)

"""Limits how many requests a second a caller may send, in this worker. Pure.

A caller has a burst of one second's worth. A batch counts its items. It passes on a full burst
whatever its size, and leaves a debt that later requests wait for.

This is the generic cell rate algorithm: one time for each caller. Libraries for rate limits have no
debts, and keep locks or a timer for each caller, which costs more than a GET may.
"""

from collections.abc import Hashable
from itertools import islice
from math import ceil

from jetkv_gateway.kv.errors import TooManyRequests

__all__ = ["Rate", "Rates"]

_BURST_SECONDS = 1.0
_FIRST_SWEEP = 1024
_MOST = 65_536
"""Callers that are remembered. Beyond that, those whose rate began first are forgotten."""


class Rate:
    """The rate of one caller.

    Attributes:
        per_second: requests.
        full_at: when the burst is whole again.
    """

    __slots__ = ("full_at", "name", "per_second")

    def __init__(self, name: str, per_second: float) -> None:
        self.name = name
        self.per_second = per_second
        self.full_at = 0.0

    def wait(self, count: int, now: float) -> float:
        """Return how many seconds from now this many requests may run; 0 if now."""
        full_at = self.full_at
        if full_at <= now:
            return 0.0
        after = full_at + count / self.per_second - _BURST_SECONDS
        return max(0.0, min(after, full_at) - now)

    def take(self, count: int, now: float) -> None:
        """Take requests, or raise TooManyRequests and take nothing."""
        seconds = self.wait(count, now)
        if seconds > 0.0:
            raise self.refusal(seconds)
        self.full_at = max(self.full_at, now) + count / self.per_second

    def refusal(self, seconds: float) -> TooManyRequests:
        """Return the error for a caller that has to wait."""
        error = TooManyRequests(f"too many requests {self.name}", retry_after=max(1, ceil(seconds)))
        error.hint = (
            f"{self.per_second:g} requests a second are allowed, and an item of a batch counts as "
            "one; the request was not run"
        )
        return error


class Rates:
    """The rates of the callers of a worker.

    Args:
        name: says in errors whose rate it is, such as "with this token".
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._rates: dict[Hashable, Rate] = {}
        self._sweep_at = _FIRST_SWEEP

    def __len__(self) -> int:
        return len(self._rates)

    def of(self, caller: Hashable, per_second: float, now: float) -> Rate:
        """Return the rate of a caller.

        Args:
            now: the time, in seconds.
        """
        rate = self._rates.get(caller)
        if rate is None:
            if len(self._rates) >= self._sweep_at:
                self._sweep(now)
            rate = self._rates[caller] = Rate(self._name, per_second)
        elif rate.per_second != per_second:
            rate.per_second = per_second
        return rate

    def _sweep(self, now: float) -> None:
        """Forget callers whose burst is whole, since a new rate would be the same."""
        self._rates = {caller: one for caller, one in self._rates.items() if one.full_at > now}
        if len(self._rates) >= _MOST:
            # An eighth at a time, so that not each new caller causes a sweep.
            for caller in list(islice(self._rates, _MOST // 8)):
                del self._rates[caller]
        self._sweep_at = max(_FIRST_SWEEP, min(2 * len(self._rates), _MOST))

"""Limits how many lines of a kind go into the log, and says how many were left out.

While NATS is away, every request fails, and a line for each would fill a disk.
"""

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress

__all__ = ["LineLimit"]

_BURST_SECONDS = 10.0
_SAY_SECONDS = 10.0


class LineLimit:
    """At most some lines a second, or those of ten seconds at once.

    Args:
        log: gets a line about those that were left out, at most every ten seconds.
        what: the lines, as a noun in the plural.
        per_second: 0 means no limit.
        clock: returns seconds.
    """

    def __init__(
        self,
        log: logging.Logger,
        what: str,
        per_second: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._log = log
        self._what = what
        self._rate = per_second
        self._burst = max(1.0, per_second * _BURST_SECONDS)
        self._left = self._burst
        self._clock = clock
        self._at = clock()
        self._left_out: Counter[str] = Counter()
        self._since = 0.0
        self._timer: asyncio.TimerHandle | None = None

    def allows(self, kind: str) -> bool:
        """Return whether to write a line now. A line that is not written counts as left out.

        Args:
            kind: such as a status, for the line about those that were left out.
        """
        if not self._rate:
            return True
        now = self._clock()
        self._left = min(self._burst, self._left + (now - self._at) * self._rate)
        self._at = now
        if self._left >= 1:
            self._left -= 1
            return True
        if not self._left_out:
            self._since = now
            with suppress(RuntimeError):  # there is no event loop: `close` says it
                self._timer = asyncio.get_running_loop().call_later(_SAY_SECONDS, self._say)
        self._left_out[kind] += 1
        return False

    def close(self) -> None:
        """Say what was left out, and nothing later."""
        if self._timer is not None:
            self._timer.cancel()
        self._say()

    def _say(self) -> None:
        self._timer = None
        if self._left_out:
            kinds = ", ".join(f"{kind}: {count}" for kind, count in self._left_out.most_common(10))
            self._log.warning(
                "%d lines about %s were left out in %.0f s: %s",
                self._left_out.total(),
                self._what,
                max(1.0, self._clock() - self._since),
                kinds,
            )
            self._left_out.clear()

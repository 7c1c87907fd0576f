"""Shows on a terminal how far a transfer is."""

import sys
import time
from datetime import timedelta

from jetkv.cli.values import span

__all__ = ["Meter"]

_SECONDS = 0.5
_CLEAR = "\r\x1b[K"


class Meter:
    """A line on the standard error: how much is done, how fast, and the time left.

    Use it with `with`.

    Args:
        noun: what is counted, as a plural.
        total: how many there will be; None if that is not known.
        quiet: whether to show nothing. Nothing is shown either if nobody looks at a terminal.
    """

    def __init__(self, noun: str, total: int | None, *, quiet: bool) -> None:
        self._noun = noun
        self._total = total
        self._shows = sys.stderr.isatty() and not quiet
        self._started = self._shown = time.monotonic()
        self._first: int | None = None
        self._width = 0

    def __enter__(self) -> "Meter":
        return self

    def __exit__(self, *_exc: object) -> None:
        if self._width:
            sys.stderr.write(_CLEAR)
            sys.stderr.flush()

    def __call__(self, count: int) -> None:
        """Show that so many are done."""
        if not self._shows:
            return
        now = time.monotonic()
        if self._first is None:
            # Of a broken import, this run did not do what was done before.
            self._first, self._started = count, now
        if now - self._shown < _SECONDS:
            return
        self._shown = now
        rate = (count - self._first) / max(now - self._started, 0.001)
        text = f"{count:,} {self._noun}, {rate:,.0f} a second"
        if self._total and rate and count <= self._total:
            left = timedelta(seconds=(self._total - count) / rate)
            text = f"{count / self._total:4.0%}  {text}, {span(left)} left"
        self._width = len(text)
        sys.stderr.write(f"{_CLEAR}{text}")
        sys.stderr.flush()

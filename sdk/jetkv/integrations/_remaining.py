"""The time that a value has left, for the value that takes its place. Does no I/O."""

import math
import time
from typing import Any

from jetkv.models import Entry

__all__ = ["seconds_left"]

_CELL = 4.0
_LAST_END = 3.5
"""In a cell: no change may end later."""
_NEW_END = 3.75
"""In a cell: what ends later was no change, but a new value."""


def seconds_left(entry: Entry[Any]) -> int | None:
    """Return the TTL with which the next value ends when this one would; None for never.

    A TTL is whole seconds from a moment that the server chooses, so each change moves the end a
    little. Thousands of changes would add up, and a busy counter would never end. Therefore time is
    cut into cells of four seconds. Each change aims at the middle of the cell that the end is in,
    and so the end stays in it, if the server gets the change within a quarter of a second. It moves
    by two seconds as a rule, and by less than four.

    Returns:
        Seconds from 1; 0 if the time is over, though the server may still have the value.
    """
    if entry.expires_at is None:
        return None
    # This machine's clock may be behind. No value is from the future.
    now = max(time.time(), entry.created_at.timestamp())
    longest = math.ceil((entry.expires_at - entry.created_at).total_seconds())
    end = entry.expires_at.timestamp()
    start = math.floor(end / _CELL) * _CELL
    seconds = max(1, min(round(start + _CELL / 2 - now), longest))
    if now + seconds < start + _LAST_END or end > start + _NEW_END:
        return seconds
    return 0

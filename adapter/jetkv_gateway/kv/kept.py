"""Bounds what is kept because it may be needed again. Pure."""

from itertools import islice
from typing import Any

__all__ = ["MOST_KEPT", "make_room"]

MOST_KEPT = 4096
"""Entries of one kind that a worker keeps."""

_AT_ONCE = 64


def make_room(kept: dict[Any, Any], most: int = MOST_KEPT) -> None:
    """Remove the entries that were added first if there are too many. Call it before you add one.

    `kept` is a plain dictionary, so the hot path looks into it without a call. A few entries go at
    a time: to free all of them at once would delay other requests by milliseconds.
    """
    if len(kept) >= most:
        for key in list(islice(kept, _AT_ONCE)):
            del kept[key]

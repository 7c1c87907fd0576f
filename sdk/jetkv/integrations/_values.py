"""Python values as bytes: JSON where that keeps them as they are, else a pickle."""

import math
import pickle
from collections.abc import Iterable
from typing import Any

from jetkv.codec import JSON

__all__ = ["JSON_TYPE", "PICKLE_TYPE", "UNPICKLING_ERRORS", "dumps", "is_pickle", "loads"]

JSON_TYPE = "application/json"
PICKLE_TYPE = "application/x-python-serialize"
"""The content type that Celery uses for pickles, too."""

# What pickle.loads raises for a pickle that is damaged, or whose class is gone.
UNPICKLING_ERRORS = (
    pickle.UnpicklingError,
    AttributeError,
    EOFError,
    ImportError,
    IndexError,
    KeyError,
    TypeError,
    ValueError,
)

_MARK = b"\x80"


def is_pickle(raw: bytes) -> bool:
    """Return whether bytes are a pickle: its first byte never begins a text in UTF-8."""
    return raw.startswith(_MARK)


def dumps(value: Any, protocol: int = pickle.HIGHEST_PROTOCOL) -> bytes:
    """Return JSON if reading it gives an equal value of the same types, else a pickle.

    Raises:
        pickle.PicklingError, TypeError, AttributeError: the value cannot be pickled.
    """
    try:
        if _is_json(value):
            return JSON.encode(value)
    except (ValueError, RecursionError):
        # Text with lone surrogates, an integer of thousands of digits, or a list that is in itself.
        pass
    return pickle.dumps(value, protocol)


def loads(raw: bytes) -> Any:
    """Return the value that `dumps` was given, or that another client stored as JSON.

    A pickle can run any code: let nobody write to the bucket whom you do not trust.

    Raises:
        ValueError, or another of UNPICKLING_ERRORS: the bytes are neither JSON nor a pickle.
    """
    return pickle.loads(raw) if is_pickle(raw) else JSON.decode(raw)  # noqa: S301 - see above


def _is_json(value: Any) -> bool:
    # Compares exact types: a subclass, such as an IntEnum or a named tuple, would not come back.
    kind = type(value)
    if kind is dict:
        return all(type(key) is str for key in value) and _all_json(value.values())
    if kind is list:
        return _all_json(value)
    if kind is float:
        return math.isfinite(value)
    return kind in (str, int, bool, type(None))


def _all_json(values: Iterable[Any]) -> bool:
    return all(map(_is_json, values))

"""Serializers of Django's caches: objects with `dumps` and `loads`."""

import json
import pickle
from typing import Any

from jetkv.integrations._values import JSON_TYPE, PICKLE_TYPE, loads

__all__ = ["JSONSerializer", "PickleSerializer"]


class PickleSerializer:
    """Whole numbers as text, which any client can read; anything else as a pickle."""

    content_type = PICKLE_TYPE

    def dumps(self, value: Any) -> bytes:
        # Compares exact types: a bool is an int, too.
        return b"%d" % value if type(value) is int else pickle.dumps(value, pickle.HIGHEST_PROTOCOL)

    def loads(self, raw: bytes) -> Any:
        """Return the value that `dumps` was given, or that another client stored as JSON.

        A pickle can run any code: let nobody write to the bucket whom you do not trust.
        """
        return loads(raw)


class JSONSerializer:
    """JSON, which any client can read. A value may have the types of JSON only."""

    content_type = JSON_TYPE

    def dumps(self, value: Any) -> bytes:
        """Return the bytes of a value.

        Raises:
            ValueError, TypeError: the value is not of a type that JSON has.
        """
        return json.dumps(value, allow_nan=False, separators=(",", ":")).encode()

    def loads(self, raw: bytes) -> Any:
        """Return the value that `dumps` was given."""
        return json.loads(raw)

"""The codecs of recipes: they store JSON of their own in a bucket of any type."""

from collections.abc import Mapping
from typing import Any

from jetkv.codec import JSON

__all__ = ["DOCUMENTS", "NUMBERS"]


class _Documents:
    """JSON objects. Anything else that is stored decodes as an empty object, which has no owner."""

    content_type = JSON.content_type

    def encode(self, value: Mapping[str, Any]) -> bytes:
        return JSON.encode(dict(value))

    def decode(self, raw: bytes) -> Mapping[str, Any]:
        try:
            found = JSON.decode(raw)
        except ValueError:
            return {}
        return found if isinstance(found, dict) else {}


class _Numbers:
    """Whole numbers, as JSON."""

    content_type = JSON.content_type

    def encode(self, value: int) -> bytes:
        return JSON.encode(value)

    def decode(self, raw: bytes) -> int:
        found = JSON.decode(raw)
        if isinstance(found, bool) or not isinstance(found, int):
            raise ValueError("a counter must be a whole number")  # noqa: TRY004 - a codec raises ValueError
        return found


DOCUMENTS = _Documents()
NUMBERS = _Numbers()

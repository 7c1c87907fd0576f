"""What recipes store: small JSON documents, whatever the bucket's type."""

from collections.abc import Mapping
from typing import Any

from jetkv.codec import JSON

__all__ = ["DOCUMENTS", "NUMBERS", "Raw"]


class _Documents:
    """JSON objects. Whatever else lies under a key is an empty one, so nobody's own."""

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
            raise ValueError("a counter is a whole number")  # noqa: TRY004 - what a codec raises
        return found


class Raw:
    """Bytes that go back as they came, under the content type that they have."""

    def __init__(self, content_type: str) -> None:
        self.content_type = content_type

    def encode(self, value: bytes) -> bytes:
        return value

    def decode(self, raw: bytes) -> bytes:
        return raw


DOCUMENTS = _Documents()
NUMBERS = _Numbers()

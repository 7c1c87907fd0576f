"""Collects the body of a request. No I/O."""

from jetkv_gateway.serving.chunks import Chunks
from jetkv_gateway.serving.heads import CHUNKED

__all__ = ["Body"]


_SMALL_PART = 4096
"""Smaller parts are joined in one buffer. As separate objects, parts of one byte would take fifty
bytes each.
"""


class Body:
    """The body of one request.

    Args:
        length: in bytes, or `CHUNKED`.

    Attributes:
        limit: the largest body to keep, in bytes. A larger one is read and dropped. 0 keeps
            nothing.
        size: bytes that have arrived.
        left: bytes that are missing, or `CHUNKED` if that is unknown.
        done: whether the body is complete.
    """

    __slots__ = ("_chunks", "_parts", "done", "left", "limit", "size")

    def __init__(self, length: int) -> None:
        self._chunks = Chunks() if length == CHUNKED else None
        self._parts: list[bytes | bytearray] = []
        self.limit = 0
        self.size = 0
        self.left = length
        self.done = not length

    def feed(self, data: bytes) -> bytes:
        """Add bytes, and return those after the end of the body.

        Raises:
            InvalidArgument: its chunks break a rule.
        """
        if self._chunks is not None:
            parts, behind = self._chunks.feed(data)
            self.done = self._chunks.done
            part = parts[0] if len(parts) == 1 else b"".join(parts)
            self.size += len(part)
        else:
            part, behind = data, b""
            if len(data) > self.left:
                part, behind = data[: self.left], data[self.left :]
            self.left -= len(part)
            self.size += len(part)
            self.done = not self.left
        if self.size <= self.limit:
            self._keep(part)
        else:
            self._parts = []
        return behind

    def _keep(self, part: bytes) -> None:
        parts = self._parts
        if len(part) >= _SMALL_PART or self.done:
            parts.append(part)
        elif parts and isinstance(parts[-1], bytearray):
            parts[-1] += part
        else:
            parts.append(bytearray(part))

    @property
    def kept(self) -> int:
        """The number of bytes that are kept."""
        return self.size if self._parts else 0

    @property
    def is_over(self) -> bool:
        """Whether the body exceeds its limit."""
        return self.size > self.limit > 0

    def take(self) -> bytes:
        """Return the complete body and drop it."""
        parts, self._parts = self._parts, []
        if len(parts) == 1 and isinstance(parts[0], bytes):
            return parts[0]
        return b"".join(parts)

    def drop(self) -> None:
        """Drop the body, and keep nothing of the rest."""
        self._parts = []
        self.limit = 0

"""The body of a request as it arrives. No I/O."""

from jetkv_gateway.serving.chunks import Chunks
from jetkv_gateway.serving.heads import CHUNKED

__all__ = ["Body"]


_SMALL_PART = 4096
"""A part of fewer bytes goes into one buffer with those beside it: kept as an object of its own,
a part of one byte would take fifty."""


class Body:
    """Bytes in, a value out.

    Args:
        length: in bytes, or `CHUNKED`.

    Attributes:
        limit: bytes of it that are kept; beyond that, it is read and dropped. 0 keeps nothing.
        size: bytes of it that have come.
        left: bytes that are to come, `CHUNKED` where nobody knows.
        done: whether it is whole.
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
        """Take bytes in, and return what comes behind its end.

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
        """Bytes of it that are kept."""
        return self.size if self._parts else 0

    @property
    def is_over(self) -> bool:
        """Whether more has come than was wanted."""
        return self.size > self.limit > 0

    def take(self) -> bytes:
        """Return it whole, and keep nothing of it."""
        parts, self._parts = self._parts, []
        if len(parts) == 1 and isinstance(parts[0], bytes):
            return parts[0]
        return b"".join(parts)

    def drop(self) -> None:
        """Keep nothing of it, and of what comes."""
        self._parts = []
        self.limit = 0

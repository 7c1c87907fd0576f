"""The body of a request as it arrives. No I/O."""

from jetkv_gateway.serving.chunks import Chunks
from jetkv_gateway.serving.heads import CHUNKED

__all__ = ["Body"]


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
        self._parts: list[bytes] = []
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
            self.size += sum(map(len, parts))
        else:
            part, behind = data, b""
            if len(data) > self.left:
                part, behind = data[: self.left], data[self.left :]
            parts = [part]
            self.left -= len(part)
            self.size += len(part)
            self.done = not self.left
        if self.size <= self.limit:
            self._parts += parts
        else:
            self._parts = []
        return behind

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
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def drop(self) -> None:
        """Keep nothing of it, and of what comes."""
        self._parts = []
        self.limit = 0

"""What a client has sent and nobody has read yet. No I/O."""

from typing import NoReturn

from jetkv_gateway.kv.errors import HeadTooLarge, UrlTooLong
from jetkv_gateway.serving.heads import MAX_HEAD_BYTES, check_start, invalid

__all__ = ["ReceiveBuffer", "check_size"]

_CRLF = b"\r\n"
_END = _CRLF + _CRLF


class ReceiveBuffer(bytearray):
    """Bytes, from which heads are taken one by one. Each byte is looked at once."""

    __slots__ = ("_seen",)

    def __init__(self) -> None:
        self._seen = 0

    def take_head(self) -> bytes | None:
        """Return the next head, None while its end has not come.

        Raises:
            UrlTooLong, HeadTooLarge, InvalidArgument: it cannot become one; as soon as it shows.
        """
        if self and self[0] in _CRLF:
            self._drop_empty_lines()
        start = max(0, self._seen - len(_END) + 1)
        end = self.find(_END, start, MAX_HEAD_BYTES + len(_END)) + len(_END)
        if end >= len(_END):
            check_size(self, end)
            self._seen = 0
            return self.take(end)
        self._seen = len(self)
        if self:
            check_start(self, start, MAX_HEAD_BYTES)
            if len(self) > MAX_HEAD_BYTES:
                _too_large(self)  # and what cannot become one was refused part by part
        return None

    def peek(self, size: int) -> bytes:
        """Return the first bytes, which stay."""
        return bytes(memoryview(self)[:size])

    def _drop_empty_lines(self) -> None:
        """Ignore the empty lines before a request (RFC 9112 §2.2).

        Raises:
            InvalidArgument: they do not end with CRLF.
        """
        count = len(self) - len(self.lstrip(_CRLF))
        if count == len(self) and self.endswith(b"\r"):
            count -= 1  # the other half of its end may be on its way
        if self[:count] != _CRLF * (count // 2):
            invalid("its lines must end with CRLF")
        del self[:count]
        self._seen = 0

    def take(self, size: int | None = None) -> bytes:
        """Return the first bytes, or all of them."""
        taken = bytes(self if size is None else memoryview(self)[:size])
        del self[: len(taken)]
        return taken

    def clear(self) -> None:
        super().clear()
        self._seen = 0


def check_size(raw: bytes | bytearray, size: int) -> None:
    """Refuse a head of more bytes than there may be.

    Args:
        raw: begins with what is there of it.

    Raises:
        InvalidArgument: it cannot become a head, whatever its size.
        UrlTooLong: its first line alone is over the limit (RFC 9112 §3).
        HeadTooLarge
    """
    if size <= MAX_HEAD_BYTES:
        return
    check_start(raw, 0, MAX_HEAD_BYTES)
    _too_large(raw)


def _too_large(raw: bytes | bytearray) -> NoReturn:
    if raw.find(b"\n", 0, MAX_HEAD_BYTES) < 0:
        raise UrlTooLong(f"a URL has at most {MAX_HEAD_BYTES} bytes, less what else is in a head")
    raise HeadTooLarge(f"request line and headers have at most {MAX_HEAD_BYTES} bytes")

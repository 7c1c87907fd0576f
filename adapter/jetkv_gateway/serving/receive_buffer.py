"""Bytes that a client has sent and that are not parsed yet. No I/O."""

from typing import NoReturn

from jetkv_gateway.kv.errors import HeadTooLarge, UrlTooLong
from jetkv_gateway.serving.heads import MAX_HEAD_BYTES, check_start, invalid

__all__ = ["ReceiveBuffer", "check_size"]

_CRLF = b"\r\n"
_END = _CRLF + _CRLF


class ReceiveBuffer(bytearray):
    """A buffer from which heads are taken one by one. Each byte is scanned once."""

    __slots__ = ("_seen",)

    def __init__(self) -> None:
        self._seen = 0

    def take_head(self) -> bytes | None:
        """Return the next head, or None if it is incomplete.

        Raises:
            UrlTooLong, HeadTooLarge, InvalidArgument: it cannot become a valid head. They are
                raised as soon as that is certain.
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
                _too_large(self)  # invalid parts have been refused before
        return None

    def peek(self, size: int) -> bytes:
        """Return the first bytes without removing them."""
        return bytes(memoryview(self)[:size])

    def _drop_empty_lines(self) -> None:
        """Ignore the empty lines before a request (RFC 9112 §2.2).

        Raises:
            InvalidArgument: they do not end with CRLF.
        """
        count = len(self) - len(self.lstrip(_CRLF))
        if count == len(self) and self.endswith(b"\r"):
            count -= 1  # the LF of this line may still arrive
        if self[:count] != _CRLF * (count // 2):
            invalid("its lines must end with CRLF")
        del self[:count]
        self._seen = 0

    def take(self, size: int | None = None) -> bytes:
        """Remove and return the first bytes, or all of them."""
        taken = bytes(self if size is None else memoryview(self)[:size])
        del self[: len(taken)]
        return taken

    def clear(self) -> None:
        super().clear()
        self._seen = 0


def check_size(raw: bytes | bytearray, size: int) -> None:
    """Refuse a head that is too large.

    Args:
        raw: starts with the part of the head that has arrived.

    Raises:
        InvalidArgument: it is malformed, whatever its size.
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

"""What a client has sent and nobody has read yet. No I/O."""

from jetkv_gateway.kv.errors import HeadTooLarge
from jetkv_gateway.serving.heads import MAX_HEAD_BYTES, invalid

__all__ = ["Incoming", "check_size"]

_END = b"\r\n\r\n"


class Incoming:
    """Bytes, from which heads are taken one by one. Each byte is looked at once."""

    __slots__ = ("_raw", "_seen")

    def __init__(self) -> None:
        self._raw = bytearray()
        self._seen = 0

    def __len__(self) -> int:
        return len(self._raw)

    def add(self, data: bytes) -> None:
        self._raw += data

    def take_head(self) -> bytes | None:
        """Return the next head, None while its end has not come.

        Raises:
            HeadTooLarge, InvalidArgument: it cannot become one; said as soon as it shows.
        """
        raw = self._raw
        if not self._seen and raw.startswith(b"\r\n"):
            # RFC 9112 §2.2: an empty line before a request is ignored.
            del raw[:2]
        start = max(0, self._seen - len(_END) + 1)
        end = raw.find(_END, start) + len(_END)
        if end >= len(_END):
            check_size(end)
            self._seen = 0
            return self.take(end)
        self._seen = len(raw)
        check_size(len(raw))
        if raw.find(b"\n\n", start) >= 0 or raw.find(b"\n\r\n", start) >= 0:
            invalid("its lines must end with CRLF")
        if raw and raw[0] < 0x20 and raw[0] not in b"\r\n":
            invalid("it does not begin with a method; TLS is not spoken here")
        return None

    def peek(self, size: int) -> bytes:
        """Return the first bytes, which stay."""
        return bytes(memoryview(self._raw)[:size])

    def take(self, size: int | None = None) -> bytes:
        """Return the first bytes, or all of them."""
        raw = self._raw
        taken = bytes(raw if size is None else memoryview(raw)[:size])
        del raw[: len(taken)]
        return taken

    def clear(self) -> None:
        self._raw.clear()
        self._seen = 0


def check_size(size: int) -> None:
    """Refuse a head of more bytes than there may be.

    Raises:
        HeadTooLarge
    """
    if size > MAX_HEAD_BYTES:
        raise HeadTooLarge(f"request line and headers have at most {MAX_HEAD_BYTES} bytes")

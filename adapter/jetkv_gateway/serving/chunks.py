"""Decodes chunked bodies (RFC 9112 §7.1). No I/O."""

import re

from jetkv_gateway.serving.heads import invalid

__all__ = ["Chunks"]

# A size and an extension, which is ignored.
_SIZE = re.compile(rb"([0-9A-Fa-f]{1,15})(?:[ \t]*;[\t\x20-\x7e\x80-\xff]*)?")
_TRAILER = re.compile(rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]+):[\t\x20-\x7e\x80-\xff]*")
_ABOUT_THE_MESSAGE = frozenset({b"connection", b"content-length", b"transfer-encoding"})
_MAX_LINE = 512
_MAX_TRAILERS = 8 * 1024


class Chunks:
    """One chunked body. Trailers are dropped (RFC 9110 §6.5.1).

    Attributes:
        done: whether the end has arrived.
    """

    def __init__(self) -> None:
        self.done = False
        self._line = b""
        self._left = 0
        self._behind_data = False
        self._in_trailers = False
        self._trailers = 0

    def feed(self, data: bytes) -> tuple[list[bytes], bytes]:
        """Add bytes. Return the parts of the body, and the bytes after its end.

        Raises:
            InvalidArgument: the bytes break a rule.
        """
        parts: list[bytes] = []
        at = 0
        while at < len(data) and not self.done:
            if self._left:
                part = data[at : at + self._left]
                parts.append(part)
                at += len(part)
                self._left -= len(part)
                self._behind_data = not self._left
                continue
            end = data.find(b"\n", at)
            stop = len(data) if end < 0 else end + 1
            self._line += data[at:stop]
            at = stop
            if len(self._line) > (_MAX_TRAILERS if self._in_trailers else _MAX_LINE):
                invalid("a line between its chunks is too long")
            if end >= 0:
                line, self._line = self._line, b""
                if not line.endswith(b"\r\n"):
                    invalid("a line between its chunks does not end with CRLF")
                self._take_line(line[:-2])
        return parts, data[at:]

    def _take_line(self, line: bytes) -> None:
        if self._behind_data:
            if line:
                invalid("a chunk is longer than its size says")
            self._behind_data = False
        elif self._in_trailers:
            self._take_trailer(line)
        else:
            size = _SIZE.fullmatch(line)
            if size is None:
                invalid("the size of a chunk is not hexadecimal")
            self._left = int(size[1], 16)
            self._in_trailers = not self._left

    def _take_trailer(self, line: bytes) -> None:
        if not line:
            self.done = True
            return
        self._trailers += len(line)
        if self._trailers > _MAX_TRAILERS:
            invalid(f"its trailers have over {_MAX_TRAILERS} bytes")
        trailer = _TRAILER.fullmatch(line)
        if trailer is None:
            invalid("a trailer breaks a rule of HTTP/1.1")
        if trailer[1].lower() in _ABOUT_THE_MESSAGE:
            invalid(f"a trailer must not be {trailer[1].decode().title()}")

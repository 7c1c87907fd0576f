"""Reads the bodies of answers: decompresses them, and limits their size.

The SDK asks for no compression (`identity`, RFC 9110 §12.5.3), but some proxies compress anyway.
"""

import zlib
from collections.abc import Iterator, Mapping

from jetkv._core.messages import MAX_SMALL_ANSWER_BYTES, Broken, Request, Unreadable

__all__ = ["Body", "Decoder"]

_PIECE = 256 * 1024
_GZIP = frozenset({"gzip", "x-gzip"})
_WITH_GZIP_HEADER = 16 + zlib.MAX_WBITS
_ZLIB_METHOD = 8


class Decoder:
    """Decodes a content coding (RFC 9110 §8.4.1) into pieces of a limited size.

    Args:
        headers: those of the answer.

    Raises:
        Unreadable: the coding is neither gzip nor deflate.
    """

    def __init__(self, headers: Mapping[str, str]) -> None:
        coding = headers.get("content-encoding", "").strip().lower()
        if coding not in ("", "identity", "deflate", *_GZIP):
            raise Unreadable(
                f"the answer has the content coding {coding[:60]!r}, which is not supported"
            )
        self._coding = coding
        self._plain = coding in ("", "identity")
        self._inflate: zlib._Decompress | None = None

    def pieces(self, chunk: bytes) -> Iterator[bytes]:
        """Yield the decoded bytes of a chunk.

        Raises:
            Unreadable: the bytes do not have that coding.
        """
        if self._plain:
            yield chunk
            return
        try:
            yield from self._inflated(chunk)
        except zlib.error as error:
            raise Unreadable(f"the answer is not valid {self._coding}: {error}") from error

    def end(self) -> None:
        """Check that the coded bytes are complete.

        Raises:
            Broken: their end is missing.
        """
        if self._inflate is not None and not self._inflate.eof:
            raise Broken(f"the end of the answer's {self._coding} is missing")

    def _inflated(self, chunk: bytes) -> Iterator[bytes]:
        full = False
        # After a full piece, zlib may have more output even if the chunk is used up: it keeps a
        # byte of input, which can hold 2 KB of output and the end of the data.
        while chunk or full:
            inflate = self._inflate
            if inflate is None or inflate.eof:
                # gzip data may consist of several members (RFC 1952 §2.2).
                inflate = self._inflate = self._begin(chunk)
            piece = inflate.decompress(chunk, _PIECE)
            if piece:
                yield piece
            full = len(piece) == _PIECE and not inflate.eof
            chunk = inflate.unused_data if inflate.eof else inflate.unconsumed_tail

    def _begin(self, chunk: bytes) -> "zlib._Decompress":
        if self._coding in _GZIP:
            return zlib.decompressobj(_WITH_GZIP_HEADER)
        # Some servers leave out the zlib header that deflate has in HTTP.
        bare = chunk[0] & 0xF != _ZLIB_METHOD
        return zlib.decompressobj(-zlib.MAX_WBITS if bare else zlib.MAX_WBITS)


class Body:
    """Collects the body of one answer, up to a limit.

    Args:
        status: the answer's status.
        headers: the answer's headers.
        request: the request that it answers.
        max_bytes: the limit after decompression. Small answers have a lower limit.

    Raises:
        Unreadable: the headers announce too large a body, or a coding that is not supported.
    """

    def __init__(
        self, status: int, headers: Mapping[str, str], request: Request, max_bytes: int
    ) -> None:
        small = status >= 300 or not request.large
        self._max_bytes = min(max_bytes, MAX_SMALL_ANSWER_BYTES) if small else max_bytes
        self._decoder = Decoder(headers)
        self._first = b""
        self._all: bytearray | None = None
        length = headers.get("content-length", "")
        if (
            length.isascii()
            and length.isdigit()
            and (len(length) > 18 or int(length) > self._max_bytes)
        ):
            raise self._too_large()

    def add(self, chunk: bytes) -> None:
        """Add the next bytes.

        Raises:
            Unreadable: the body is too large, or the bytes do not have its coding.
        """
        for piece in self._decoder.pieces(chunk):
            if self._all is not None:
                self._all += piece
            elif self._first:
                # One growing buffer, because a server may send one byte at a time.
                self._all = bytearray(self._first + piece)
            else:
                self._first = piece
            if len(self._all or self._first) > self._max_bytes:
                raise self._too_large()

    def end(self) -> bytes:
        """Return the whole body.

        Raises:
            Broken: the end of its coding is missing.
        """
        self._decoder.end()
        return self._first if self._all is None else bytes(self._all)

    def _too_large(self) -> Unreadable:
        self._first, self._all = b"", None
        return Unreadable(f"the answer has more than {self._max_bytes:,} bytes")

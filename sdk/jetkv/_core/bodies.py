"""Bodies of answers: decoded where somebody on the way compressed them, and never without a bound.

The SDK asks for `identity` (RFC 9110 §12.5.3). Some proxies compress all the same.
"""

import zlib
from collections.abc import Iterator, Mapping

from jetkv._core.wire import SMALL_BYTES, Broken, Request, Unreadable

__all__ = ["Body", "Decoder"]

_PIECE = 256 * 1024
_GZIP = frozenset({"gzip", "x-gzip"})
_WHOLE_HEADER = 16 + zlib.MAX_WBITS
_ZLIB_METHOD = 8


class Decoder:
    """Takes one content coding back (RFC 9110 §8.4.1), in pieces of a bounded size.

    Raises:
        Unreadable: the coding is another one than gzip and deflate.
    """

    def __init__(self, headers: Mapping[str, str]) -> None:
        coding = headers.get("content-encoding", "").strip().lower()
        if coding not in ("", "identity", "deflate", *_GZIP):
            raise Unreadable(f"the answer is encoded as {coding[:60]!r}, which nobody asked for")
        self._coding = coding
        self._plain = coding in ("", "identity")
        self._inflate: zlib._Decompress | None = None

    def pieces(self, chunk: bytes) -> Iterator[bytes]:
        """Yield what a chunk stands for.

        Raises:
            Unreadable: it is not of that coding.
        """
        if self._plain:
            yield chunk
            return
        try:
            yield from self._inflated(chunk)
        except zlib.error as error:
            raise Unreadable(f"the answer is no {self._coding}: {error}") from error

    def end(self) -> None:
        """Check that nothing is missing.

        Raises:
            Broken: the end is.
        """
        if self._inflate is not None and not self._inflate.eof:
            raise Broken(f"the answer's {self._coding} breaks off")

    def _inflated(self, chunk: bytes) -> Iterator[bytes]:
        full = False
        # A piece that is full may have more behind it than what is left of the chunk: zlib keeps
        # up to a byte of input, which can stand for 2 KB, and the end.
        while chunk or full:
            inflate = self._inflate
            if inflate is None or inflate.eof:
                # gzip may be of several members, one behind the other (RFC 1952 §2.2).
                inflate = self._inflate = self._begin(chunk)
            piece = inflate.decompress(chunk, _PIECE)
            if piece:
                yield piece
            full = len(piece) == _PIECE and not inflate.eof
            chunk = inflate.unused_data if inflate.eof else inflate.unconsumed_tail

    def _begin(self, chunk: bytes) -> "zlib._Decompress":
        if self._coding in _GZIP:
            return zlib.decompressobj(_WHOLE_HEADER)
        # Some send deflate without the header that it has in HTTP.
        bare = chunk[0] & 0xF != _ZLIB_METHOD
        return zlib.decompressobj(-zlib.MAX_WBITS if bare else zlib.MAX_WBITS)


class Body:
    """The whole body of one answer, up to a bound.

    Args:
        most: bytes that an answer may have, where nothing smaller is known.

    Raises:
        Unreadable: by its headers it is too large already, or of an unknown coding.
    """

    def __init__(
        self, status: int, headers: Mapping[str, str], request: Request, most: int
    ) -> None:
        small = status >= 300 or not request.large
        self._most = min(most, SMALL_BYTES) if small else most
        self._decoder = Decoder(headers)
        self._first = b""
        self._all: bytearray | None = None
        length = headers.get("content-length", "")
        if length.isascii() and length.isdigit() and (len(length) > 18 or int(length) > self._most):
            raise self._too_large()

    def add(self, chunk: bytes) -> None:
        """Take in what has come.

        Raises:
            Unreadable: that is too much, or not of its coding.
        """
        for piece in self._decoder.pieces(chunk):
            if self._all is not None:
                self._all += piece
            elif self._first:
                # In one place: a server may send a byte at a time.
                self._all = bytearray(self._first + piece)
            else:
                self._first = piece
            if len(self._all or self._first) > self._most:
                raise self._too_large()

    def end(self) -> bytes:
        """Return all of it.

        Raises:
            Broken: its coding breaks off.
        """
        self._decoder.end()
        return self._first if self._all is None else bytes(self._all)

    def _too_large(self) -> Unreadable:
        self._first, self._all = b"", None
        return Unreadable(f"the answer has more than {self._most:,} bytes")

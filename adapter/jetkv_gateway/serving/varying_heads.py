"""Heads that differ from the last one of their connection only in ids. No I/O.

A client sends nearly the same head each time, but some lines hold a new id in each request, such
as `Idempotency-Key` in every write of the SDK. A head whose other bytes are those of the last one
needs no parser: an id of visible ASCII neither ends its line nor changes what another line means.
"""

import re

__all__ = ["NO_HEAD", "VaryingHead", "varying_head"]

_LINE = re.compile(
    rb"\r\n(idempotency-key|traceparent|x-request-id): ([!-~]{1,255})(?=\r\n)", re.IGNORECASE
)
_VISIBLE = bytes(range(0x21, 0x7F))
_LONGEST = 1024
"""Bytes of a value that is read without a parser, which would refuse a head that is too long."""


class VaryingHead:
    """A head, cut at the values that vary.

    Args:
        start: its bytes from the end of the path to the first value.
        rest: the name of each value in lower case, and the bytes from its end to the next value, or
            to the end of the head.
        headers: of the head that was parsed.
    """

    __slots__ = ("_headers", "_rest", "_start")

    def __init__(
        self, start: bytes, rest: tuple[tuple[bytes, bytes], ...], headers: dict[bytes, bytes]
    ) -> None:
        self._start = start
        self._rest = rest
        self._headers = headers

    def read(self, data: bytes) -> tuple[bytes, dict[bytes, bytes], bytes] | None:
        """Read the head at the start of `data`.

        Returns:
            Its request line without the version, its headers, and the bytes behind it; None if the
            head differs in other bytes, too, if an id is unusual, or if a part has not come yet.
        """
        line, _, left = data.partition(self._start)
        headers = self._headers.copy()
        for name, behind in self._rest:
            value, whole, left = left.partition(behind)
            # What is left without the visible characters does not belong into an id. If the bytes
            # behind it are others, they are not found, or the value has the end of its line in it.
            if not whole or not 0 < len(value) <= _LONGEST or value.translate(None, _VISIBLE):
                return None
            headers[name] = value
        return line, headers, left


class _NoHead(VaryingHead):
    __slots__ = ()

    def read(self, data: bytes) -> None:  # noqa: ARG002 - it takes what the others take
        return None


NO_HEAD = _NoHead(b"", (), {})
"""Where no head is kept. It reads nothing, whatever a client sends: no bytes would do for that."""


def varying_head(tail: bytes, headers: dict[bytes, bytes]) -> VaryingHead | None:
    """Cut a head that the parser has accepted.

    Args:
        tail: its bytes from the end of the path.
        headers: as the parser has read them.

    Returns:
        None if no value varies, or if one is repeated or unusual.
    """
    found = list(_LINE.finditer(tail))
    if not found or any(headers[one[1].lower()] != one[2] for one in found):
        return None
    ends = [one.start(2) for one in found[1:]] + [len(tail)]
    rest = [(one[1].lower(), tail[one.end() : end]) for one, end in zip(found, ends, strict=True)]
    return VaryingHead(tail[: found[0].start(2)], tuple(rest), headers)

"""Heads that differ from the last one of their connection only in ids. No I/O.

A client sends nearly the same head each time, but some lines hold a new id in each request, such
as `Idempotency-Key` in every write of the SDK. A head whose other bytes are those of the last one
needs no parser: an id of visible ASCII neither ends its line nor changes what another line means.
"""

import re
from typing import NamedTuple

__all__ = ["VaryingHead", "varying_head"]

_LINE = re.compile(
    rb"\r\n(idempotency-key|traceparent|x-request-id): ([!-~]{1,255})(?=\r\n)", re.IGNORECASE
)
_WITHIN = 2048
"""Bytes in which a known head has its first id."""
_VISIBLE = bytes(range(0x21, 0x7F))


class VaryingHead(NamedTuple):
    """A head, cut at the values that vary.

    Attributes:
        start, start_size: its bytes from the end of the path to the first value, and their number.
        rest: the name of each value in lower case, and the bytes from its end to the next value, or
            to the end of the head.
        headers: of the head that was parsed.
    """

    start: bytes
    start_size: int
    rest: tuple[tuple[bytes, bytes], ...]
    headers: dict[bytes, bytes]

    def read(self, data: bytes) -> tuple[int, dict[bytes, bytes], bytes] | None:
        """Read the head at the start of `data`.

        Returns:
            The size of its request line without the version, its headers, and the bytes behind it;
            None if the head differs in other bytes, too, or if an id is unusual.
        """
        start, size, rest, known = self
        place = data.find(start, 0, _WITHIN)
        left = data[place + size :]
        headers = known.copy()
        for name, behind in rest:
            value, _, left = left.partition(behind)
            # What is left without the visible characters does not belong into an id. If the bytes
            # behind it are others, the value has the end of its line.
            if not value or value.translate(None, _VISIBLE):
                return None
            headers[name] = value
        return None if place < 0 else (place, headers, left)


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
    start = tail[: found[0].start(2)]
    return VaryingHead(start, len(start), tuple(rest), headers)

"""`If-Match`, `If-None-Match` (RFC 9110 §13.1) and `Idempotency-Key`.

docs/http-api.md#conditions and docs/http-api.md#idempotency-keys describe them for callers.

Repeated header lines arrive joined by a comma, as RFC 9110 §5.3 allows. So a repeated `If-Match` is
a list, which is refused.
"""

import re

from jetkv_gateway.kv.errors import InvalidArgument
from jetkv_gateway.kv.model import MUST_NOT_EXIST

__all__ = [
    "expected_revision",
    "idempotency_key",
    "if_match",
    "not_modified",
    "parse_revision",
    "refuse_conditions",
]

_CONDITIONS = (b"if-match", b"if-none-match")
_REVISION = re.compile(r"[1-9][0-9]{0,18}")
_IF_MATCH = re.compile(rb'(?:"([1-9][0-9]{0,18})"|([1-9][0-9]{0,18}))')
_LONGEST_KEY = 255
_BARE = bytes({*range(0x21, 0x7F)} - {ord('"')})
"""The characters of an idempotency key without quotes."""
_QUOTED_KEY = re.compile(rb'"([!#-\[\]-~]{1,255})"')
_ENTITY_TAG = re.compile(rb'(?:W/)?"([^"]*)"')
# A list may have empty elements (RFC 9110 §5.6.1.2), but a comma must separate two tags.
_ENTITY_TAGS = re.compile(rb'[ \t,]*+(?:W/)?"[^"]*"(?:[ \t]*+,[ \t,]*+(?:W/)?"[^"]*")*+[ \t,]*+')


def parse_revision(text: str, what: str) -> int:
    """Return a revision: a decimal number of 1 to 19 digits without leading zeros, at least 1.

    Raises:
        InvalidArgument
    """
    if _REVISION.fullmatch(text) is None:
        raise InvalidArgument(
            f"invalid {what}: must be one decimal revision of at most 19 digits, from 1"
        )
    return int(text)


def if_match(headers: dict[bytes, bytes]) -> int | None:
    """Return the revision of `If-Match`, bare or quoted, or None without the header.

    Raises:
        InvalidArgument: the header is empty, 0, negative, weak, `*`, a list, or malformed.
    """
    value = headers.get(b"if-match")
    if value is None:
        return None
    match = _IF_MATCH.fullmatch(value.strip())
    if match is None:
        raise InvalidArgument(
            "invalid If-Match: must be one decimal revision of at most 19 digits, from 1",
            hint='send If-Match: 7 or If-Match: "7"',
        )
    return int(match[1] or match[2])


def expected_revision(headers: dict[bytes, bytes]) -> int | None:
    """Return the revision that a PUT expects, `MUST_NOT_EXIST`, or None for any state.

    Raises:
        InvalidArgument: as `if_match`, or `If-None-Match` is not `*`, or both are given.
    """
    revision = if_match(headers)
    create = headers.get(b"if-none-match")
    if create is None:
        return revision
    if revision is not None:
        raise InvalidArgument("If-Match and If-None-Match exclude each other")
    if create.strip() != b"*":
        raise InvalidArgument(
            "invalid If-None-Match: must be * on PUT", hint="it creates the key; If-Match compares"
        )
    return MUST_NOT_EXIST


def idempotency_key(headers: dict[bytes, bytes], identity: bytes = b"") -> str | None:
    """Return the caller's idempotency key without quotes, or None without the header.

    Args:
        identity: of the caller, to which its idempotency keys belong. With it, the result is unique
            for the caller, too; with auth off it is empty, and the result is the key alone.

    Raises:
        InvalidArgument: it is not 1 to 255 visible ASCII characters.
    """
    value = headers.get(b"idempotency-key")
    if value is None:
        return None
    if not 0 < len(value) <= _LONGEST_KEY or value.translate(None, _BARE):
        match = _QUOTED_KEY.fullmatch(value)
        if match is None:
            raise InvalidArgument(
                "invalid Idempotency-Key: must be 1 to 255 visible ASCII characters",
                hint="use a random id for each write, and repeat it in all retries of that write",
            )
        value = match[1]
    name = value.decode()
    return f"\0{identity.hex()}\0{name}" if identity else name


def not_modified(headers: dict[bytes, bytes], revision: int) -> bool:
    """Return whether a GET's `If-None-Match` contains the revision (weak comparison).

    Raises:
        InvalidArgument: the header is not a list of entity tags.
    """
    value = headers.get(b"if-none-match")
    if value is None:
        return False
    if value.strip() == b"*":
        return True
    if _ENTITY_TAGS.fullmatch(value) is None:
        raise InvalidArgument('invalid If-None-Match: must be a list of tags like "7"')
    return b"%d" % revision in _ENTITY_TAG.findall(value)


def refuse_conditions(headers: dict[bytes, bytes], where: str, *, hint: str | None = None) -> None:
    """Refuse the headers that change what a write does, on a route that takes none of them.

    Without a word, the write would be done in spite of the condition.

    Args:
        where: the kind of request, for the error.

    Raises:
        InvalidArgument: there is such a header.
    """
    for name in headers:
        if name.startswith(b"jetkv-"):
            raise InvalidArgument(f"unknown header {name.decode('latin-1')[:100]!r}")
        if name in _CONDITIONS:
            raise InvalidArgument(f"{name.decode('ascii')} has no meaning {where}", hint=hint)

"""Cursors of pages: where the next page of a listing begins. Pure (docs/http-api.md#pages).

A cursor contains all that the next page needs, so any worker of any gateway can continue, even
after a restart. Nothing is stored for it, and it does not expire by time.

It is not signed. Gateways share no secret, and a signature would protect nothing: a forged cursor
gets a page that an ordinary request can get too, after the same access check. A checksum detects
cursors that were cut or changed by accident.
"""

import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from hashlib import blake2b
from typing import NamedTuple

from jetkv_gateway.kv.errors import InvalidArgument

__all__ = ["Cursor", "CursorScope", "read_cursor", "write_cursor"]

_VERSION = b"\x01"
_DIGEST_BYTES = 8
_REVISION_BYTES = 8
_SHORTEST = len(_VERSION) + 2 * _DIGEST_BYTES + _REVISION_BYTES + 1
_TEXT = re.compile(r"[A-Za-z0-9_-]{1,16384}")
_INVALID = "invalid cursor: not one that a page has returned"


class Cursor(NamedTuple):
    """Where a page begins.

    Attributes:
        created_at: of the bucket, RFC 3339. If it differs, the bucket is a new one of the same
            name.
        as_of: the newest revision of the bucket when the first page was requested. An older list of
            keys could lack a key that was live when the first page was made.
        after: the last key of the previous page.
    """

    created_at: str
    as_of: int
    after: str


class CursorScope(NamedTuple):
    """The request that a cursor is valid for. `filter` is the text of a compiled `Filter`."""

    bucket: str
    filter: str
    include: str

    @property
    def digest(self) -> bytes:
        return _digest("\0".join(self).encode(), b"jetkv scope")


def write_cursor(cursor: Cursor, scope: CursorScope) -> str:
    """Return a cursor as text that needs no escaping in a URL."""
    created_at = cursor.created_at.encode("ascii")
    payload = b"".join(
        (
            _VERSION,
            scope.digest,
            cursor.as_of.to_bytes(_REVISION_BYTES),
            bytes([len(created_at)]),
            created_at,
            cursor.after.encode(),
        )
    )
    return urlsafe_b64encode(payload + _checksum(payload)).rstrip(b"=").decode("ascii")


def read_cursor(text: str, scope: CursorScope) -> Cursor:
    """Parse a cursor that `write_cursor` wrote for the same scope.

    Raises:
        InvalidArgument: the cursor was changed, or belongs to another scope.
    """
    payload = _payload(text)
    place = len(_VERSION)
    digest = payload[place : place + _DIGEST_BYTES]
    place += _DIGEST_BYTES
    as_of = int.from_bytes(payload[place : place + _REVISION_BYTES])
    place += _REVISION_BYTES
    length = payload[place]
    place += 1
    try:
        created_at = payload[place : place + length].decode("ascii")
        after = payload[place + length :].decode()
    except UnicodeDecodeError:
        raise InvalidArgument(_INVALID) from None
    if digest != scope.digest:
        raise InvalidArgument(
            "invalid cursor: it belongs to another bucket, filter, prefix or include",
            hint="repeat the parameters of the first page and change only limit and values",
        )
    return Cursor(created_at, as_of, after)


def _payload(text: str) -> bytes:
    if _TEXT.fullmatch(text) is None:
        raise InvalidArgument(_INVALID)
    padded = text + "=" * (-len(text) % 4)
    try:
        raw = urlsafe_b64decode(padded)
    except ValueError:
        raise InvalidArgument(_INVALID) from None
    payload, checksum = raw[:-_DIGEST_BYTES], raw[-_DIGEST_BYTES:]
    whole = len(raw) >= _SHORTEST and urlsafe_b64encode(raw) == padded.encode()
    if not whole or checksum != _checksum(payload) or not payload.startswith(_VERSION):
        raise InvalidArgument(_INVALID)
    return payload


def _checksum(payload: bytes) -> bytes:
    return _digest(payload, b"jetkv cursor")


def _digest(data: bytes, purpose: bytes) -> bytes:
    return blake2b(data, digest_size=_DIGEST_BYTES, person=purpose).digest()

"""The formats of an entry: base64, decoded JSON, or raw bytes (docs/http-api.md#values)."""

import re
from datetime import datetime
from email.utils import format_datetime
from enum import StrEnum
from functools import lru_cache
from io import BytesIO
from typing import Any

import orjson
from pybase64 import b64encode

from jetkv_gateway.kv.errors import InvalidArgument
from jetkv_gateway.kv.model import Entry, KeyMeta
from jetkv_gateway.kv.timestamps import rfc3339

__all__ = [
    "View",
    "accepts_raw",
    "choose_view",
    "decoded_value",
    "entry_json",
    "http_date",
    "meta_json",
    "prefers",
]

OCTET_STREAM = "application/octet-stream"
JSON = "application/json"

_LARGE = 64 * 1024
_PIECE = 48 * 1024
"""Bytes of a value that are encoded at a time. A multiple of three needs no padding."""

_BEFORE = b'{"key":%b,"value":"'
_AFTER = b'","revision":%d,"created_at":"%b","operation":"%b"}'
"""A KVEntry before and after its base64 value."""
_WHOLE = _BEFORE + b"%b" + _AFTER

_JSON_TYPE = re.compile(r"application/(?:[\w.+-]+\+)?json", re.IGNORECASE)
# curl sends this type with any `-d`, so it says nothing about the value.
_UNTYPED = frozenset({"application/x-www-form-urlencoded"})


class View(StrEnum):
    BASE64 = "base64"
    JSON = "json"
    RAW = "raw"


# Looked up once: of an enum, that takes as long as a call before Python 3.12.
_JSON_VIEW = View.JSON


def choose_view(parameter: str | None, accept: bytes | None, default: View) -> View:
    """Return the view that `?values=`, else `Accept`, else the base URL selects.

    Raises:
        InvalidArgument: `values` is not base64, json or raw.
    """
    if parameter is not None:
        try:
            return View(parameter)
        except ValueError:
            raise InvalidArgument("query parameter 'values' must be base64, json or raw") from None
    return View.RAW if accepts_raw(accept) else default


def accepts_raw(accept: bytes | None) -> bool:
    """Return whether an `Accept` asks for raw values."""
    if accept is None or b"octet-stream" not in accept.lower():
        return False
    return prefers(accept, OCTET_STREAM)


def prefers(accept: bytes, wanted: str) -> bool:
    """Return whether an `Accept` names a media type, and does not rank JSON above it."""
    weights: dict[str, float] = {}
    for part in accept.decode("latin-1").split(","):
        media, *parameters = (piece.strip() for piece in part.split(";"))
        weight = 1.0
        for parameter in parameters:
            name, _, value = parameter.partition("=")
            if name.strip().lower() == "q":
                try:
                    weight = float(value)
                except ValueError:
                    weight = 0.0
        weights[media.lower()] = weight
    weight = weights.get(wanted, 0.0)
    return weight > 0 and weight >= weights.get(JSON, 0.0)


def entry_json(entry: Entry, view: View) -> bytes:
    """Return a KVEntry as JSON. `view` must not be RAW."""
    encoding, value = None, entry.data
    if view is _JSON_VIEW:
        encoding, value = decoded_value(entry)
    elif isinstance(value, bytes):
        # This is nearly every answer. A template takes half the time of a dictionary.
        if len(value) >= _LARGE:
            return _in_pieces(entry, value)
        made = _WHOLE % (
            orjson.dumps(entry.key),
            b64encode(value),
            entry.revision,
            entry.created_at.encode(),
            entry.operation.encode(),
        )
        return made if entry.expires_at is None else _expiring(made, entry.expires_at)
    fields: dict[str, Any] = {
        "key": entry.key,
        "value": value,
        "revision": entry.revision,
        "created_at": entry.created_at,
        "operation": entry.operation,
    }
    if entry.expires_at is not None:
        fields["expires_at"] = entry.expires_at
    if encoding is not None:
        fields["encoding"] = encoding
        if entry.content_encoding is not None:
            fields["content_encoding"] = entry.content_encoding
    return orjson.dumps(fields)


_META = b'{"key":%b,"size":%d,"revision":%d,"created_at":"%b","operation":"put"'


def meta_json(meta: KeyMeta) -> bytes:
    """Return what is known of a key without its value, as JSON."""
    text = _META % (
        orjson.dumps(meta.key),
        meta.size,
        meta.revision,
        rfc3339(meta.stored_at).encode(),
    )
    if meta.content_type is not None:
        text += b',"content_type":' + orjson.dumps(meta.content_type)
    if meta.expires_at is not None:
        text += b',"expires_at":"%b"' % rfc3339(meta.expires_at).encode()
    return text + b"}"


def _in_pieces(entry: Entry, value: bytes) -> bytes:
    """Return a KVEntry with a large value, without a second copy of its size."""
    answer = BytesIO()
    answer.write(_BEFORE % orjson.dumps(entry.key))
    with memoryview(value) as view:
        for start in range(0, len(value), _PIECE):
            answer.write(b64encode(view[start : start + _PIECE]))
    after = _AFTER % (entry.revision, entry.created_at.encode(), entry.operation.encode())
    answer.write(after if entry.expires_at is None else _expiring(after, entry.expires_at))
    return answer.getvalue()


def _expiring(made: bytes, expires_at: str) -> bytes:
    """Return the end of a KVEntry with one field more."""
    return b'%b,"expires_at":"%b"}' % (made[:-1], expires_at.encode())


def decoded_value(entry: Entry) -> tuple[str, Any]:
    """Return (encoding, value): what the value is, and the value ready to use.

    Valid JSON is embedded as it was stored, so that no number loses a digit. A value with a content
    encoding is always base64, whatever its bytes look like.
    """
    if entry.content_encoding is not None:
        return "base64", entry.base64
    value = entry.value
    media = (entry.content_type or "").partition(";")[0].strip().lower()
    untyped = not media or media in _UNTYPED
    is_json = untyped or _JSON_TYPE.fullmatch(media) is not None
    if not is_json and media == OCTET_STREAM:
        # The official clients send strings and bytes with this type. The string "42" stays a
        # string.
        is_json = value.lstrip(b" \t\r\n")[:1] in (b"{", b"[")
    if is_json and _is_json(value):
        return "json", orjson.Fragment(value)
    try:
        return "text", value.decode()
    except UnicodeDecodeError:
        return "base64", entry.base64


def _is_json(value: bytes) -> bool:
    try:
        orjson.loads(value)
    except orjson.JSONDecodeError:
        return False
    return True


@lru_cache(maxsize=4096)
def _date_of_second(second: str) -> bytes:
    moment = datetime.fromisoformat(second + "+00:00")
    return format_datetime(moment, usegmt=True).encode("ascii")


def http_date(created_at: str) -> bytes:
    """Return an RFC 3339 time in UTC as an HTTP date (RFC 9110 §5.6.7)."""
    return _date_of_second(created_at[:19])

"""Reads the fields of a JSON document. Every field that no gateway sends is a `ValueError`.

Nothing is converted: a text that looks like a number is no number here.
"""

import json
from base64 import b64decode
from collections.abc import Mapping
from datetime import timedelta
from typing import Any, TypeGuard

__all__ = [
    "MAX_ENTRY_VALUES",
    "MAX_INTEGER",
    "FieldError",
    "array",
    "base64_bytes",
    "duration",
    "integer",
    "json_object",
    "key",
    "optional_object",
    "revision",
    "string",
    "strings",
]


class FieldError(ValueError):
    """Raised for a field that no gateway sends; the text names the field and the rule."""


MAX_INTEGER = 2**64 - 1
"""The largest sequence number of a stream, and so the largest revision."""


MAX_ENTRY_VALUES = 2_000
"""The limit of JSON values in an entry or a frame of a watch. The commas of a key count, too, and a
key may have 512."""

_SMALL_BYTES = 64 * 1024


def json_object(body: bytes, max_values: int | None = None) -> dict[str, Any]:
    """Parse a JSON object.

    Args:
        body: the bytes.
        max_values: the limit of JSON values in the object. A limit of bytes alone does not limit
            memory: an empty list has 3 bytes in JSON and takes 64 bytes of memory.

    Raises:
        ValueError: the bytes are no JSON object, or have too many values.
    """
    if max_values is not None and len(body) > _SMALL_BYTES and _count_values(body) > max_values:
        raise FieldError(f"the JSON has more than {max_values:,} values")
    try:
        found = json.loads(body)
    except RecursionError as error:
        raise FieldError("the JSON is nested too deeply") from error
    if not isinstance(found, dict):
        raise FieldError("the JSON is not an object")
    return found


def _count_values(body: bytes) -> int:
    # Each value except the first follows one of these. Those inside texts count, too.
    return body.count(b",") + body.count(b"[") + body.count(b"{")


def integer(
    fields: Mapping[str, Any], name: str, minimum: int = 0, default: int | None = None
) -> int:
    """Return a whole number from `minimum` to 2^64 - 1.

    Raises:
        FieldError: the field is something else.
    """
    value = fields.get(name, default)
    if not _is_integer(value) or not minimum <= value <= MAX_INTEGER:
        raise FieldError(f"{name} must be a whole number from {minimum}")
    return value


def _is_integer(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool)


def revision(fields: Mapping[str, Any], minimum: int = 1) -> int:
    return integer(fields, "revision", minimum)


def string(fields: Mapping[str, Any], name: str, default: str | None = None) -> str:
    value = fields.get(name, default)
    if not isinstance(value, str):
        raise FieldError(f"{name} must be text")
    # Raises UnicodeEncodeError, a ValueError, for half of a surrogate pair, which JSON allows.
    value.encode()
    return value


def key(fields: Mapping[str, Any]) -> str:
    found = string(fields, "key")
    if not found:
        raise FieldError("a key must not be empty")
    return found


def strings(fields: Mapping[str, Any], name: str) -> list[str]:
    """Return a list of texts that are not empty."""
    found = array(fields, name)
    if not all(isinstance(item, str) and item for item in found):
        raise FieldError(f"{name} must have texts only, and no empty ones")
    # Encodes all of them in one step: there may be millions.
    "".join(found).encode()
    return found


def array(fields: Mapping[str, Any], name: str, default: list[Any] | None = None) -> list[Any]:
    value = fields.get(name, default)
    if not isinstance(value, list):
        raise FieldError(f"{name} must be a list")
    return value


def optional_object(fields: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """Return a JSON object; an empty one if the field is missing."""
    value = fields.get(name, {})
    if not isinstance(value, dict):
        raise FieldError(f"{name} must be a JSON object")
    return value


def base64_bytes(fields: Mapping[str, Any], name: str) -> bytes:
    """Return the bytes of a base64 text."""
    return b64decode(string(fields, name), validate=True)


def duration(fields: Mapping[str, Any], name: str) -> timedelta | None:
    """Return a number of seconds as a timedelta; None if it is missing or 0."""
    value = fields.get(name, 0)
    # Older gateways send fractions of a second.
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise FieldError(f"{name} must be a number")
    try:
        found = timedelta(seconds=value)
    except OverflowError as error:
        raise FieldError(f"{name} is too large") from error
    if found < timedelta():
        raise FieldError(f"{name} must not be negative")
    return found or None

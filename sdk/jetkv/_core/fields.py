"""Fields of a JSON document. One that is not what a gateway sends is a ValueError, whatever it is.

JSON has numbers without an end (`1e999`), and Python converts what looks like a number or a list:
nothing is converted here.
"""

import json
from base64 import b64decode
from collections.abc import Mapping
from datetime import timedelta
from typing import Any, TypeGuard

__all__ = [
    "ENTRY_VALUES",
    "LARGEST",
    "Misshapen",
    "data",
    "document",
    "key",
    "listed",
    "nested",
    "revision",
    "span",
    "text",
    "texts",
    "whole",
]


class Misshapen(ValueError):
    """Raised for what no gateway sends."""


LARGEST = 2**64 - 1
"""A sequence number of a stream, and with it a revision."""


ENTRY_VALUES = 2_000
"""What an entry, or a frame of a watch, has at most: a key of 512 bytes may look like as many."""

_HARMLESS_BYTES = 64 * 1024


def document(body: bytes, most: int | None = None) -> dict[str, Any]:
    """Return a JSON object.

    Args:
        most: values in it, where that is known. An empty list takes 3 bytes in JSON and 64 in
            memory, so that a bound on bytes alone is none.

    Raises:
        ValueError: it is none.
    """
    if most is not None and len(body) > _HARMLESS_BYTES and _marks(body) > most:
        raise Misshapen(f"it has more than {most:,} values")
    try:
        found = json.loads(body)
    except RecursionError as error:
        raise Misshapen("it is nested too deeply") from error
    if not isinstance(found, dict):
        raise Misshapen("it is no JSON object")
    return found


def _marks(body: bytes) -> int:
    # One stands before each value but the first; those in texts count, too.
    return body.count(b",") + body.count(b"[") + body.count(b"{")


def whole(fields: Mapping[str, Any], name: str, least: int = 0, default: int | None = None) -> int:
    """Return a whole number from `least` to 2^64 - 1."""
    value = fields.get(name, default)
    if not _is_whole(value) or not least <= value <= LARGEST:
        raise Misshapen(f"{name} is no whole number from {least}")
    return value


def _is_whole(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool)


def revision(fields: Mapping[str, Any], least: int = 1) -> int:
    return whole(fields, "revision", least)


def text(fields: Mapping[str, Any], name: str, default: str | None = None) -> str:
    value = fields.get(name, default)
    if not isinstance(value, str):
        raise Misshapen(f"{name} is no text")
    # A lone surrogate, which JSON can say, is no character.
    value.encode()
    return value


def key(fields: Mapping[str, Any]) -> str:
    found = text(fields, "key")
    if not found:
        raise Misshapen("a key is empty")
    return found


def texts(fields: Mapping[str, Any], name: str) -> list[str]:
    """Return a list of texts, none of them empty."""
    found = listed(fields, name)
    if not all(isinstance(one, str) and one for one in found):
        raise Misshapen(f"something in {name} is no text, or empty")
    # All at once, as there may be millions.
    "".join(found).encode()
    return found


def listed(fields: Mapping[str, Any], name: str, default: list[Any] | None = None) -> list[Any]:
    value = fields.get(name, default)
    if not isinstance(value, list):
        raise Misshapen(f"{name} is no list")
    return value


def nested(fields: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """Return a JSON object, an empty one where it is left out."""
    value = fields.get(name, {})
    if not isinstance(value, dict):
        raise Misshapen(f"{name} is no JSON object")
    return value


def data(fields: Mapping[str, Any], name: str) -> bytes:
    """Return the bytes that base64 stands for."""
    return b64decode(text(fields, name), validate=True)


def span(fields: Mapping[str, Any], name: str) -> timedelta | None:
    """Return a number of seconds; None for one that is left out, or 0."""
    value = fields.get(name, 0)
    # Older gateways show parts of a second.
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise Misshapen(f"{name} is no number")
    try:
        found = timedelta(seconds=value)
    except OverflowError as error:
        raise Misshapen(f"{name} is too large") from error
    if found < timedelta():
        raise Misshapen(f"{name} is negative")
    return found or None

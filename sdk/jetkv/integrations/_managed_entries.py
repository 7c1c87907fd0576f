"""The documents of py-key-value's `RedisStore`: a value, its times, its collection and key."""

import json
from datetime import datetime
from typing import Any

from key_value.aio.errors import SerializationError
from key_value.aio.stores.base import ManagedEntry

__all__ = ["dump", "key_of", "load"]


def dump(entry: ManagedEntry, collection: str, key: str) -> bytes:
    """Return the document of an entry.

    Raises:
        SerializationError: the value is no JSON.
    """
    document = {
        "collection": collection,
        "created_at": entry.created_at_isoformat,
        "expires_at": entry.expires_at_isoformat,
        "key": key,
        "value": entry.value_as_dict,
        "version": 1,
    }
    present = {name: value for name, value in document.items() if value is not None}
    try:
        return json.dumps(present, sort_keys=True).encode()
    except (TypeError, ValueError) as error:
        raise SerializationError(f"the value cannot be stored as JSON: {error}") from error


def load(raw: bytes) -> ManagedEntry | None:
    """Return the entry of a document; None for what is no such document, as RedisStore does."""
    document = _document(raw)
    value = document.get("value")
    if not isinstance(value, dict):
        return None
    try:
        created_at, expires_at = (_time(document.get(n)) for n in ("created_at", "expires_at"))
    except ValueError:
        return None
    return ManagedEntry(value=value, created_at=created_at, expires_at=expires_at)


def key_of(raw: bytes) -> str | None:
    """Return the key that a document names."""
    key = _document(raw).get("key")
    return key if isinstance(key, str) else None


def _document(raw: bytes) -> dict[str, Any]:
    try:
        found = json.loads(raw)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _time(text: object) -> datetime | None:
    """Return a time with a time zone.

    Raises:
        ValueError: the text is no such time.
    """
    if text is None:
        return None
    time = datetime.fromisoformat(text) if isinstance(text, str) else None
    if time is None or time.tzinfo is None:
        raise ValueError("not a time with a time zone")
    return time

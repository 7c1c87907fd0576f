"""Finds out how much of a batch was written before an import was killed.

Everything that the batch wrote is newer than what its worker had written before, so the newest
revision of that in the state file tells them apart.
"""

from base64 import b64decode
from collections.abc import Sequence
from typing import Any

from jetkv import Bucket
from jetkv.errors import KeyNotFoundError
from jetkv.models import Entry
from jetkv.transfer.format import Item
from jetkv.transfer.writer import Writer

__all__ = ["left_of"]

_Stored = tuple[str, bytes]


def left_of(
    bucket: Bucket[bytes], writer: Writer, items: Sequence[Item], newest: int, history: int
) -> list[Item]:
    """Return the entries of a batch that are left to write.

    Args:
        bucket: the bucket.
        writer: that of the batch's worker.
        items: the entries, without those that have expired.
        newest: the newest revision that the worker had written before.
        history: how many revisions of a key the bucket keeps.
    """
    by_key: dict[str, list[Item]] = {}
    for item in items:
        by_key.setdefault(item["key"], []).append(item)
    applied: dict[str, int] = {}
    stored: dict[str, list[Entry[Any]]] = {}
    if history > 1:
        stored = {key: _history(bucket, key) for key in by_key}
    else:
        stored = {key: [entry] for key, entry in writer.current(items).items()}
    for key, entries in stored.items():
        since = [entry for entry in entries if entry.revision > newest]
        applied[key] = _applied(
            [(one.operation.value, one.raw) for one in since], by_key[key], history
        )
        if applied[key]:
            writer.claim(one.revision for one in since)
    left = []
    for item in items:
        if applied.get(item["key"], 0) > 0:
            applied[item["key"]] -= 1
        else:
            left.append(item)
    return left


def _history(bucket: Bucket[bytes], key: str) -> list[Entry[Any]]:
    try:
        return bucket.history(key)
    except KeyNotFoundError:
        return []


def _applied(stored: list[_Stored], items: Sequence[Item], history: int) -> int:
    """Return how many entries of a key lead to what is stored of it since the batch began."""
    if not stored:
        return 0
    for count in range(len(items), 0, -1):
        if _after(items[:count], history) == stored:
            return count
    return 0


def _after(items: Sequence[Item], history: int) -> list[_Stored]:
    """Return what is stored of a key after some entries."""
    stored: list[_Stored] = []
    for item in items:
        operation = item["operation"]
        if operation == "purge":
            stored = []
        stored.append((operation, b64decode(item["value"])))
    return stored[-history:]

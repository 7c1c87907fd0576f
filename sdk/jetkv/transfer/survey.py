"""Compares a bucket with the entries of an export, and writes nothing."""

from base64 import b64decode
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from jetkv import Bucket
from jetkv.errors import KeyNotFoundError
from jetkv.models import Entry
from jetkv.transfer.batch import MAX_BYTES, MAX_ITEMS
from jetkv.transfer.files import Checked
from jetkv.transfer.format import Item
from jetkv.transfer.policy import Rules, same_value
from jetkv.transfer.writer import Writer

__all__ = ["Survey", "survey"]

_HISTORIES_AT_ONCE = 8


@dataclass(slots=True)
class Survey:
    """How a bucket compares with the entries of an export.

    Attributes:
        same: entries that the bucket has, byte for byte.
        missing: entries whose key has no value in the bucket.
        differ: entries whose key has another value.
        expired: entries that have expired.
        example: a key that differs, else one that is missing, else "".
    """

    same: int = 0
    missing: int = 0
    differ: int = 0
    expired: int = 0
    example: str = ""

    def found_missing(self, key: str, count: int) -> None:
        self.missing += count
        self.example = self.example or key

    def found_other(self, key: str, count: int) -> None:
        if not self.differ:
            self.example = key
        self.differ += count


def survey(
    bucket: Bucket[bytes],
    writer: Writer,
    rules: Rules,
    checked: Checked,
    items: Callable[[], Iterator[Item]],
    progress: Callable[[int], None],
) -> Survey:
    """Compare a bucket with the entries of an export.

    Args:
        bucket: the bucket.
        writer: reads live values.
        rules: say which entries have expired.
        checked: the export.
        items: returns the entries, each time from the first one.
        progress: is called with the number of entries so far.
    """
    found = Survey()
    done = 0
    header, end = checked.header, checked.end
    # Without a history, a key comes again only if it was written during the export.
    last: dict[str, int] = {}
    if not header.history and end.to_revision > end.from_revision:
        for item in items():
            if item["revision"] > header.revision:
                last[item["key"]] = item["revision"]
    with ThreadPoolExecutor(_HISTORIES_AT_ONCE) as pool:
        for batch in _batches(items()):
            done += len(batch)
            now = datetime.now(UTC)
            lasting = [item for item in batch if rules.op(item, now) is not None]
            found.expired += len(batch) - len(lasting)
            if header.history:
                _compare_histories(found, bucket, lasting, pool)
            else:
                _compare(
                    found,
                    writer,
                    [
                        one
                        for one in lasting
                        if last.get(one["key"], one["revision"]) == one["revision"]
                    ],
                )
            progress(done)
    return found


def _batches(items: Iterable[Item]) -> Iterator[list[Item]]:
    batch: list[Item] = []
    size = 0
    for item in items:
        if batch and (size + len(item["value"]) > MAX_BYTES or len(batch) == MAX_ITEMS):
            yield batch
            batch, size = [], 0
        batch.append(item)
        size += len(item["value"])
    if batch:
        yield batch


def _compare(found: Survey, writer: Writer, items: list[Item]) -> None:
    current = writer.current(items)
    for item in items:
        entry = current.get(item["key"])
        if entry is None:
            found.found_missing(item["key"], 1)
        elif same_value(item, entry):
            found.same += 1
        else:
            found.found_other(item["key"], 1)


def _compare_histories(
    found: Survey, bucket: Bucket[bytes], items: list[Item], pool: ThreadPoolExecutor
) -> None:
    """Compare values with histories: all of them must be there, in their order.

    A tombstone that stands alone is not written, so tombstones are not compared.
    """
    by_key: dict[str, list[bytes]] = {}
    for item in items:
        if item["operation"] == "put":
            by_key.setdefault(item["key"], []).append(b64decode(item["value"]))

    def read(key: str) -> list[Entry[Any]]:
        try:
            return bucket.history(key)
        except KeyNotFoundError:
            return []

    for key, stored in zip(by_key, pool.map(read, by_key), strict=True):
        wanted = by_key[key]
        values = iter([entry.raw for entry in stored if entry.operation == "put"])
        if not stored:
            found.found_missing(key, len(wanted))
        elif all(value in values for value in wanted):
            found.same += len(wanted)
        else:
            found.found_other(key, len(wanted))

"""The lines of an export (docs/transfer.md#the-file). Pure.

The first line is a header. Then each entry has a line, as the gateway sends it in a listing as JSON
lines. The last line has the number of entries and a checksum of all lines before it.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from jetkv._core import fields
from jetkv.models import parse_time
from jetkv.transfer.problems import FileDamagedError

__all__ = ["MAX_LINE", "VERSION", "End", "Header", "Item", "item_of", "line_of", "value_size"]

VERSION = 1
MAX_LINE = 128 * 1024 * 1024
"""NATS takes no message of more than 64 MiB, which has 86 MiB in base64."""

_KIND = "jetkv-export"
_OPERATIONS = ("put", "delete", "purge")

Item = dict[str, Any]
"""An entry: `key`, `value` in base64, `revision`, `created_at`, `operation`, and where they are
known `content_type`, `content_encoding` and `expires_at`."""


@dataclass(frozen=True, slots=True)
class Header:
    """The first line of an export.

    Attributes:
        bucket: the name of the bucket.
        history: whether all stored revisions are in it, tombstones too.
        revision: the newest revision of the bucket before the first entry was read.
        started_at: RFC 3339.
        settings: of the bucket: `history`, and `ttl_seconds` if it has a TTL.
        filter, prefix: which keys; None for all.
        partial: whether the caller could not read some of the keys.
    """

    bucket: str
    history: bool
    revision: int
    started_at: str
    settings: Mapping[str, int]
    filter: str | None = None
    prefix: str | None = None
    partial: bool = False

    def document(self) -> dict[str, Any]:
        found: dict[str, Any] = {
            "type": _KIND,
            "version": VERSION,
            "bucket": self.bucket,
            "history": self.history,
            "revision": self.revision,
            "started_at": self.started_at,
            "settings": dict(self.settings),
        }
        for name, text in (("filter", self.filter), ("prefix", self.prefix)):
            if text is not None:
                found[name] = text
        if self.partial:
            found["partial"] = True
        return found

    @classmethod
    def read(cls, line: bytes) -> "Header":
        """Return the header that a line has.

        Raises:
            FileDamagedError: it has none, or that of a newer version.
        """
        try:
            found = fields.json_object(line)
        except ValueError:
            found = {}
        if found.get("type") != _KIND:
            raise FileDamagedError("it is no export: its first line is not the header of one")
        if found.get("version") != VERSION:
            raise FileDamagedError(
                f"its format has version {found.get('version')!r}; this jetkv knows {VERSION}"
            )
        try:
            settings = fields.optional_object(found, "settings")
            return cls(
                bucket=fields.string(found, "bucket"),
                history=found.get("history") is True,
                revision=fields.revision(found, 0),
                started_at=fields.string(found, "started_at"),
                settings={name: fields.integer(settings, name) for name in settings},
                filter=fields.string(found, "filter") if "filter" in found else None,
                prefix=fields.string(found, "prefix") if "prefix" in found else None,
                partial=found.get("partial") is True,
            )
        except ValueError as error:
            raise FileDamagedError(f"its header is damaged: {error}") from error


@dataclass(frozen=True, slots=True)
class End:
    """The last line of an export.

    Attributes:
        count: the number of entries.
        expiring: how many of them expire.
        largest: the size of the largest value, in bytes.
        from_revision: the newest revision of the bucket when the export began.
        to_revision: the newest one when it ended.
        ended_at: RFC 3339.
        sha256: of all lines before this one, line ends included; in hexadecimal.
    """

    count: int
    expiring: int
    largest: int
    from_revision: int
    to_revision: int
    ended_at: str
    sha256: str

    def document(self) -> dict[str, Any]:
        return {
            "type": "end",
            "count": self.count,
            "expiring": self.expiring,
            "largest": self.largest,
            "from_revision": self.from_revision,
            "to_revision": self.to_revision,
            "ended_at": self.ended_at,
            "sha256": self.sha256,
        }

    @classmethod
    def read(cls, line: bytes) -> "End":
        """Return what the last line says.

        Raises:
            FileDamagedError: it is another line.
        """
        try:
            found = fields.json_object(line)
            if found.get("type") == "end" and "sha256" in found:
                return cls(
                    fields.integer(found, "count"),
                    fields.integer(found, "expiring"),
                    fields.integer(found, "largest"),
                    fields.integer(found, "from_revision"),
                    fields.integer(found, "to_revision"),
                    fields.string(found, "ended_at"),
                    fields.string(found, "sha256"),
                )
        except ValueError:
            pass
        raise FileDamagedError(
            "its end is missing: it was cut off", hint="export it again, or use another copy"
        )


def line_of(document: Mapping[str, Any]) -> bytes:
    """Return a line of the file."""
    return json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"


def value_size(item: Item) -> int:
    """Return the size of a value, in bytes."""
    value: str = item["value"]
    return len(value) // 4 * 3 - value[-2:].count("=")


def item_of(line: bytes) -> Item:
    """Return the entry that a line has.

    Raises:
        ValueError: it has none.
    """
    item = json.loads(line)
    if not (
        type(item) is dict
        and type(item.get("key")) is str
        and type(item.get("value")) is str
        and type(item.get("revision")) is int
        and item.get("operation") in _OPERATIONS
    ):
        raise ValueError("a line is no entry")
    parse_time(fields.string(item, "created_at"))
    if "expires_at" in item:
        parse_time(fields.string(item, "expires_at"))
    for name in ("content_type", "content_encoding"):
        if name in item:
            fields.string(item, name)
    return item

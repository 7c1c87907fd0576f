"""The audit log: who did what, with which outcome, as JSON lines (docs/audit.md).

Requests only put a record into a bounded queue. A thread writes the records. If it cannot keep up,
records are dropped and counted, and no request waits.
"""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from time import time
from typing import Any

import orjson

from jetkv_gateway.telemetry.audit_writer import AuditWriter

__all__ = ["AuditKeys", "AuditLog", "AuditOptions"]

# The verbs of `kv.access` that change nothing.
_READS = frozenset(
    {
        *("read", "list keys", "watch", "list buckets", "bucket info"),
        *("api description", "identity", "metrics", "evaluate flags"),
    }
)
_REFUSED = frozenset({401, 403})
_CLIENT_ERROR, _SERVER_ERROR, _UNKNOWN = 400, 500, 504
_HASH_BYTES = 16


class AuditKeys(StrEnum):
    """How the log shows keys, filters and prefixes."""

    PLAIN = "plain"
    HASH = "hash"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class AuditOptions:
    """What the log has.

    Attributes:
        target: a path, or `-` for the standard output.
        keys: how keys are shown.
        hash_key: makes hashes of keys that nobody can guess without it.
        reads: whether the log also has requests that change nothing.
    """

    target: str
    keys: AuditKeys = AuditKeys.PLAIN
    hash_key: bytes = b""
    reads: bool = True


_Subject = tuple[str, str | None, str, str | None, int | None]
_Record = tuple[float, str, str | None, str | None, str, tuple[_Subject, ...], int, bytes]


class AuditLog:
    """A listener to `audited`. Call `start`, and `close` at the end.

    Raises:
        OSError: the file cannot be opened.
    """

    def __init__(self, options: AuditOptions) -> None:
        self._options = options
        self._writer: AuditWriter[_Record] = AuditWriter(options.target, self._lines)
        self._put = self._writer.put

    def start(self) -> None:
        """Start to write."""
        self._writer.start()

    def reopen(self) -> None:
        """Open the file again soon, since it was renamed. Any thread may call it."""
        self._writer.reopen()

    def close(self) -> None:
        """Write what is left, if that takes a moment only."""
        self._writer.close()

    def audited(
        self,
        event: str,
        name: str | None,
        method: str | None,
        address: str,
        subjects: tuple[_Subject, ...],
        status: int,
        request_id: bytes,
    ) -> None:
        """Take a record. See `telemetry.events`."""
        if not self._options.reads and status not in _REFUSED:
            subjects = tuple([one for one in subjects if one[0] not in _READS])
            if not subjects:
                return
        record = (time(), event, name, method, address, subjects, status, request_id)
        self._put(record, len(subjects))

    def _lines(self, record: _Record) -> Iterable[bytes]:
        """Encode a record, as a line for each of its subjects. It runs in the writer's thread."""
        at, event, name, method, address, subjects, status, request_id = record
        moment = datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds")
        head = {"time": f"{moment[:-6]}Z", "event": event, "name": name, "method": method}
        for verb, bucket, kind, text, own_status in subjects:
            fields: dict[str, Any] = {**head, "verb": verb, "bucket": bucket}
            if text is not None:
                self._add_text(fields, kind, text)
            fields["status"] = own_status or status
            fields["outcome"] = _outcome(own_status or status)
            fields["request_id"] = request_id.decode("ascii")
            fields["address"] = address
            yield orjson.dumps(fields, option=orjson.OPT_APPEND_NEWLINE)

    def _add_text(self, fields: dict[str, Any], kind: str, text: str) -> None:
        how = self._options.keys
        if kind == "token" or how is AuditKeys.PLAIN:
            fields[kind] = text
        elif how is AuditKeys.HASH:
            digest = hashlib.blake2b(
                text.encode(), key=self._options.hash_key, digest_size=_HASH_BYTES
            )
            fields[f"{kind}_hash"] = digest.hexdigest()


def _outcome(status: int) -> str:
    if status < _CLIENT_ERROR:
        return "done"
    if status == _UNKNOWN:
        return "unknown"
    if status in _REFUSED:
        return "denied"
    return "failed" if status >= _SERVER_ERROR else "rejected"

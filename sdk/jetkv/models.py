"""The values that calls return: entries, updates and, from `_bucket_models`, buckets."""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import Enum, StrEnum
from typing import Any, Final, Generic, Literal, TypeVar

from jetkv._access_models import Caller, NewToken, Permission, ScopeVerb, TokenInfo
from jetkv._bucket_models import (
    BucketInfo,
    BucketSettings,
    BucketWarning,
    Change,
    Compression,
    Placement,
    Republish,
    Storage,
)

__all__ = [
    "NEVER",
    "TTL",
    "BucketInfo",
    "BucketSettings",
    "BucketWarning",
    "Caller",
    "Change",
    "Compression",
    "Consistency",
    "Deleted",
    "Entry",
    "EntryMeta",
    "KeyPage",
    "NewToken",
    "NoExpiry",
    "Operation",
    "Permission",
    "Placement",
    "Reason",
    "Republish",
    "ScopeVerb",
    "Snapshot",
    "Storage",
    "TokenInfo",
    "Touched",
    "Update",
]

T_co = TypeVar("T_co", covariant=True)

Consistency = Literal["strong", "eventual"]
Reason = Literal["purge", "expired", "vanished"]

_UNDECODED: Any = object()


class NoExpiry(Enum):
    """The type of `NEVER`."""

    NEVER = "never"

    def __repr__(self) -> str:
        return "jetkv.NEVER"


NEVER: Final = NoExpiry.NEVER
"""The TTL of a value that does not expire, whatever the TTL of its bucket."""

TTL = int | timedelta | NoExpiry
"""The TTL of one value: whole seconds from 1, a timedelta of whole seconds, or `NEVER`."""


class Operation(StrEnum):
    """The operation that wrote a revision.

    A watch reports a purge as a delete with the reason `purge`.
    """

    PUT = "put"
    DELETE = "delete"
    PURGE = "purge"


class _Stored(Generic[T_co]):
    """A key's value at one revision. `value` is decoded on first access."""

    __slots__ = ("_decode", "_value", "key", "operation", "raw", "revision")

    key: str
    raw: bytes
    revision: int
    operation: Operation

    def __init__(
        self,
        key: str,
        raw: bytes,
        revision: int,
        operation: Operation,
        decode: Callable[[str, bytes], T_co],
    ) -> None:
        self.key = key
        self.raw = raw
        self.revision = revision
        self.operation = operation
        self._decode = decode
        self._value: Any = _UNDECODED

    @property
    def value(self) -> T_co:
        """The value, of the bucket's type; None for a delete or a purge.

        Raises:
            ValueDecodeError: the stored bytes do not fit the bucket's type; `raw` has them.
        """
        if self._value is _UNDECODED:
            live = self.operation is Operation.PUT
            self._value = self._decode(self.key, self.raw) if live else None
        value: T_co = self._value
        return value

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        return self._identity() == other._identity()

    def __hash__(self) -> int:
        return hash(self._identity())

    def __getstate__(self) -> tuple[None, dict[str, Any]]:
        # The decoder may not be picklable, so the value is decoded before it is pickled.
        names = [name for kind in type(self).__mro__ for name in getattr(kind, "__slots__", ())]
        state = {name: getattr(self, name) for name in names}
        return None, state | {"_value": self.value, "_decode": None}

    def _identity(self) -> tuple[Any, ...]:
        return self.key, self.raw, self.revision, self.operation

    def _summary(self) -> str:
        size = f"{len(self.raw)} bytes" if self.operation is Operation.PUT else "no value"
        return f"key={self.key!r} revision={self.revision} {self.operation.value} {size}"


class Entry(_Stored[T_co]):
    """A key's value at one revision.

    Attributes:
        key: the key.
        value: the value, of the bucket's type; None for a tombstone.
        raw: the stored bytes; empty for a tombstone.
        revision: the sequence number of the write; the whole bucket counts as one.
        created_at: when it was written, in UTC. In an entry that `modify` returns, this is when the
            answer arrived, by this machine's clock.
        operation: `put`; in a history also `delete` and `purge`, which are tombstones.
        expires_at: when the value expires, in UTC; None if it does not. In an entry that `modify`
            or `modify_many` returns, it is None because it is not known.
    """

    __slots__ = ("created_at", "expires_at")

    def __init__(
        self,
        key: str,
        raw: bytes,
        revision: int,
        operation: Operation,
        decode: Callable[[str, bytes], T_co],
        created_at: datetime,
        expires_at: datetime | None = None,
    ) -> None:
        super().__init__(key, raw, revision, operation, decode)
        self.created_at = created_at
        self.expires_at = expires_at

    def __repr__(self) -> str:
        return f"<Entry {self._summary()}>"


class Snapshot(Mapping[str, Entry[T_co]], Generic[T_co]):
    """The entries of several keys as of one moment, by key. A key without a value is not in it.

    Attributes:
        revision: the newest revision of the bucket at that moment.
        filtered: whether you may not read some of the keys. They are not in it.
    """

    __slots__ = ("_entries", "filtered", "revision")

    def __init__(
        self, entries: Iterable[Entry[T_co]], revision: int, *, filtered: bool = False
    ) -> None:
        self._entries = {entry.key: entry for entry in entries}
        self.revision = revision
        self.filtered = filtered

    def __getitem__(self, key: str) -> Entry[T_co]:
        return self._entries[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)

    def __repr__(self) -> str:
        return f"<Snapshot of {len(self)} keys at revision {self.revision}>"


@dataclass(frozen=True, slots=True)
class EntryMeta:
    """The metadata of a key's value, without the value.

    Attributes:
        key: the key.
        size: the size of the value in bytes.
        revision: the sequence number of the write; the whole bucket counts as one.
        created_at: when it was written, in UTC.
        content_type: the stored content type, or None.
        expires_at: when the value expires, in UTC; None for never.
    """

    key: str
    size: int
    revision: int
    created_at: datetime
    content_type: str | None = None
    expires_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Touched:
    """The result of `touch`.

    Attributes:
        revision: the value's new revision: `touch` writes the value again.
        expires_at: when the value expires now, in UTC, to the second; None for never.
    """

    revision: int
    expires_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class KeyPage:
    """One page of a list of keys.

    Attributes:
        keys: the keys, sorted by their UTF-8 bytes.
        next_cursor: the cursor of the next page; None on the last page.
        filtered: whether you may not read all the keys that you asked for. Those are left out.
    """

    keys: tuple[str, ...]
    next_cursor: str | None = None
    filtered: bool = False


@dataclass(frozen=True, slots=True)
class Deleted:
    """The result of `delete_many`.

    Attributes:
        matched: how many keys had a value and matched.
        deleted: how many of these were deleted. The others were written or deleted meanwhile.
        revision: the revision of the newest tombstone. If nothing was deleted, the revision of the
            bucket when the call began.
        filtered: whether you may not delete all the keys that you asked for. Those stay.
    """

    matched: int
    deleted: int
    revision: int
    filtered: bool = False


class Update(_Stored[T_co]):
    """A change that a watch returns.

    Attributes:
        key: the key.
        value: the value, of the bucket's type; None for a delete.
        raw: the stored bytes; empty for a delete.
        revision: the sequence number of the write; for `vanished`, that of the new snapshot.
        operation: `put` or `delete`.
        reason: why the key is gone, or None for a plain delete. `purge`: it was purged. `expired`:
            its TTL ended. `vanished`: the watch took a new snapshot, and the key is not in it.
        expires_at: when the value expires, in UTC; None if it does not, and for a delete.
        bucket: the name of the key's bucket.
    """

    __slots__ = ("bucket", "expires_at", "reason")

    def __init__(
        self,
        key: str,
        raw: bytes,
        revision: int,
        operation: Operation,
        decode: Callable[[str, bytes], T_co],
        reason: Reason | None = None,
        expires_at: datetime | None = None,
        bucket: str = "",
    ) -> None:
        super().__init__(key, raw, revision, operation, decode)
        self.reason = reason
        self.expires_at = expires_at
        self.bucket = bucket

    def _identity(self) -> tuple[Any, ...]:
        return self.bucket, *super()._identity()

    def __repr__(self) -> str:
        reason = f" {self.reason}" if self.reason else ""
        return f"<Update {self._summary()}{reason}>"


_RFC_3339 = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)", re.ASCII)


def parse_time(text: str) -> datetime:
    """Parse a time of RFC 3339 and return it in UTC, cut to microseconds.

    Raises:
        ValueError: the text is no such time.
    """
    if _RFC_3339.fullmatch(text) is None:
        raise ValueError(f"not an RFC 3339 time: {text!r}")
    time = datetime.fromisoformat(text)
    try:
        return time if time.tzinfo is UTC else time.astimezone(UTC)
    except OverflowError as error:
        raise ValueError(f"before the year 1 or after 9999 in UTC: {text!r}") from error


def format_time(time: datetime) -> str:
    """Format a time as RFC 3339 in UTC."""
    return time.astimezone(UTC).isoformat().removesuffix("+00:00") + "Z"

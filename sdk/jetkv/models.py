"""The values that calls return: entries, updates and descriptions of buckets."""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any, Generic, Literal, TypedDict, TypeVar

__all__ = [
    "BucketInfo",
    "BucketSettings",
    "BucketWarning",
    "Change",
    "Compression",
    "Consistency",
    "Deleted",
    "Entry",
    "EntryMeta",
    "KeyPage",
    "Operation",
    "Placement",
    "Reason",
    "Republish",
    "Snapshot",
    "Storage",
    "Update",
]

T_co = TypeVar("T_co", covariant=True)

Consistency = Literal["strong", "eventual"]
Storage = Literal["file", "memory"]
Compression = Literal["none", "s2"]
Reason = Literal["purge", "expired", "vanished"]

_UNDECODED: Any = object()


class Operation(StrEnum):
    """The operation that a revision stands for.

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
    """

    __slots__ = ("created_at",)

    def __init__(
        self,
        key: str,
        raw: bytes,
        revision: int,
        operation: Operation,
        decode: Callable[[str, bytes], T_co],
        created_at: datetime,
    ) -> None:
        super().__init__(key, raw, revision, operation, decode)
        self.created_at = created_at

    def __repr__(self) -> str:
        return f"<Entry {self._summary()}>"


class Snapshot(Mapping[str, Entry[T_co]], Generic[T_co]):
    """The entries of several keys as of one moment, by key. A key without a value is not in it.

    Attributes:
        revision: the newest revision of the bucket at that moment.
    """

    __slots__ = ("_entries", "revision")

    def __init__(self, entries: Iterable[Entry[T_co]], revision: int) -> None:
        self._entries = {entry.key: entry for entry in entries}
        self.revision = revision

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
    """What is known of a key's value without the value.

    Attributes:
        key: the key.
        size: bytes of the value.
        revision: the sequence number of the write; the whole bucket counts as one.
        created_at: when it was written, in UTC.
        content_type: as it was stored, or None.
        expires_at: when the value expires, in UTC; None if it does not.
    """

    key: str
    size: int
    revision: int
    created_at: datetime
    content_type: str | None = None
    expires_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class KeyPage:
    """One page of a list of keys.

    Attributes:
        keys: sorted by their UTF-8 bytes.
        next_cursor: where the next page begins, None after the last one.
    """

    keys: tuple[str, ...]
    next_cursor: str | None = None


@dataclass(frozen=True, slots=True)
class Deleted:
    """What `delete_many` has done.

    Attributes:
        matched: keys that had a value and matched.
        deleted: those of them that were deleted; the others were written meanwhile, or were gone.
        revision: of the newest tombstone; without any, that of the bucket when the call began.
    """

    matched: int
    deleted: int
    revision: int


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
    """

    __slots__ = ("reason",)

    def __init__(
        self,
        key: str,
        raw: bytes,
        revision: int,
        operation: Operation,
        decode: Callable[[str, bytes], T_co],
        reason: Reason | None = None,
    ) -> None:
        super().__init__(key, raw, revision, operation, decode)
        self.reason = reason

    def __repr__(self) -> str:
        reason = f" {self.reason}" if self.reason else ""
        return f"<Update {self._summary()}{reason}>"


@dataclass(frozen=True, slots=True)
class BucketWarning:
    """A warning about a bucket's settings: they promise less than callers may expect.

    Attributes:
        code: for example `single_replica`. A newer gateway may send codes that this SDK does not
            know.
        message: what the warning means, and what to do about it.
    """

    code: str
    message: str


@dataclass(frozen=True, slots=True)
class Placement:
    """Which servers of a NATS super-cluster may store a bucket; `Placement()` allows all.

    Attributes:
        cluster: the name of a cluster; "" for any.
        tags: the tags that each of the servers must have.
    """

    cluster: str = ""
    tags: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Republish:
    """Where NATS publishes every stored message of a bucket again; `Republish()` is off.

    Attributes:
        destination: a NATS subject. The gateway refuses a subject that starts with `$`, `_` or a
            wildcard, or that a stream stores.
        source: a NATS subject filter, such as `$KV.cache.user.>`.
        headers_only: whether the values are left out.
    """

    destination: str = ""
    source: str = ">"
    headers_only: bool = False


@dataclass(frozen=True, slots=True)
class BucketInfo:
    """A bucket as the gateway describes it.

    Attributes:
        name: the bucket's name.
        values: how many messages are stored, history and tombstones included.
        bytes: the size of these messages.
        history: how many revisions of each key are kept.
        created_at: when the bucket was created, in UTC.
        description: a text for people; empty if nobody gave one.
        ttl: how long after its write a key expires; None if keys never expire.
        storage: `file` or `memory`.
        replicas: how many servers store each message.
        max_value_size: the largest value in bytes; None for the server's limit.
        max_bytes: the largest size of the whole bucket in bytes; None for no limit.
        compression: how NATS compresses the bucket's files: `none` or `s2`.
        placement: which servers of NATS may store the bucket.
        metadata: texts of your own, by name.
        republish: where NATS publishes every stored message again.
        expiry_markers: whether watches report keys that expire.
        key_ttl: whether a value can have a TTL of its own.
        batches: whether several keys can be written as one.
        protected: whether the gateway refuses to delete the bucket.
        marker_ttl: how long the marker of an expired value stays; None if there are no markers.
        warnings: what can lose a write. An older gateway sends no warnings.
        more: fields of a newer gateway that this SDK does not know.
    """

    name: str
    values: int
    bytes: int
    history: int
    created_at: datetime
    description: str = ""
    ttl: timedelta | None = None
    storage: str = "file"
    replicas: int = 1
    max_value_size: int | None = None
    max_bytes: int | None = None
    compression: str = "none"
    placement: Placement = Placement()
    metadata: Mapping[str, str] = field(default_factory=dict)
    republish: Republish = Republish()
    expiry_markers: bool = False
    key_ttl: bool = False
    batches: bool = False
    protected: bool = False
    marker_ttl: timedelta | None = None
    warnings: tuple[BucketWarning, ...] = ()
    more: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Change:
    """What `ensure_bucket` has done, or what `plan_bucket` says that it would do.

    Attributes:
        bucket: the bucket as it is now; of a plan, as it would be.
        changed: the names of the settings that were changed, as `BucketInfo` has them; of a new
            bucket, those that were named. Empty if there was nothing to do.
        created: whether the bucket did not exist.
    """

    bucket: BucketInfo
    changed: tuple[str, ...]
    created: bool


class BucketSettings(TypedDict, total=False):
    """Settings of a bucket that is to be changed. None, or no value, leaves a setting as it is."""

    ttl: timedelta | None
    history: int | None
    description: str | None
    max_value_size: int | None
    max_bytes: int | None
    storage: Storage | None
    replicas: int | None
    compression: Compression | None
    placement: Placement | None
    metadata: Mapping[str, str | None] | None
    republish: Republish | None
    expiry_markers: bool | None
    key_ttl: bool | None
    batches: bool | None
    protected: bool | None


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

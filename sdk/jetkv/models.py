"""What the SDK returns: entries, updates, buckets."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any, Generic, Literal, TypeVar

from jetkv._core.bucket_settings import AT_LEAST, EQUAL

__all__ = [
    "BucketInfo",
    "BucketWarning",
    "Compression",
    "Consistency",
    "Entry",
    "Operation",
    "Placement",
    "Reason",
    "Republish",
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
    """What was done to a key. In a watch, a purge is a delete with the reason `purge`."""

    PUT = "put"
    DELETE = "delete"
    PURGE = "purge"


class _Stored(Generic[T_co]):
    """A key's value at one revision, decoded when it is first asked for."""

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
        """The value, decoded by the bucket's type; None where there is none (a tombstone).

        Raises:
            ValueDecodeError: the stored bytes are not of that type; `raw` has them.
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
        # What decodes may not be able to travel to another process: its work is done before.
        names = [name for kind in type(self).__mro__ for name in getattr(kind, "__slots__", ())]
        state = {name: getattr(self, name) for name in names}
        return None, state | {"_value": self.value, "_decode": None}

    def _identity(self) -> tuple[Any, ...]:
        return self.key, self.raw, self.revision, self.operation

    def _shown(self) -> str:
        size = f"{len(self.raw)} bytes" if self.operation is Operation.PUT else "no value"
        return f"key={self.key!r} revision={self.revision} {self.operation.value} {size}"


class Entry(_Stored[T_co]):
    """A key's value at one revision.

    Attributes:
        key: as it was written.
        raw: the stored bytes, empty for a tombstone.
        revision: the bucket-wide sequence number of the write.
        created_at: when it was written, in UTC. For what a write has just returned (`modify`) it
            is when the answer came, by this machine's clock.
        operation: `put`; in a history also `delete` and `purge`.
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
        return f"<Entry {self._shown()}>"


class Update(_Stored[T_co]):
    """A change that a watch saw.

    Attributes:
        key: as it was written.
        raw: the stored bytes, empty on a delete.
        revision: the place to resume after; for `vanished`, that of the new snapshot.
        operation: `put` or `delete`.
        reason: why a key is gone, where it was no plain delete: `purge`, `expired`, or `vanished`:
            a watch had to take a new snapshot, and the key is not in it any more.
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
        return f"<Update {self._shown()}{reason}>"


@dataclass(frozen=True, slots=True)
class BucketWarning:
    """What a bucket's settings promise less than its callers may think.

    Attributes:
        code: such as `single_replica`; a newer gateway may have others.
        message: what it means and what to do about it.
    """

    code: str
    message: str


@dataclass(frozen=True, slots=True)
class Placement:
    """Where in a NATS super-cluster a bucket is kept; `Placement()` is anywhere.

    Attributes:
        cluster: the name of the cluster; "" = any.
        tags: that each of its servers has to have.
    """

    cluster: str = ""
    tags: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Republish:
    """Where NATS publishes every stored message of a bucket again; `Republish()` is nowhere.

    Attributes:
        destination: a NATS subject. The gateway refuses one that begins with `$`, `_` or a
            wildcard, or that a stream takes.
        source: a NATS subject filter, such as `$KV.cache.user.>`.
        headers_only: leave the values out.
    """

    destination: str = ""
    source: str = ">"
    headers_only: bool = False


@dataclass(frozen=True, slots=True)
class BucketInfo:
    """A bucket as the gateway describes it.

    Attributes:
        values: stored messages, history and tombstones included.
        bytes: their size.
        history: revisions kept of each key.
        ttl: how long after its write a key expires; None = never.
        compression: of the files of NATS, `none` or `s2`.
        placement: where in a NATS super-cluster it is kept.
        metadata: texts of your own, by name.
        republish: where NATS publishes every stored message again.
        expiry_markers: watchers see keys expire.
        key_ttl: a value can have a TTL of its own.
        batches: several keys can be written as one.
        protected: it cannot be deleted over the API.
        marker_ttl: how long the marker of an expired value stays; None = there are none.
        warnings: of what can lose a write; none of a gateway that is older than them.
        more: fields of a newer gateway.
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


def differences(found: BucketInfo, **asked: Any) -> list[str]:
    """Return in what a bucket falls short of what was asked for, in words.

    Args:
        asked: settings by name, `ttl` among them; None says that any will do, but of `ttl`, which
            is None for a bucket whose keys never expire.
    """
    other = []
    for name in (*EQUAL, *AT_LEAST):
        field = name.removesuffix("_seconds")
        has, wanted = getattr(found, field), asked[field]
        if wanted is None and field != "ttl":
            continue
        if has != wanted if name in EQUAL else has < wanted:
            other.append(f"{field} is {has or 'never'}, not {wanted or 'never'}")
    return other


_RFC_3339 = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)", re.ASCII)


def parse_time(text: str) -> datetime:
    """Return a moment of RFC 3339 in UTC, cut to microseconds.

    Raises:
        ValueError: it is none.
    """
    if _RFC_3339.fullmatch(text) is None:
        raise ValueError(f"no moment of RFC 3339: {text!r}")
    moment = datetime.fromisoformat(text)
    try:
        return moment if moment.tzinfo is UTC else moment.astimezone(UTC)
    except OverflowError as error:
        raise ValueError(f"before the year 1 or after 9999 in UTC: {text!r}") from error


def format_time(moment: datetime) -> str:
    """Return a moment as RFC 3339 in UTC."""
    return moment.astimezone(UTC).isoformat().removesuffix("+00:00") + "Z"

"""Descriptions of buckets, and the settings that change them. `jetkv.models` has them, too."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Literal, TypedDict

__all__ = [
    "BucketInfo",
    "BucketSettings",
    "BucketWarning",
    "Change",
    "Compression",
    "Placement",
    "Republish",
    "Storage",
]

Storage = Literal["file", "memory"]
Compression = Literal["none", "s2"]


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
        values: how many messages are stored, history and tombstones included; None if you may not
            read all keys.
        bytes: the size of these messages; None if you may not read all keys.
        history: how many revisions of each key are kept.
        created_at: when the bucket was created, in UTC.
        description: a text for people; may be empty.
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
    values: int | None
    bytes: int | None
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
    """The result of `ensure_bucket` or `plan_bucket`.

    Attributes:
        bucket: the bucket after the change.
        changed: the names of the changed settings, as in `BucketInfo`; for a new bucket, the names
            of all settings that you named. Empty if there was nothing to change.
        created: whether the bucket is new.
    """

    bucket: BucketInfo
    changed: tuple[str, ...]
    created: bool


class BucketSettings(TypedDict, total=False):
    """The settings of a change. A setting that is None or missing stays as it is."""

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

"""The settings of a bucket, each defined once. Pure.

`BucketSettings` is the list. Everything else that names settings is derived from it: the JSON body
and its schema, BucketInfo, `--bucket` and the TOML table, the stream's configuration, and the
comparison of an existing bucket with a requested one. docs/http-api.md describes the settings for
callers.
"""

from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields
from enum import StrEnum
from types import UnionType
from typing import Any, get_args, get_origin

from jetkv_gateway.kv.bucket_values import (
    Compression,
    Placement,
    Republish,
    Storage,
    check_metadata,
)
from jetkv_gateway.kv.errors import InvalidArgument
from jetkv_gateway.kv.keys import check_bucket

__all__ = [
    "FIELDS",
    "MAX_HISTORY",
    "NEEDS_TTLS",
    "Agreement",
    "BucketInfo",
    "BucketSettings",
    "BucketSpec",
    "BucketWarning",
    "Changeable",
    "Field",
    "Loss",
]

MAX_HISTORY = 64
NEEDS_TTLS = "invalid key_ttl: expiry_markers need it; to be without both, set both to false"
"""In NATS, markers switch TTLs of single values on."""

_MAX_TTL_SECONDS = (2**63 - 1) // 10**9
_MAX_VALUE_SIZE = 2**31 - 1 - 1024
_MAX_BYTES = 2**63 - 1


class Loss(StrEnum):
    """Which change of a setting removes stored data."""

    NEVER = "never"
    FEWER = "fewer"
    """A smaller number keeps less."""
    SHORTER = "shorter"
    """A smaller number keeps data for a shorter time; 0 means forever."""


class Changeable(StrEnum):
    """Whether NATS can change a setting of a stream that exists."""

    ALWAYS = "always"
    NEVER = "never"
    ON = "on"
    """It can be switched on, and not off again."""


class Agreement(StrEnum):
    """How far an existing bucket may differ from one requested with `exist_ok`."""

    ANY = "any"
    EQUAL = "equal"
    AT_LEAST = "at least"


@dataclass(frozen=True, slots=True)
class Field:
    """The description of one setting.

    Attributes:
        name: the name in HTTP, in the gateway's settings and in the SDK.
        type: the type of its values.
        default: the value that a create without this setting gets; None if other settings decide.
        description: the text in the OpenAPI document, including the meaning of 0 or "".
        nats: the field of the stream's configuration that stores the setting.
        low, high: the range of a number; for text, `high` is the limit in bytes.
        change: whether NATS can change the setting on an existing stream.
        loses: which change removes stored data.
        agrees: whether an existing bucket with another value is acceptable.
    """

    name: str
    type: type
    default: Any
    description: str
    nats: str
    low: int
    high: int
    change: Changeable
    loses: Loss
    agrees: Agreement

    def check(self, value: Any) -> None:
        """Check that a value is within its limits.

        Raises:
            InvalidArgument: the value is outside them; the text names the setting and the rule.
        """
        if self.type is int and not self.low <= value <= self.high:
            raise InvalidArgument(f"invalid {self.name}: must be from {self.low} to {self.high}")
        if self.type is str and len(value.encode(errors="surrogatepass")) > self.high:
            raise InvalidArgument(f"invalid {self.name}: over {self.high} bytes")
        if self.type is dict:
            check_metadata(value)
        if isinstance(value, Placement | Republish):
            value.check()


def _described(
    description: str,
    *,
    nats: str,
    low: int = 0,
    high: int = 0,
    change: Changeable = Changeable.ALWAYS,
    loses: Loss = Loss.NEVER,
    agrees: Agreement = Agreement.ANY,
) -> dict[str, Any]:
    return {
        "description": description,
        "nats": nats,
        "low": low,
        "high": high,
        "change": change,
        "loses": loses,
        "agrees": agrees,
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class BucketSettings:
    """The settings of a bucket; `FIELDS` describes each of them."""

    description: str = field(
        default="", metadata=_described("A text for people", nats="description", high=4096)
    )
    ttl_seconds: int = field(
        default=0,
        metadata=_described(
            "Seconds after which a value expires; 0 means never",
            nats="max_age",
            high=_MAX_TTL_SECONDS,
            loses=Loss.SHORTER,
            agrees=Agreement.EQUAL,
        ),
    )
    history: int = field(
        default=1,
        metadata=_described(
            "Revisions kept for each key; the default is 1",
            nats="max_msgs_per_subject",
            low=1,
            high=MAX_HISTORY,
            loses=Loss.FEWER,
            agrees=Agreement.AT_LEAST,
        ),
    )
    max_value_size: int = field(
        default=0,
        metadata=_described(
            "Largest size of a value in bytes; 0 means no limit",
            nats="max_msg_size",
            high=_MAX_VALUE_SIZE,
        ),
    )
    max_bytes: int = field(
        default=0,
        metadata=_described(
            "Largest size of the bucket in bytes; 0 means no limit",
            nats="max_bytes",
            high=_MAX_BYTES,
        ),
    )
    storage: Storage = field(
        default=Storage.FILE,
        metadata=_described(
            "Where NATS keeps the bucket; the default is file",
            nats="storage",
            change=Changeable.NEVER,
            agrees=Agreement.EQUAL,
        ),
    )
    replicas: int = field(
        default=1,
        metadata=_described(
            "Copies in a NATS cluster; the default is 1",
            nats="num_replicas",
            low=1,
            high=5,
            agrees=Agreement.AT_LEAST,
        ),
    )
    compression: Compression = field(
        default=Compression.NONE,
        metadata=_described(
            "The compression of the files of NATS; by default, `none`", nats="compression"
        ),
    )
    placement: Placement = field(
        default=Placement(),
        metadata=_described(
            "The NATS cluster, and the tags of servers, that the bucket is kept on; {} means any",
            nats="placement",
        ),
    )
    metadata: dict[str, str] = field(
        default_factory=dict,
        metadata=_described(
            "Texts of your own, by name; a change adds to those that are there", nats="metadata"
        ),
    )
    republish: Republish = field(
        default=Republish(),
        metadata=_described(
            "Where NATS publishes every stored message again; {} means nowhere", nats="republish"
        ),
    )
    expiry_markers: bool | None = field(
        default=None,
        metadata=_described(
            "Whether watchers see keys expire; the default is true on nats-server 2.11 or newer",
            nats="subject_delete_marker_ttl",
        ),
    )
    key_ttl: bool | None = field(
        default=None,
        metadata=_described(
            "Whether a value can have a TTL of its own; the default is true on nats-server 2.11 or "
            "newer. It cannot be taken away.",
            nats="allow_msg_ttl",
            change=Changeable.ON,
        ),
    )
    batches: bool | None = field(
        default=None,
        metadata=_described(
            "Whether several keys can be written as one; the default is true on nats-server 2.12 "
            "or newer",
            nats="allow_atomic",
        ),
    )
    protected: bool = field(
        default=False,
        metadata=_described(
            "Whether the bucket is kept from being deleted over this API; the default is false",
            nats="metadata",
        ),
    )


def _type_of(annotation: Any) -> type:
    # Optional only where a default depends on the server.
    origin = get_origin(annotation)
    found: type = get_args(annotation)[0] if origin is UnionType else origin or annotation
    return found


FIELDS: Mapping[str, Field] = {
    one.name: Field(
        name=one.name,
        type=_type_of(one.type),
        default={} if one.default is MISSING else one.default,
        **one.metadata,
    )
    for one in fields(BucketSettings)
}


@dataclass(frozen=True, slots=True)
class BucketSpec(BucketSettings):
    """A bucket to create.

    `expiry_markers`, `key_ttl` and `batches` None mean: where the server can. `owner` is the caller
    whose quota it counts for, or empty.

    Raises:
        InvalidBucketName: see `check_bucket`.
        InvalidArgument: a value is out of its range, or two do not go together; the text names the
            setting.
    """

    name: str
    owner: str = ""

    def __post_init__(self) -> None:
        check_bucket(self.name)
        for described in FIELDS.values():
            described.check(getattr(self, described.name))
        if self.key_ttl is False and self.expiry_markers is not False:
            raise InvalidArgument(NEEDS_TTLS)


@dataclass(frozen=True, slots=True)
class BucketWarning:
    """A guarantee that a bucket's settings weaken.

    Attributes:
        code: a stable identifier for programs.
        message: the consequence and the remedy.
    """

    code: str
    message: str


@dataclass(frozen=True, slots=True)
class BucketInfo(BucketSettings):
    """The current state of a bucket.

    Attributes:
        values: the number of stored messages, including history and tombstones.
        bytes: their size, including headers.
        created_at: RFC 3339.
        cluster: the name of the NATS cluster that holds the bucket; "" outside a cluster.
        warnings: in a fixed order.
        owner: the caller whose quota it counts for, or empty.
    """

    name: str
    values: int
    bytes: int
    created_at: str
    marker_ttl_seconds: int
    cluster: str
    warnings: tuple[BucketWarning, ...]
    owner: str = ""

"""The settings of a bucket, each defined once, and the plan of a change. Pure.

`BucketSettings` is the list. Everything else that names settings is derived from it: the JSON body
and its schema, BucketInfo, `--bucket` and the TOML table, the stream's configuration, and the
comparison of an existing bucket with a requested one. docs/http-api.md describes the settings for
callers.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from enum import StrEnum
from typing import Any, get_args

from jetkv_gateway.kv.errors import InvalidArgument
from jetkv_gateway.kv.keys import check_bucket

__all__ = [
    "FIELDS",
    "MAX_HISTORY",
    "Agreement",
    "BucketInfo",
    "BucketSettings",
    "BucketSpec",
    "BucketWarning",
    "Difference",
    "Field",
    "Loss",
    "Plan",
    "Storage",
    "plan",
]

MAX_HISTORY = 64
_MAX_TTL_SECONDS = (2**63 - 1) // 10**9
_MAX_VALUE_SIZE = 2**31 - 1 - 1024
_MAX_BYTES = 2**63 - 1


class Storage(StrEnum):
    FILE = "file"
    MEMORY = "memory"


class Loss(StrEnum):
    """Which change of a setting removes stored data."""

    NEVER = "never"
    FEWER = "fewer"
    """A smaller number keeps less."""
    SHORTER = "shorter"
    """A smaller number keeps data for a shorter time; 0 means forever."""


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
        changeable: whether NATS can change the setting on an existing stream.
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
    changeable: bool
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


def _described(
    description: str,
    *,
    nats: str,
    low: int = 0,
    high: int = 0,
    changeable: bool = True,
    loses: Loss = Loss.NEVER,
    agrees: Agreement = Agreement.ANY,
) -> dict[str, Any]:
    return {
        "description": description,
        "nats": nats,
        "low": low,
        "high": high,
        "changeable": changeable,
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
            changeable=False,
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
    expiry_markers: bool | None = field(
        default=None,
        metadata=_described(
            "Whether watchers see keys expire; the default is true with a TTL on nats-server 2.11 "
            "or newer",
            nats="subject_delete_marker_ttl",
        ),
    )


FIELDS: Mapping[str, Field] = {
    one.name: Field(
        name=one.name,
        # A type is optional only if the default depends on other settings.
        type=one.type if isinstance(one.type, type) else get_args(one.type)[0],
        default=one.default,
        **one.metadata,
    )
    for one in fields(BucketSettings)
}


@dataclass(frozen=True, slots=True)
class BucketSpec(BucketSettings):
    """A bucket to create.

    If `expiry_markers` is None, a bucket with a TTL gets markers when the server supports them.

    Raises:
        InvalidBucketName: see `check_bucket`.
        InvalidArgument: a value is out of range; the text names the setting.
    """

    name: str

    def __post_init__(self) -> None:
        check_bucket(self.name)
        for described in FIELDS.values():
            described.check(getattr(self, described.name))
        if self.expiry_markers and not self.ttl_seconds:
            raise InvalidArgument("invalid expiry_markers: they need a bucket with ttl_seconds")


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
    """

    name: str
    values: int
    bytes: int
    created_at: str
    cluster: str
    warnings: tuple[BucketWarning, ...]


@dataclass(frozen=True, slots=True)
class Difference:
    """The current and the wanted value of a setting."""

    current: Any
    wanted: Any


@dataclass(frozen=True, slots=True)
class Plan:
    """The changes that give a bucket the wanted settings, by name of the setting.

    Attributes:
        changes: every difference, including those in `losses` and `impossible`.
        losses: changes that may remove stored data.
        impossible: changes that NATS cannot make on an existing stream.
    """

    changes: Mapping[str, Difference]
    losses: Mapping[str, Difference]
    impossible: Mapping[str, Difference]


def plan(current: BucketSettings, wanted: Mapping[str, Any]) -> Plan:
    """Compare the current settings of a bucket with the wanted ones.

    Args:
        wanted: values by name; a setting that is missing or None keeps its current value.
    """
    changes: dict[str, Difference] = {}
    losses: dict[str, Difference] = {}
    impossible: dict[str, Difference] = {}
    for name, described in FIELDS.items():
        old, new = getattr(current, name), wanted.get(name)
        if new is None or new == old:
            continue
        difference = changes[name] = Difference(old, new)
        if not described.changeable:
            impossible[name] = difference
        elif _loses(described.loses, old, new):
            losses[name] = difference
    return Plan(changes, losses, impossible)


def _loses(loss: Loss, old: int, new: int) -> bool:
    if loss is Loss.FEWER:
        return new < old
    if loss is Loss.SHORTER:
        return new > 0 and (old == 0 or new < old)
    return False

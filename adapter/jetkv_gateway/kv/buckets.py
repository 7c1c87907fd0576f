"""The settings of a bucket, each written down once, and the plan of a change. Pure.

`BucketSettings` is the list. What else names the settings is made from it: the body of a create and
its schema, a bucket's description, `--bucket` and the TOML table, the stream's configuration, and
the comparison of a bucket that exists with one that is asked for. docs/http-api.md describes them
for callers.
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
    """Which change of a setting removes what is stored."""

    NEVER = "never"
    FEWER = "fewer"
    """A smaller number keeps less."""
    SHORTER = "shorter"
    """A smaller number keeps it for less long; 0 means for ever."""


class Agreement(StrEnum):
    """How far a bucket that exists may differ from one that is asked for with `exist_ok`."""

    ANY = "any"
    EQUAL = "equal"
    AT_LEAST = "at least"


@dataclass(frozen=True, slots=True)
class Field:
    """What is true of one setting.

    Attributes:
        name: in HTTP, in settings and in the SDK.
        type: of its values.
        default: what a create without it gets; None where that depends on the others.
        description: for the API's document; what it means, and what 0 or empty means.
        nats: the field of the stream's configuration that holds it.
        low, high: of a number; `high` of a text is its bytes.
        changeable: whether NATS can change it on a stream that exists.
        loses: which change removes what is stored.
        agrees: whether a bucket that exists will do where this was asked for.
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
        """Make sure that a value is within its limits.

        Raises:
            InvalidArgument: it is not; the text names the setting and the rule.
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
    """The settings. The rest of what is true of each is in `FIELDS`."""

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
        # Optional only where a default depends on the others.
        type=one.type if isinstance(one.type, type) else get_args(one.type)[0],
        default=one.default,
        **one.metadata,
    )
    for one in fields(BucketSettings)
}


@dataclass(frozen=True, slots=True)
class BucketSpec(BucketSettings):
    """A bucket to be created.

    `expiry_markers` None means: where there is a TTL and the server can.

    Raises:
        InvalidBucketName: see `check_bucket`.
        InvalidArgument: a value is out of its range; the text names the setting.
    """

    name: str

    def __post_init__(self) -> None:
        check_bucket(self.name)
        for described in FIELDS.values():
            described.check(getattr(self, described.name))
        if self.expiry_markers and not self.ttl_seconds:
            raise InvalidArgument("invalid expiry_markers: only a bucket with ttl_seconds has them")


@dataclass(frozen=True, slots=True)
class BucketWarning:
    """What a bucket's settings promise less than its callers may think.

    Attributes:
        code: for programs; it stays as it is.
        message: what it means and what to do about it.
    """

    code: str
    message: str


@dataclass(frozen=True, slots=True)
class BucketInfo(BucketSettings):
    """A bucket as it stands.

    Attributes:
        values: stored messages, history and tombstones included.
        bytes: their size, headers included.
        created_at: RFC 3339.
        cluster: of NATS, in which it lives; "" on a server that is in none.
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
    """A setting as it stands, and as it is wanted."""

    current: Any
    wanted: Any


@dataclass(frozen=True, slots=True)
class Plan:
    """What it takes to give a bucket the wanted settings, by name.

    Attributes:
        changes: all that differ, those below among them.
        losses: changes that may remove what is stored.
        impossible: changes that NATS cannot make on a stream that exists.
    """

    changes: Mapping[str, Difference]
    losses: Mapping[str, Difference]
    impossible: Mapping[str, Difference]


def plan(current: BucketSettings, wanted: Mapping[str, Any]) -> Plan:
    """Compare a bucket as it stands with the settings that are wanted.

    Args:
        wanted: the settings that are named; what is not named, or None, stays as it is.
    """
    changes: dict[str, Difference] = {}
    losses: dict[str, Difference] = {}
    impossible: dict[str, Difference] = {}
    for name, described in FIELDS.items():
        stands, asked = getattr(current, name), wanted.get(name)
        if asked is None or asked == stands:
            continue
        difference = changes[name] = Difference(stands, asked)
        if not described.changeable:
            impossible[name] = difference
        elif _loses(described.loses, stands, asked):
            losses[name] = difference
    return Plan(changes, losses, impossible)


def _loses(loss: Loss, stands: int, asked: int) -> bool:
    if loss is Loss.FEWER:
        return asked < stands
    if loss is Loss.SHORTER:
        return asked > 0 and (stands == 0 or asked < stands)
    return False

"""The plan of a change: a bucket as it stands, compared with the settings that are wanted. Pure.

    current, wanted → plan → changes, of which some may lose what is stored, and some are impossible

Whoever makes the change asks the server which of the losses are real: less history loses nothing
where no key has more.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from jetkv_gateway.kv.buckets import (
    FIELDS,
    NEEDS_TTLS,
    BucketInfo,
    BucketSettings,
    BucketSpec,
    Changeable,
    Loss,
)
from jetkv_gateway.kv.errors import InvalidArgument

__all__ = ["BucketChange", "Changed", "Difference", "Plan", "plan"]


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


@dataclass(frozen=True, slots=True)
class BucketChange:
    """What a PUT or PATCH of a bucket asks for.

    Attributes:
        name: of the bucket.
        wanted: the settings that are named; in `metadata`, None removes a key.
        create: whether a bucket that does not exist is created.
        allow_data_loss: whether stored data may go.
        dry_run: whether nothing is to be done.

    Raises:
        InvalidBucketName: see `check_bucket`.
        InvalidArgument: a value is out of its range; the text names the setting.
    """

    name: str
    wanted: Mapping[str, Any]
    create: bool = False
    allow_data_loss: bool = False
    dry_run: bool = False

    def __post_init__(self) -> None:
        for name, value in self.wanted.items():
            FIELDS[name].check(value)

    @property
    def spec(self) -> BucketSpec:
        """The bucket to be created where there is none."""
        metadata = self.wanted.get("metadata", {})
        kept = {key: text for key, text in metadata.items() if text is not None}
        return BucketSpec(name=self.name, **{**self.wanted, "metadata": kept})


@dataclass(frozen=True, slots=True)
class Changed:
    """What became of a `BucketChange`.

    Attributes:
        info: the bucket; of a dry run, as it would be.
        changed: the settings that were changed, by name; of a new bucket, those that were named.
        created: whether there was none before.
    """

    info: BucketInfo
    changed: tuple[str, ...]
    created: bool


def plan(current: BucketSettings, wanted: Mapping[str, Any]) -> Plan:
    """Compare a bucket as it stands with the settings that are wanted.

    Args:
        wanted: the settings that are named; what is not named, or None, stays as it is. `metadata`
            are merged: None removes a key.

    Raises:
        InvalidArgument: two settings would not go together.
    """
    changes: dict[str, Difference] = {}
    losses: dict[str, Difference] = {}
    impossible: dict[str, Difference] = {}
    for name, asked in _whole(current, wanted).items():
        described, stands = FIELDS[name], getattr(current, name)
        if asked == stands:
            continue
        difference = changes[name] = Difference(stands, asked)
        if described.change is Changeable.NEVER or (
            described.change is Changeable.ON and not asked
        ):
            impossible[name] = difference
        elif _may_lose(described.loses, stands, asked):
            losses[name] = difference
    return Plan(changes, losses, impossible)


def _whole(current: BucketSettings, wanted: Mapping[str, Any]) -> dict[str, Any]:
    """Return what is wanted, with what follows from it."""
    asked = {name: wanted[name] for name in FIELDS if wanted.get(name) is not None}
    if "metadata" in asked:
        merged = {**current.metadata, **asked["metadata"]}
        asked["metadata"] = {key: text for key, text in merged.items() if text is not None}
    if asked.get("expiry_markers", current.expiry_markers):
        if asked.get("key_ttl") is False:
            raise InvalidArgument(NEEDS_TTLS)
        if "expiry_markers" in asked:
            asked["key_ttl"] = True
    return asked


def _may_lose(loss: Loss, stands: int, asked: int) -> bool:
    if loss is Loss.FEWER:
        return asked < stands
    if loss is Loss.SHORTER:
        return asked > 0 and (stands == 0 or asked < stands)
    return False

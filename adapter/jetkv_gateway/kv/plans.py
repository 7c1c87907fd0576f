"""The plan of a change of a bucket: its current settings compared with the wanted ones. Pure.

    current, wanted → plan → changes, of which some may lose data and some are impossible

The caller asks the server which losses are real: less history loses nothing if no key has more
revisions.
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


@dataclass(frozen=True, slots=True)
class BucketChange:
    """A PUT or PATCH of a bucket.

    Attributes:
        name: of the bucket.
        wanted: the settings in the request; in `metadata`, None removes a key.
        create: whether to create the bucket if it does not exist.
        allow_data_loss: whether the change may remove stored data.
        dry_run: whether to change nothing.
        owner: of a new bucket, as in `BucketSpec`.

    Raises:
        InvalidBucketName: see `check_bucket`.
        InvalidArgument: a value is out of range; the text names the setting.
    """

    name: str
    wanted: Mapping[str, Any]
    create: bool = False
    allow_data_loss: bool = False
    dry_run: bool = False
    owner: str = ""

    def __post_init__(self) -> None:
        for name, value in self.wanted.items():
            FIELDS[name].check(value)

    @property
    def spec(self) -> BucketSpec:
        """The bucket to create if it does not exist."""
        metadata = self.wanted.get("metadata", {})
        kept = {key: text for key, text in metadata.items() if text is not None}
        return BucketSpec(name=self.name, owner=self.owner, **{**self.wanted, "metadata": kept})


@dataclass(frozen=True, slots=True)
class Changed:
    """The result of a `BucketChange`.

    Attributes:
        info: the bucket; for a dry run, as it would be.
        changed: the names of the changed settings; for a new bucket, those in the request.
        created: whether the bucket is new.
    """

    info: BucketInfo
    changed: tuple[str, ...]
    created: bool


def plan(current: BucketSettings, wanted: Mapping[str, Any]) -> Plan:
    """Compare the current settings of a bucket with the wanted ones.

    Args:
        wanted: values by name; a setting that is missing or None keeps its current value.
            `metadata` is merged: None removes a key.

    Raises:
        InvalidArgument: two settings exclude each other.
    """
    changes: dict[str, Difference] = {}
    losses: dict[str, Difference] = {}
    impossible: dict[str, Difference] = {}
    for name, new in _whole(current, wanted).items():
        described, old = FIELDS[name], getattr(current, name)
        if new == old:
            continue
        difference = changes[name] = Difference(old, new)
        if described.change is Changeable.NEVER or (described.change is Changeable.ON and not new):
            impossible[name] = difference
        elif _may_lose(described.loses, old, new):
            losses[name] = difference
    return Plan(changes, losses, impossible)


def _whole(current: BucketSettings, wanted: Mapping[str, Any]) -> dict[str, Any]:
    """Return the wanted settings, with those that follow from them."""
    new = {name: wanted[name] for name in FIELDS if wanted.get(name) is not None}
    if "metadata" in new:
        merged = {**current.metadata, **new["metadata"]}
        new["metadata"] = {key: text for key, text in merged.items() if text is not None}
    if new.get("expiry_markers", current.expiry_markers):
        if new.get("key_ttl") is False:
            raise InvalidArgument(NEEDS_TTLS)
        if "expiry_markers" in new:
            new["key_ttl"] = True
    return new


def _may_lose(loss: Loss, old: int, new: int) -> bool:
    if loss is Loss.FEWER:
        return new < old
    if loss is Loss.SHORTER:
        return new > 0 and (old == 0 or new < old)
    return False

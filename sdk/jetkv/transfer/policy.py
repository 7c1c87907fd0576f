"""What becomes of an entry in the bucket that it is written to. Pure."""

import math
from base64 import b64decode
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from jetkv.errors import BucketUnsuitableError
from jetkv.models import BucketInfo, Entry, parse_time
from jetkv.transfer.format import Item

__all__ = ["Counts", "Load", "Policy", "Rules", "Ttl", "Verdict", "require", "same_value"]


class Policy(StrEnum):
    """What to do with a key that has another value already."""

    FAIL = "fail"
    SKIP = "skip"
    OVERWRITE = "overwrite"
    IF_NEWER = "if-newer"


class Ttl(StrEnum):
    """How long a value that expires lives in the new bucket."""

    REMAINING = "remaining"
    FULL = "full"
    DROP = "drop"


class Verdict(StrEnum):
    """What becomes of an entry, beside a write."""

    UNCHANGED = "unchanged"
    KEPT = "kept"
    CONFLICT = "conflict"


@dataclass(slots=True)
class Counts:
    """What became of entries.

    Attributes:
        written: entries that were written, tombstones too.
        unchanged: keys that had the same value already.
        kept: entries that were left out, because the key has another value.
        expired: entries that were left out, because they have expired.
    """

    written: int = 0
    unchanged: int = 0
    kept: int = 0
    expired: int = 0

    def add(self, other: "Counts") -> None:
        self.written += other.written
        self.unchanged += other.unchanged
        self.kept += other.kept
        self.expired += other.expired

    @property
    def total(self) -> int:
        return self.written + self.unchanged + self.kept + self.expired


@dataclass(frozen=True, slots=True)
class Load:
    """What is to be written, as far as it is known before.

    Attributes:
        from_history: how many revisions of a key the source keeps; 1 if only the newest one comes.
        expiring: how many entries expire; None if that is not known.
        lasting: how many do not; None if that is not known.
        largest: the size of the largest value in bytes; None if that is not known.
    """

    from_history: int
    expiring: int | None = None
    lasting: int | None = None
    largest: int | None = None


def require(target: BucketInfo, load: Load, ttl: Ttl) -> None:
    """Check that a bucket can take what is to be written.

    Raises:
        BucketUnsuitableError: its settings do not allow it. The text says what to do.
    """
    name = target.name
    if load.from_history > target.history:
        raise BucketUnsuitableError(
            f"{name} keeps {target.history} revisions of a key, and up to {load.from_history} come",
            hint=f"`jetkv bucket set {name} --history {load.from_history}`, or leave out --history "
            "where you export or copy",
        )
    limit = target.max_value_size
    if load.largest is not None and limit is not None and load.largest > limit:
        raise BucketUnsuitableError(
            f"{name} takes values of up to {limit:,} bytes, and the largest has {load.largest:,}",
            hint=f"`jetkv bucket set {name} --max-value-size {load.largest}`",
        )
    own_ttls = bool(load.expiring) or bool(target.ttl is not None and load.lasting)
    if ttl is Ttl.DROP or not own_ttls:
        return
    if not target.key_ttl:
        raise BucketUnsuitableError(
            f"values in {name} cannot have a TTL of their own",
            hint="--ttl drop gives them the TTL of the bucket",
        )
    if target.history > 1:
        raise BucketUnsuitableError(
            f"{name} keeps a history, so values in it cannot have a TTL of their own",
            hint="--ttl drop gives them the TTL of the bucket; or use a bucket with a history of 1",
        )


def same_value(item: Item, current: Entry[bytes]) -> bool:
    """Return whether a key has the value of an entry, byte for byte."""
    return item["operation"] == "put" and b64decode(item["value"]) == current.raw


@dataclass(frozen=True, slots=True)
class Rules:
    """The rules of one transfer.

    Attributes:
        policy: for keys that have another value.
        ttl: for values that expire.
        bucket_ttl: the TTL of the bucket that is written to, in seconds; 0 for none.
        own_ttls: whether values of that bucket can have a TTL of their own.
    """

    policy: Policy
    ttl: Ttl
    bucket_ttl: int = 0
    own_ttls: bool = True

    @classmethod
    def of(cls, policy: Policy, ttl: Ttl, target: BucketInfo) -> "Rules":
        seconds = 0 if target.ttl is None else math.ceil(target.ttl.total_seconds())
        return cls(policy, ttl, seconds, target.key_ttl)

    def op(self, item: Item, now: datetime) -> dict[str, Any] | None:
        """Return the op of a batch that writes an entry, or None if it has expired."""
        if item["operation"] != "put":
            return {"op": item["operation"], "key": item["key"]}
        op: dict[str, Any] = {"op": "put", "key": item["key"], "value": item["value"]}
        if "content_type" in item:
            op["content_type"] = item["content_type"]
        seconds: int | str | None = None
        if "expires_at" in item:
            expires = parse_time(item["expires_at"])
            left = math.ceil((expires - now).total_seconds())
            if left <= 0:
                return None
            if self.ttl is Ttl.FULL:
                # What the gateway says is right to a second.
                left = max(1, round((expires - parse_time(item["created_at"])).total_seconds()))
            if not self.bucket_ttl or left < self.bucket_ttl:
                seconds = left
        elif self.bucket_ttl and self.own_ttls:
            seconds = "never"
        if seconds is not None and self.ttl is not Ttl.DROP:
            op["ttl_seconds"] = seconds
        return op

    def judge(
        self, item: Item, current: Entry[bytes] | None, *, ours: bool
    ) -> tuple[Verdict | None, int]:
        """Return what becomes of an entry: None and the revision to replace, or a verdict.

        Args:
            item: the entry.
            current: the live value of its key, or None.
            ours: whether this transfer has written that value.
        """
        if current is None:
            return (None, 0) if item["operation"] == "put" else (Verdict.UNCHANGED, 0)
        if ours or self.policy is Policy.OVERWRITE:
            return None, current.revision
        if same_value(item, current):
            return Verdict.UNCHANGED, 0
        if self.policy is Policy.IF_NEWER and parse_time(item["created_at"]) > current.created_at:
            return None, current.revision
        return (Verdict.CONFLICT if self.policy is Policy.FAIL else Verdict.KEPT), 0

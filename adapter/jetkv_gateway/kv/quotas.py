"""How much one caller may store: the buckets that it creates, and their bytes. Pure.

The bytes of a bucket are its `max_bytes`, which NATS enforces. So a quota costs nothing when values
are written. A bucket belongs to the caller that created it under a quota. Its stream's metadata has
the caller's name (`jetkv.owner`).
"""

from collections.abc import Iterable
from dataclasses import dataclass

from jetkv_gateway.kv.buckets import BucketInfo
from jetkv_gateway.kv.errors import InvalidArgument, QuotaExceeded

__all__ = ["Quota", "check_buckets", "check_bytes"]


@dataclass(frozen=True, slots=True)
class Quota:
    """The quota of a caller. None means no limit.

    Attributes:
        buckets: that it may have.
        bytes: the sum of their `max_bytes`.
    """

    buckets: int | None = None
    bytes: int | None = None


def check_buckets(quota: Quota, owner: str, buckets: Iterable[BucketInfo]) -> None:
    """Check that a caller may have one more bucket.

    Args:
        buckets: all that exist.

    Raises:
        QuotaExceeded
    """
    owned = sum(one.owner == owner for one in buckets)
    if quota.buckets is not None and owned >= quota.buckets:
        error = QuotaExceeded(f"quota exceeded: {owned} of {quota.buckets} buckets")
        error.hint = "delete a bucket, or ask for a larger quota"
        raise error


def check_bytes(
    quota: Quota, owner: str, buckets: Iterable[BucketInfo], name: str, max_bytes: int
) -> None:
    """Check that a bucket of a caller may have a limit of bytes.

    Args:
        buckets: all that exist.
        name: of the bucket, which may exist.
        max_bytes: its limit, 0 for none.

    Raises:
        InvalidArgument: it has no limit.
        QuotaExceeded
    """
    if quota.bytes is None:
        return
    if not max_bytes:
        raise InvalidArgument(
            "invalid max_bytes: this token has a quota of bytes, so a bucket needs a limit",
            hint=f"the quota is {quota.bytes}",
        )
    taken = sum(one.max_bytes for one in buckets if one.owner == owner and one.name != name)
    if taken + max_bytes > quota.bytes:
        error = QuotaExceeded(f"quota exceeded: {taken} of {quota.bytes} bytes are taken")
        error.hint = "choose a smaller max_bytes, delete a bucket, or ask for a larger quota"
        error.details = {"limit_bytes": quota.bytes, "taken_bytes": taken}
        raise error

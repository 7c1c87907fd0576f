"""Decides what a caller may do: one pure function that every route asks.

Today a known caller may do everything.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

__all__ = ["ANONYMOUS", "Decision", "Policy", "Principal", "Verb", "full_access"]


class Verb(StrEnum):
    """What a caller wants to do. The text of a 403 contains these words."""

    READ = "read"
    WRITE = "write"
    DELETE = "delete"
    BATCH = "batch"
    """This is checked for the bucket first; then each item of the batch is checked by its own verb
    and key."""

    LIST_KEYS = "list keys"
    WATCH = "watch"
    LIST_BUCKETS = "list buckets"
    CREATE_BUCKET = "create bucket"
    CHANGE_BUCKET = "change bucket"
    DELETE_BUCKET = "delete bucket"
    BUCKET_INFO = "bucket info"
    API_DESCRIPTION = "api description"
    METRICS = "metrics"


@dataclass(frozen=True, slots=True)
class Principal:
    """A caller by name, and how it proved that name ("none" with auth off)."""

    name: str
    method: str


ANONYMOUS = Principal("anonymous", "none")

Decision = bool
Policy = Callable[[Principal, Verb, str | None, str | None], Decision]
"""(principal, verb, bucket, key) → allowed. Bucket and key are None if the verb has none."""


def full_access(
    _principal: Principal, _verb: Verb, _bucket: str | None, _key: str | None
) -> Decision:
    """Allow every known caller everything."""
    return True

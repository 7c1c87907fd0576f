"""The NATS names of a bucket, and subject filters for its messages. Pure."""

from dataclasses import dataclass
from functools import lru_cache

from jetkv_gateway.jetstream.api import Naming
from jetkv_gateway.kv.filters import covers, disjoint
from jetkv_gateway.kv.keys import check_bucket
from jetkv_gateway.kv.store import NewestRevision

__all__ = ["BucketNames", "filters_including", "names_of"]

_NO_TEXT = "\ufffd"


@dataclass(frozen=True, slots=True)
class BucketNames:
    """The NATS names of one bucket. Append a key's tokens to the prefixes."""

    bucket: str
    stream: str
    subject_prefix: str
    publish_prefix: str
    get: str
    direct: bytes
    stream_name: bytes


@lru_cache(maxsize=4096)
def names_of(naming: Naming, bucket: str) -> BucketNames:
    """Return a bucket's names.

    Raises:
        InvalidBucketName
    """
    check_bucket(bucket)
    stream = naming.stream(bucket)
    return BucketNames(
        bucket=bucket,
        stream=stream,
        subject_prefix=naming.subject(bucket, ""),
        publish_prefix=naming.publish_subject(bucket, ""),
        get=f"STREAM.MSG.GET.{stream}",
        direct=f"{naming.api}DIRECT.GET.{stream}".encode(),
        stream_name=stream.encode(),
    )


def filters_including(subjects: tuple[str, ...], newest: NewestRevision) -> tuple[str, ...]:
    """Return subject filters that also match the subject of `newest`.

    `BucketCache.newest` explains why. The filters have no bucket prefix, and no two overlap.
    """
    if any(covers(subject, newest.tokens) for subject in subjects):
        return subjects
    if _NO_TEXT in newest.tokens:
        # JSON replaces invalid bytes, so no filter can name this subject exactly.
        tokens = newest.tokens.split(".")
        return disjoint((*subjects, ".".join("*" if _NO_TEXT in part else part for part in tokens)))
    return (*subjects, newest.tokens)

"""What a bucket is called in NATS, and subject filters for its messages. Pure."""

from dataclasses import dataclass
from functools import lru_cache

from jetkv_gateway.jetstream.api import Naming
from jetkv_gateway.kv.filters import covers, disjoint
from jetkv_gateway.kv.keys import check_bucket
from jetkv_gateway.kv.store import Newest

__all__ = ["BucketNames", "names_of", "passing"]

_NO_TEXT = "\ufffd"


@dataclass(frozen=True, slots=True)
class BucketNames:
    """The names of one bucket in NATS; key tokens go behind the prefixes."""

    bucket: str
    stream: str
    stored: str
    written: str
    get: str
    direct: bytes
    stream_bytes: bytes


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
        stored=naming.stored(bucket, ""),
        written=naming.written(bucket, ""),
        get=f"STREAM.MSG.GET.{stream}",
        direct=f"{naming.api}DIRECT.GET.{stream}".encode(),
        stream_bytes=stream.encode(),
    )


def passing(subjects: tuple[str, ...], newest: Newest) -> tuple[str, ...]:
    """Return subject filters that pass the subject of `newest`, too; see `KnownBuckets.newest`.

    Args:
        subjects: without the bucket's prefix, none overlapping another; so are those returned.
    """
    if any(covers(subject, newest.tokens) for subject in subjects):
        return subjects
    if _NO_TEXT in newest.tokens:
        # JSON does not say which bytes they were, so that no filter could name them.
        tokens = newest.tokens.split(".")
        return disjoint((*subjects, ".".join("*" if _NO_TEXT in part else part for part in tokens)))
    return (*subjects, newest.tokens)

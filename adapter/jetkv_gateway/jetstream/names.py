"""The NATS names of a bucket, and subject filters for its messages. Pure."""

from dataclasses import dataclass
from functools import lru_cache

from jetkv_gateway.jetstream.api import Naming, get_last
from jetkv_gateway.jetstream.headers import direct_start
from jetkv_gateway.kv.filters import covers, disjoint
from jetkv_gateway.kv.keys import check_bucket
from jetkv_gateway.kv.store import NewestRevision

__all__ = ["BucketNames", "KeyNames", "filters_including", "key_names_of", "names_of"]

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


@dataclass(frozen=True, slots=True)
class KeyNames:
    """The NATS names of one key, and what each read of its newest value sends and expects.

    Attributes:
        bucket: the names of its bucket.
        subject: of its messages.
        subject_bytes: the same.
        publish: the subject to publish to.
        newest: the query for its newest message.
        direct: how the answer to a direct get of such a message goes on; see `read_direct_of`.
    """

    bucket: BucketNames
    subject: str
    subject_bytes: bytes
    publish: bytes
    newest: bytes
    direct: bytes


@lru_cache(maxsize=4096)
def key_names_of(naming: Naming, bucket: str, tokens: str) -> KeyNames:
    """Return a key's names. They are kept, since most requests are for few keys.

    Args:
        tokens: the key as NATS stores it.

    Raises:
        InvalidBucketName
    """
    names = names_of(naming, bucket)
    subject = names.subject_prefix + tokens
    return KeyNames(
        bucket=names,
        subject=subject,
        subject_bytes=subject.encode(),
        publish=(names.publish_prefix + tokens).encode(),
        newest=get_last(subject),
        direct=direct_start(names.stream_name, subject.encode()),
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

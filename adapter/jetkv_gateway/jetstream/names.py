"""The NATS names of a bucket, and subject filters for its messages. Pure."""

from dataclasses import dataclass
from functools import lru_cache

from jetkv_gateway.jetstream.api import Naming, get_last
from jetkv_gateway.kv.filters import covers, disjoint
from jetkv_gateway.kv.kept import make_room
from jetkv_gateway.kv.keys import check_bucket
from jetkv_gateway.kv.model import Entry
from jetkv_gateway.kv.store import NewestRevision

__all__ = [
    "BucketNames",
    "Found",
    "KeyNames",
    "Told",
    "filters_including",
    "kept_key_names",
    "key_names_of",
    "names_of",
]

_NO_TEXT = "\ufffd"


@dataclass(frozen=True, slots=True, eq=False)
class BucketNames:
    """The NATS names of one bucket. Append a key's tokens to the prefixes.

    Instances compare by identity, because they are part of a cache key on the hot path.
    """

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


Found = tuple[Entry, bytes | None]
"""What an answer to a direct read says about its message: the entry, and the stored block if there
may be a TTL in it."""

Told = tuple[bytes, Found]
"""The block of an answer, and what it says; the entry has no value if there is too much to keep."""


@dataclass(slots=True)
class KeyNames:
    """The NATS names of one key, and what a read of its newest value sends. Only `told` changes.

    It is not frozen, since making a frozen one takes three times as long.

    Attributes:
        bucket: the names of its bucket.
        subject: of its messages.
        subject_bytes: the same.
        publish: the subject to publish to.
        newest: the query for its newest message.
        told: the last answer to a direct read. `DirectReads` keeps it here, so that one bound holds
            for the connections of all callers together.
    """

    bucket: BucketNames
    subject: str
    subject_bytes: bytes
    publish: bytes
    newest: bytes
    told: Told | None = None


kept_key_names: dict[tuple[BucketNames, str], KeyNames] = {}
"""By the names of the bucket and the key as NATS stores it. Only `key_names_of` adds to it."""


def key_names_of(naming: Naming, bucket: str, tokens: str) -> KeyNames:
    """Return a key's names.

    They are kept, since most requests are for few keys.

    Args:
        tokens: the key as NATS stores it.

    Raises:
        InvalidBucketName
    """
    names = names_of(naming, bucket)
    found = kept_key_names.get((names, tokens))
    if found is not None:
        return found
    subject = names.subject_prefix + tokens
    subject_bytes = publish = subject.encode()
    if names.publish_prefix != names.subject_prefix:
        publish = (names.publish_prefix + tokens).encode()
    found = KeyNames(names, subject, subject_bytes, publish, get_last(subject))
    make_room(kept_key_names)
    kept_key_names[names, tokens] = found
    return found


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

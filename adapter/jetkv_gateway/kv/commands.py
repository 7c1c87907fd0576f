"""The operations on keys and buckets, as values. Pure.

Each request becomes one command. `of` validates it once; then HTTP passes it unchanged to
JetStream, so every layer works with the same operation.
"""

from enum import StrEnum
from functools import lru_cache
from typing import NamedTuple

from jetkv_gateway.kv.cursors import Cursor, CursorScope
from jetkv_gateway.kv.filters import EVERYTHING, Filter
from jetkv_gateway.kv.idempotency import Idempotency
from jetkv_gateway.kv.keys import check_bucket, encode
from jetkv_gateway.kv.model import Consistency, Operation

__all__ = [
    "Compact",
    "Delete",
    "DeleteKeys",
    "Get",
    "History",
    "Include",
    "ListKeys",
    "ListPage",
    "Put",
    "ReadKeys",
    "Touch",
    "Touched",
    "Write",
]

_bucket = lru_cache(maxsize=4096)(check_bucket)

# Calling this directly skips the named tuple's Python constructor, which costs time per request.
_new = tuple.__new__

# Looked up once: of a class, that takes as long as a call.
_identify, _PUT = Idempotency.of, Operation.PUT


class Get(NamedTuple):
    """Read a key: its live value, or one of its revisions.

    Attributes:
        tokens: the key as NATS stores it.
        revision: the revision to read; None for the newest.
    """

    bucket: str
    key: str
    tokens: str
    revision: int | None = None
    consistency: Consistency = Consistency.STRONG

    @classmethod
    def of(
        cls,
        bucket: str,
        key: str,
        *,
        revision: int | None = None,
        consistency: Consistency = Consistency.STRONG,
    ) -> "Get":
        """Return the command.

        Raises:
            InvalidBucketName, InvalidArgument: the bucket name or the key is invalid.
        """
        return _new(cls, (_bucket(bucket), key, encode(key), revision, consistency))


class Put(NamedTuple):
    """Store a value.

    Attributes:
        tokens: the key as NATS stores it.
        content_type, content_encoding: stored with the value; None to store nothing.
        expected: the revision that the key must have; `MUST_NOT_EXIST` for a create, None for any.
        identity: identifies retries; None if the caller sent no idempotency key.
        ttl: in seconds, or `NEVER`; None leaves the value the bucket's TTL.
        rolls_up: whether the write removes all that is stored of the key.
    """

    bucket: str
    key: str
    tokens: str
    value: bytes
    content_type: str | None = None
    content_encoding: str | None = None
    expected: int | None = None
    identity: Idempotency | None = None
    ttl: int | None = None
    rolls_up: bool = False

    @classmethod
    def of(
        cls,
        bucket: str,
        key: str,
        value: bytes,
        *,
        content_type: str | None = None,
        content_encoding: str | None = None,
        expected: int | None = None,
        idempotency_key: str | None = None,
        ttl: int | None = None,
    ) -> "Put":
        """Return the command.

        Raises:
            InvalidBucketName, InvalidArgument: the bucket name or the key is invalid.
        """
        tokens = encode(key)
        identity = None
        if idempotency_key is not None:
            # By place: arguments with names cost half as much as the digests.
            identity = _identify(
                idempotency_key,
                bucket,
                key,
                _PUT,
                value,
                content_type,
                content_encoding,
                expected,
                ttl,
            )
        name, coding = _bucket(bucket), content_encoding
        fields = (name, key, tokens, value, content_type, coding, expected, identity, ttl, False)
        return _new(cls, fields)

    @property
    def operation(self) -> Operation:
        return Operation.PUT


class Delete(NamedTuple):
    """Write a tombstone; with `purge`, remove the key's history too.

    Attributes:
        tokens: the key as NATS stores it.
        expected: the revision that the live value must have; None for any.
        identity: identifies retries; None if the caller sent no idempotency key.
    """

    bucket: str
    key: str
    tokens: str
    purge: bool = False
    expected: int | None = None
    identity: Idempotency | None = None

    @classmethod
    def of(
        cls,
        bucket: str,
        key: str,
        *,
        purge: bool = False,
        expected: int | None = None,
        idempotency_key: str | None = None,
    ) -> "Delete":
        """Return the command.

        Raises:
            InvalidBucketName, InvalidArgument: the bucket name or the key is invalid.
        """
        tokens = encode(key)
        identity = None
        if idempotency_key is not None:
            identity = Idempotency.of(
                idempotency_key,
                bucket=bucket,
                key=key,
                operation=Operation.PURGE if purge else Operation.DELETE,
                expected=expected,
            )
        return _new(cls, (_bucket(bucket), key, tokens, purge, expected, identity))

    @property
    def operation(self) -> Operation:
        return Operation.PURGE if self.purge else Operation.DELETE

    @property
    def value(self) -> bytes:
        return b""

    @property
    def content_type(self) -> None:
        return None

    @property
    def content_encoding(self) -> None:
        return None


class Touch(NamedTuple):
    """Renew the TTL of a live value, without another change.

    Attributes:
        tokens: the key as NATS stores it.
        ttl: seconds, or `NEVER`; None for the TTL that the value has.
        expected: the revision that the value must have, None for any.
        identity: identifies retries; None if the caller sent no idempotency key.
    """

    bucket: str
    key: str
    tokens: str
    ttl: int | None = None
    expected: int | None = None
    identity: Idempotency | None = None

    @classmethod
    def of(
        cls,
        bucket: str,
        key: str,
        *,
        ttl: int | None = None,
        expected: int | None = None,
        idempotency_key: str | None = None,
    ) -> "Touch":
        """Return the command.

        Raises:
            InvalidBucketName, InvalidArgument: a name breaks its rule.
        """
        tokens = encode(key)
        identity = None
        if idempotency_key is not None:
            identity = Idempotency.of(
                idempotency_key,
                bucket=bucket,
                key=key,
                operation="touch",
                expected=expected,
                ttl=ttl,
            )
        return cls(_bucket(bucket), key, tokens, ttl, expected, identity)


class Touched(NamedTuple):
    """What a touch has done.

    Attributes:
        revision: of the renewed value.
        expires_at: RFC 3339, right to a second; None where the value does not expire.
    """

    revision: int
    expires_at: str | None


Write = Put | Delete
"""A command that changes a key."""


class History(NamedTuple):
    """Read all stored revisions of a key. `tokens` is the key as NATS stores it."""

    bucket: str
    key: str
    tokens: str

    @classmethod
    def of(cls, bucket: str, key: str) -> "History":
        """Return the command.

        Raises:
            InvalidBucketName, InvalidArgument: the bucket name or the key is invalid.
        """
        return cls(_bucket(bucket), key, encode(key))


class ListKeys(NamedTuple):
    """List the live keys that match a filter."""

    bucket: str
    key_filter: Filter = EVERYTHING


class Include(StrEnum):
    """What a listing returns for each key."""

    KEYS = "keys"
    META = "meta"
    VALUES = "values"
    HISTORY = "history"


class ListPage(NamedTuple):
    """List the live keys that match a filter, sorted, from a cursor on.

    Attributes:
        limit: the largest number of keys; None for all of them.
        cursor: where the page begins; None for the first page.
    """

    bucket: str
    key_filter: Filter
    include: Include
    limit: int | None = None
    cursor: Cursor | None = None

    @property
    def scope(self) -> CursorScope:
        return CursorScope(self.bucket, self.key_filter.text, self.include)


class ReadKeys(NamedTuple):
    """Read the entries of the keys that match a filter, in revision order."""

    bucket: str
    key_filter: Filter
    include: Include


class DeleteKeys(NamedTuple):
    """Delete the live keys that match a filter and that nobody has written since.

    Attributes:
        purge: whether to remove the keys' history too.
        dry_run: whether to count the keys only.
    """

    bucket: str
    key_filter: Filter
    purge: bool = False
    dry_run: bool = False


class Compact(NamedTuple):
    """Remove tombstones of keys without any other stored message.

    Attributes:
        older_than: the lowest age of a tombstone in seconds.
    """

    bucket: str
    older_than: int = 0

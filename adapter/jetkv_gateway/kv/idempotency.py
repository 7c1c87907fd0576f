"""Idempotency keys: tell a retry from another request. Pure.

See docs/http-api.md#idempotency-keys.

A key is the caller's name for one write. It is scoped to bucket, key and operation, because NATS
remembers message ids per stream: without the scope, NATS would drop a write with the same name to
another key.
"""

from collections.abc import Iterable
from functools import lru_cache
from hashlib import blake2b
from typing import NamedTuple

__all__ = ["Idempotency"]

_DIGEST_BYTES = 12

# Calling this directly skips the named tuple's Python constructor, which costs time per request.
_new = tuple.__new__


class Idempotency(NamedTuple):
    """The identity of a write, equal for all its retries.

    Attributes:
        content: equal for all requests with the same value, content type, content encoding,
            condition and TTL.
        scope: equal for all requests with the caller's name on this bucket, key and operation.
    """

    content: str
    scope: str

    @classmethod
    def of(
        cls,
        name: str,
        bucket: str,
        key: str,
        operation: str,
        value: bytes = b"",
        content_type: str | None = None,
        content_encoding: str | None = None,
        expected: int | None = None,
        ttl: int | None = None,
    ) -> "Idempotency":
        """Return the identity of a write with an idempotency key."""
        begin = _unconditional if expected is None else _begin
        begun, begun_content = begin(
            bucket, len(key), operation, content_type, content_encoding, ttl, expected
        )
        scope = begun.copy()
        scope.update((key + name).encode())
        content = begun_content.copy()
        content.update(value)
        return _new(cls, (content.hexdigest(), scope.hexdigest()))

    @classmethod
    def of_many(cls, name: str, *, bucket: str, parts: Iterable[bytes]) -> "Idempotency":
        """Return the identity of an atomic batch with an idempotency key.

        Args:
            parts: the content of each item.
        """
        content, scope = _EMPTY.copy(), _EMPTY.copy()
        for part in parts:
            content.update(b"%d:" % len(part))
            content.update(part)
        scope.update(f"{len(bucket)}:batch:{bucket}{name}".encode())
        return cls(content.hexdigest(), scope.hexdigest())


# A copy of a hash that has begun takes less time than a new one.
_EMPTY = blake2b(digest_size=_DIGEST_BYTES)


def _begin(
    bucket: str,
    key_length: int,
    operation: str,
    content_type: str | None,
    content_encoding: str | None,
    ttl: int | None,
    expected: int | None,
) -> tuple[blake2b, blake2b]:
    """Return the digests of a scope that lacks key and name, and of a content without its value."""
    text = f"{expected}:{len(content_type or '')}:{content_type}:"
    if content_encoding is not None:
        text = f"{len(content_encoding)}/{content_encoding}:{text}"
    if ttl is not None:
        text = f"ttl {ttl}/{text}"
    scope, content = _EMPTY.copy(), _EMPTY.copy()
    scope.update(f"{len(bucket)}:{key_length}:{operation}:{bucket}".encode())
    content.update(text.encode())
    return scope, content


_unconditional = lru_cache(maxsize=256)(_begin)
"""The same, to be copied: writes without a condition are alike, whatever their keys and names."""

"""Idempotency keys: tell a retry from another request. Pure.

See docs/http-api.md#idempotency-keys.

A key is the caller's name for one write. It is scoped to bucket, key and operation, because NATS
remembers message ids per stream: without the scope, NATS would drop a write with the same name to
another key.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from hashlib import blake2b

__all__ = ["Idempotency"]

_DIGEST_BYTES = 12


@dataclass(slots=True)
class Idempotency:
    """The identity of a write, equal for all its retries.

    Attributes:
        scope: equal for all requests with the caller's name on this bucket, key and operation.
        content: equal for all requests with the same value, content type, content encoding,
            condition and TTL.
    """

    scope: str
    content: str

    @classmethod
    def of(
        cls,
        name: str,
        *,
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
        scope = _EMPTY.copy()
        scope.update(f"{len(bucket)}:{len(key)}:{operation}:{bucket}{key}{name}".encode())
        if expected is None:
            content = _unconditional(content_type, content_encoding, ttl).copy()
        else:
            content = _begun(content_type, content_encoding, ttl, expected)
        content.update(value)
        return cls(scope.hexdigest(), content.hexdigest())

    @classmethod
    def of_many(cls, name: str, *, bucket: str, parts: Iterable[bytes]) -> "Idempotency":
        """Return the identity of an atomic batch with an idempotency key.

        Args:
            parts: the content of each item.
        """
        content = blake2b(digest_size=_DIGEST_BYTES)
        for part in parts:
            content.update(b"%d:" % len(part))
            content.update(part)
        scope = f"{len(bucket)}:batch:{bucket}{name}"
        return cls(_digest(scope.encode()), content.hexdigest())


def _digest(data: bytes) -> str:
    return blake2b(data, digest_size=_DIGEST_BYTES).hexdigest()


# A copy of a hash that has begun takes less time than a new one.
_EMPTY = blake2b(digest_size=_DIGEST_BYTES)


def _begun(
    content_type: str | None, content_encoding: str | None, ttl: int | None, expected: int | None
) -> blake2b:
    """Return the digest of a content that lacks its value."""
    content = f"{expected}:{len(content_type or '')}:{content_type}:"
    if content_encoding is not None:
        content = f"{len(content_encoding)}/{content_encoding}:{content}"
    if ttl is not None:
        content = f"ttl {ttl}/{content}"
    begun = _EMPTY.copy()
    begun.update(content.encode())
    return begun


@lru_cache(maxsize=256)
def _unconditional(
    content_type: str | None, content_encoding: str | None, ttl: int | None
) -> blake2b:
    """Return what `_begun` returns without a condition, to be copied: many writes have it."""
    return _begun(content_type, content_encoding, ttl, None)

"""Idempotency keys: tell a retry from another request. Pure.

See docs/http-api.md#idempotency-keys.

A key is the caller's name for one write. It is scoped to bucket, key and operation, because NATS
remembers message ids per stream: without the scope, NATS would drop a write with the same name to
another key.
"""

from collections.abc import Iterable
from dataclasses import dataclass
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
        scope = f"{len(bucket)}:{len(key)}:{operation}:{bucket}{key}{name}"
        content = f"{expected}:{len(content_type or '')}:{content_type}:"
        if content_encoding is not None:
            content = f"{len(content_encoding)}/{content_encoding}:{content}"
        if ttl is not None:
            content = f"ttl {ttl}/{content}"
        return cls(_digest(scope.encode()), _digest(content.encode() + value))

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

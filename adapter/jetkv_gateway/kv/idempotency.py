"""Idempotency keys: how a retry is told from another request. Pure.

See docs/http-api.md#idempotency-keys.

A key is the caller's name for one write. It is scoped to bucket, key and operation, since NATS
remembers message ids for a whole stream: unscoped, the same name on another key would be swallowed.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import blake2b

__all__ = ["Idempotency"]

_DIGEST_BYTES = 12


@dataclass(slots=True)
class Idempotency:
    """One write, by a name that its retries share.

    Attributes:
        scope: equal for all requests that bear the caller's key on this bucket, key and operation.
        content: equal for requests that ask for the same: value, content type, content encoding
            and condition.
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
    ) -> "Idempotency":
        """Return the identity of a write that the caller named."""
        scope = f"{len(bucket)}:{len(key)}:{operation}:{bucket}{key}{name}"
        content = f"{expected}:{len(content_type or '')}:{content_type}:"
        if content_encoding is not None:
            content = f"{len(content_encoding)}/{content_encoding}:{content}"
        return cls(_digest(scope.encode()), _digest(content.encode() + value))

    @classmethod
    def of_many(cls, name: str, *, bucket: str, parts: Iterable[bytes]) -> "Idempotency":
        """Return the identity of an atomic batch that the caller named.

        Args:
            parts: what each of its items asks for.
        """
        content = blake2b(digest_size=_DIGEST_BYTES)
        for part in parts:
            content.update(b"%d:" % len(part))
            content.update(part)
        scope = f"{len(bucket)}:batch:{bucket}{name}"
        return cls(_digest(scope.encode()), content.hexdigest())


def _digest(data: bytes) -> str:
    return blake2b(data, digest_size=_DIGEST_BYTES).hexdigest()

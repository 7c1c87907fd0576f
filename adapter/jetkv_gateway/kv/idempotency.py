"""Idempotency keys: how a retry is told from another request (contract 2.5). Pure.

A key is the caller's name for one write. It is scoped to bucket, key and operation, since NATS
remembers message ids for a whole stream: unscoped, the same name on another key would be swallowed
(nats-notes §0.9).
"""

from dataclasses import dataclass
from hashlib import blake2b

__all__ = ["Idempotency"]

_DIGEST_BYTES = 12


@dataclass(frozen=True, slots=True)
class Idempotency:
    """One write, by a name that its retries share.

    Attributes:
        scope: equal for all requests that bear the caller's key on this bucket, key and operation.
        content: equal for requests that ask for the same: value, content type and condition.
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
        expected: int | None = None,
    ) -> "Idempotency":
        """Return the identity of a write that the caller named."""
        condition = "" if expected is None else str(expected)
        return cls(
            scope=_digest(bucket, key, operation, name),
            content=_digest(content_type or "", condition, value=value),
        )


def _digest(*parts: str, value: bytes = b"") -> str:
    digest = blake2b(digest_size=_DIGEST_BYTES)
    for part in parts:
        encoded = part.encode()
        digest.update(b"%d:%b" % (len(encoded), encoded))
    digest.update(value)
    return digest.hexdigest()

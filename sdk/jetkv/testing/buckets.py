"""Buckets of a test's own."""

import uuid
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypeVar, overload

from jetkv.errors import BucketNotFoundError

if TYPE_CHECKING:
    from jetkv import Bucket, Client

__all__ = ["MakeBucket", "fresh_name"]

T = TypeVar("T")


def fresh_name() -> str:
    """Return a bucket name that nobody has used."""
    return f"t-{uuid.uuid4().hex[:12]}"


class MakeBucket:
    """Makes buckets with fresh names, and knows which."""

    def __init__(self, client: "Client") -> None:
        self._client = client
        self._made: list[str] = []

    @overload
    def __call__(self, *, type: type[T], **settings: Any) -> "Bucket[T]": ...
    @overload
    def __call__(self, *, type: Any = None, **settings: Any) -> "Bucket[Any]": ...
    def __call__(self, *, type: Any = None, **settings: Any) -> "Bucket[Any]":
        """Create a bucket.

        Args:
            type: of its values, as for `client.kv().bucket`.
            settings: those of `client.kv().create_bucket`, such as `history=5`; a `name`, too.

        Raises:
            JetKVError: as `create_bucket` and `bucket`.
        """
        name = settings.pop("name", None) or fresh_name()
        kv = self._client.kv()
        kv.create_bucket(name, **settings)
        self._made.append(name)
        return kv.bucket(name, type)

    def remove_made(self, client: "Client") -> None:
        """Delete what was made and is still there."""
        while self._made:
            with suppress(BucketNotFoundError):
                client.kv().delete_bucket(self._made.pop())

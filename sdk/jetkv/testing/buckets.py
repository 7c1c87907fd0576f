"""Buckets for one test."""

import uuid
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypeVar, overload

from jetkv.errors import BucketNotFoundError

if TYPE_CHECKING:
    from jetkv import Bucket, Client

__all__ = ["MakeBucket", "fresh_name"]

T = TypeVar("T")


def fresh_name() -> str:
    """Return a bucket name that has never been used."""
    return f"t-{uuid.uuid4().hex[:12]}"


class MakeBucket:
    """Creates buckets with new names, and deletes them later.

    Args:
        client: the client that creates the buckets.
    """

    def __init__(self, client: "Client") -> None:
        self._client = client
        self._names: list[str] = []

    @overload
    def __call__(self, *, type: type[T], **settings: Any) -> "Bucket[T]": ...
    @overload
    def __call__(self, *, type: Any = None, **settings: Any) -> "Bucket[Any]": ...
    def __call__(self, *, type: Any = None, **settings: Any) -> "Bucket[Any]":
        """Create a bucket.

        Args:
            type: the type of the values, as in `client.kv().bucket`.
            settings: as in `client.kv().create_bucket`, such as `history=5`. `name` is optional.

        Raises:
            JetKVError: as in `create_bucket` and `bucket`.
        """
        name = settings.pop("name", None) or fresh_name()
        kv = self._client.kv()
        kv.create_bucket(name, **settings)
        self._names.append(name)
        return kv.bucket(name, type)

    def remove_made(self, client: "Client") -> None:
        """Delete the buckets that were created and still exist."""
        while self._names:
            with suppress(BucketNotFoundError):
                client.kv().delete_bucket(self._names.pop())

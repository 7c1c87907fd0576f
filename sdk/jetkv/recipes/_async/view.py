"""A bucket seen with another codec, or with less patience."""

from typing import Any, TypeVar

from jetkv._async.bucket import AsyncBucket
from jetkv.codec import Codec
from jetkv.errors import InvalidArgumentError

__all__ = ["exactly", "given", "view"]

T = TypeVar("T")


def given(bucket: AsyncBucket[T], recipe: object) -> AsyncBucket[T]:
    """Return the bucket that a recipe was given, of which there are two kinds.

    Raises:
        InvalidArgumentError: it is of the other kind.
    """
    if not isinstance(bucket, AsyncBucket):
        kind = type(recipe).__name__
        raise InvalidArgumentError(
            f"{kind} takes an {AsyncBucket.__name__}, not {type(bucket).__name__}",
            hint="recipes with Async in their name take a bucket of an async client",
        )
    return bucket


def exactly(key: str) -> tuple[str, ...]:
    """Return filters that take in a key, and perhaps others: whoever watches compares."""
    # As a filter, it would be no valid one, or another one.
    return () if ">" in key else (key,)


def view(
    bucket: AsyncBucket[Any],
    codec: Codec[T],
    *,
    within: float | None = None,
    attempts: int | None = None,
) -> AsyncBucket[T]:
    """Return the same bucket with a codec of a recipe's own.

    Args:
        within: seconds that a call may take, where the client would allow more.
        attempts: requests of one call, and of a watch until it stands, where the client would
            make more.
    """
    client = bucket._client if attempts is None else bucket._client._brief(attempts)
    return AsyncBucket(client, bucket.name, codec, within=within)

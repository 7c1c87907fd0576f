"""Views of the bucket that a recipe is given."""

from typing import Any, TypeVar

from jetkv._async.bucket import AsyncBucket, endpoint_of
from jetkv.codec import Codec
from jetkv.errors import InvalidArgumentError

__all__ = ["bucket_view", "checked_bucket", "filters_for"]

T = TypeVar("T")


def checked_bucket(bucket: AsyncBucket[T], recipe: object) -> AsyncBucket[T]:
    """Return the bucket that a recipe was given.

    Raises:
        InvalidArgumentError: it is a bucket of the other client, or no bucket.
    """
    if not isinstance(bucket, AsyncBucket):
        kind = type(recipe).__name__
        raise InvalidArgumentError(
            f"{kind} takes an {AsyncBucket.__name__}, not {type(bucket).__name__}",
            hint="recipes whose name starts with Async take a bucket of an AsyncClient",
        )
    return bucket


def filters_for(key: str) -> tuple[str, ...]:
    """Return filters of a watch that match a key. They may match other keys, too."""
    # In a filter, `>` is a wildcard. A watch of all keys is the only one that has such a key.
    return () if ">" in key else (key,)


def bucket_view(
    bucket: AsyncBucket[Any],
    codec: Codec[T],
    *,
    timeout: float | None = None,
    attempts: int | None = None,
) -> AsyncBucket[T]:
    """Return the same bucket with a codec of the recipe's own, and perhaps with lower limits.

    Args:
        bucket: the bucket.
        codec: the codec.
        timeout: seconds that a call may take, if the client allows more.
        attempts: requests of a call, or of a watch until it has opened, if the client allows more.
    """
    endpoint = endpoint_of(bucket)
    if timeout is not None or attempts is not None:
        endpoint = endpoint.limited(timeout=timeout, attempts=attempts)
    return AsyncBucket(endpoint, bucket.name, codec)

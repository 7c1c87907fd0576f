# Made from sdk/jetkv/recipes/_async/view.py by `make format`; edit that one.
"""A bucket seen with another codec, or with less patience."""

from typing import Any, TypeVar

from jetkv._sync.bucket import Bucket
from jetkv.codec import Codec

__all__ = ["view"]

T = TypeVar("T")


def view(bucket: Bucket[Any], codec: Codec[T], *, within: float | None = None) -> Bucket[T]:
    """Return the same bucket with a codec of a recipe's own.

    Args:
        within: seconds that a call may take, where the client would allow more.
    """
    return Bucket(bucket._client, bucket.name, codec, within=within)

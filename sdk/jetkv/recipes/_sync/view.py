# Made from sdk/jetkv/recipes/_async/view.py by `make format`; edit that one.
"""A bucket seen with another codec, or with less patience."""

import copy
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
    client = bucket._client
    if within is not None and within < client._timeout:
        # It shares the connections.
        client = copy.copy(client)
        client._timeout = within
    return Bucket(client, bucket.name, codec)

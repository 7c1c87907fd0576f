"""The serializer of our cache for cachelib."""

import pickle
from typing import Any

from cachelib.serializers import BaseSerializer, JSONSerializer

from jetkv.integrations._soft import log
from jetkv.integrations._values import (
    JSON_TYPE,
    PICKLE_TYPE,
    UNPICKLING_ERRORS,
    dumps,
    is_pickle,
    loads,
)

__all__ = ["JetKVSerializer", "content_type"]


class JetKVSerializer(BaseSerializer):
    """JSON where that keeps a value as it is, so that any client can read it; else a pickle."""

    def dumps(self, value: Any, protocol: int = pickle.HIGHEST_PROTOCOL) -> bytes:
        """Return the bytes of a value.

        Raises:
            pickle.PicklingError, TypeError, AttributeError: the value cannot be pickled.
        """
        return dumps(value, protocol)

    def loads(self, bvalue: bytes) -> Any:
        """Return the value of bytes; None if they are not readable."""
        try:
            return loads(bvalue)
        except UNPICKLING_ERRORS as error:
            log.warning("a value is not readable, and counts as missing: %s", type(error).__name__)
            return None


def content_type(serializer: BaseSerializer, raw: bytes) -> str:
    """Return the content type of bytes that a serializer made."""
    if is_pickle(raw):
        return PICKLE_TYPE
    json = isinstance(serializer, JetKVSerializer | JSONSerializer)
    return JSON_TYPE if json else "application/octet-stream"

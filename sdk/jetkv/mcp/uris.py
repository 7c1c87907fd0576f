"""The URIs of resources: `jetkv://buckets/{bucket}` and `jetkv://buckets/{bucket}/keys/{key}`."""

import re
from urllib.parse import quote, unquote

from jetkv.errors import InvalidArgumentError

__all__ = ["BUCKETS", "KEY_TEMPLATE", "bucket_uri", "key_uri", "read_uri"]

BUCKETS = "jetkv://buckets"
KEY_TEMPLATE = f"{BUCKETS}/{{bucket}}/keys/{{key}}"

_URI = re.compile(rf"{BUCKETS}/([^/?#]+)(?:/keys/([^?#]+))?")


def bucket_uri(bucket: str) -> str:
    return f"{BUCKETS}/{quote(bucket, safe='')}"


def key_uri(bucket: str, key: str) -> str:
    return f"{bucket_uri(bucket)}/keys/{quote(key, safe='')}"


def read_uri(uri: str) -> tuple[str, str | None]:
    """Return the bucket and the key of a URI; the key of a bucket's own URI is None.

    A slash in a key may stand as it is, or as `%2F`.

    Raises:
        InvalidArgumentError: there is no such resource.
    """
    found = _URI.fullmatch(uri)
    try:
        if found is not None:
            bucket, key = found.groups()
            return unquote(bucket, errors="strict"), key and unquote(key, errors="strict")
    except UnicodeDecodeError:
        pass
    raise InvalidArgumentError(f"there is no resource {uri[:600]!r}", hint=f"use {KEY_TEMPLATE}")

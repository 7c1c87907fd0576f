"""Each kind of write to a key."""

from collections.abc import Callable

from tests.support.http import Answer, Bucket

Request = Callable[..., Answer]
"""Sends a write; `headers` are those of `Http.request`."""


def writes_of(bucket: Bucket) -> dict[str, Request]:
    """Each kind of write, on a key that is ready for it."""
    for key in ("compared", "deleted", "deleted if", "purged", "purged if", "created again"):
        bucket.put(key, "before")
    bucket.delete("created again")
    at = {key: f'"{bucket.get(key).json["revision"]}"' for key in ("compared", "deleted if")}
    at["purged if"] = f'"{bucket.get("purged if").json["revision"]}"'
    return {
        "put": lambda **key: bucket.put("put", "v", **key),
        "created": lambda **key: bucket.put("created", "v", If_None_Match="*", **key),
        "created again": lambda **key: bucket.put("created again", "v", If_None_Match="*", **key),
        "compared": lambda **key: bucket.put("compared", "v", If_Match=at["compared"], **key),
        "deleted": lambda **key: bucket.delete("deleted", **key),
        "deleted if": lambda **key: bucket.delete("deleted if", If_Match=at["deleted if"], **key),
        "purged": lambda **key: bucket.delete("purged", "?purge=true", **key),
        "purged if": lambda **key: bucket.delete(
            "purged if", "?purge=true", If_Match=at["purged if"], **key
        ),
    }


KINDS = (
    "put",
    "created",
    "created again",
    "compared",
    "deleted",
    "deleted if",
    "purged",
    "purged if",
)

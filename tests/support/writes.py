"""Each kind of write to a key."""

from collections.abc import Callable

from tests.support.http import Answer, Bucket

Request = Callable[..., Answer]
"""Sends a write; `headers` are those of `Http.request`."""


def writes_of(bucket: Bucket) -> dict[str, Request]:
    """Each kind of write, on a key that is ready for it."""
    for key in ("compared", "deleted", "deleted if", "purged", "purged if", "made anew"):
        bucket.put(key, "before")
    bucket.delete("made anew")
    at = {key: f'"{bucket.get(key).json["revision"]}"' for key in ("compared", "deleted if")}
    at["purged if"] = f'"{bucket.get("purged if").json["revision"]}"'
    return {
        "put": lambda **key: bucket.put("put", "v", **key),
        "created": lambda **key: bucket.put("created", "v", If_None_Match="*", **key),
        "made anew": lambda **key: bucket.put("made anew", "v", If_None_Match="*", **key),
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
    "made anew",
    "compared",
    "deleted",
    "deleted if",
    "purged",
    "purged if",
)

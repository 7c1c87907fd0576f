"""What a publish to a subject does, in the words of the API. Pure.

A caller with a login of NATS knows buckets and keys, and no subjects (docs/access.md).
"""

import re

__all__ = ["meaning_of"]

_MEANINGS: tuple[tuple[re.Pattern[str], str], ...] = tuple(
    (re.compile(pattern), words)
    for pattern, words in (
        # A direct read names the subject of the key, too.
        (r"\.(?:STREAM\.MSG|DIRECT)\.GET\.KV_([^.]+)", "read in bucket {}"),
        (r"(?:^|\.)\$KV\.([^.]+)\.", "write or delete in bucket {}"),
        (r"\.CONSUMER\.(?:[A-Z]+\.)+KV_([^.]+)", "list or watch keys in bucket {}"),
        (r"\.STREAM\.CREATE\.KV_([^.]+)", "create bucket {}"),
        (r"\.STREAM\.UPDATE\.KV_([^.]+)", "change bucket {}"),
        (r"\.STREAM\.DELETE\.KV_([^.]+)", "delete bucket {}"),
        (r"\.STREAM\.PURGE\.KV_([^.]+)", "purge in bucket {}"),
        (r"\.STREAM\.INFO\.KV_([^.]+)", "read the settings of bucket {}"),
        (r"\.STREAM\.(?:NAMES|LIST)$", "list buckets"),
    )
)


def meaning_of(subject: str) -> str:
    """Return what a publish to a subject would have done."""
    for pattern, words in _MEANINGS:
        found = pattern.search(subject)
        if found is not None:
            return words.format(*found.groups())
    return "a part of this request"

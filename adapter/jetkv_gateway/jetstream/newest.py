"""The newest revision of the keys that a filter passes, by the leader."""

from jetkv_gateway.jetstream.api import get_last, get_sequence
from jetkv_gateway.jetstream.bucket_cache import BucketCache
from jetkv_gateway.jetstream.client import JetStream
from jetkv_gateway.jetstream.names import BucketNames
from jetkv_gateway.kv.errors import KeyNotFound
from jetkv_gateway.kv.filters import Filter, covers
from jetkv_gateway.kv.store import NewestRevision

__all__ = ["newest_of"]


async def newest_of(
    js: JetStream, cache: BucketCache, names: BucketNames, key_filter: Filter, last: int
) -> int:
    """Return the revision, 0 if nothing is stored that the filter passes.

    Args:
        last: the newest revision of the bucket.
    """
    # Nearly always one that is wanted. To look for it takes long among a million keys.
    found = await _revision(js, cache, names, get_sequence(last))
    if found is not None and any(covers(one, found.tokens) for one in key_filter.subjects):
        return found.revision
    newest = 0
    for subject in key_filter.subjects:
        found = await _revision(js, cache, names, get_last(names.subject_prefix + subject))
        newest = max(newest, 0 if found is None else found.revision)
    return newest


async def _revision(
    js: JetStream, cache: BucketCache, names: BucketNames, query: bytes
) -> NewestRevision | None:
    try:
        reply = await js.call(names.get, query, credit=cache.credit(names))
    except KeyNotFound:
        return None
    message = reply["message"]
    return NewestRevision(message["seq"], message["subject"][len(names.subject_prefix) :])

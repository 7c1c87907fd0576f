"""Listing the keys of a bucket, complete whatever is written meanwhile.

See docs/architecture.md, decision 8. The bucket is read as `reader` says; here its live keys are
collected and sorted. A listing is never in the way of single keys for longer than a slice of a
millisecond or so: all that is long is done in parts, between which the event loop sees to everybody
else.
"""

from jetkv_gateway.jetstream.bucket_cache import BucketCache
from jetkv_gateway.jetstream.client import JetStream
from jetkv_gateway.jetstream.key_lists import KeyList, KeyWindow
from jetkv_gateway.jetstream.reader import BucketReader
from jetkv_gateway.jetstream.shared_runs import SharedRuns
from jetkv_gateway.kv.commands import ListKeys

__all__ = ["JetStreamListings"]


class JetStreamListings:
    """`kv.store.Listings` on JetStream.

    Args:
        runs: the listings that run at the same time, those for pages among them.
    """

    def __init__(self, js: JetStream, cache: BucketCache, runs: SharedRuns[KeyList]) -> None:
        self._js = js
        self._cache = cache
        self._runs = runs

    async def keys(self, command: ListKeys) -> list[str]:
        wanted = command.bucket, command.key_filter.text
        found = await self._runs.result(wanted, lambda: self._list(command))
        return found.keys

    async def _list(self, command: ListKeys) -> KeyList:
        bucket, key_filter = command
        reader = BucketReader(self._js, self._cache, bucket, key_filter)
        window = KeyWindow(key_filter, None, most=None, metas=False)
        async with reader.opened():
            return await window.read(reader)

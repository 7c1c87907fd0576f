"""What is done with many keys of a bucket (docs/http-api.md#listing)."""

import asyncio

import orjson

from jetkv_gateway.http.call import Call
from jetkv_gateway.kv.commands import ListKeys
from jetkv_gateway.kv.errors import InvalidArgument
from jetkv_gateway.kv.filters import Filter, compile_filter, compile_prefix
from jetkv_gateway.kv.store import Listings

__all__ = ["ListingHandlers"]

_KEYS_AT_ONCE = 2000
"""Of a list made JSON in one go: for half a millisecond or so, nobody else is served."""


class ListingHandlers:
    """Handlers of `/api/v1/kv/buckets/{bucket}/keys`."""

    def __init__(self, listings: Listings) -> None:
        self._listings = listings
        self._turn = asyncio.Semaphore(1)

    async def list_keys(self, call: Call, bucket: str) -> None:
        command = ListKeys(bucket, _wanted_keys(call))

        async def make() -> bytes:
            return await self._key_list(await self._listings.keys(command))

        call.answer_json(200, await call.run_while_connected(make()))

    async def _key_list(self, keys: list[str]) -> bytes:
        """Make the answer of a listing; one at a time, since each is large and sent in one go."""
        async with self._turn:
            parts = []
            for start in range(0, len(keys), _KEYS_AT_ONCE):
                parts.append(orjson.dumps(keys[start : start + _KEYS_AT_ONCE])[1:-1])
                await asyncio.sleep(0)
            return b'{"keys":[%s],"count":%d}' % (b",".join(parts), len(keys))


def _wanted_keys(call: Call) -> Filter:
    """Read `filter` or `prefix`.

    Raises:
        InvalidArgument: both are given, or one breaks a rule.
    """
    given, prefix = call.parameter("filter"), call.parameter("prefix")
    if prefix is None:
        return compile_filter(given)
    if given is not None:
        raise InvalidArgument("either query parameter 'filter' or 'prefix', not both")
    return compile_prefix(prefix)

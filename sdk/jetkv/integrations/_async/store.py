"""A bucket as caches and stores use it: bytes under any key, each with a time to live."""

from collections.abc import Awaitable, Callable, Iterable, Sequence
from functools import partial
from typing import TypeVar

from jetkv._async.bucket import endpoint_of
from jetkv._async.client import AsyncClient
from jetkv._async.runtime import now, sleep
from jetkv._core.process import ProcessBound
from jetkv._core.retry import CONTENTION, jitter
from jetkv.codec import TypedBytesCodec
from jetkv.errors import (
    BucketNotFoundError,
    JetKVError,
    KeyExistsError,
    RevisionMismatchError,
    ValueTooLargeError,
)
from jetkv.integrations import _batches
from jetkv.integrations._remaining import seconds_left
from jetkv.integrations._values import JSON_TYPE
from jetkv.models import TTL, BucketInfo, Entry
from jetkv.recipes._async.view import bucket_view

__all__ = ["AsyncStore"]

R = TypeVar("R")

_QUICK_SECONDS = 1.0
_QUICK_ATTEMPTS = 2
"""The second one is for a kept connection that the gateway has closed meanwhile."""
_CONTENTION_SECONDS = 30.0


class AsyncStore(ProcessBound):
    """One bucket. It is created when it is missing. Threads may share a sync store.

    Seconds are the time to live of a value; None is for ever.

    Args:
        client: its owner closes it.
        bucket: the bucket's name.
        quick: give up after a second, for callers that can do without the bucket.
    """

    def __init__(self, client: AsyncClient, bucket: str, *, quick: bool = False) -> None:
        self._kv = client.kv()
        self._bucket = self._kv.bucket(bucket, TypedBytesCodec(JSON_TYPE))
        if quick:
            self._bucket = bucket_view(
                self._bucket,
                TypedBytesCodec(JSON_TYPE),
                timeout=_QUICK_SECONDS,
                attempts=_QUICK_ATTEMPTS,
            )
        self.name = bucket
        self.endpoint = endpoint_of(self._bucket)
        self._info: BucketInfo | None = None

    async def get(self, key: str) -> Entry[bytes] | None:
        return await self._made(lambda: self._bucket.get_or_none(key))

    async def exists(self, key: str) -> bool:
        return await self._made(lambda: self._bucket.exists(key))

    async def get_many(self, keys: Iterable[str]) -> dict[str, bytes]:
        """Return the values of those keys that have one."""
        wanted = list(dict.fromkeys(keys))
        found: dict[str, bytes] = {}
        for start in range(0, len(wanted), _batches.MAX_GET):
            found.update(await self._some(wanted[start : start + _batches.MAX_GET]))
        return found

    async def keys(self, prefix: str, limit: int) -> Sequence[str]:
        """Return the first keys that have a value and start with a prefix."""
        return await self._made(partial(self._page, prefix, limit))

    async def put(self, key: str, raw: bytes, content_type: str, seconds: int | None) -> bool:
        """Store a value; return True."""
        bucket = bucket_view(self._bucket, TypedBytesCodec(content_type))
        ttl = await self._ttl(seconds)
        await self._made(lambda: bucket.put(key, raw, ttl=ttl))
        return True

    async def create(self, key: str, raw: bytes, content_type: str, seconds: int | None) -> bool:
        """Store a value if the key has none; return whether it was stored."""
        bucket = bucket_view(self._bucket, TypedBytesCodec(content_type))
        ttl = await self._ttl(seconds)
        try:
            await self._made(lambda: bucket.create(key, raw, ttl=ttl))
        except KeyExistsError:
            return False
        return True

    async def put_many(
        self, values: Iterable[tuple[str, bytes, str]], seconds: int | None
    ) -> list[int | JetKVError]:
        """Store keys, bytes and content types; return for each a revision or an error."""
        ttl = await self._ttl(seconds)
        return await self._apply(_batches.put_op(*value, ttl) for value in values)

    async def delete(self, key: str) -> bool:
        """Delete a key; return whether it had a value."""
        (result,) = await self.delete_many([key])
        if isinstance(result, JetKVError):
            raise result
        return result > 0

    async def delete_many(self, keys: Iterable[str]) -> list[int | JetKVError]:
        """Delete keys; return for each a revision, 0 if it had no value, or an error."""
        return await self._apply(_batches.delete_op(key) for key in keys)

    async def clear(self, prefix: str) -> bool:
        """Delete every key with a prefix, or all keys if it is empty; return True."""
        everything = None if prefix else ">"
        await self._made(lambda: self._bucket.delete_many(everything, prefix=prefix or None))
        return True

    async def change(
        self,
        key: str,
        fn: Callable[[bytes | None], bytes],
        content_type: str,
        seconds: int | None,
    ) -> bytes:
        """Replace a value by what `fn` returns for it, without losing another writer's change.

        The value keeps its end, to less than four seconds. `seconds` is the time to live of a new
        one, for which `fn` gets None.

        Raises:
            RevisionMismatchError, KeyExistsError: another writer was faster each time.
        """
        bucket = bucket_view(self._bucket, TypedBytesCodec(content_type))
        deadline = now() + _CONTENTION_SECONDS
        attempt = 0
        while True:
            attempt += 1
            found = await self.get(key)
            left = None if found is None else seconds_left(found)
            # With no time left, the value is over, though the server still has it.
            new = found is None or left == 0
            raw = fn(None if new or found is None else found.value)
            ttl = await self._ttl(seconds if new else left)
            try:
                if found is None:
                    await bucket.create(key, raw, ttl=ttl)
                else:
                    await bucket.update(key, raw, found.revision, ttl=ttl)
            except (KeyExistsError, RevisionMismatchError):
                delay = CONTENTION.delay(attempt, 0.0, jitter())
                if now() + delay >= deadline:
                    raise
                await sleep(delay)
                continue
            return raw

    async def _page(self, prefix: str, limit: int) -> Sequence[str]:
        async for page in self._bucket.pages(prefix=prefix, limit=limit):
            return page.keys
        return ()

    async def _some(self, keys: Sequence[str]) -> dict[str, bytes]:
        try:
            entries = await self._made(lambda: self._bucket.get_many(keys))
        except ValueTooLargeError:
            # All values together are too large for one answer.
            if len(keys) == 1:
                raise
            half = len(keys) // 2
            return await self._some(keys[:half]) | await self._some(keys[half:])
        return {key: entry.value for key, entry in entries.items()}

    async def _apply(self, ops: Iterable[_batches.Op]) -> list[int | JetKVError]:
        results: list[int | JetKVError] = []
        for some in _batches.batches(ops):
            results += await self._made(partial(self._send, some))
        return results

    async def _send(self, ops: Sequence[_batches.Op]) -> list[int | JetKVError]:
        request = _batches.request(self.name, ops)
        return _batches.read_results(await self.endpoint.call(request), request, ops)

    async def _ttl(self, seconds: int | None) -> TTL | None:
        if self._info is None:
            self._info = await self._made(self._bucket.info)
        return _batches.ttl_for(self._info, seconds)

    async def _made(self, work: Callable[[], Awaitable[R]]) -> R:
        """Return the result of `work`; create the bucket first if that fails without it."""
        try:
            return await work()
        except BucketNotFoundError:
            self._info = await self._kv.create_bucket(self.name, exist_ok=True)
        return await work()

# Made from sdk/jetkv/integrations/_async/store.py by `make format`. Edit that file.
"""A bucket as caches and stores use it: bytes under any key, each with a time to live."""

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import TypeVar

from jetkv._core.process import ProcessBound
from jetkv._core.retry import CONTENTION, jitter
from jetkv._sync.bucket import endpoint_of
from jetkv._sync.client import Client
from jetkv._sync.runtime import now, sleep
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
from jetkv.recipes._sync.view import bucket_view

__all__ = ["Store"]

R = TypeVar("R")

_QUICK_SECONDS = 1.0
_QUICK_ATTEMPTS = 2
"""The second one is for a kept connection that the gateway has closed meanwhile."""
_CONTENTION_SECONDS = 30.0


class Store(ProcessBound):
    """One bucket. It is created when it is missing. Threads may share a sync store.

    Seconds are the time to live of a value; None is for ever.

    Args:
        client: its owner closes it.
        bucket: the bucket's name.
        quick: give up after a second, for callers that can do without the bucket.
    """

    def __init__(self, client: Client, bucket: str, *, quick: bool = False) -> None:
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

    def get(self, key: str) -> Entry[bytes] | None:
        return self._made(lambda: self._bucket.get_or_none(key))

    def exists(self, key: str) -> bool:
        return self._made(lambda: self._bucket.exists(key))

    def get_many(self, keys: Iterable[str]) -> dict[str, bytes]:
        """Return the values of those keys that have one."""
        wanted = list(dict.fromkeys(keys))
        found: dict[str, bytes] = {}
        for start in range(0, len(wanted), _batches.MAX_GET):
            found.update(self._some(wanted[start : start + _batches.MAX_GET]))
        return found

    def keys(self, prefix: str, limit: int) -> Sequence[str]:
        """Return the first keys that have a value and start with a prefix."""
        return self._made(partial(self._page, prefix, limit))

    def put(self, key: str, raw: bytes, content_type: str, seconds: int | None) -> bool:
        """Store a value; return True."""
        bucket = bucket_view(self._bucket, TypedBytesCodec(content_type))
        ttl = self._ttl(seconds)
        self._made(lambda: bucket.put(key, raw, ttl=ttl))
        return True

    def create(self, key: str, raw: bytes, content_type: str, seconds: int | None) -> bool:
        """Store a value if the key has none; return whether it was stored."""
        bucket = bucket_view(self._bucket, TypedBytesCodec(content_type))
        ttl = self._ttl(seconds)
        try:
            self._made(lambda: bucket.create(key, raw, ttl=ttl))
        except KeyExistsError:
            return False
        return True

    def put_many(
        self, values: Iterable[tuple[str, bytes, str]], seconds: int | None
    ) -> list[int | JetKVError]:
        """Store keys, bytes and content types; return for each a revision or an error."""
        ttl = self._ttl(seconds)
        return self._apply(_batches.put_op(*value, ttl) for value in values)

    def delete(self, key: str) -> bool:
        """Delete a key; return whether it had a value."""
        (result,) = self.delete_many([key])
        if isinstance(result, JetKVError):
            raise result
        return result > 0

    def delete_many(self, keys: Iterable[str]) -> list[int | JetKVError]:
        """Delete keys; return for each a revision, 0 if it had no value, or an error."""
        return self._apply(_batches.delete_op(key) for key in keys)

    def clear(self, prefix: str) -> bool:
        """Delete every key with a prefix, or all keys if it is empty; return True."""
        everything = None if prefix else ">"
        self._made(lambda: self._bucket.delete_many(everything, prefix=prefix or None))
        return True

    def change(
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
            found = self.get(key)
            left = None if found is None else seconds_left(found)
            # With no time left, the value is over, though the server still has it.
            new = found is None or left == 0
            raw = fn(None if new or found is None else found.value)
            ttl = self._ttl(seconds if new else left)
            try:
                if found is None:
                    bucket.create(key, raw, ttl=ttl)
                else:
                    bucket.update(key, raw, found.revision, ttl=ttl)
            except (KeyExistsError, RevisionMismatchError):
                delay = CONTENTION.delay(attempt, 0.0, jitter())
                if now() + delay >= deadline:
                    raise
                sleep(delay)
                continue
            return raw

    def _page(self, prefix: str, limit: int) -> Sequence[str]:
        for page in self._bucket.pages(prefix=prefix, limit=limit):
            return page.keys
        return ()

    def _some(self, keys: Sequence[str]) -> dict[str, bytes]:
        try:
            entries = self._made(lambda: self._bucket.get_many(keys))
        except ValueTooLargeError:
            # All values together are too large for one answer.
            if len(keys) == 1:
                raise
            half = len(keys) // 2
            return self._some(keys[:half]) | self._some(keys[half:])
        return {key: entry.value for key, entry in entries.items()}

    def _apply(self, ops: Iterable[_batches.Op]) -> list[int | JetKVError]:
        results: list[int | JetKVError] = []
        for some in _batches.batches(ops):
            results += self._made(partial(self._send, some))
        return results

    def _send(self, ops: Sequence[_batches.Op]) -> list[int | JetKVError]:
        request = _batches.request(self.name, ops)
        return _batches.read_results(self.endpoint.call(request), request, ops)

    def _ttl(self, seconds: int | None) -> TTL | None:
        if self._info is None:
            self._info = self._made(self._bucket.info)
        return _batches.ttl_for(self._info, seconds)

    def _made(self, work: Callable[[], R]) -> R:
        """Return the result of `work`; create the bucket first if that fails without it."""
        try:
            return work()
        except BucketNotFoundError:
            self._info = self._kv.create_bucket(self.name, exist_ok=True)
        return work()

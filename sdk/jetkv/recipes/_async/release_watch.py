"""Wakes an `acquire` that waits for a lock's key to be released."""

import logging
from typing import Any

from jetkv._async.bucket import AsyncBucket
from jetkv._async.runtime import AsyncBackground, AsyncSignal
from jetkv.errors import JetKVError
from jetkv.models import Operation
from jetkv.recipes._async.view import bucket_view, filters_for
from jetkv.recipes._documents import DOCUMENTS

__all__ = ["AsyncReleaseWatch"]

log = logging.getLogger("jetkv.recipes")

_STOP_SECONDS = 1.0


class AsyncReleaseWatch:
    """Watches a key, and ends `wait` when the key is deleted or expires.

    It may end a wait too early. It may also not notice a release at all: if it cannot watch, or if
    the bucket has no expiry markers. So the caller must also poll.
    """

    def __init__(self, bucket: AsyncBucket[Any], key: str) -> None:
        self._key = key
        self._watch = bucket_view(bucket, DOCUMENTS).watch(*filters_for(key))
        self._released = AsyncSignal()
        self._listener: AsyncBackground | None = None

    async def wait(self, seconds: float) -> None:
        """Wait until the key is released, or for `seconds`."""
        if self._listener is None:
            self._listener = AsyncBackground(self._listen, f"jetkv waits for {self._key!r}")
            await self._listener.start()
        await self._released.wait(seconds)
        self._released.clear()

    async def aclose(self) -> None:
        """Stop watching."""
        await self._watch.aclose()
        if self._listener is not None:
            await self._listener.stop(_STOP_SECONDS)

    async def _listen(self) -> None:
        try:
            async with self._watch as updates:
                # The key may have been released before the watch was open.
                self._released.set()
                async for update in updates:
                    if update.key == self._key and update.operation is not Operation.PUT:
                        self._released.set()
        except JetKVError as error:
            log.debug("%r cannot be watched, and is polled instead: %s", self._key, error)

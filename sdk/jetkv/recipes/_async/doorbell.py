"""What wakes those who wait for a key to be free."""

import logging
from typing import Any

from jetkv._async.bucket import AsyncBucket
from jetkv._async.runtime import AsyncBackground, AsyncSignal
from jetkv.errors import JetKVError
from jetkv.models import Operation
from jetkv.recipes._async.view import bucket_view, filters_for
from jetkv.recipes._documents import DOCUMENTS

__all__ = ["AsyncDoorbell"]

log = logging.getLogger("jetkv.recipes")

_STOP_SECONDS = 1.0


class AsyncDoorbell:
    """Rings when a key is deleted, or seen to expire.

    It may ring too often, and where it cannot watch, or the bucket has no expiry markers, not at
    all: who waits has to look from time to time, too.
    """

    def __init__(self, bucket: AsyncBucket[Any], key: str) -> None:
        self._key = key
        self._watch = bucket_view(bucket, DOCUMENTS).watch(*filters_for(key))
        self._rung = AsyncSignal()
        self._listener: AsyncBackground | None = None

    async def wait(self, seconds: float) -> None:
        """Wait until it rings, or for `seconds`."""
        if self._listener is None:
            self._listener = AsyncBackground(self._listen, f"jetkv waits for {self._key!r}")
            await self._listener.start()
        await self._rung.wait(seconds)
        self._rung.clear()

    async def aclose(self) -> None:
        """Stop watching."""
        await self._watch.aclose()
        if self._listener is not None:
            await self._listener.stop(_STOP_SECONDS)

    async def _listen(self) -> None:
        try:
            async with self._watch as changes:
                # What happened before the watch stood was not seen.
                self._rung.set()
                async for update in changes:
                    if update.key == self._key and update.operation is not Operation.PUT:
                        self._rung.set()
        except JetKVError as error:
            log.debug("no watch on %r, which is polled: %s", self._key, error)

"""Watches the keys that clients have subscribed to: one watch a bucket, for all clients.

A notification says that a resource changed, and the client reads it again. So a burst of changes of
a key becomes one notification, and after a gap every key is reported.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from typing import Any, Self

from jetkv import AsyncBucket, AsyncClient
from jetkv._async.watch import AsyncWatch
from jetkv.errors import ClientClosedError, InvalidArgumentError, JetKVError, UnavailableError
from jetkv.mcp.uris import read_uri

__all__ = ["MOST_KEYS", "Feeds"]

MOST_KEYS = 64
"""How many keys all clients together may subscribe to. A watch takes no more filters."""

_OPEN_SECONDS = 10.0
_GAP_SECONDS = 0.1
_FIRST_DELAY, _LAST_DELAY = 1.0, 60.0

logger = logging.getLogger(__name__)

Place = tuple[str, str]
"""A bucket and a key."""


class _Feed:
    """The watch of one bucket.

    Attributes:
        keys: those that somebody has subscribed to.
    """

    def __init__(
        self, bucket: AsyncBucket[bytes], changed: Callable[[Place], None], tasks: "_Tasks"
    ) -> None:
        self.keys: set[str] = set()
        self._bucket = bucket
        self._changed = changed
        self._tasks = tasks
        self._lock = asyncio.Lock()
        self._watch: AsyncWatch[bytes] | None = None
        self._covered: frozenset[str] = frozenset()
        self._closed = False

    async def cover(self, key: str) -> None:
        """Return when the watch reports each change of a key.

        Raises:
            JetKVError: the bucket cannot be watched; the watch of before goes on.
        """
        async with self._lock:
            if key not in self._covered:
                await self._open()

    async def close(self) -> None:
        self._closed = True
        if self._watch is not None:
            await self._watch.aclose()

    async def _open(self) -> None:
        keys = frozenset(self.keys)
        watch = self._bucket.watch(*sorted(keys))
        try:
            async with asyncio.timeout(_OPEN_SECONDS):
                await watch.__aenter__()
        except TimeoutError:
            await watch.aclose()
            raise UnavailableError("the watch did not open in time") from None
        except BaseException:
            await watch.aclose()
            raise
        # The one of before ends only now: there is no gap between the two.
        before, self._watch, self._covered = self._watch, watch, keys
        if before is not None:
            await before.aclose()
        if self._closed:
            await watch.aclose()
        self._tasks.start(self._follow(watch))

    async def _follow(self, watch: AsyncWatch[bytes]) -> None:
        try:
            async for update in watch:
                if update.key in self.keys:
                    self._changed((self._bucket.name, update.key))
        except ClientClosedError:
            return
        except JetKVError as error:
            logger.warning("watch of bucket %s: %s", self._bucket.name, error.message)
            await self._replace(watch)

    async def _replace(self, lost: AsyncWatch[bytes]) -> None:
        """Open a watch in place of one that ended, as when the bucket was deleted."""
        delay = _FIRST_DELAY
        self._all_changed()
        while not self._closed:
            await asyncio.sleep(delay)
            delay = min(2 * delay, _LAST_DELAY)
            async with self._lock:
                if self._watch is not lost:
                    return
                self._covered = frozenset()
                if self.keys:
                    with suppress(JetKVError):
                        await self._open()
                        self._all_changed()
                        return

    def _all_changed(self) -> None:
        for key in self.keys:
            self._changed((self._bucket.name, key))


class _Tasks:
    """Tasks that end together, at the latest when this closes."""

    def __init__(self) -> None:
        self._running: set[asyncio.Task[None]] = set()

    def start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    async def close(self) -> None:
        running = list(self._running)
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)


class Feeds:
    """The subscriptions of all clients. `async with` starts and ends its tasks.

    Args:
        client: the client of the gateway.
        deliver: tells all subscribers of a URI that its resource changed.
    """

    def __init__(self, client: AsyncClient, deliver: Callable[[str], Awaitable[None]]) -> None:
        self._kv = client.kv()
        self._deliver = deliver
        self._feeds: dict[str, _Feed] = {}
        self._counts: dict[str, int] = {}
        self._uris: dict[Place, set[str]] = {}
        self._pending: dict[str, None] = {}
        self._wake = asyncio.Event()
        self._tasks = _Tasks()

    async def __aenter__(self) -> Self:
        self._tasks.start(self._tell())
        return self

    async def __aexit__(self, *_exc: object) -> None:
        for feed in self._feeds.values():
            await feed.close()
        await self._tasks.close()

    async def add(self, uri: str) -> None:
        """Count one more subscriber. When it returns, no change is missed any more.

        Raises:
            InvalidArgumentError: the URI is not that of a key, or there are too many.
            JetKVError: the bucket cannot be watched.
        """
        bucket, key = read_uri(uri)
        if key is None:
            raise InvalidArgumentError("only a key can be subscribed to, not a bucket")
        place = (bucket, key)
        if place not in self._uris and len(self._uris) >= MOST_KEYS:
            raise InvalidArgumentError(
                f"at most {MOST_KEYS} keys can be subscribed to", hint="unsubscribe from others"
            )
        self._counts[uri] = self._counts.get(uri, 0) + 1
        self._uris.setdefault(place, set()).add(uri)
        feed = self._feeds.get(bucket)
        if feed is None:
            opened = self._kv.bucket(bucket, bytes)
            feed = self._feeds[bucket] = _Feed(opened, self._changed, self._tasks)
        feed.keys.add(key)
        try:
            await feed.cover(key)
        except BaseException:
            await self.remove(uri)
            raise

    async def remove(self, uri: str) -> None:
        """Count one subscriber less. A URI that nobody has subscribed to is no error."""
        count = self._counts.get(uri, 0)
        if count > 1:
            self._counts[uri] = count - 1
            return
        if not count:
            return
        del self._counts[uri]
        self._pending.pop(uri, None)
        bucket, key = read_uri(uri)
        assert key is not None
        uris = self._uris[bucket, key]
        uris.discard(uri)
        if uris:
            return
        del self._uris[bucket, key]
        feed = self._feeds[bucket]
        feed.keys.discard(key)
        if not feed.keys:
            del self._feeds[bucket]
            await feed.close()

    def _changed(self, place: Place) -> None:
        for uri in self._uris.get(place, ()):
            self._pending[uri] = None
        self._wake.set()

    async def _tell(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            pending, self._pending = self._pending, {}
            for uri in pending:
                await self._deliver(uri)
            await asyncio.sleep(_GAP_SECONDS)

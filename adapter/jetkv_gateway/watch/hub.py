"""All watches of a worker: a live feed for each bucket, and a session for each watcher."""

import asyncio
import copy
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator
from contextlib import aclosing, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import TypeVar

from jetkv_gateway.kv.errors import (
    BucketDeleted,
    GatewayError,
    TooManyRequests,
    Unavailable,
)
from jetkv_gateway.kv.store import Changes
from jetkv_gateway.watch.catch_up import CatchUp, WatchRequest
from jetkv_gateway.watch.live import LiveFeed
from jetkv_gateway.watch.session import Item, Limits, Session, State
from jetkv_gateway.watch.shared import SharedChanges

__all__ = ["Hub", "Watch", "WatchLimits"]


K = TypeVar("K")

_TRIES = 3
_FREE_FILTER_BYTES = 1024
"""Bytes of a watch's filters that count towards no limit. Hardly any watch has more."""


@dataclass(frozen=True, slots=True)
class WatchLimits:
    """Limits of one worker. 0 means no limit.

    Attributes:
        watches: open at the same time.
        watches_per_address: open at the same time from one client address.
        watches_per_token: open at the same time with one token.
        filter_bytes: of all filters together, except the free bytes of each watch.
        queue: limits of the changes that wait for one watcher.
    """

    watches: int = 0
    watches_per_address: int = 0
    watches_per_token: int = 0
    filter_bytes: int = 16 * 1024 * 1024
    queue: Limits = field(default_factory=Limits)


class Hub:
    """The watches of one worker."""

    def __init__(self, changes: Changes, limits: WatchLimits) -> None:
        self._changes = SharedChanges(changes)
        self._limits = limits
        self._live_feeds: dict[str, LiveFeed] = {}
        self._closing: set[asyncio.Task[None]] = set()
        self._to_close: list[Callable[[], Awaitable[None]]] = []
        self._count = 0
        self._filter_bytes = 0
        self._by_address: Counter[str] = Counter()
        self._by_token: Counter[bytes] = Counter()

    @property
    def watches(self) -> int:
        """The number of open watches."""
        return self._count

    @property
    def lag(self) -> int:
        """Revisions by which the slowest watch is behind its bucket."""
        return max((live_feed.lag for live_feed in self._live_feeds.values()), default=0)

    @property
    def errors(self) -> list[GatewayError]:
        """The errors that prevent following watched buckets now."""
        live_feeds = self._live_feeds.values()
        return [
            live_feed.stalled
            for live_feed in live_feeds
            if live_feed.stalled is not None and not live_feed.ended
        ]

    @asynccontextmanager
    async def watch(
        self, bucket: str, request: WatchRequest, *, address: str = "", token: bytes = b""
    ) -> AsyncIterator["Watch"]:
        """Open a watch, which gets every change from now on. Leaving the context ends it.

        Args:
            address: of the caller.
            token: identifies the caller's credential; empty without one.

        Raises:
            TooManyRequests: a limit is reached.
            GatewayError: the bucket cannot be watched, or not now.
        """
        with self.admitted(request, address=address, token=token):
            async with self.open(bucket, request) as watch:
                yield watch

    @asynccontextmanager
    async def open(self, bucket: str, request: WatchRequest) -> AsyncIterator["Watch"]:
        """Open a watch that counts towards no limit: of the gateway, or of an admitted caller.

        Raises:
            GatewayError: the bucket cannot be watched, or not now.
        """
        watch = await self._open(bucket, request)
        try:
            yield watch
        finally:
            self._leave(watch)

    def close_first(self, close: Callable[[], Awaitable[None]]) -> None:
        """Call `close` before the feeds are removed."""
        self._to_close.append(close)

    async def close(self) -> None:
        """Remove all feeds."""
        for close in self._to_close:
            await close()
        for live_feed in list(self._live_feeds.values()):
            self._retire(live_feed)
        while self._closing:
            await asyncio.wait(self._closing)

    @contextmanager
    def admitted(
        self, request: WatchRequest, *, address: str = "", token: bytes = b""
    ) -> Iterator[None]:
        """Count a watch of a caller. The arguments are those of `watch`.

        Raises:
            TooManyRequests: a limit is reached.
        """
        limits = self._limits
        if limits.watches and self._count >= limits.watches:
            raise TooManyRequests("too many watches")
        of_address, of_token = self._by_address[address], self._by_token[token]
        if limits.watches_per_address and of_address >= limits.watches_per_address:
            raise TooManyRequests("too many watches from this address")
        if token and limits.watches_per_token and of_token >= limits.watches_per_token:
            raise TooManyRequests("too many watches with this token")
        size = max(0, sum(len(keep.text) for keep in request.filters) - _FREE_FILTER_BYTES)
        if size and limits.filter_bytes and self._filter_bytes + size > limits.filter_bytes:
            raise TooManyRequests("too many watches with long filters")
        self._filter_bytes += size
        self._count += 1
        self._by_address[address] = of_address + 1
        self._by_token[token] = of_token + 1
        try:
            yield
        finally:
            self._filter_bytes -= size
            self._count -= 1
            _subtract(self._by_address, address)
            _subtract(self._by_token, token)

    async def _open(self, bucket: str, request: WatchRequest) -> "Watch":
        for _ in range(_TRIES):
            watch = Watch(self._changes, self._live_feed(bucket), request, self._limits.queue)
            watch.live_feed.join(watch.session)
            opened = False
            try:
                opened = request.wait_for_nats or await self._start(watch)
            finally:
                if not opened:
                    self._leave(watch)
            if opened:
                return watch
        raise Unavailable("the bucket keeps being deleted and created")

    def _leave(self, watch: "Watch") -> None:
        watch.live_feed.leave(watch.session)
        watch.session.mute()
        if not watch.live_feed:
            self._retire(watch.live_feed)

    def _live_feed(self, bucket: str) -> LiveFeed:
        live_feed = self._live_feeds.get(bucket)
        if live_feed is None or live_feed.ended:
            live_feed = self._live_feeds[bucket] = LiveFeed(self._changes, bucket)
        return live_feed

    def _retire(self, live_feed: LiveFeed) -> None:
        if self._live_feeds.get(live_feed.bucket) is live_feed:
            del self._live_feeds[live_feed.bucket]
        closing = asyncio.create_task(live_feed.close())
        self._closing.add(closing)
        closing.add_done_callback(self._closing.discard)

    async def _start(self, watch: "Watch") -> bool:
        """Start the watch at the bucket's present. Return whether that succeeded."""
        live_feed = watch.live_feed
        await live_feed.wait_opened()
        error = live_feed.error
        if live_feed.position is None or isinstance(error, TooManyRequests):
            # Other watchers get this error, too.
            raise copy.copy(error) or Unavailable
        if live_feed.ended and error is not None:
            if isinstance(error, BucketDeleted):
                return False
            raise copy.copy(error)
        state = await self._changes.state(live_feed.bucket)
        if state.created_at != live_feed.created_at:
            # The bucket was re-created, and the feed has not noticed yet. The next try opens a new
            # feed.
            live_feed.end(BucketDeleted())
            return False
        watch.start(state.last)
        return True


class Watch:
    """The watch of one watcher.

    Attributes:
        session: its `end` is the reason why the watch ended.
    """

    __slots__ = ("_catch_up", "_news", "_on_end", "live_feed", "request", "session")

    def __init__(
        self, changes: Changes, live_feed: LiveFeed, request: WatchRequest, limits: Limits
    ) -> None:
        self.live_feed = live_feed
        self.request = request
        self.session = Session(
            request.filters,
            ignore_deletes=request.ignore_deletes,
            snapshot_end=request.snapshot,
            limits=limits,
            on_news=self._on_news,
        )
        self._catch_up: CatchUp | None = CatchUp(changes, live_feed, self.session, request)
        self._news: asyncio.Future[None] | None = None
        self._on_end: Callable[[], None] | None = None

    @property
    def closed(self) -> bool:
        return self.session.state is State.CLOSED

    @property
    def end(self) -> GatewayError | None:
        """The reason why the watch ended."""
        return self.session.end

    @property
    def bookmark(self) -> int | None:
        """The revision to resume after, or None if it is not known yet.

        It advances with the bucket, even if no change matches this watch.
        """
        session = self.session
        if session.state is not State.LIVE or not session.idle:
            return None
        return max(session.position, self.live_feed.position or 0)

    def on_end(self, callback: Callable[[], None]) -> None:
        """Call `callback` when the session closes, even if items are still waiting."""
        self._on_end = callback
        if self.session.state is State.CLOSED:
            callback()

    def start(self, last: int) -> None:
        """Go live after the bucket's `last` revision, unless older changes are needed too."""
        if self.request.resume_after is None and not self.request.snapshot:
            self.session.join_live(max(last, self.live_feed.newest_offered))

    async def items(self) -> AsyncGenerator[list[Item], None]:
        """Yield the watcher's items in order until the session closes.

        Older changes are read no faster than you iterate. Close the iterator when done.
        """
        session = self.session
        catch_up, self._catch_up = self._catch_up, None
        if catch_up is not None and session.state is State.CATCHING_UP:
            async with aclosing(catch_up.read()) as parts:
                async for _ in parts:
                    while items := session.take():
                        yield items
        del catch_up
        while True:
            if items := session.take():
                yield items
            elif session.state is State.CLOSED:
                return
            else:
                self._news = asyncio.get_running_loop().create_future()
                await self._news

    def _on_news(self) -> None:
        if self._news is not None and not self._news.done():
            self._news.set_result(None)
        if self._on_end is not None and self.session.state is State.CLOSED:
            self._on_end()


def _subtract(counts: Counter[K], key: K) -> None:
    counts[key] -= 1
    if not counts[key]:
        del counts[key]

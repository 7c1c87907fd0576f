"""The changes of flags that one provider is told of, across all ends of a watch.

A provider only needs to know that it has to evaluate again. So where a watch could not go on
without a loss, this goes on with one more such event.
"""

import asyncio
import copy
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager

from jetkv_gateway.flags.follower import FlagFollower
from jetkv_gateway.flags.table import NO_BUCKET, FlagTable, Place
from jetkv_gateway.kv.errors import (
    BucketNotFound,
    GatewayError,
    SlowConsumer,
    Unavailable,
    WatchEnded,
)
from jetkv_gateway.kv.filters import Filter
from jetkv_gateway.watch.catch_up import WatchRequest
from jetkv_gateway.watch.hub import Hub, Watch

__all__ = ["FlagChanges", "flag_changes"]

_REACH_SECONDS = 30.0
_LEAVE_SECONDS = 1.0
_PAUSE_SECONDS = 0.2


@asynccontextmanager
async def flag_changes(
    hub: Hub,
    flags: FlagFollower,
    filters: tuple[Filter, ...],
    after: Place | None,
    last: int | None = None,
    *,
    address: str = "",
    token: bytes = b"",
) -> AsyncIterator["FlagChanges"]:
    """Open the changes of flags. Leaving the context ends them.

    Args:
        filters: of the flags that the provider may see.
        after: what the provider knows; None starts with the present.
        last: a later revision of that bucket, of the last event that the provider got.
        address, token: as in `Hub.watch`.

    Raises:
        TooManyRequests: a limit of watches is reached.
        GatewayError: the flags are not known.
    """
    with hub.admitted(WatchRequest(filters=filters), address=address, token=token):
        if after is None:
            after = (await flags.read()).place
        if last is not None:
            after = Place(after.bucket, last)
        yield FlagChanges(hub, flags, filters, after)


class FlagChanges:
    """The changes of flags for one provider.

    Attributes:
        closed: whether they have ended.
        end: the reason.
    """

    def __init__(
        self, hub: Hub, flags: FlagFollower, filters: tuple[Filter, ...], after: Place
    ) -> None:
        self.closed = False
        self.end: GatewayError | None = None
        self._hub = hub
        self._flags = flags
        self._filters = filters
        self._place = after
        self._watch: Watch | None = None
        self._unsent = False
        self._on_end: Callable[[], None] | None = None

    @property
    def bookmark(self) -> int | None:
        """The revision to go on from, for a provider that has all that was sent."""
        watch = self._watch
        return None if watch is None or self._unsent else watch.bookmark

    def on_end(self, callback: Callable[[], None]) -> None:
        """Call `callback` when the changes end."""
        self._on_end = callback

    async def places(self) -> AsyncGenerator[list[Place], None]:
        """Yield a place for each change, never before it can be read here, until they end.

        Close the iterator when done.
        """
        while not self.closed:
            try:
                table = await self._table()
                if table.place.bucket != self._place.bucket:
                    # Whatever the provider knows is of another bucket, or of none.
                    yield [self._move(table.place)]
                if table.place == NO_BUCKET:
                    await self._flags.left(NO_BUCKET, _REACH_SECONDS)
                    continue
                async with aclosing(self._follow(table)) as parts:
                    async for places in parts:
                        yield places
            except WatchEnded as error:
                await self._flags.left(self._place, _LEAVE_SECONDS)
                if not isinstance(error, SlowConsumer):
                    # A change may be missing.
                    yield [self._move((await self._table()).place)]
            except BucketNotFound:
                await self._flags.left(self._place, _LEAVE_SECONDS)
            except GatewayError as error:
                if not error.retryable:
                    self._close(error)
                    return
                await asyncio.sleep(_PAUSE_SECONDS)

    async def _follow(self, table: FlagTable) -> AsyncGenerator[list[Place], None]:
        """Yield places until the watch ends.

        Raises:
            GatewayError: why it ended.
        """
        request = WatchRequest(
            filters=self._filters,
            resume_after=self._place.revision,
            created_at=table.created_at,
            wait_for_nats=True,
        )
        bucket = table.place.bucket
        async with self._hub.open(self._flags.bucket, request) as watch:
            self._watch, self._unsent = watch, False
            try:
                async with aclosing(watch.items()) as parts:
                    async for items in parts:
                        self._unsent = True
                        places = [Place(bucket, item.revision) for item in items]
                        if not await self._flags.reached(places[-1], _REACH_SECONDS):
                            raise Unavailable("the flags cannot be read now")
                        yield places
                        self._move(places[-1])
                        self._unsent = False
            finally:
                self._watch = None
            raise copy.copy(watch.end) or Unavailable

    async def _table(self) -> FlagTable:
        """Return the flags, after however long."""
        while True:
            self._flags.asked = True
            try:
                return await self._flags.read()
            except GatewayError as error:
                if not error.retryable:
                    raise
            await asyncio.sleep(_PAUSE_SECONDS)

    def _move(self, place: Place) -> Place:
        self._place = place
        return place

    def _close(self, error: GatewayError) -> None:
        self.closed, self.end = True, error
        if self._on_end is not None:
            self._on_end()

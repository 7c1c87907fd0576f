"""The changes of a bucket for watches, and the state of its revisions.

Each feed is one named, ephemeral pull consumer. It pulls because then nothing is fetched that is
not read: a burst waits in the server, not in this process. When a feed ends, its reader opens
another one.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, nullcontext
from functools import partial
from typing import Any

from jetkv_gateway.jetstream.api import get_next
from jetkv_gateway.jetstream.bucket_cache import BucketCache
from jetkv_gateway.jetstream.client import JetStream
from jetkv_gateway.jetstream.consumer import Consumer
from jetkv_gateway.jetstream.expired_values import ExpiredValues
from jetkv_gateway.jetstream.expiry import Lifetime, seconds_of
from jetkv_gateway.jetstream.feed import (
    CATCH_UP_BATCH,
    HEARTBEAT_SECONDS,
    Feed,
    largest_message,
)
from jetkv_gateway.jetstream.latest_batches import LatestBatch
from jetkv_gateway.jetstream.names import filters_including, names_of
from jetkv_gateway.jetstream.silent_loss import silent_loss_of
from jetkv_gateway.kv.errors import GatewayError, KeyNotFound, TooManyRequests, Unavailable
from jetkv_gateway.kv.filters import EVERYTHING, Filter, disjoint
from jetkv_gateway.kv.model import BucketState
from jetkv_gateway.kv.store import NewestRevision, StoredRevision

__all__ = ["JetStreamChanges"]

_INACTIVE_SECONDS = 5
_CATCH_UP_INACTIVE_SECONDS = 60
"""Seconds without a request after which the server removes a consumer. A feed that catches up reads
at the pace of a slow watcher and may pause for longer than a live feed, which never pauses."""

_CATCH_UPS_AT_ONCE = 128
"""By default a stream allows at most a thousand consumers."""

_TRIES_TO_REMOVE = 3
_ANSWER_SECONDS = 2.0
"""Shorter than for other calls, because these calls are retried, and a leader that is gone for good
answers none of them."""


class JetStreamChanges:
    """`kv.store.Changes` on JetStream."""

    def __init__(self, js: JetStream, buckets: BucketCache) -> None:
        self._js = js
        self._buckets = buckets
        self._closing: set[asyncio.Task[None]] = set()
        self._catch_ups = asyncio.Semaphore(_CATCH_UPS_AT_ONCE)

    async def wait_available(self, timeout: float) -> None:
        await self._js.wait_available(timeout)

    async def state(self, bucket: str) -> BucketState:
        info = await self._buckets.stream(bucket, timeout=_ANSWER_SECONDS)
        state = info["state"]
        last: int = state["last_seq"]
        now = seconds_of(info["ts"])
        return BucketState(
            created_at=info["created"],
            age=now - seconds_of(info["created"]),
            now=now,
            first=state["first_seq"] if state["messages"] else last + 1,
            first_age=now - seconds_of(state["first_ts"]),
            last=last,
            history=info["config"]["max_msgs_per_subject"],
            silent_loss=silent_loss_of(info["config"], now),
        )

    async def newest(self, bucket: str) -> NewestRevision | None:
        try:
            return await self._buckets.newest(bucket, timeout=_ANSWER_SECONDS)
        except TooManyRequests as error:
            # A watch retries after Unavailable.
            raise Unavailable(error.message) from error

    async def first_at_or_after(self, bucket: str, revision: int) -> StoredRevision | None:
        names = names_of(self._js.naming, bucket)
        asked = get_next(names.subject_prefix + ">", revision)
        try:
            reply = await self._js.call(
                names.get, asked, timeout=_ANSWER_SECONDS, credit=self._buckets.credit(names)
            )
        except KeyNotFound:
            return None
        except TooManyRequests as error:
            raise Unavailable(error.message) from error
        message = reply["message"]
        return StoredRevision(message["seq"], seconds_of(message["time"]))

    @asynccontextmanager
    async def follow(
        self,
        bucket: str,
        *,
        after: int,
        latest: bool = False,
        filters: Sequence[Filter] = (EVERYTHING,),
        through: NewestRevision | None = None,
        fast_heartbeat: bool = False,
    ) -> AsyncIterator[Feed]:
        async with nullcontext() if through is None else self._catch_ups:
            names = names_of(self._js.naming, bucket)
            wanted = disjoint(subject for key_filter in filters for subject in key_filter.subjects)
            if through is not None:
                wanted = filters_including(wanted, through)
            start: dict[str, Any] = {"deliver_policy": "last_per_subject"}
            if not latest:
                start = {"deliver_policy": "by_start_sequence", "opt_start_seq": after + 1}
            inactive = _INACTIVE_SECONDS if through is None else _CATCH_UP_INACTIVE_SECONDS
            mux = self._js.mux
            batch = await self._latest_batch(bucket) if latest else None
            consumer = Consumer(self._js, mux, names, "watch")
            feed = Feed(
                mux,
                names.subject_prefix.encode(),
                consumer,
                credits=self._js.credits,
                catch_up=through is not None,
                latest=batch,
                heartbeat=HEARTBEAT_SECONDS / 2 if fast_heartbeat else HEARTBEAT_SECONDS,
            )
            try:
                await feed.open()
            except BaseException:
                feed.release()
                raise
            lost = False
            asked = asyncio.get_running_loop().time()
            try:
                reply = await consumer.create(
                    [names.subject_prefix + subject for subject in wanted],
                    inactive_seconds=self._buckets.inactive_seconds(bucket, inactive),
                    timeout=_ANSWER_SECONDS,
                    **start,
                )
                # The offset is too early by the transit time at most, so a server time never
                # converts to a time that is too late.
                feed.clock = asked - seconds_of(reply["ts"])
                feed.apply_limits(reply["config"])
                feed.lifetime = self._buckets.lifetime(bucket)
                if through is not None:
                    feed.expired_values = ExpiredValues(partial(self._lifetime, bucket))
                yield feed
            except Unavailable:
                lost = True
                raise
            finally:
                if feed.exceeded:
                    self._js.latest_batches.note_exceeded(bucket)
                # Close it even if its creation got no answer, because the server may have created
                # it.
                closing = asyncio.create_task(self._close(feed, consumer, lost))
                self._closing.add(closing)
                closing.add_done_callback(self._closing.discard)
                if not lost:
                    # After a lost connection the server no longer knows the consumer, so do not
                    # wait.
                    await asyncio.shield(closing)

    async def _latest_batch(self, bucket: str) -> LatestBatch:
        average = (await self._buckets.limits(bucket)).average_size
        return self._js.latest_batches.batch(
            bucket, CATCH_UP_BATCH, largest_message(self._js.mux), average
        )

    async def _lifetime(self, bucket: str) -> Lifetime | None:
        """Ask the leader how long a bucket's values live."""
        await self._buckets.stream(bucket, timeout=_ANSWER_SECONDS)
        return self._buckets.lifetime(bucket)

    async def _close(self, feed: Feed, consumer: Consumer, lost: bool) -> None:
        if lost:
            feed.release()
        try:
            await feed.close()
            await self._remove(consumer, lost)
        finally:
            # Release the credit only now: messages could arrive until here.
            feed.release()

    async def _remove(self, consumer: Consumer, lost: bool) -> None:
        for _ in range(_TRIES_TO_REMOVE if lost else 1):
            try:
                await consumer.remove(_ANSWER_SECONDS)
            except Unavailable:
                # If this never succeeds, the server removes it after its inactive_threshold.
                await self._js.wait_available(_CATCH_UP_INACTIVE_SECONDS if lost else 0)
            except GatewayError:
                return  # gone already
            else:
                return

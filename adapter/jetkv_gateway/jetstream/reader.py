"""Reads everything in a bucket, in revision order and in bounded memory.

One short-lived pull consumer delivers it in batches. The next batch is requested only after the
previous one was taken, so a slow reader costs no memory here, and the server waits.

A reading is complete if at some moment nothing was left for the consumer. Everything stored at that
moment was delivered before: it was among the consumer's initial messages or came after them. So
every key that is live the whole time was delivered at least once. The server reports that nothing
is left by ending a pull that does not wait, after a part of the batch. If such a pull ends before
the first message, the server may have counted without reading, so another pull waits for a moment.
The consumer may run on a replica that is behind, so it has to deliver the newest revision that the
leader had at the beginning.

In a bucket with a history, the consumer selects the newest revision of each key. It remembers which
ones those are, and reports "nothing left" at each one that was overwritten meanwhile (seen up to
nats-server 2.15.1). So it counts only up to the revision at which the reading began, and a second
reading delivers every revision since then, which includes whatever was overwritten.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from functools import partial
from math import inf
from typing import Any

from jetkv_gateway.jetstream.api import delivery
from jetkv_gateway.jetstream.bucket_cache import BucketCache
from jetkv_gateway.jetstream.client import JetStream
from jetkv_gateway.jetstream.consumer import Consumer
from jetkv_gateway.jetstream.errors import request_error
from jetkv_gateway.jetstream.expiry import Lifetime, lifetime_of, seconds_of
from jetkv_gateway.jetstream.headers import NO_RESPONDERS, status
from jetkv_gateway.jetstream.names import names_of
from jetkv_gateway.jetstream.newest import newest_of
from jetkv_gateway.jetstream.pull_slots import PullSlot
from jetkv_gateway.jetstream.requests import RequestFailed
from jetkv_gateway.kv.errors import (
    BucketUnsuitable,
    GatewayError,
    TooManyRequests,
    Unavailable,
)
from jetkv_gateway.kv.filters import EVERYTHING, Filter

__all__ = ["BucketReader", "Message"]

Message = tuple[bytes, int, int, bytes, bytes]
"""Subject without the bucket's prefix, revision, time in nanoseconds since 1970, header block,
value."""

_BATCH = 64
_IN_FLIGHT = 128
"""Messages of all readings together, if nothing else uses their credit pool."""
_BATCH_BYTES = 128 * 1024
"""Bytes of values in the first batch. A larger value doubles it, as often as necessary."""
_AROUND_A_MESSAGE = 4096
_GIVE_WAY_SECONDS = 0.001
_MOMENT_SECONDS = 0.1
_SILENCE_SECONDS = 5.0
_BEHIND_SECONDS = 5.0
_GONE_SECONDS = 1.0
_UNHEARD_SECONDS = 0.02
_ROOM_SECONDS = 10.0
_INACTIVE_SECONDS = 300
"""A slow reader may pause for long between two batches."""
_REMOVE_SECONDS = 2.0

_COMPLETED = b"Batch Completed"
_MAX_BYTES = b"MaxBytes"
_NOTHING_LEFT = frozenset({b"404", b"408"})


class BucketReader:
    """One reading of a bucket: use `opened`, then `parts`.

    Args:
        key_filter: the server filters by it; more keys may come.
        values: whether messages are delivered whole or with their headers only.
        every_revision: whether to deliver all stored revisions or only the newest of each key.
        after: with `every_revision`, begin behind this revision.

    Attributes:
        created_at: of the bucket, RFC 3339.
        as_of: the newest revision when the reading began.
        server_time: the server's time when it began, in seconds since 1970.
        keeps_history: whether the bucket keeps more than the newest revision of a key.
        lifetime: of the bucket's values; None if none expires.
        reached: the newest revision delivered. After the end of `parts`, everything stored up to
            `revision` was delivered.
    """

    def __init__(
        self,
        js: JetStream,
        cache: BucketCache,
        bucket: str,
        key_filter: Filter,
        *,
        values: bool = False,
        every_revision: bool = False,
        after: int = 0,
    ) -> None:
        self._js = js
        self._cache = cache
        self._bucket = bucket
        self._names = names_of(js.naming, bucket)
        self._filter = key_filter
        self._values = values
        self._every_revision = every_revision
        self._after = after
        self._stored = self._names.subject_prefix.encode()
        self._cut = len(self._stored)
        self._pool = js.credits.bulk
        self._slots = [PullSlot() for _ in range(1 if values else 2)]
        self._batch = _BATCH
        self._max_batch = 2 * _BATCH
        self._batch_bytes: int | None = _BATCH_BYTES if values else None
        self._max_batch_bytes = inf
        self._unit = max(1, self._pool.capacity // _IN_FLIGHT)
        self._arrived: list[Message] = []
        self._delivered = 0
        self._expected = 0
        self._drained = self._exactly = self._is_tail = False
        self._latest = self._is_replicated = self._is_open = False
        self._is_unheard = self._has_exceeded = False
        self._target = 0
        self._error: GatewayError | None = None
        self._moved = asyncio.Event()
        self.created_at = ""
        self.as_of = self.reached = 0
        self.keeps_history = False
        self.server_time = 0.0
        self.lifetime: Lifetime | None = None

    @property
    def revision(self) -> int:
        return max(self.as_of, self.reached)

    @asynccontextmanager
    async def opened(self) -> AsyncIterator["BucketReader"]:
        """Create the consumer. Leaving the context removes it from the server.

        Raises:
            BucketNotFound, BucketUnsuitable, Unavailable, TooManyRequests: it was not created.
        """
        info = await self._cache.stream(self._bucket)
        self.created_at, self.as_of = info["created"], info["state"]["last_seq"]
        self.server_time = seconds_of(info["ts"])
        self.keeps_history = info["config"]["max_msgs_per_subject"] != 1
        self.lifetime = lifetime_of(info, asyncio.get_running_loop().time())
        if not info["state"]["messages"] or self.as_of <= self._after:
            yield self
            return
        self._latest = self.keeps_history and not (self._every_revision or self._after)
        self._is_replicated = info["config"].get("num_replicas", 1) > 1
        self._target = await self._newest() if self._needs_target else 0
        if self._needs_target and self._target <= self._after:
            yield self
            return
        limit = (await self._cache.limits(self._bucket)).value_limit
        self._largest = self._js.max_answer_bytes(limit, direct=True) + _AROUND_A_MESSAGE
        mux = self._js.mux
        self._consumer = consumer = Consumer(self._js, mux, self._names, "read")
        try:
            for slot in self._slots:
                slot.inbox = await mux.subscribe(partial(self._take, slot), self._on_lost)
        except RequestFailed as signal:
            raise request_error(signal, None) from signal
        consumer.on_denied(self._on_denied)
        try:
            await self._create()
            yield self
        finally:
            consumer.on_denied(None)
            self._error = self._error or Unavailable("closed")
            await asyncio.shield(self._close(consumer))

    async def _create(self) -> None:
        subjects: tuple[str, ...] = self._filter.subjects
        start: dict[str, Any] = {"deliver_policy": "all"}
        if self._after:
            start = {"deliver_policy": "by_start_sequence", "opt_start_seq": self._after + 1}
        elif self._latest:
            start = {"deliver_policy": "last_per_subject"}
            if self._values:
                average = (await self._cache.limits(self._bucket)).average_size
                self._batch, self._batch_bytes = self._js.latest_batches.batch(
                    self._bucket, _BATCH, self._largest, average
                )
        if subjects == EVERYTHING.subjects and not self._latest:
            # Of a million keys, the server looks at each where it has a filter that passes all.
            subjects = ()
        reply = await self._consumer.create(
            [self._names.subject_prefix + subject for subject in subjects],
            inactive_seconds=self._cache.inactive_seconds(self._bucket, _INACTIVE_SECONDS),
            headers_only=not self._values,
            **start,
        )
        self._is_open = True
        self._expected = reply["num_pending"]
        self._max_batch = reply["config"].get("max_batch") or self._max_batch
        self._batch = min(self._batch, self._max_batch)
        self._max_batch_bytes = reply["config"].get("max_bytes") or inf

    @property
    def _needs_target(self) -> bool:
        """Whether it has to be known which revision was the newest.

        A consumer of a stream that is not replicated sits where its leader is, and is never behind.
        """
        return self._latest or self._is_replicated

    async def _newest(self) -> int:
        return await newest_of(self._js, self._cache, self._names, self._filter, self.as_of)

    async def _close(self, consumer: Consumer) -> None:
        try:
            for slot in self._slots:
                if slot.inbox is not None:
                    await slot.inbox.close()
            await consumer.remove(_REMOVE_SECONDS)
        except GatewayError:
            pass  # its inactive_threshold removes it
        finally:
            # Not before: what it had asked for came until now.
            for slot in self._slots:
                self._pool.release(slot.end())

    async def parts(self) -> AsyncGenerator[list[Message], None]:
        """Yield the messages in revision order, until nothing is left.

        Raises:
            Unavailable, TooManyRequests, BucketUnsuitable: the reading is incomplete.
        """
        async with aclosing(self._delivered_parts()) as parts:
            async for part in parts:
                yield part
        if not self._latest:
            return
        delivered, after = 0, self.as_of
        if self._has_exceeded:
            # A message is lost, so everything is read again, and only what is new is delivered.
            delivered, after = min(self.reached, self.as_of), 0
        rest = BucketReader(
            self._js,
            self._cache,
            self._bucket,
            self._filter,
            values=self._values,
            after=after,
        )
        async with rest.opened():
            if rest.created_at != self.created_at:
                raise Unavailable("the bucket was created again")
            async with aclosing(rest.parts()) as parts:
                async for part in parts:
                    if part[0][1] <= delivered:
                        part = [message for message in part if message[1] > delivered]
                    if part:
                        yield part
        self.reached = rest.revision

    async def _delivered_parts(self) -> AsyncGenerator[list[Message], None]:
        loop = asyncio.get_running_loop()
        moved = loop.time()
        waits = False
        if self._is_open and not (self._expected or self._needs_target):
            return  # nothing of it was there when the consumer was created
        while self._is_open:
            if self._is_unheard:
                # In a cluster, a consumer may be created before all servers know of it.
                self._is_unheard = False
                patience = _GONE_SECONDS if self._delivered else _BEHIND_SECONDS
                if loop.time() - moved > patience:
                    raise Unavailable("NATS does not deliver what is asked for")
                await asyncio.sleep(_UNHEARD_SECONDS)
            if self._has_exceeded and not self._arrived:
                return
            if not (self._drained or self._has_exceeded):
                await self._pull_ahead(waits=waits)
                waits = False
            await self._wait()
            if self._arrived:
                part, self._arrived = self._arrived, []
                moved = loop.time()
                # Of this part: more may arrive while it is taken.
                is_last = self._latest and part[-1][1] >= self._target
                if self._latest and part[-1][1] > self.as_of:
                    part = [message for message in part if message[1] <= self.as_of]
                if part:
                    yield part
                del part
                if is_last:
                    return
            if self._drained and not self._arrived:
                exactly, self._drained, self._exactly = self._exactly, False, False
                if await self._is_complete(exactly=exactly):
                    return
                if loop.time() - moved > _BEHIND_SECONDS:
                    raise Unavailable("a replica is behind its leader")
                waits = True

    async def _is_complete(self, *, exactly: bool) -> bool:
        if not (exactly or self._latest):
            return False
        if self.reached >= self._target:
            return True
        # Behind the leader, unless that revision is gone by now.
        return await self._newest() <= max(self.reached, self._after)

    async def _pull_ahead(self, *, waits: bool) -> None:
        mux = self._js.mux
        for slot in self._slots:
            if slot.batch:
                continue
            under_way = sum(other.left for other in self._slots)
            left = self._expected - self._delivered - under_way
            if left < 0 and under_way and not waits:
                return  # the pull in flight will show whether anything is left
            batch = self._batch
            if not self._is_tail and 0 <= left < self._batch * len(self._slots):
                # One more than are left: a pull that is full does not say that it was the last.
                batch = min(left + 1, self._max_batch)
            if mux.in_flight:
                # Let the replies of waiting requests come first: they would come behind this batch.
                await asyncio.sleep(_GIVE_WAY_SECONDS)
            await self._pull(slot, batch, waits=waits)
            if waits or self._error is not None:
                return

    async def _pull(self, slot: PullSlot, batch: int, *, waits: bool) -> None:
        more: dict[str, int] = {"no_wait": True}
        units = batch * self._unit
        if self._values:
            units = batch * self._largest
            if self._batch_bytes is not None:
                size = int(min(self._batch_bytes, self._max_batch_bytes))
                more["max_bytes"] = size
                units = max(size, batch * self._unit // 2)
        try:
            async with asyncio.timeout(_ROOM_SECONDS):
                credit = await self._pool.acquire(units)
        except TimeoutError:
            raise TooManyRequests("too much is being read at once") from None
        if self._error is not None:
            self._pool.release(credit)
            return
        slot.begin(batch, credit, waits=waits)
        # Where one of the newest was overwritten, a pull may wait for its successor.
        expires = _MOMENT_SECONDS if waits or self._latest else 0.0
        await self._consumer.pull(slot.subject, batch, expires, **more)

    async def _wait(self) -> None:
        while not (self._moved.is_set() or self._drained or self._error):
            before = self._delivered
            try:
                async with asyncio.timeout(_SILENCE_SECONDS):
                    await self._moved.wait()
            except TimeoutError:
                if self._delivered == before:
                    raise Unavailable("NATS does not deliver messages") from None
        self._moved.clear()
        if self._error is not None and not self._arrived:
            raise self._error

    def _on_lost(self) -> None:
        self._fail(Unavailable("the connection to NATS was lost"))

    def _on_denied(self) -> None:
        self._fail(self._consumer.denied)

    def _fail(self, error: GatewayError) -> None:
        self._error = self._error or error
        self._moved.set()

    def _pull_is_over(self, slot: PullSlot) -> None:
        self._pool.release(slot.end())
        self._moved.set()

    def _take(
        self, slot: PullSlot, subject: bytes, reply: bytes, headers: bytes, data: bytes
    ) -> None:
        if self._error is not None:
            return
        if not reply:
            self._take_status(slot, headers)
            return
        revision, number, stored_at = delivery(reply)
        if number != self._delivered + 1:
            self._fail(Unavailable("a message is missing"))
            return
        self._delivered = number
        self.reached = revision
        if subject.startswith(self._stored):
            self._arrived.append((subject[self._cut :], revision, stored_at, headers, data))
        else:
            # Of a bucket that sources another one, servers deliver that one's subjects, too, and
            # do not count them.
            self._expected += 1
        slot.left -= 1
        if not slot.left:
            self._pull_is_over(slot)

    def _take_status(self, slot: PullSlot, headers: bytes) -> None:
        code, text = status(headers)
        if text == _COMPLETED or code == b"100":
            return
        if code in _NOTHING_LEFT:
            self._drained = self._is_tail = True
            self._expected = self._delivered
            self._exactly = self._exactly or not slot.is_untouched or slot.waits
            self._pull_is_over(slot)
        elif _MAX_BYTES in text and self._batch_bytes is not None:
            if self._latest:
                self._has_exceeded = True
                self._js.latest_batches.note_exceeded(self._bucket)
            elif slot.is_untouched:
                if self._batch_bytes >= min(self._max_batch_bytes, 2 * self._largest):
                    self._refuse(text)
                    return
                self._batch_bytes *= 2
            self._pull_is_over(slot)
        elif headers.startswith(NO_RESPONDERS):
            self._is_unheard = True
            self._pull_is_over(slot)
        elif code == b"400" or text.startswith(b"Exceeded MaxRequest"):
            self._refuse(text)
        else:
            said = (text or b"status " + code).decode("utf-8", "replace")
            self._fail(Unavailable(f"NATS ended the reading: {said}"))

    def _refuse(self, text: bytes) -> None:
        said = text.decode("utf-8", "replace")
        self._fail(
            BucketUnsuitable(
                f"NATS refuses to deliver messages: {said}",
                hint="a limit on the bucket's consumers is too low",
            )
        )

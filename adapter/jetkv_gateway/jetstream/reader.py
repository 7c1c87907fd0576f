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
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from math import inf
from typing import Any

from jetkv_gateway.jetstream.bucket_cache import BucketCache
from jetkv_gateway.jetstream.client import JetStream
from jetkv_gateway.jetstream.consumer import Consumer
from jetkv_gateway.jetstream.errors import request_error
from jetkv_gateway.jetstream.expiry import Lifetime, lifetime_of, seconds_of
from jetkv_gateway.jetstream.headers import NO_RESPONDERS, status
from jetkv_gateway.jetstream.names import filters_including, names_of
from jetkv_gateway.jetstream.requests import Inbox, RequestFailed
from jetkv_gateway.kv.errors import (
    BucketUnsuitable,
    GatewayError,
    TooManyRequests,
    Unavailable,
)
from jetkv_gateway.kv.filters import Filter
from jetkv_gateway.kv.store import NewestRevision

__all__ = ["BucketReader", "Message"]

Message = tuple[bytes, int, int, bytes, bytes]
"""Subject without the bucket's prefix, revision, time in nanoseconds since 1970, header block,
value."""

_BATCH = 64
_IN_FLIGHT = 128
"""Messages of all readings together, if nothing else uses their credit pool."""
_BATCH_BYTES = 128 * 1024
"""Bytes of values in the first batch. A larger value doubles it, as often as necessary."""
_LATEST_BYTES = 8 * 1024 * 1024
_AROUND_A_MESSAGE = 4096
_GIVE_WAY_SECONDS = 0.001
_MOMENT_SECONDS = 0.1
_SILENCE_SECONDS = 5.0
_BEHIND_SECONDS = 5.0
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
        self._batches = 1 if values else 2
        self._batch = _BATCH
        self._batch_bytes: int | None = _BATCH_BYTES if values else None
        self._max_batch_bytes = inf
        self._unit = max(1, self._pool.capacity // _IN_FLIGHT)
        self._arrived: list[Message] = []
        self._pulls: deque[tuple[int, int]] = deque()
        self._left_of_pull = 0
        self._delivered = 0
        self._expected = 0
        self._drained = self._exactly = self._is_tail = self._waits = False
        self._latest = False
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
        limit = (await self._cache.limits(self._bucket)).value_limit
        self._largest = self._js.max_answer_bytes(limit, direct=True) + _AROUND_A_MESSAGE
        self._newest = await self._cache.newest(self._bucket)
        if self._newest is None or self._newest.revision <= self._after:
            self._newest = None
            yield self
            return
        mux = self._js.mux
        self._consumer = consumer = Consumer(self._js, mux, self._names, "read")
        try:
            self._inbox: Inbox = await mux.subscribe(self._take, self._on_lost)
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
        assert self._newest is not None, "an empty bucket has no consumer"
        start: dict[str, Any] = {"deliver_policy": "all"}
        if self._after:
            start = {"deliver_policy": "by_start_sequence", "opt_start_seq": self._after + 1}
        elif not self._every_revision and self.keeps_history:
            start, self._latest = {"deliver_policy": "last_per_subject"}, True
            if self._values:
                # Such a consumer loses the message that goes over max_bytes, without a gap in its
                # numbers (seen up to nats-server 2.15.1): so its batches are small instead.
                most = min(_LATEST_BYTES, self._pool.capacity)
                self._batch = max(1, min(_BATCH, most // self._largest))
                self._batch_bytes = None
        wanted = filters_including(self._filter.subjects, self._newest)
        reply = await self._consumer.create(
            [self._names.subject_prefix + subject for subject in wanted],
            inactive_seconds=self._cache.inactive_seconds(self._bucket, _INACTIVE_SECONDS),
            headers_only=not self._values,
            **start,
        )
        self._expected = reply["num_pending"]
        self._batch = min(self._batch, reply["config"].get("max_batch") or self._batch)
        self._max_batch_bytes = reply["config"].get("max_bytes") or inf

    async def _close(self, consumer: Consumer) -> None:
        try:
            await self._inbox.close()
            await consumer.remove(_REMOVE_SECONDS)
        except GatewayError:
            pass  # its inactive_threshold removes it
        finally:
            # Not before: what it had asked for came until now.
            while self._pulls:
                self._pool.release(self._pulls.popleft()[1])

    async def parts(self) -> AsyncGenerator[list[Message], None]:
        """Yield the messages in revision order, until nothing is left.

        Raises:
            Unavailable, TooManyRequests, BucketUnsuitable: the reading is incomplete.
        """
        async with aclosing(self._delivered_parts()) as parts:
            async for part in parts:
                yield part
        if self._latest:
            since = BucketReader(
                self._js,
                self._cache,
                self._bucket,
                self._filter,
                values=self._values,
                after=self.as_of,
            )
            async with since.opened():
                if since.created_at != self.created_at:
                    raise Unavailable("the bucket was created again")
                async with aclosing(since.parts()) as parts:
                    async for part in parts:
                        yield part
            self.reached = since.revision

    async def _delivered_parts(self) -> AsyncGenerator[list[Message], None]:
        loop = asyncio.get_running_loop()
        moved = loop.time()
        waits = False
        while self._newest is not None:
            if not self._drained:
                await self._pull_ahead(waits=waits)
                waits = False
            await self._wait()
            if self._arrived:
                part, self._arrived = self._arrived, []
                moved = loop.time()
                # Of this part: more may arrive while it is taken.
                is_last = self._latest and part[-1][1] >= self._newest.revision
                if self._latest and part[-1][1] > self.as_of:
                    part = [message for message in part if message[1] <= self.as_of]
                if part:
                    yield part
                del part
                if is_last:
                    return
            if self._drained and not self._arrived:
                exactly, self._drained, self._exactly = self._exactly, False, False
                if await self._is_complete(self._newest, exactly=exactly):
                    return
                if loop.time() - moved > _BEHIND_SECONDS:
                    raise Unavailable("a replica is behind its leader")
                waits = True

    async def _is_complete(self, newest: NewestRevision, *, exactly: bool) -> bool:
        if not (exactly or self._latest):
            return False
        if self.reached >= newest.revision:
            return True
        # Behind the leader, unless that revision is gone by now.
        again = await self._cache.newest(self._bucket)
        return again is None or again.revision <= max(self.reached, self._after)

    async def _pull_ahead(self, *, waits: bool) -> None:
        mux = self._js.mux
        while len(self._pulls) < self._batches and self._error is None:
            left = self._expected - self._delivered - sum(asked for asked, _ in self._pulls)
            if left < 0 and self._pulls:
                return  # the pull in flight will show whether anything is left
            batch = self._batch
            if not self._is_tail and 0 <= left < self._batch * self._batches:
                # One more than are left: a pull that is full does not say that it was the last.
                batch = left + 1
            if mux.in_flight:
                # Let the replies of waiting requests come first: they would come behind this batch.
                await asyncio.sleep(_GIVE_WAY_SECONDS)
            await self._pull(batch, waits=waits)

    async def _pull(self, batch: int, *, waits: bool) -> None:
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
                taken = await self._pool.acquire(units)
        except TimeoutError:
            raise TooManyRequests("too much is being read at once") from None
        if self._error is not None:
            self._pool.release(taken)
            return
        if not self._pulls:
            self._left_of_pull = batch
        self._pulls.append((batch, taken))
        self._waits = waits
        # Where one of the newest was overwritten, a pull may wait for its successor.
        expires = _MOMENT_SECONDS if waits or self._latest else 0.0
        await self._consumer.pull(self._inbox.subject, batch, expires, **more)

    async def _wait(self) -> None:
        while not (self._moved.is_set() or self._drained):
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

    def _pull_is_over(self) -> None:
        if self._pulls:
            self._pool.release(self._pulls.popleft()[1])
        self._left_of_pull = self._pulls[0][0] if self._pulls else 0
        self._moved.set()

    def _take(self, subject: bytes, reply: bytes, headers: bytes, data: bytes) -> None:
        if self._error is not None:
            return
        if not reply:
            self._take_status(headers)
            return
        words = reply.split(b".")
        place = 5 if len(words) == 9 else 7
        number = int(words[place + 1])
        if number != self._delivered + 1:
            self._fail(Unavailable("a message is missing"))
            return
        self._delivered = number
        self.reached = revision = int(words[place])
        if subject.startswith(self._stored):
            stored_at = int(words[place + 2])
            self._arrived.append((subject[self._cut :], revision, stored_at, headers, data))
        else:
            # Of a bucket that sources another one, servers deliver that one's subjects, too, and
            # do not count them.
            self._expected += 1
        self._left_of_pull -= 1
        if not self._left_of_pull:
            self._pull_is_over()

    def _take_status(self, headers: bytes) -> None:
        code, text = status(headers)
        if text == _COMPLETED or code == b"100":
            return
        if code in _NOTHING_LEFT and self._pulls:
            delivered = self._pulls[0][0] - self._left_of_pull
            self._drained = self._is_tail = True
            self._expected = self._delivered
            self._exactly = self._exactly or delivered > 0 or self._waits
            self._pull_is_over()
        elif _MAX_BYTES in text and self._pulls and self._batch_bytes is not None:
            if self._left_of_pull == self._pulls[0][0]:
                if self._batch_bytes >= min(self._max_batch_bytes, 2 * self._largest):
                    self._refuse(text)
                    return
                self._batch_bytes *= 2
            self._pull_is_over()
        elif headers.startswith(NO_RESPONDERS):
            self._fail(Unavailable("NATS does not deliver what is asked for"))
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

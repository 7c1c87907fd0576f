"""A feed: the messages of one pull consumer, requested in batches and read in order.

A feed ends after a gap in the consumer's sequence, when the server says so, or after three seconds
without one of the heartbeats that the server sends every second. If the server would refuse every
new feed in the same way, or does not permit it, the feed ends with an error of its own, because
another feed would not help.
"""

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from functools import lru_cache
from math import inf
from typing import Any, NamedTuple

from jetkv_gateway.jetstream.api import Kind, expired, header_kind
from jetkv_gateway.jetstream.consumer import Consumer
from jetkv_gateway.jetstream.credits import ReadCredits
from jetkv_gateway.jetstream.errors import request_error
from jetkv_gateway.jetstream.expired_values import ExpiredValues
from jetkv_gateway.jetstream.expiry import Lifetime, ttl_of
from jetkv_gateway.jetstream.headers import (
    bucket_of,
    is_block,
    read_headers,
    status,
    subject_text,
    value_of,
)
from jetkv_gateway.jetstream.latest_batches import LatestBatch
from jetkv_gateway.jetstream.requests import HEADER_RESERVE, Inbox, Multiplexer, RequestFailed
from jetkv_gateway.jetstream.trace_headers import TRACEPARENT
from jetkv_gateway.kv.errors import BucketUnsuitable, GatewayError, TooManyRequests, Unavailable
from jetkv_gateway.kv.keys import MAX_KEY_BYTES, display, plain
from jetkv_gateway.kv.model import Change, Operation
from jetkv_gateway.kv.store import FeedBatch
from jetkv_gateway.kv.timestamps import rfc3339

__all__ = ["CATCH_UP_BATCH", "HEARTBEAT_SECONDS", "Feed", "largest_message"]

_SECOND = 1_000_000_000
_BATCH = 256
_BATCH_BYTES = 64 * 1024
"""The batch of a busy live feed whose own credit is smaller."""
_CATCH_UP_BATCH_BYTES = 128 * 1024
"""The first batch. A value that does not fit doubles it, as often as necessary."""
CATCH_UP_BATCH = 64
_CATCH_UP_IN_FLIGHT = 256
"""Messages of all feeds that catch up, if nothing else uses their credit pool. Replies to requests
come behind them."""
_AROUND_A_MESSAGE = 4096
"""The subject of a message and of its acknowledgement. The server counts their bytes too."""
_EXPIRES_SECONDS = 30.0
_CATCH_UP_EXPIRES_SECONDS = 3.0
_EXTRA_EXPIRES_SECONDS = 2.0
_ROOM_SECONDS = 10.0
HEARTBEAT_SECONDS = 1.0
_SILENCE_SECONDS = 3.0
_GIVE_WAY_SECONDS = 0.001
_SHORT_BLOCK = 128
"""The longest header block in bytes that is worth caching: values of the same type have equal
blocks."""

_PUT = Operation.PUT  # looking up an enum member costs as much as parsing a number

_COMPLETED = b"Batch Completed"
_MAX_BYTES = b"MaxBytes"
_WAITED_LONG_ENOUGH = frozenset({b"404", b"408"})
_BAD_REQUEST = b"400"
_EXCEEDED = b"Exceeded MaxRequest"


class _BatchRequest(NamedTuple):
    """The limits of a batch: messages, and bytes unless None."""

    batch: int
    bytes: int | None


class Feed:
    """`kv.store.Feed` on one consumer.

    A feed acquires credit before it requests messages. A live feed keeps a share of its own while
    it is open, so that the server can always send it something; for a message that does not fit it
    acquires extra credit until that message is here. A feed that catches up acquires credit for
    each batch.

    Args:
        subject_prefix: of the bucket's subjects.
        consumer: where to request messages.
        credits: the credit for bytes in flight.
        catch_up: whether this feed reads old messages.
        latest: the batches of a consumer that selects the newest message of each key; else None.
        heartbeat: seconds without a message after which the server reports that nothing happened.

    Attributes:
        clock: the event loop's time minus the server's.
        lifetime: how long the bucket's values live; None if they do not expire.
        expired_values: finds expired values for a feed that catches up; None for a live feed.
        exceeded: whether the messages exceeded the limit of bytes of a `latest` batch, and one is
            lost.
    """

    _inbox: Inbox
    clock = -inf

    def __init__(
        self,
        mux: Multiplexer,
        subject_prefix: bytes,
        consumer: Consumer,
        *,
        credits: ReadCredits,
        catch_up: bool,
        latest: LatestBatch | None,
        heartbeat: float,
    ) -> None:
        self._mux = mux
        self._heartbeat = heartbeat
        self._as_of = -inf
        self._stored_at = b""
        self._credits = credits
        self._catch_up = catch_up
        self._live_credit = self._extra_credit = 0
        self._batch = CATCH_UP_BATCH if catch_up else _BATCH
        self._batch_bytes: int | None = _CATCH_UP_BATCH_BYTES
        self._max_message = largest_message(mux)
        self._is_latest = latest is not None
        self.exceeded = False
        if latest is not None:
            self._batch, self._batch_bytes = latest
        self._request = _BatchRequest(0, None)
        self._too_small = 0
        self._busy = False
        self._subject_prefix = subject_prefix
        self._cut = len(subject_prefix)
        self._bucket = bucket_of(subject_prefix)
        self._consumer = consumer
        self._arrived: list[Change] = []
        self._reached = 0
        self._delivered = 0
        # What is left of the batch that comes now, and what the one behind it may have.
        self._pending = self._next_pending = 0
        self._double_batches = False
        self._pulls = 0
        self._loop = asyncio.get_running_loop()
        self._has_news = False
        self._waiter: asyncio.Future[None] | None = None
        self.lifetime: Lifetime | None = None
        self.expired_values: ExpiredValues | None = None
        self._end: str | None = None
        self._permanent_error: GatewayError | None = None
        self._expires = _CATCH_UP_EXPIRES_SECONDS if catch_up else _EXPIRES_SECONDS
        self._max_batch_bytes = inf

    def apply_limits(self, config: Mapping[str, Any]) -> None:
        """Request no more than the consumer allows; it has the limits of its server."""
        self._batch = min(self._batch, config.get("max_batch") or self._batch)
        self._max_batch_bytes = config.get("max_bytes") or inf
        self._expires = min(self._expires, (config.get("max_expires") or inf) / _SECOND)
        self._heartbeat = min(self._heartbeat, self._expires / 2)

    async def open(self) -> None:
        if not self._catch_up:
            with suppress(TimeoutError):
                async with asyncio.timeout(_ROOM_SECONDS):
                    self._live_credit = await self._credits.open_feed()
            if not self._live_credit:
                raise TooManyRequests("too many buckets are being watched at the same time")
        try:
            self._inbox = await self._mux.subscribe(
                self._take, lambda: self._finish("the connection to NATS was lost")
            )
        except RequestFailed as failed:
            raise request_error(failed, None) from failed
        self._consumer.on_denied(self._on_denied)

    def _on_denied(self) -> None:
        self._permanent_error = self._consumer.denied
        self._finish("not permitted")

    async def close(self) -> None:
        self._finish("closed")
        self._consumer.on_denied(None)
        await self._inbox.close()

    def release(self) -> None:
        """Release all credit, once nothing more can arrive."""
        self._end_batch()
        if self._live_credit:
            self._credits.close_feed(self._live_credit)
            self._live_credit = 0

    async def read(self) -> FeedBatch:
        while self._double_batches and not self._next_pending:
            await self._pull()
        if self._pending <= 0 and not self._arrived and self._end is None:
            await self._pull()
        if not self._arrived and not self._has_news and self._end is None:
            await self._wait()
        self._has_news = False
        if not self._arrived and self._end is not None:
            if self._permanent_error is not None:
                raise self._permanent_error
            raise Unavailable(f"the feed ended: {self._end}")
        changes, self._arrived = self._arrived, []
        if self._stored_at:
            self._as_of = max(self._as_of, self.clock + _nanoseconds(self._stored_at) / _SECOND)
            self._stored_at = b""
        batch = FeedBatch(changes, self._reached, self._as_of)
        if self.expired_values is not None:
            return batch._replace(expired=await self.expired_values.take())
        return batch

    async def _wait(self) -> None:
        # `asyncio.timeout` would cost as much as everything else that one change does here.
        self._waiter = self._loop.create_future()
        silence = self._loop.call_later(_SILENCE_SECONDS, self._finish, "no heartbeat")
        try:
            await self._waiter
        finally:
            silence.cancel()
            self._waiter = None

    def _wake(self) -> None:
        self._has_news = True
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def _pull(self) -> None:
        try:
            async with asyncio.timeout(_ROOM_SECONDS):
                asked = await (self._catch_up_request() if self._catch_up else self._live_request())
        except TimeoutError:
            self._finish("no credit in time: too much is being read at once")
            return
        if self._end is not None:
            return
        self._request = asked
        if self._pending <= 0:
            self._pending = asked.batch
        else:
            self._next_pending = asked.batch
        self._pulls += 1
        more = {"idle_heartbeat": int(self._heartbeat * _SECOND)}
        if asked.bytes is not None:
            more["max_bytes"] = asked.bytes
        expires = self._expires
        if self._extra_credit:
            # Others may wait for the extra credit, so hold it only briefly.
            expires = min(
                expires, _CATCH_UP_EXPIRES_SECONDS if self._catch_up else _EXTRA_EXPIRES_SECONDS
            )
        await self._consumer.pull(self._inbox.subject, asked.batch, expires, **more)

    async def _catch_up_request(self) -> "_BatchRequest":
        if self._mux.in_flight:
            await asyncio.sleep(_GIVE_WAY_SECONDS)
        pool, batch = self._credits.bulk, self._batch
        size = None
        wanted = batch * self._max_message
        if self._batch_bytes is not None:
            size = wanted = int(min(self._batch_bytes, self._max_batch_bytes))
        # Many small messages delay the replies to others as much as a few large ones do.
        self._extra_credit = await pool.acquire(
            max(wanted, batch * (pool.capacity // _CATCH_UP_IN_FLIGHT))
        )
        return _BatchRequest(batch, size)

    async def _live_request(self) -> "_BatchRequest":
        pool, batch, size = self._credits.bulk, self._batch, self._live_credit
        if self._too_small:
            # Request only the message that does not fit, so that the credit is not kept from
            # others.
            batch, size = 1, int(min(self._too_small, self._max_batch_bytes))
            self._extra_credit = await pool.acquire(size)
            self._too_small = 0
        elif self._double_batches:
            size //= 2
        elif self._busy and size < _BATCH_BYTES:
            self._extra_credit = pool.try_acquire(_BATCH_BYTES)
            size = self._extra_credit or size
        return _BatchRequest(batch, int(min(size, self._max_batch_bytes)))

    def _finish(self, reason: str) -> None:
        self._end = self._end or reason
        self._pending = self._next_pending = 0
        self._double_batches = False
        self._wake()

    def _end_batch(self) -> None:
        self._pending, self._next_pending = self._next_pending, 0
        if self._extra_credit:
            self._credits.bulk.release(self._extra_credit)
            self._extra_credit = 0

    def _take(self, subject: bytes, reply: bytes, headers: bytes, data: bytes) -> None:
        # Every change of every watched bucket passes through here. So the work of `api.delivery`
        # and `kv.keys.display` is inlined for nearly all of them, and `read` does what is needed
        # once per batch.
        if self._end is not None:
            return
        if not reply:
            self._take_status(headers)
            return
        words = reply.split(b".")
        if len(words) == 9:
            _, _, _, _, _, sequence, count, stored_at, _ = words
        else:
            sequence, count, stored_at = words[7:10]
        revision, number = int(sequence), int(count)
        if number != self._delivered + 1:
            self._finish("a gap")
            return
        self._delivered = number
        self._pending -= 1
        if self._pending <= 0:
            self._busy = True
            # With many small messages, keep two batches in flight, each with half of the credit:
            # the server needs longer to start the next batch than to send one.
            self._double_batches = (
                self._live_credit >= 2 * _BATCH_BYTES and self._request.batch == self._batch
            )
            self._end_batch()
        self._reached = revision
        if not self._has_news:
            self._wake()
        tokens = subject.removeprefix(self._subject_prefix)
        size = len(tokens)
        if size == len(subject):
            # If the bucket has sources, servers deliver subjects of the source bucket too.
            return
        self._stored_at = stored_at
        # Most keys are letters and digits, and that check takes a tenth of the other one.
        if (tokens.isalnum() and size <= MAX_KEY_BYTES) or plain(tokens):
            key = tokens.decode("ascii")
        else:
            key = display(subject_text(subject)[self._cut :])
        change = Change(key, data, revision, _PUT)
        ttl = None
        if headers:
            kind, change.expired, ttl, change.traceparent = _kind(headers, self._bucket)
            change.operation, change.content_type, change.content_encoding = kind
            if not change.live:
                change.value = b""
        lifetime = self.lifetime
        if lifetime is not None and (ttl is not None or lifetime.max_age != inf) and change.live:
            seconds = lifetime.lasts(ttl)
            if seconds != inf:
                at = _nanoseconds(stored_at)
                change.expires_at = rfc3339(at + round(seconds * _SECOND))
                if self.expired_values is not None:
                    self.expired_values.note(revision, at, ttl, lifetime)
        self._arrived.append(change)

    def _take_status(self, headers: bytes) -> None:
        code, text = status(headers)
        if code == b"100":
            last = value_of(headers, b"Nats-Last-Consumer") or b"0"
            if last != b"%d" % self._delivered:
                self._finish("a gap")
            else:
                # The consumer has read this far, even if no message matched its filters.
                looked = value_of(headers, b"Nats-Last-Stream") or b"0"
                self._reached = max(self._reached, int(looked))
                self._as_of, self._stored_at = self._loop.time(), b""
        elif text == _COMPLETED:
            # Some servers say this behind a batch, whose messages have been counted already.
            return
        elif code == _BAD_REQUEST or text.startswith(_EXCEEDED):
            self._refuse(text)
        elif self._is_latest and _MAX_BYTES in text:
            self.exceeded = True
            self._finish("messages exceeded the limit of a batch")
        elif code in _WAITED_LONG_ENOUGH or _MAX_BYTES in text:
            self._busy = _MAX_BYTES in text
            if self._busy and self._pending == self._request.batch:
                self._grow(text)
            self._double_batches = False
            self._end_batch()
        else:
            self._finish((text or b"status " + code).decode("utf-8", "replace"))
        self._wake()

    def _grow(self, text: bytes) -> None:
        """Request more bytes, because the last batch was too small for a single message."""
        asked = self._request.bytes
        if asked is None:
            return
        if asked >= self._max_batch_bytes:
            self._refuse(text)
        elif self._catch_up:
            self._batch_bytes = 2 * asked
        elif (
            asked >= self._live_credit
        ):  # otherwise it was half a batch, and the next is a whole one
            self._too_small = self._max_message if asked < self._max_message else 2 * asked

    def _refuse(self, text: bytes) -> None:
        """End this feed because of a refusal.

        If a new feed would be refused too, the error is permanent.
        """
        said = text.decode("utf-8", "replace")
        if self._pulls == 1 or not self._delivered:
            self._permanent_error = BucketUnsuitable(
                f"NATS refuses to deliver messages: {said}",
                hint="a limit on the bucket's consumers is too low",
            )
        self._finish(said)


def largest_message(mux: Multiplexer) -> int:
    """Return the size of the largest possible message in bytes, as the server counts it."""
    return mux.max_value_bytes + HEADER_RESERVE + _AROUND_A_MESSAGE


def _nanoseconds(text: bytes) -> int:
    """Return the time in a reply subject. One that is no number, which no server sends, is 0."""
    return int(text) if text.isdigit() else 0


def _kind(headers: bytes, bucket: str) -> tuple[Kind, bool, float | None, str | None]:
    """Read what a message is, whether it marks an expired value, its own TTL, and its span."""
    # What is no block is noted each time that it comes.
    if len(headers) <= _SHORT_BLOCK and is_block(headers):
        return _kept(headers)
    return _read(headers, bucket)


def _read(headers: bytes, bucket: str = "") -> tuple[Kind, bool, float | None, str | None]:
    read = read_headers(headers, bucket)
    kind = header_kind(read)
    is_expired = kind.operation is not Operation.PUT and expired(read)
    return kind, is_expired, ttl_of(read), read.get(TRACEPARENT)


_kept = lru_cache(maxsize=1024)(_read)

"""A feed: the messages that one pull consumer has, asked for in batches and read in order.

Its end is noticed by a gap in the consumer's sequence, by the server's word, or by three seconds
without the heartbeat of each one. What the server would refuse again and again, or does not permit,
is an error of its own, since another feed would fare no better.
"""

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from functools import lru_cache
from math import inf
from typing import Any, NamedTuple

from jetkv_gateway.jetstream.api import Kind, expired, header_kind
from jetkv_gateway.jetstream.budget import Budget
from jetkv_gateway.jetstream.consumer import Consumer
from jetkv_gateway.jetstream.errors import unanswered
from jetkv_gateway.jetstream.headers import (
    bucket_of,
    is_block,
    read_headers,
    status,
    subject_text,
    value_of,
)
from jetkv_gateway.jetstream.requests import HEADER_RESERVE, Inbox, Multiplexer, RequestFailed
from jetkv_gateway.kv.errors import BucketUnsuitable, GatewayError, TooManyRequests, Unavailable
from jetkv_gateway.kv.keys import display, plain
from jetkv_gateway.kv.model import Change, Operation
from jetkv_gateway.kv.store import Batch

__all__ = ["HEARTBEAT_SECONDS", "Feed"]

_SECOND = 1_000_000_000
_BATCH = 256
_BATCH_BYTES = 64 * 1024
"""Of a live feed that is busy, where its own share is less."""
_BATCH_BYTES_OF_PAST = 128 * 1024
"""To begin with; a larger value doubles it, for as often as it takes."""
_BATCH_OF_PAST = 64
_PAST_IN_FLIGHT = 256
"""Messages of all feeds that catch up, if nothing else takes up their lane of the budget: replies
to requests come behind them."""
_LATEST_BYTES = 8 * 1024 * 1024
_AROUND_A_MESSAGE = 4096
"""Its subject, and that of its acknowledgement, of which a server counts each byte."""
_EXPIRES_SECONDS = 30.0
_EXPIRES_SECONDS_OF_PAST = 3.0
_EXPIRES_OF_MORE = 2.0
_ROOM_SECONDS = 10.0
HEARTBEAT_SECONDS = 1.0
_SILENCE_SECONDS = 3.0
_GIVE_WAY_SECONDS = 0.001
_SHORT_BLOCK = 128
"""Bytes of a header block that is worth keeping: those of values with the same type are alike."""

_PUT = Operation.PUT  # to look up a member of an enum costs as much as to read a number

_COMPLETED = b"Batch Completed"
_MAX_BYTES = b"MaxBytes"
_WAITED_LONG_ENOUGH = frozenset({b"404", b"408"})
_BAD_REQUEST = b"400"
_EXCEEDED = b"Exceeded MaxRequest"


class _Asked(NamedTuple):
    """What a batch may have: messages, and bytes if they are limited."""

    batch: int
    bytes: int | None


class Feed:
    """`kv.store.Feed` on one consumer.

    What it asks for is taken of the budget before. A live feed has a share of its own, for as long
    as it is open, so that it can always be sent something; for what does not fit in there it takes
    more, until that has come. One that catches up takes what it needs for each batch.

    Args:
        stored: what stands before a key in its subject.
        consumer: whom to ask for messages.
        budget: of what is under way.
        past: whether it catches up.
        latest: whether its consumer picks out the newest of each key.
        heartbeat: seconds after which it says that nothing has happened.

    Attributes:
        clock: what the event loop's clock shows when the server's is at 0.
    """

    _inbox: Inbox
    clock = -inf

    def __init__(
        self,
        mux: Multiplexer,
        stored: bytes,
        consumer: Consumer,
        *,
        budget: Budget,
        past: bool,
        latest: bool,
        heartbeat: float,
    ) -> None:
        self._mux = mux
        self._heartbeat = heartbeat
        self._as_of = -inf
        self._stored_at = 0
        self._budget = budget
        self._past = past
        self._own = self._more = 0
        self._batch = _BATCH_OF_PAST if past else _BATCH
        self._batch_bytes: int | None = _BATCH_BYTES_OF_PAST
        self._max_message = mux.max_value_bytes + HEADER_RESERVE + _AROUND_A_MESSAGE
        if latest:
            # Such a consumer loses the message that goes over max_bytes, without a gap in its
            # numbers (seen up to nats-server 2.15.1): so its batches are small instead.
            most = min(_LATEST_BYTES, budget.feeds.part)
            self._batch = max(1, min(self._batch, most // self._max_message))
            self._batch_bytes = None
        self._asked = _Asked(0, None)
        self._too_small = 0
        self._busy = False
        self._stored = stored
        self._cut = len(stored)
        self._bucket = bucket_of(stored)
        self._consumer = consumer
        self._arrived: list[Change] = []
        self._reached = 0
        self._delivered = 0
        # What is left of the batch that comes now, and what the one behind it may have.
        self._credit = self._next_credit = 0
        self._streams = False
        self._pulls = 0
        self._loop = asyncio.get_running_loop()
        self._news = False
        self._waiter: asyncio.Future[None] | None = None
        self._end: str | None = None
        self._for_good: GatewayError | None = None
        self._expires = _EXPIRES_SECONDS_OF_PAST if past else _EXPIRES_SECONDS
        self._max_batch_bytes = inf

    def keep_to(self, config: Mapping[str, Any]) -> None:
        """Ask for no more at a time than the consumer allows, which has its server's limits."""
        self._batch = min(self._batch, config.get("max_batch") or self._batch)
        self._max_batch_bytes = config.get("max_bytes") or inf
        self._expires = min(self._expires, (config.get("max_expires") or inf) / _SECOND)
        self._heartbeat = min(self._heartbeat, self._expires / 2)

    async def open(self) -> None:
        if not self._past:
            with suppress(TimeoutError):
                async with asyncio.timeout(_ROOM_SECONDS):
                    self._own = await self._budget.open_feed()
            if not self._own:
                raise TooManyRequests("too many buckets are watched at the same time")
        try:
            self._inbox = await self._mux.subscribe(
                self._take, lambda: self._finish("the connection to NATS was lost")
            )
        except RequestFailed as signal:
            raise unanswered(signal, None) from signal
        self._consumer.heed(self._on_forbidden)

    def _on_forbidden(self) -> None:
        self._for_good = self._consumer.forbidden
        self._finish("not permitted")

    async def close(self) -> None:
        self._finish("closed")
        self._consumer.heed(None)
        await self._inbox.close()

    def release(self) -> None:
        """Give back what was taken of the budget, once nothing more can come."""
        self._batch_is_over()
        if self._own:
            self._budget.close_feed(self._own)
            self._own = 0

    async def read(self) -> Batch:
        while self._streams and not self._next_credit:
            await self._pull()
        if self._credit <= 0 and not self._arrived:
            await self._pull()
        if not self._arrived and not self._news:
            await self._wait()
        self._news = False
        if not self._arrived and self._end is not None:
            if self._for_good is not None:
                raise self._for_good
            raise Unavailable(f"the feed ended: {self._end}")
        changes, self._arrived = self._arrived, []
        if self._stored_at:
            self._as_of = max(self._as_of, self.clock + self._stored_at / _SECOND)
            self._stored_at = 0
        return Batch(changes, self._reached, self._as_of)

    async def _wait(self) -> None:
        # No `asyncio.timeout`: it would cost as much as all else that a single change does here.
        self._waiter = self._loop.create_future()
        silence = self._loop.call_later(_SILENCE_SECONDS, self._finish, "no heartbeat")
        try:
            await self._waiter
        finally:
            silence.cancel()
            self._waiter = None

    def _tell(self) -> None:
        self._news = True
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def _pull(self) -> None:
        try:
            async with asyncio.timeout(_ROOM_SECONDS):
                asked = await (self._ask_for_past() if self._past else self._ask_for_present())
        except TimeoutError:
            self._finish("too much is read at once")
            return
        if self._end is not None:
            return
        self._asked = asked
        if self._credit <= 0:
            self._credit = asked.batch
        else:
            self._next_credit = asked.batch
        self._pulls += 1
        more = {"idle_heartbeat": int(self._heartbeat * _SECOND)}
        if asked.bytes is not None:
            more["max_bytes"] = asked.bytes
        expires = self._expires
        if self._more:
            # Others wait for what it has taken.
            expires = min(expires, _EXPIRES_SECONDS_OF_PAST if self._past else _EXPIRES_OF_MORE)
        await self._consumer.ask(self._inbox.subject, asked.batch, expires, **more)

    async def _ask_for_past(self) -> "_Asked":
        if self._mux.in_flight:
            await asyncio.sleep(_GIVE_WAY_SECONDS)
        lane, batch = self._budget.feeds, self._batch
        size = None
        wanted = batch * self._max_message
        if self._batch_bytes is not None:
            size = wanted = int(min(self._batch_bytes, self._max_batch_bytes))
        # Many small messages stand before the replies to others as much as a few large ones do.
        self._more = await lane.take(max(wanted, batch * (lane.part // _PAST_IN_FLIGHT)))
        return _Asked(batch, size)

    async def _ask_for_present(self) -> "_Asked":
        lane, batch, size = self._budget.feeds, self._batch, self._own
        if self._too_small:
            # For what does not fit, and no more: the rest would be kept from others.
            batch, size = 1, int(min(self._too_small, self._max_batch_bytes))
            self._more = await lane.take(size)
            self._too_small = 0
        elif self._streams:
            size //= 2
        elif self._busy and size < _BATCH_BYTES:
            self._more = lane.take_now(_BATCH_BYTES)
            size = self._more or size
        return _Asked(batch, int(min(size, self._max_batch_bytes)))

    def _finish(self, reason: str) -> None:
        self._end = self._end or reason
        self._credit = self._next_credit = 0
        self._streams = False
        self._tell()

    def _batch_is_over(self) -> None:
        self._credit, self._next_credit = self._next_credit, 0
        if self._more:
            self._budget.feeds.give(self._more)
            self._more = 0

    def _take(self, subject: bytes, reply: bytes, headers: bytes, data: bytes) -> None:
        # All changes of all buckets that are watched come through here: so what `api.delivery` and
        # `kv.keys.display` do is done in place for nearly all of them, and what one look at the end
        # of a batch tells is left to `read`.
        if self._end is not None:
            return
        if not reply:
            self._take_status(headers)
            return
        words = reply.split(b".")
        place = 5 if len(words) == 9 else 7
        revision, number = int(words[place]), int(words[place + 1])
        stored_at = int(words[place + 2])
        if number != self._delivered + 1:
            self._finish("a gap")
            return
        self._delivered = number
        self._credit -= 1
        if self._credit <= 0:
            self._busy = True
            # Where many small ones come, two batches are under way, each with half of the share:
            # what the server takes to begin with the next one is longer than a batch takes.
            self._streams = self._own >= 2 * _BATCH_BYTES and self._asked.batch == self._batch
            self._batch_is_over()
        self._reached = revision
        if not self._news:
            self._tell()
        if not subject.startswith(self._stored):
            # Of a bucket that sources another one, servers deliver that one's subjects, too.
            return
        self._stored_at = stored_at
        tokens = subject[self._cut :]
        if plain(tokens):
            key = tokens.decode("ascii")
        else:
            key = display(subject_text(subject)[self._cut :])
        change = Change(key, data, revision, _PUT)
        if headers:
            kind, change.expired = _kind(headers, self._bucket)
            change.operation, change.content_type, change.content_encoding = kind
            if not change.live:
                change.value = b""
        self._arrived.append(change)

    def _take_status(self, headers: bytes) -> None:
        code, text = status(headers)
        if code == b"100":
            last = value_of(headers, b"Nats-Last-Consumer") or b"0"
            if last != b"%d" % self._delivered:
                self._finish("a gap")
            else:
                # The consumer has looked this far, whatever its filters let through.
                looked = value_of(headers, b"Nats-Last-Stream") or b"0"
                self._reached = max(self._reached, int(looked))
                self._as_of, self._stored_at = self._loop.time(), 0
        elif text == _COMPLETED:
            # Said by some servers after the last message of a batch; they were counted.
            return
        elif code == _BAD_REQUEST or text.startswith(_EXCEEDED):
            self._refuse(text)
        elif code in _WAITED_LONG_ENOUGH or _MAX_BYTES in text:
            self._busy = _MAX_BYTES in text
            if self._busy and self._credit == self._asked.batch:
                self._grow(text)
            self._streams = False
            self._batch_is_over()
        else:
            self._finish((text or b"status " + code).decode("utf-8", "replace"))
        self._tell()

    def _grow(self, text: bytes) -> None:
        """Ask for more bytes: those of the last time were too few for a single message."""
        asked = self._asked.bytes
        if asked is None:
            return
        if asked >= self._max_batch_bytes:
            self._refuse(text)
        elif self._past:
            self._batch_bytes = 2 * asked
        elif asked >= self._own:  # else it was half of that, and the next one has all of it
            self._too_small = self._max_message if asked < self._max_message else 2 * asked

    def _refuse(self, text: bytes) -> None:
        """End it by what a feed that has just been opened would be refused again and again."""
        said = text.decode("utf-8", "replace")
        if self._pulls == 1 or not self._delivered:
            self._for_good = BucketUnsuitable(
                f"NATS does not deliver what is asked for: {said}",
                hint="a limit on the bucket's consumers is too low",
            )
        self._finish(said)


def _kind(headers: bytes, bucket: str) -> tuple[Kind, bool]:
    """Read off a header block what a message is, and whether it says that a key's time was up."""
    # What is no block is noted each time that it comes.
    if len(headers) <= _SHORT_BLOCK and is_block(headers):
        return _kept(headers)
    return _read(headers, bucket)


def _read(headers: bytes, bucket: str = "") -> tuple[Kind, bool]:
    read = read_headers(headers, bucket)
    kind = header_kind(read)
    return kind, kind.operation is not Operation.PUT and expired(read)


_kept = lru_cache(maxsize=1024)(_read)

"""A feed: the messages that one pull consumer has, asked for in batches and read in order.

Its end is noticed by a gap in the consumer's sequence, by the server's word, or by three seconds
without the heartbeat of each one. What the server would refuse again and again, or does not permit,
is an error of its own, since another feed would fare no better.
"""

import asyncio
from collections.abc import Mapping
from math import inf
from typing import Any, NamedTuple

from jetkv_gateway.jetstream.api import delivery, expired, header_kind
from jetkv_gateway.jetstream.budget import Budget
from jetkv_gateway.jetstream.consumer import Consumer
from jetkv_gateway.jetstream.errors import unanswered
from jetkv_gateway.jetstream.headers import bucket_of, read_headers, status, subject_text, value_of
from jetkv_gateway.jetstream.requests import HEADER_RESERVE, Inbox, Multiplexer, RequestFailed
from jetkv_gateway.kv.errors import BucketUnsuitable, GatewayError, Unavailable
from jetkv_gateway.kv.keys import display
from jetkv_gateway.kv.model import Change, Operation
from jetkv_gateway.kv.store import Batch

__all__ = ["HEARTBEAT_SECONDS", "Feed", "Share"]

_SECOND = 1_000_000_000
_BATCH = 256
_BATCH_BYTES = 256 * 1024
_BATCH_BYTES_OF_PAST = 128 * 1024
"""To begin with; a larger value doubles it, for as often as it takes."""
_BATCH_OF_PAST = 64
_LATEST_BYTES = 8 * 1024 * 1024
_EXPIRES_SECONDS = 30.0
_EXPIRES_SECONDS_OF_PAST = 3.0
HEARTBEAT_SECONDS = 1.0
_SILENCE_SECONDS = 3.0
_GIVE_WAY_SECONDS = 0.001

_COMPLETED = b"Batch Completed"
_MAX_BYTES = b"MaxBytes"
_WAITED_LONG_ENOUGH = frozenset({b"404", b"408"})
_BAD_REQUEST = b"400"
_EXCEEDED = b"Exceeded MaxRequest"


class Share(NamedTuple):
    """What all that catch up may have under way."""

    bytes: Budget
    messages: Budget


class Feed:
    """`kv.store.Feed` on one consumer.

    Args:
        stored: what stands before a key in its subject.
        consumer: whom to ask for messages.
        share: of all that catch up, for a feed that does.
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
        share: Share | None,
        latest: bool,
        heartbeat: float,
    ) -> None:
        self._mux = mux
        self._heartbeat = heartbeat
        self._as_of = -inf
        self._share = share
        self._taken_bytes = self._taken_messages = 0
        self._batch = _BATCH if share is None else _BATCH_OF_PAST
        self._batch_bytes: int | None = _BATCH_BYTES if share is None else _BATCH_BYTES_OF_PAST
        self._max_message = mux.max_value_bytes + HEADER_RESERVE
        if latest:
            # Such a consumer loses the message that goes over max_bytes, without a gap in its
            # numbers (seen up to nats-server 2.15.1): so its batches are small instead.
            self._batch = max(1, min(self._batch, _LATEST_BYTES // self._max_message))
            self._batch_bytes = None
        self._stored = stored
        self._cut = len(stored)
        self._consumer = consumer
        self._arrived: list[Change] = []
        self._reached = 0
        self._delivered = 0
        self._credit = 0
        self._pulls = 0
        self._news = asyncio.Event()
        self._end: str | None = None
        self._for_good: GatewayError | None = None
        self._expires = _EXPIRES_SECONDS if share is None else _EXPIRES_SECONDS_OF_PAST
        self._max_batch_bytes = inf

    def keep_to(self, config: Mapping[str, Any]) -> None:
        """Ask for no more at a time than the consumer allows, which has its server's limits."""
        self._batch = min(self._batch, config.get("max_batch") or self._batch)
        self._max_batch_bytes = config.get("max_bytes") or inf
        if self._batch_bytes is not None:
            self._batch_bytes = int(min(self._batch_bytes, self._max_batch_bytes))
        self._expires = min(self._expires, (config.get("max_expires") or inf) / _SECOND)
        self._heartbeat = min(self._heartbeat, self._expires / 2)

    async def open(self) -> None:
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

    async def read(self) -> Batch:
        if not self._arrived:
            if self._credit <= 0:
                await self._pull()
            if not self._news.is_set():
                await self._wait()
        self._news.clear()
        if not self._arrived and self._end is not None:
            if self._for_good is not None:
                raise self._for_good
            raise Unavailable(f"the feed ended: {self._end}")
        changes, self._arrived = self._arrived, []
        return Batch(changes, self._reached, self._as_of)

    async def _wait(self) -> None:
        try:
            async with asyncio.timeout(_SILENCE_SECONDS):
                await self._news.wait()
        except TimeoutError:
            self._finish("no heartbeat")

    async def _pull(self) -> None:
        if self._share is not None:
            if self._mux.in_flight:
                await asyncio.sleep(_GIVE_WAY_SECONDS)
            wanted = self._batch_bytes or self._batch * self._max_message
            self._taken_bytes = await self._share.bytes.take(wanted)
            self._taken_messages = await self._share.messages.take(self._batch)
        self._credit = self._batch
        self._pulls += 1
        more = {"idle_heartbeat": int(self._heartbeat * _SECOND)}
        if self._batch_bytes is not None:
            more["max_bytes"] = self._batch_bytes
        await self._consumer.ask(self._inbox.subject, self._batch, self._expires, **more)

    def _finish(self, reason: str) -> None:
        self._end = self._end or reason
        self._batch_is_over()
        self._news.set()

    def _batch_is_over(self) -> None:
        self._credit = 0
        if self._share is not None:
            self._share.bytes.give(self._taken_bytes)
            self._share.messages.give(self._taken_messages)
            self._taken_bytes = self._taken_messages = 0

    def _take(self, subject: bytes, reply: bytes, headers: bytes, data: bytes) -> None:
        if self._end is not None:
            return
        if not reply:
            self._take_status(headers)
            return
        revision, number, stored_at = delivery(reply)
        if number != self._delivered + 1:
            self._finish("a gap")
            return
        self._delivered = number
        self._credit -= 1
        if self._credit <= 0:
            self._batch_is_over()
        if not subject.startswith(self._stored):
            # Of a bucket that sources another one, servers deliver that one's subjects, too.
            self._reached = revision
            self._news.set()
            return
        change = Change(display(subject_text(subject)[self._cut :]), data, revision, Operation.PUT)
        if headers:
            read = read_headers(headers, bucket_of(subject))
            change.operation, change.content_type, change.content_encoding = header_kind(read)
            if not change.live:
                change.value = b""
                change.expired = expired(read)
        self._reached = revision
        self._as_of = max(self._as_of, self.clock + stored_at / _SECOND)
        self._arrived.append(change)
        self._news.set()

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
                self._as_of = asyncio.get_running_loop().time()
        elif text == _COMPLETED:
            # Said by some servers after the last message of a batch; they were counted.
            return
        elif code == _BAD_REQUEST or text.startswith(_EXCEEDED):
            self._refuse(text)
        elif code in _WAITED_LONG_ENOUGH or _MAX_BYTES in text:
            if self._batch_bytes is not None and _MAX_BYTES in text and self._credit == self._batch:
                if self._batch_bytes >= self._max_batch_bytes:
                    self._refuse(text)
                self._batch_bytes = int(min(2 * self._batch_bytes, self._max_batch_bytes))
            self._batch_is_over()
        else:
            self._finish((text or b"status " + code).decode("utf-8", "replace"))
        self._news.set()

    def _refuse(self, text: bytes) -> None:
        """End it by what a feed that has just been opened would be refused again and again."""
        said = text.decode("utf-8", "replace")
        if self._pulls == 1:
            self._for_good = BucketUnsuitable(
                f"NATS does not deliver what is asked for: {said}",
                hint="a limit on the bucket's consumers is too low",
            )
        self._finish(said)

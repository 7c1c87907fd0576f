"""What watches are made of: where a bucket stands, and its changes from some revision on.

A feed is one named, ephemeral pull consumer. Pulled and not pushed: what nobody has read is not
fetched, so a burst waits in the server and not in this process. Its end is noticed by a gap in the
consumer's sequence, by the server's word, or by three seconds without the heartbeat of each one;
whoever reads it then opens another one.
"""

import asyncio
import secrets
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, nullcontext
from datetime import datetime
from math import inf
from typing import Any, NamedTuple

import orjson

from jetkv_gateway.jetstream.api import (
    consumer_request,
    delivery,
    expired,
    forgetting,
    get_next,
    header_kind,
)
from jetkv_gateway.jetstream.buckets import JetStreamBuckets, names_of, passing
from jetkv_gateway.jetstream.budget import Budget
from jetkv_gateway.jetstream.client import JetStream
from jetkv_gateway.jetstream.errors import unanswered
from jetkv_gateway.jetstream.headers import bucket_of, read_headers, status, subject_text, value_of
from jetkv_gateway.jetstream.requests import HEADER_RESERVE, Inbox, Multiplexer, Signal
from jetkv_gateway.kv.errors import GatewayError, KeyNotFound, TooManyRequests, Unavailable
from jetkv_gateway.kv.filters import EVERYTHING, Filter, disjoint
from jetkv_gateway.kv.keys import display
from jetkv_gateway.kv.model import BucketState, Change, Operation
from jetkv_gateway.kv.store import Batch, Newest, Stamp

__all__ = ["JetStreamChanges"]

_SECOND = 1_000_000_000
_BATCH = 256
_BATCH_BYTES = 256 * 1024
_BATCH_BYTES_OF_PAST = 128 * 1024
"""To begin with; a larger value doubles it, for as often as it takes."""
_LATEST_BYTES = 8 * 1024 * 1024
_EXPIRES_SECONDS = 30
_EXPIRES_SECONDS_OF_PAST = 3
_HEARTBEAT_SECONDS = 1
_SILENCE_SECONDS = 3.0
_INACTIVE_SECONDS = 5
_INACTIVE_SECONDS_OF_PAST = 60
"""After this long without us the server removes a consumer. One that is read at the pace of a slow
watcher may rest for longer than the live one, which never does."""

_PASTS_AT_ONCE = 128
_BYTES_OF_PAST = 16 * 1024 * 1024
"""All that catches up shares one connection with everything else, and the server ends a connection
that it has 64 MiB for; and a stream has a thousand consumers at most by default."""

_BATCH_OF_PAST = 64
_MESSAGES_OF_PAST = 256
"""Under way at a time, for all that catch up: replies to requests come behind them."""
_GIVE_WAY_SECONDS = 0.001

_TRIES_TO_REMOVE = 3
_ANSWER_SECONDS = 2.0
"""Shorter than for other calls: all of these are tried again, and a leader that is gone for good
answers none of them."""

_COMPLETED = b"Batch Completed"
_MAX_BYTES = b"MaxBytes"
_WAITED_LONG_ENOUGH = frozenset({b"404", b"408"})


class JetStreamChanges:
    """`kv.store.Changes` on JetStream."""

    def __init__(self, js: JetStream, buckets: JetStreamBuckets) -> None:
        self._js = js
        self._buckets = buckets
        self._closing: set[asyncio.Task[None]] = set()
        self._pasts = asyncio.Semaphore(_PASTS_AT_ONCE)
        self._past = _Share(Budget(_BYTES_OF_PAST), Budget(_MESSAGES_OF_PAST))

    async def available(self, timeout: float) -> None:
        await self._js.available(timeout)

    async def state(self, bucket: str) -> BucketState:
        info = await self._buckets.stream(bucket, timeout=_ANSWER_SECONDS)
        state = info["state"]
        last: int = state["last_seq"]
        now = _time(info["ts"])
        return BucketState(
            created_at=info["created"],
            age=now - _time(info["created"]),
            now=now,
            first=state["first_seq"] if state["messages"] else last + 1,
            first_age=now - _time(state["first_ts"]),
            last=last,
            history=info["config"]["max_msgs_per_subject"],
            forgets=forgetting(info["config"]),
        )

    async def newest(self, bucket: str) -> Newest | None:
        try:
            return await self._buckets.newest(bucket, timeout=_ANSWER_SECONDS)
        except TooManyRequests as error:
            # A watch goes on trying.
            raise Unavailable(error.message) from error

    async def first_from(self, bucket: str, revision: int) -> Stamp | None:
        names = names_of(self._js.naming, bucket)
        asked = get_next(names.stored + ">", revision)
        try:
            reply = await self._js.call(
                names.get, asked, timeout=_ANSWER_SECONDS, share=self._buckets.share(names)
            )
        except KeyNotFound:
            return None
        except TooManyRequests as error:
            raise Unavailable(error.message) from error
        message = reply["message"]
        return Stamp(message["seq"], _time(message["time"]))

    @asynccontextmanager
    async def follow(
        self,
        bucket: str,
        *,
        after: int,
        latest: bool = False,
        filters: Sequence[Filter] = (EVERYTHING,),
        through: Newest | None = None,
        closely: bool = False,
    ) -> AsyncIterator["_Feed"]:
        async with nullcontext() if through is None else self._pasts:
            names = names_of(self._js.naming, bucket)
            wanted = disjoint(subject for keep in filters for subject in keep.subjects)
            if through is not None:
                wanted = passing(wanted, through)
            start: dict[str, Any] = {"deliver_policy": "last_per_subject"}
            if not latest:
                start = {"deliver_policy": "by_start_sequence", "opt_start_seq": after + 1}
            consumer = f"jetkv-watch-{secrets.token_hex(8)}"
            inactive = _INACTIVE_SECONDS if through is None else _INACTIVE_SECONDS_OF_PAST
            mux = self._js.mux
            feed = _Feed(
                mux,
                names.stored.encode(),
                f"{self._js.naming.api}CONSUMER.MSG.NEXT.{names.stream}.{consumer}",
                share=self._past if through is not None else None,
                latest=latest,
                heartbeat=_HEARTBEAT_SECONDS / 2 if closely else _HEARTBEAT_SECONDS,
            )
            await feed.open()
            lost = False
            asked = asyncio.get_running_loop().time()
            try:
                reply = await self._js.call(
                    f"CONSUMER.CREATE.{names.stream}.{consumer}",
                    consumer_request(
                        names.stream,
                        consumer,
                        [names.stored + subject for subject in wanted],
                        inactive_seconds=inactive,
                        **start,
                    ),
                    timeout=_ANSWER_SECONDS,
                )
                # By this a time of the server's is never taken for a later one than it was.
                feed.clock = asked - _time(reply["ts"])
                yield feed
            except Unavailable:
                lost = True
                raise
            finally:
                # Also when its creation got no answer: it may be there.
                closing = asyncio.create_task(self._close(feed, names.stream, consumer, lost))
                self._closing.add(closing)
                closing.add_done_callback(self._closing.discard)
                if not lost:
                    # Nobody waits for a server that does not know this consumer any more.
                    await asyncio.shield(closing)

    async def _close(self, feed: "_Feed", stream: str, consumer: str, lost: bool) -> None:
        await feed.close()
        for _ in range(_TRIES_TO_REMOVE if lost else 1):
            try:
                await self._js.call(f"CONSUMER.DELETE.{stream}.{consumer}", timeout=_ANSWER_SECONDS)
            except Unavailable:
                # Should it never succeed, the inactive_threshold removes it.
                await self._js.available(_INACTIVE_SECONDS_OF_PAST if lost else 0)
            except GatewayError:
                return  # gone already
            else:
                return


class _Share(NamedTuple):
    """What all that catch up may have under way."""

    bytes: Budget
    messages: Budget


class _Feed:
    """`kv.store.Feed` on one consumer.

    Args:
        stored: what stands before a key in its subject.
        next_subject: where to ask for messages.
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
        next_subject: str,
        *,
        share: _Share | None,
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
        self._next_subject = next_subject
        self._arrived: list[Change] = []
        self._reached = 0
        self._delivered = 0
        self._credit = 0
        self._news = asyncio.Event()
        self._end: str | None = None

    async def open(self) -> None:
        try:
            self._inbox = await self._mux.subscribe(
                self._take, lambda: self._finish("the connection to NATS was lost")
            )
        except Signal as signal:
            raise unanswered(signal, None) from signal

    async def close(self) -> None:
        self._finish("closed")
        await self._inbox.close()

    async def read(self) -> Batch:
        if not self._arrived:
            if self._credit <= 0:
                await self._pull()
            if not self._news.is_set():
                await self._wait()
        self._news.clear()
        if not self._arrived and self._end is not None:
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
        expires = _EXPIRES_SECONDS
        if self._share is not None:
            expires = _EXPIRES_SECONDS_OF_PAST
            if self._mux.in_flight:
                await asyncio.sleep(_GIVE_WAY_SECONDS)
            wanted = self._batch_bytes or self._batch * self._max_message
            self._taken_bytes = await self._share.bytes.take(wanted)
            self._taken_messages = await self._share.messages.take(self._batch)
        self._credit = self._batch
        body = {
            "batch": self._batch,
            "expires": expires * _SECOND,
            "idle_heartbeat": int(self._heartbeat * _SECOND),
        }
        if self._batch_bytes is not None:
            body["max_bytes"] = self._batch_bytes
        try:
            await self._mux.send(self._next_subject, orjson.dumps(body), self._inbox.subject)
        except Signal as signal:
            raise unanswered(signal, None) from signal

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
        elif code in _WAITED_LONG_ENOUGH or _MAX_BYTES in text:
            if self._batch_bytes is not None and _MAX_BYTES in text and self._credit == self._batch:
                self._batch_bytes *= 2
            self._batch_is_over()
        else:
            self._finish((text or b"status " + code).decode("utf-8", "replace"))
        self._news.set()


def _time(text: str) -> float:
    """Read an RFC 3339 time as seconds; Python takes no nanoseconds."""
    whole, _, rest = text.rstrip("Z").partition(".")
    return datetime.fromisoformat(whole + "+00:00").timestamp() + float(f"0.{rest or 0}")

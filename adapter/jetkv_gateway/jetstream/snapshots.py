"""The newest messages of several keys as of one moment.

A direct get can ask for several subjects (ADR-31, nats-server 2.11), and the server holds back
writes while it collects the answer. Measured with 2.11.11 to 2.15.1:

- The end names the newest sequence in the stream of the answering server. If that server is the
  leader, the answer is current. Another replica may be behind: its answer counts only if it reaches
  the newest message of the leader, which is requested at the same time.
- If nothing is found, or a message expires meanwhile, the end is a 404, which names no sequence.
- `max_bytes` cuts the answer without an error, and the end says how many messages are missing.

Everything that such an answer lacks (with nats-server 2.10, in a bucket without direct gets, after
a 404 or a cut) is read key by key from the leader. A revision never changes. So keys that are read
one after the other are as of revision R if R was the newest before and none of them has a newer
revision. Otherwise they are read again.
"""

import asyncio
import math
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager

import orjson

from jetkv_gateway.jetstream.api import TTL, block_kind, get_last, read_entry
from jetkv_gateway.jetstream.bucket_cache import BucketCache, WriteLimits
from jetkv_gateway.jetstream.capabilities import Capability
from jetkv_gateway.jetstream.client import JetStream, RetryWindow
from jetkv_gateway.jetstream.credits import CreditRequest
from jetkv_gateway.jetstream.headers import read_several, stream_line_of
from jetkv_gateway.jetstream.multi_get import MultiGet
from jetkv_gateway.jetstream.names import BucketNames, names_of
from jetkv_gateway.jetstream.requests import RequestFailed, RequestTimeout
from jetkv_gateway.kv.batches import MAX_VALUE_BYTES
from jetkv_gateway.kv.errors import (
    AnswerTooLarge,
    GatewayError,
    KeyNotFound,
    TooManyRequests,
    Unavailable,
)
from jetkv_gateway.kv.model import Entry, Operation
from jetkv_gateway.stepping import deadline

__all__ = ["Collected", "Snapshots"]

_SMALL_PAGE = 256 * 1024
_LARGE_PAGE = 2 * 1024 * 1024
"""Bytes that one direct get requests at most; it may exceed them by one message."""

_AROUND_A_MESSAGE = 512
"""Bytes that the server adds to a stored message, for its headers."""

_TTL = TTL.encode()

_AT_ONCE = 32
"""Single reads of one request at the same time."""

_MUCH = 4 * 1024 * 1024
"""Bytes of values above which a request waits for others that hold as much."""

_TURN_SECONDS = 5.0


class Collected:
    """Messages of keys, and the size of their values.

    Attributes:
        newest: tokens of a key → its newest message.
        revision: the moment as of which they are; 0 in an empty bucket.
        stopped: whether it was emptied, since other requests hold as much as is allowed.
    """

    __slots__ = ("_bytes", "newest", "revision", "stopped", "values")

    def __init__(self, revision: int, *, values: bool) -> None:
        self.newest: dict[str, Entry] = {}
        self.revision = revision
        self.stopped = False
        self.values = values
        self._bytes = 0

    @property
    def large(self) -> bool:
        return self._bytes > _MUCH

    def take(self, tokens: str, entry: Entry) -> None:
        """Add the newest message of a key.

        Raises:
            AnswerTooLarge: the values exceed the limit of one answer.
        """
        if not self.values:
            entry.data = b""
        self.newest[tokens] = entry
        self.count(entry.size)

    def stop(self) -> None:
        """Drop all messages; none is added from now on."""
        self.stopped = True
        self.newest.clear()

    def count(self, size: int) -> None:
        """Count bytes of values; raises as `take`."""
        self._bytes += size if self.values else 0
        if self._bytes > MAX_VALUE_BYTES:
            raise AnswerTooLarge(MAX_VALUE_BYTES)


class _Slot:
    """The permission of a request to hold many bytes, acquired on demand."""

    def __init__(self, turn: asyncio.Semaphore) -> None:
        self._turn = turn
        self._held = False

    async def try_take(self) -> bool:
        """Take the permission if nobody else holds it; return whether this request holds it."""
        if not self._held and not self._turn.locked():
            await self._turn.acquire()  # at once
            self._held = True
        return self._held

    async def take(self) -> None:
        """Wait for the permission.

        Raises:
            TooManyRequests: others held it the whole time.
        """
        if self._held:
            return
        try:
            async with deadline(_TURN_SECONDS):
                await self._turn.acquire()
        except TimeoutError:
            raise TooManyRequests("too many large values are being read at once") from None
        self._held = True

    def release(self) -> None:
        if self._held:
            self._turn.release()


class Snapshots:
    """Reads of several keys of a bucket."""

    def __init__(self, js: JetStream, buckets: BucketCache) -> None:
        self._js = js
        self._buckets = buckets
        self._loop = asyncio.get_running_loop()
        self._turn = asyncio.Semaphore(1)

    @asynccontextmanager
    async def collect(
        self, bucket: str, keys: Mapping[str, str], window: RetryWindow, *, values: bool = True
    ) -> AsyncGenerator[Collected, None]:
        """Collect the newest messages of keys, including tombstones.

        Many bytes are held until you leave the context. An expired value counts as purged.

        Args:
            keys: what NATS stores a key as → the key.
            values: whether the values are wanted.

        Raises:
            AnswerTooLarge: the values exceed the limit of one answer.
            Unavailable: the keys are written faster than they can be read.
            TooManyRequests: other requests hold too much memory.
        """
        slot = _Slot(self._turn)
        try:
            found = await self._collect(bucket, keys, window, slot, values=values)
            yield found
        finally:
            slot.release()

    async def _collect(
        self,
        bucket: str,
        keys: Mapping[str, str],
        window: RetryWindow,
        slot: _Slot,
        *,
        values: bool,
    ) -> Collected:
        names = names_of(self._js.naming, bucket)
        limits = await self._buckets.limits(bucket, window)
        while True:
            found, complete = await self._page(names, keys, limits, window, values=values)
            if not complete:
                rest = [tokens for tokens in keys if tokens not in found.newest]
                complete = await self._singly(names, rest, keys, found, window, slot)
            if found.stopped or (found.large and not await slot.try_take()):
                # Hold nothing while others are served, and read again afterwards.
                del found
                await slot.take()
                continue
            if complete:
                return found
            del found
            if not await window.pause():
                raise Unavailable("the keys are written faster than they can be read together")

    async def _page(
        self,
        names: BucketNames,
        keys: Mapping[str, str],
        limits: WriteLimits,
        window: RetryWindow,
        *,
        values: bool,
    ) -> tuple[Collected, bool]:
        """Return the result of one direct get, and whether it has all keys."""
        credit, page = self._credit_of(names, limits, len(keys))
        subjects = [names.subject_prefix + tokens for tokens in keys]
        query = orjson.dumps({"multi_last": subjects, "max_bytes": page})
        if (
            not limits.host.can(Capability.SEVERAL_AT_ONCE)
            or len(query) > self._js.connection.max_value_bytes
        ):
            return Collected(await self._newest(names, window), values=values), False
        newest, answer = await self._ask(names, query, credit, limits, window)
        if answer is not None and answer.final is not None and answer.final.pending is not None:
            found = Collected(answer.final.reached, values=values)
            if found.revision >= newest and await self._take(names, keys, found, answer, window):
                return found, not answer.final.pending
        return Collected(newest or await self._newest(names, window), values=values), False

    async def _ask(
        self,
        names: BucketNames,
        query: bytes,
        credit: CreditRequest,
        limits: WriteLimits,
        window: RetryWindow,
    ) -> tuple[int, MultiGet | None]:
        """Return the leader's newest revision, or 0 if the leader answered, and the answer."""
        js, pool = self._js, credit.pool
        connected_server = js.connection.connected_server
        is_leader = limits.direct_server is connected_server and connected_server.standalone
        amount = credit.amount
        if not is_leader:
            # For both replies at once: who holds credit must not wait for more.
            amount += self._buckets.credit(names).amount
        credit = CreditRequest(pool, amount)
        taken = pool.try_acquire(amount) or await js.acquire_credit(credit, window, None)
        epoch = pool.epoch
        newest, request = 0, None
        try:
            request = js.connection.mux.ask(
                names.direct,
                query,
                timeout=js.try_timeout(window),
                kind=MultiGet,
                operation="multi_get",
            )
            if not is_leader:
                # Ask at the same time, so that both take one round trip.
                newest = await self._newest(names, window, has_credit=True)
            await request
        except (RequestTimeout, GatewayError, asyncio.CancelledError) as late:
            js.abandon(pool, taken)
            taken = 0
            if not isinstance(late, RequestTimeout):
                raise
            return newest, None
        except RequestFailed:
            return newest, None  # the read of the leader reports the reason
        finally:
            if request is not None and not request.done:
                js.abandon(pool, taken)
                taken = 0
                js.connection.mux.forget(request)
            if taken:
                pool.release(taken, epoch)
        assert isinstance(request, MultiGet), "as it was asked for"
        return newest, request

    async def _take(
        self,
        names: BucketNames,
        keys: Mapping[str, str],
        found: Collected,
        answer: MultiGet,
        window: RetryWindow,
    ) -> bool:
        """Add the messages of a direct get; return whether all belong to the bucket."""
        cut = len(names.subject_prefix)
        limits = self._buckets.known_limits(names.bucket)
        lifetime = None if limits is None else limits.lifetime
        expires = lifetime is not None and lifetime.max_age != math.inf
        newest, revision = found.newest, found.revision
        stream = stream_line_of(names.stream)
        size = 0
        for data, block in answer.replies:
            message = read_several(block, stream)
            if message is None:
                return False  # a mirror's, which may be behind
            stored, subject, sequence, time = message
            tokens = subject.decode()[cut:]
            key = keys.get(tokens)
            if key is None or sequence > revision:
                return False
            newest[tokens] = entry = Entry(key, data, sequence, time, *block_kind(stored))
            if lifetime is not None and (expires or _TTL in stored) and entry.live:
                if await self._buckets.is_expired(names.bucket, entry, stored, window):
                    entry.operation = Operation.PURGE
                self._buckets.set_expiry(names.bucket, entry, stored)
            size += len(data)
            if not found.values:
                entry.data = b""
        found.count(size)
        return True

    def _credit_of(
        self, names: BucketNames, limits: WriteLimits, count: int
    ) -> tuple[CreditRequest, int]:
        """Return the credit of a direct get, and its `max_bytes`."""
        js = self._js
        message = js.max_answer_bytes(limits.value_limit, direct=True)
        pool = js.read_sizes.credit(names.subject_prefix, message, None, limits.average_size).pool
        page = _SMALL_PAGE
        if (
            pool is not js.credits.small
            or (limits.average_size + _AROUND_A_MESSAGE) * count * 2 > page
        ):
            pool, page = js.credits.large, _LARGE_PAGE
        most = min(count * message, page + message) + count * _AROUND_A_MESSAGE
        return CreditRequest(pool, most), page

    async def _newest(
        self, names: BucketNames, window: RetryWindow, *, has_credit: bool = False
    ) -> int:
        """Return the leader's newest revision, 0 in an empty bucket.

        Args:
            has_credit: whether you have acquired credit for the reply.
        """
        query = get_last(names.subject_prefix + ">")
        credit = None if has_credit else self._buckets.credit(names)
        try:
            reply = await self._js.call(names.get, query, window=window, credit=credit)
        except KeyNotFound:
            return 0
        revision: int = reply["message"]["seq"]
        return revision

    async def _singly(
        self,
        names: BucketNames,
        rest: Sequence[str],
        keys: Mapping[str, str],
        found: Collected,
        window: RetryWindow,
        slot: _Slot,
    ) -> bool:
        """Read keys from the leader; return whether no key has changed since the moment.

        Stop if there are many bytes and others hold as much.
        """
        left = iter(rest)
        unchanged = True

        async def read() -> None:
            nonlocal unchanged
            for tokens in left:
                if found.large and not await slot.try_take():
                    found.stop()
                if found.stopped:
                    return
                entry = await self._last(names, tokens, keys[tokens], window)
                if entry is None or found.stopped:
                    continue
                unchanged = unchanged and entry.revision <= found.revision
                if not unchanged:
                    return
                found.take(tokens, entry)

        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(min(_AT_ONCE, len(rest))):
                    group.create_task(read())
        except ExceptionGroup as errors:
            raise errors.exceptions[0] from None
        return unchanged

    async def _last(
        self, names: BucketNames, tokens: str, key: str, window: RetryWindow
    ) -> Entry | None:
        subject = names.subject_prefix + tokens
        credit = self._buckets.credit(names, subject)
        try:
            reply = await self._js.call(names.get, get_last(subject), window=window, credit=credit)
        except KeyNotFound:
            return None
        message = reply["message"]
        entry = read_entry(message, subject, key)
        if (
            entry is not None
            and entry.live
            and await self._buckets.is_expired(names.bucket, entry, message.get("hdrs"), window)
        ):
            entry.operation = Operation.PURGE
        if entry is not None:
            self._buckets.set_expiry(names.bucket, entry, message.get("hdrs"))
        return entry

"""Listing the keys of a bucket, complete whatever is written meanwhile (design decision 8).

One short-lived pull consumer, headers only, last per subject, always deleted: a batch is asked for
when the last one was taken in, so a slow reader slows the server, and memory is bounded by a
batch beside the list itself.

A consumer alone cannot tell that it was complete. The count that its creation names is met by
other messages when keys change meanwhile, a message's own `num_pending` drifts (nats-notes §0.3),
and it may sit on a replica that has not taken in the newest writes. So it has to deliver the
newest revision that the leader has, and every key counted at creation is looked for among the
messages that are older than the listing; when one is missing there, because it was written, purged
or expired, the server's own list of subjects is compared, and what was not delivered is read from
the leader one by one.
"""

import asyncio
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import orjson
from nats.aio.msg import Msg

from jetkv_gateway.jetstream.api import (
    consumer_request,
    delivery,
    get_last,
    header_kind,
    message_kind,
)
from jetkv_gateway.jetstream.buckets import BucketNames, JetStreamBuckets, names_of, passing
from jetkv_gateway.jetstream.client import JetStream
from jetkv_gateway.jetstream.errors import unanswered
from jetkv_gateway.jetstream.requests import ConnectionLost, Multiplexer, Signal
from jetkv_gateway.kv.errors import (
    GatewayError,
    KeyNotFound,
    TooManyRequests,
    Unavailable,
)
from jetkv_gateway.kv.filters import Filter
from jetkv_gateway.kv.keys import display
from jetkv_gateway.kv.model import Operation

__all__ = ["JetStreamListings"]

_BATCH = 5000
_LULL_SECONDS = 0.25
_SILENCE_SECONDS = 5.0
_ATTEMPTS = 3
_REPAIRS = 2000
_REPAIRS_AT_ONCE = 16
_SECOND = 1_000_000_000


class JetStreamListings:
    """`kv.store.Listings` on JetStream.

    Args:
        at_once: listings that run at the same time; they share the event loop with all else.
        wait: seconds that a further one waits for its turn.
    """

    def __init__(
        self, js: JetStream, buckets: JetStreamBuckets, *, at_once: int = 4, wait: float = 5.0
    ) -> None:
        self._js = js
        self._buckets = buckets
        self._turns = asyncio.Semaphore(at_once)
        self._wait = wait

    async def keys(self, bucket: str, keep: Filter) -> list[str]:
        names = names_of(self._js.naming, bucket)
        async with self._turn():
            live = await self._live_subjects(bucket, names, keep)
        cut = len(names.stored)
        shown = {display(subject[cut:]) for subject in live}
        # Code points sort as their UTF-8 bytes do.
        return sorted(filter(keep.matches, shown))

    @asynccontextmanager
    async def _turn(self) -> AsyncIterator[None]:
        try:
            async with asyncio.timeout(self._wait):
                await self._turns.acquire()
        except TimeoutError:
            raise TooManyRequests("too many listings at once") from None
        try:
            yield
        finally:
            self._turns.release()

    async def _live_subjects(self, bucket: str, names: BucketNames, keep: Filter) -> list[str]:
        filters = [names.stored + subject for subject in keep.subjects]
        for _ in range(_ATTEMPTS):
            info = await self._buckets.stream(bucket)
            newest = await self._buckets.newest(bucket)
            if newest is None:
                return []
            scan = _Scan(older_than=info["state"]["last_seq"])
            wanted = [names.stored + subject for subject in passing(keep.subjects, newest)]
            counted = await self._scan(names, wanted, scan)
            complete = counted and scan.reached >= newest.revision
            if complete or await self._repair(names, filters, scan):
                return [subject for subject, alive in scan.found.items() if alive]
        raise Unavailable("the bucket changes faster than it can be listed")

    async def _scan(self, names: BucketNames, filters: list[str], scan: "_Scan") -> bool:
        """Run one consumer to its end, and return whether all that it counted came."""
        mux = self._js.mux
        consumer = f"jetkv-list-{secrets.token_hex(8)}"
        created = False
        try:
            inbox = await mux.subscribe(scan.take)
        except Signal as signal:
            raise unanswered(signal, None) from signal
        try:
            reply = await self._js.call(
                f"CONSUMER.CREATE.{names.stream}.{consumer}",
                consumer_request(
                    names.stream,
                    consumer,
                    filters,
                    inactive_seconds=30,
                    deliver_policy="last_per_subject",
                    headers_only=True,
                ),
            )
            created = True
            expected: int = reply["num_pending"]
            while scan.taken < expected and await self._pull(
                mux, names.stream, consumer, inbox.subject, scan, expected - scan.taken
            ):
                pass
            return scan.older == expected
        finally:
            await asyncio.shield(inbox.close())
            if created:
                await asyncio.shield(self._remove(names.stream, consumer))

    async def _pull(
        self,
        mux: Multiplexer,
        stream: str,
        consumer: str,
        inbox: str,
        scan: "_Scan",
        wanted: int,
    ) -> bool:
        """Ask for one batch, wait for its end, and return whether all of it came."""
        batch = min(wanted, _BATCH)
        scan.expect(batch)
        try:
            await mux.send(
                f"{self._js.naming.api}CONSUMER.MSG.NEXT.{stream}.{consumer}",
                orjson.dumps({"batch": batch, "expires": int(_LULL_SECONDS * _SECOND)}),
                inbox,
            )
            while not scan.ended.is_set():
                before = scan.taken
                try:
                    async with asyncio.timeout(_SILENCE_SECONDS):
                        await scan.ended.wait()
                except TimeoutError:
                    if mux.lost:
                        raise unanswered(ConnectionLost(), None) from None
                    if scan.taken == before:
                        return False
        except Signal as signal:
            raise unanswered(signal, None) from signal
        return scan.whole

    async def _remove(self, stream: str, consumer: str) -> None:
        try:
            await self._js.call(f"CONSUMER.DELETE.{stream}.{consumer}", timeout=2)
        except GatewayError:
            return  # its inactive_threshold removes it

    async def _repair(self, names: BucketNames, filters: list[str], scan: "_Scan") -> bool:
        """Read what the scan missed; return False where that is too much, and a new scan better."""
        missing = [
            subject
            for pattern in filters
            async for subject in self._subjects(names.stream, pattern)
            if subject not in scan.found
        ]
        if len(missing) > _REPAIRS:
            return False
        limit = asyncio.Semaphore(_REPAIRS_AT_ONCE)

        async def read(subject: str) -> None:
            async with limit:
                scan.found[subject] = await self._alive(names, subject)

        try:
            async with asyncio.TaskGroup() as group:
                for subject in missing:
                    group.create_task(read(subject))
        except* GatewayError as failed:
            raise failed.exceptions[0] from None
        return True

    async def _subjects(self, stream: str, pattern: str) -> AsyncIterator[str]:
        """Yield the subjects that a stream holds messages of, tombstones included."""
        offset = 0
        while True:
            info = await self._js.call(
                f"STREAM.INFO.{stream}",
                orjson.dumps({"subjects_filter": pattern, "offset": offset}),
            )
            page: dict[str, int] = info["state"].get("subjects") or {}
            for subject in page:
                yield subject
            offset += len(page)
            if not page or offset >= info.get("total", 0):
                return

    async def _alive(self, names: BucketNames, subject: str) -> bool:
        try:
            reply = await self._js.call(names.get, get_last(subject))
        except KeyNotFound:
            return False
        return message_kind(reply["message"].get("hdrs"))[0] is Operation.PUT


class _Scan:
    """What a consumer has delivered.

    Attributes:
        found: subject → whether its newest message is a value.
        taken: messages delivered.
        older: messages delivered that were stored when the listing began.
        reached: the newest revision delivered.
        ended: set when the batch asked for has come, or will not.
        whole: whether it has come in full.
    """

    def __init__(self, older_than: int) -> None:
        self.found: dict[str, bool] = {}
        self.taken = 0
        self.older = 0
        self.reached = 0
        self.ended = asyncio.Event()
        self.whole = False
        self._boundary = older_than
        self._wanted = 0

    def expect(self, batch: int) -> None:
        self._wanted = self.taken + batch
        self.whole = False
        self.ended.clear()

    def take(self, message: Msg) -> None:
        headers = message.headers or {}
        if not message.reply:
            if headers.get("Status") not in (None, "100"):
                self.ended.set()
            return
        self.found[message.subject] = header_kind(headers)[0] is Operation.PUT
        self.taken += 1
        revision, _ = delivery(message.reply)
        self.reached = max(self.reached, revision)
        if revision <= self._boundary:
            self.older += 1
        if self.taken >= self._wanted:
            self.whole = True
            self.ended.set()

"""Lists the keys of a bucket, completely even while others write.

docs/architecture.md explains the method (decision 8).

Each listing uses one short-lived pull consumer: headers only, last message per subject. The listing
always deletes its consumer.

A listing must not slow down requests for single keys. Their replies come over the same connection,
behind the messages of the listing, so all listings together have at most `_IN_FLIGHT` messages in
flight. The list is filtered and sorted in slices, and the event loop runs between two slices.
Callers that wait for their turn and want the same list share one run. They never join a run that
has started: it may have passed a key that was written before their call.

A consumer alone cannot prove that a listing is complete:

- If keys change, the number of messages that CONSUMER.CREATE announces may consist of other keys.
- The `num_pending` of a single message drifts.
- The consumer may run on a replica that does not have the newest writes.

So the consumer has to deliver the leader's newest revision, and the number of delivered messages
that are older than the listing has to equal the number announced. If it does not, because a key was
written, purged or expired meanwhile, the listing compares its subjects with the server's list of
subjects and reads each missing subject from the leader.
"""

import asyncio
import random
from bisect import bisect
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import islice

import orjson

from jetkv_gateway.jetstream.api import (
    get_last,
    message_kind,
)
from jetkv_gateway.jetstream.bucket_cache import BucketCache
from jetkv_gateway.jetstream.client import JetStream
from jetkv_gateway.jetstream.consumer import Consumer
from jetkv_gateway.jetstream.credits import CreditRequest
from jetkv_gateway.jetstream.errors import request_error
from jetkv_gateway.jetstream.expiry import lifetime_of, seconds_of
from jetkv_gateway.jetstream.names import BucketNames, filters_including, names_of
from jetkv_gateway.jetstream.requests import ConnectionLost, Multiplexer, RequestFailed
from jetkv_gateway.jetstream.scan import Scan
from jetkv_gateway.kv.commands import ListKeys
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

_BATCH = 64
_BATCHES = 2
"""Batches requested at a time: the second one is in flight while the first one is processed."""
_IN_FLIGHT = 128
"""Messages of all listings together, if nothing else uses their credit pool."""
_GIVE_WAY_SECONDS = 0.001
_SLICE = 250
_CALLERS_WAITING = 64
_LULL_SECONDS = 0.25
_SILENCE_SECONDS = 5.0
_ROOM_SECONDS = 5.0
_INACTIVE_SECONDS = 30
_REMOVE_SECONDS = 2.0
_ATTEMPTS = 3
_PAGE = 100_000
_AROUND_A_SUBJECT = 16
"""Bytes of JSON around each subject in the server's list of subjects."""

_REPAIRS = 2000
_REPAIRS_AT_ONCE = 16
_SECOND = 1_000_000_000
_TOO_MANY = "too many listings at once"


class JetStreamListings:
    """`kv.store.Listings` on JetStream.

    Args:
        at_once: the number of listings that run at the same time.
        wait: seconds that another listing waits for its turn.
    """

    def __init__(
        self, js: JetStream, buckets: BucketCache, *, at_once: int = 4, wait: float = 5.0
    ) -> None:
        self._js = js
        self._buckets = buckets
        self._turns = asyncio.Semaphore(at_once)
        self._wait = wait
        self._to_begin: dict[tuple[str, str], _Run] = {}
        self._running: dict[tuple[str, str], _Run] = {}
        self._pool = js.credits.bulk
        self._message = max(1, self._pool.capacity // _IN_FLIGHT)

    async def keys(self, command: ListKeys) -> list[str]:
        bucket, key_filter = command
        names = names_of(self._js.naming, bucket)
        wanted = bucket, key_filter.text
        if sum(run.callers for run in self._to_begin.values()) >= _CALLERS_WAITING:
            raise TooManyRequests(_TOO_MANY)
        run = self._to_begin.get(wanted)
        if run is None or not run.callers:
            run = self._to_begin[wanted] = _Run()
            run.task = asyncio.create_task(self._run(run, wanted, names, key_filter))
        return await run.result()

    async def _run(
        self, run: "_Run", wanted: tuple[str, str], names: BucketNames, key_filter: Filter
    ) -> list[str]:
        def closed() -> None:
            if self._to_begin.get(wanted) is run:
                del self._to_begin[wanted]

        deadline = asyncio.get_running_loop().time() + self._wait
        try:
            if wanted in self._running:
                # Two equal listings at the same time take twice as long as one after the other.
                await asyncio.wait({self._running[wanted].task}, timeout=self._wait / 2)
            async with self._turn(deadline):
                closed()
                self._running[wanted] = run
                live = await self._live_subjects(wanted[0], names, key_filter)
                return await _sorted_keys(live, len(names.subject_prefix), key_filter)
        finally:
            closed()
            if self._running.get(wanted) is run:
                del self._running[wanted]

    @asynccontextmanager
    async def _turn(self, deadline: float) -> AsyncIterator[None]:
        try:
            async with asyncio.timeout_at(deadline):
                await self._turns.acquire()
        except TimeoutError:
            raise TooManyRequests(_TOO_MANY) from None
        try:
            yield
        finally:
            self._turns.release()

    async def _live_subjects(
        self, bucket: str, names: BucketNames, key_filter: Filter
    ) -> dict[str, bool]:
        """Return the subjects, each with whether its newest message is a value."""
        filters = [names.subject_prefix + subject for subject in key_filter.subjects]
        for _ in range(_ATTEMPTS):
            info = await self._buckets.stream(bucket)
            newest = await self._buckets.newest(bucket)
            if newest is None:
                return {}
            last_seq: int = info["state"]["last_seq"]
            now = asyncio.get_running_loop().time()
            scan = Scan(
                names.subject_prefix.encode(),
                older_than=last_seq,
                lifetime=lifetime_of(info, now),
                now=now,
                release=self._release,
            )
            wanted = [
                names.subject_prefix + subject
                for subject in filters_including(key_filter.subjects, newest)
            ]
            counted = await self._scan(names, wanted, scan)
            complete = counted and scan.reached >= newest.revision
            if complete or await self._repair(names, filters, scan):
                return scan.found
        raise Unavailable("the bucket changes faster than it can be listed")

    async def _scan(self, names: BucketNames, filters: list[str], scan: "Scan") -> bool:
        """Run one consumer to its end; return whether every message that it announced came."""
        mux = self._js.mux
        consumer = Consumer(self._js, mux, names, "list")
        created = False
        try:
            inbox = await mux.subscribe(scan.take)
        except RequestFailed as failed:
            raise request_error(failed, None) from failed
        try:
            try:
                reply = await consumer.create(
                    filters,
                    inactive_seconds=self._buckets.inactive_seconds(
                        names.bucket, _INACTIVE_SECONDS
                    ),
                    deliver_policy="last_per_subject",
                    headers_only=True,
                )
            except asyncio.CancelledError:
                created = True  # the request is in flight, so the server may create it
                raise
            created = True
            expected: int = reply["num_pending"]
            most = min(_BATCH, reply["config"].get("max_batch") or _BATCH)
            consumer.on_denied(scan.deny)
            await self._pull(mux, consumer, inbox.subject, scan, expected, most)
            if scan.denied:
                raise consumer.denied
            return scan.older == expected
        finally:
            consumer.on_denied(None)
            scan.end()
            await asyncio.shield(inbox.close())
            if created:
                await asyncio.shield(self._remove(consumer))

    async def _pull(
        self,
        mux: Multiplexer,
        consumer: Consumer,
        inbox: str,
        scan: "Scan",
        expected: int,
        most: int,
    ) -> None:
        """Request batches until all messages have come or the server says that there are no more.

        Args:
            most: the largest batch that the server allows.
        """
        asked = 0
        while not scan.ended:
            left = expected + scan.foreign - asked
            if left <= 0:
                if not await self._until(scan, 0) or asked >= expected + scan.foreign:
                    return
                continue
            if mux.in_flight:
                # Let the replies of waiting requests come first: they would come behind this batch.
                await asyncio.sleep(_GIVE_WAY_SECONDS)
            batch = min(left, most)
            await self._acquire(batch * self._message)
            asked += batch
            scan.expect(batch)
            await consumer.pull(inbox, batch, _LULL_SECONDS)
            if not await self._until(scan, _BATCHES - 1):
                return

    async def _acquire(self, units: int) -> None:
        """Wait for credit.

        Raises:
            TooManyRequests: there was no credit in time.
        """
        try:
            async with asyncio.timeout(_ROOM_SECONDS):
                await self._pool.acquire(units)
        except TimeoutError:
            raise TooManyRequests(_TOO_MANY) from None

    def _release(self, messages: int) -> None:
        self._pool.release(messages * self._message)

    async def _until(self, scan: "Scan", batches: int) -> bool:
        """Wait until at most `batches` batches are in flight; return False if nothing comes."""
        while scan.batches > batches and not scan.ended:
            before = scan.taken
            scan.moved.clear()
            try:
                async with asyncio.timeout(_SILENCE_SECONDS):
                    await scan.moved.wait()
            except TimeoutError:
                if self._js.mux.lost:
                    raise request_error(ConnectionLost(), None) from None
                if scan.taken == before:
                    return False
        return True

    async def _remove(self, consumer: Consumer) -> None:
        try:
            await consumer.remove(_REMOVE_SECONDS)
        except GatewayError:
            return  # the server removes it after its inactive_threshold

    async def _repair(self, names: BucketNames, filters: list[str], scan: "Scan") -> bool:
        """Read the keys that the scan missed; return False if there are too many of them."""
        subjects = min(len(scan.found) + _REPAIRS, _PAGE)
        page = CreditRequest(self._pool, subjects * (scan.longest + _AROUND_A_SUBJECT))
        missing = [
            subject
            for pattern in filters
            async for subject in self._subjects(names.stream, pattern, page)
            if subject not in scan.found
        ]
        if len(missing) > _REPAIRS:
            return False
        limit = asyncio.Semaphore(_REPAIRS_AT_ONCE)

        async def read(subject: str) -> None:
            async with limit:
                scan.found[subject] = await self._alive(names, subject, scan)

        try:
            async with asyncio.TaskGroup() as group:
                for subject in missing:
                    group.create_task(read(subject))
        except* GatewayError as failed:
            raise failed.exceptions[0] from None
        return True

    async def _subjects(self, stream: str, pattern: str, page: CreditRequest) -> AsyncIterator[str]:
        """Yield the subjects of a stream, including those whose newest message is a tombstone.

        Args:
            page: the credit for one reply.
        """
        offset = 0
        while True:
            info = await self._js.call(
                f"STREAM.INFO.{stream}",
                orjson.dumps({"subjects_filter": pattern, "offset": offset}),
                credit=page,
            )
            found: dict[str, int] = info["state"].get("subjects") or {}
            for number, subject in enumerate(found):
                if number % _SLICE == 0:
                    await asyncio.sleep(0)
                yield subject
            offset += len(found)
            if not found or offset >= info.get("total", 0):
                return

    async def _alive(self, names: BucketNames, subject: str, scan: "Scan") -> bool:
        try:
            credit = self._buckets.credit(names)
            reply = await self._js.call(names.get, get_last(subject), credit=credit)
        except KeyNotFound:
            return False
        message = reply["message"]
        headers = message.get("hdrs")
        if message_kind(headers)[0] is not Operation.PUT:
            return False
        return not scan.has_expired(seconds_of(message["time"]), headers)


class _Run:
    """One run of a listing, and the number of callers that wait for its result."""

    task: asyncio.Task[list[str]]

    def __init__(self) -> None:
        self.callers = 0

    async def result(self) -> list[str]:
        """Wait for the list that all callers share; the last caller to leave cancels the run."""
        self.callers += 1
        try:
            return await asyncio.shield(self.task)
        finally:
            self.callers -= 1
            if not self.callers and not self.task.done():
                self.task.cancel()
                await asyncio.wait({self.task})


async def _sorted_keys(found: dict[str, bool], cut: int, key_filter: Filter) -> list[str]:
    """Return the matching live keys, sorted, in slices between which the event loop runs.

    Args:
        cut: the length of the bucket's prefix in a subject.
    """
    keys: list[str] = []
    subjects = iter(found.items())
    while part := list(islice(subjects, _SLICE)):
        shown = [display(subject[cut:]) for subject, alive in part if alive]
        keys += filter(key_filter.matches, shown)
        await asyncio.sleep(0)
    # A sample of the keys splits them into ranges, so that each range can be sorted in one slice.
    borders = sorted(random.sample(keys, len(keys) // _SLICE))
    ranges: list[list[str]] = [[] for _ in range(len(borders) + 1)]
    every = iter(keys)
    while some := list(islice(every, _SLICE)):
        for key in some:
            ranges[bisect(borders, key)].append(key)
        await asyncio.sleep(0)
    found_keys: list[str] = []
    for some in ranges:
        # Code points sort like UTF-8 bytes. The set is needed because two subjects can decode to
        # the same key.
        found_keys += sorted(set(some))
        await asyncio.sleep(0)
    return found_keys

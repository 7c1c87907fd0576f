"""Listing the keys of a bucket, complete whatever is written meanwhile.

See docs/architecture.md, decision 8.

One short-lived pull consumer, headers only, last per subject, always deleted.

A listing is never in the way of single keys for longer than a slice of a millisecond or so. Replies
to their requests come over the same connection behind what was asked for here, so all listings
together have but `_IN_FLIGHT` messages under way; and what is made of the keys, up to the sorted
list, is made in parts, between which the event loop sees to everybody else. Callers who wait for
their turn and want the same list share the run that begins after the last of them came: one that
has begun may have passed by a key that was written before the call.

A consumer alone cannot tell that it was complete. The count that its creation names is met by
other messages when keys change meanwhile, a message's own `num_pending` drifts,
and it may sit on a replica that has not taken in the newest writes. So it has to deliver the
newest revision that the leader has, and every key counted at creation is looked for among the
messages that are older than the listing; when one is missing there, because it was written, purged
or expired, the server's own list of subjects is compared, and what was not delivered is read from
the leader one by one.
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
from jetkv_gateway.jetstream.budget import Share
from jetkv_gateway.jetstream.client import JetStream
from jetkv_gateway.jetstream.consumer import Consumer
from jetkv_gateway.jetstream.errors import unanswered
from jetkv_gateway.jetstream.expiry import lifetime_of
from jetkv_gateway.jetstream.known import KnownBuckets
from jetkv_gateway.jetstream.names import BucketNames, names_of, passing
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
"""Asked for at a time: the next one is on its way while one is taken in."""
_IN_FLIGHT = 128
"""Messages of all listings together, if nothing else takes up their lane of the budget."""
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
"""Subjects that a server names at a time, and what stands around each of them in its answer."""

_REPAIRS = 2000
_REPAIRS_AT_ONCE = 16
_SECOND = 1_000_000_000
_TOO_MANY = "too many listings at once"


class JetStreamListings:
    """`kv.store.Listings` on JetStream.

    Args:
        at_once: listings that run at the same time; they share the event loop with all else.
        wait: seconds that a further one waits for its turn.
    """

    def __init__(
        self, js: JetStream, buckets: KnownBuckets, *, at_once: int = 4, wait: float = 5.0
    ) -> None:
        self._js = js
        self._buckets = buckets
        self._turns = asyncio.Semaphore(at_once)
        self._wait = wait
        self._to_begin: dict[tuple[str, str], _Run] = {}
        self._running: dict[tuple[str, str], _Run] = {}
        self._lane = js.budget.feeds
        self._message = max(1, self._lane.part // _IN_FLIGHT)

    async def keys(self, command: ListKeys) -> list[str]:
        bucket, keep = command
        names = names_of(self._js.naming, bucket)
        wanted = bucket, keep.text
        if sum(run.callers for run in self._to_begin.values()) >= _CALLERS_WAITING:
            raise TooManyRequests(_TOO_MANY)
        run = self._to_begin.get(wanted)
        if run is None or not run.callers:
            run = self._to_begin[wanted] = _Run()
            run.task = asyncio.create_task(self._run(run, wanted, names, keep))
        return await run.result()

    async def _run(
        self, run: "_Run", wanted: tuple[str, str], names: BucketNames, keep: Filter
    ) -> list[str]:
        def closed() -> None:
            if self._to_begin.get(wanted) is run:
                del self._to_begin[wanted]

        deadline = asyncio.get_running_loop().time() + self._wait
        try:
            if wanted in self._running:
                # Side by side, two of the same take twice as long as one after the other.
                await asyncio.wait({self._running[wanted].task}, timeout=self._wait / 2)
            async with self._turn(deadline):
                closed()
                self._running[wanted] = run
                live = await self._live_subjects(wanted[0], names, keep)
                return await _sorted_keys(live, len(names.stored), keep)
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
        self, bucket: str, names: BucketNames, keep: Filter
    ) -> dict[str, bool]:
        """Return subject → whether its newest message is a value."""
        filters = [names.stored + subject for subject in keep.subjects]
        for _ in range(_ATTEMPTS):
            info = await self._buckets.stream(bucket)
            newest = await self._buckets.newest(bucket)
            if newest is None:
                return {}
            last_seq: int = info["state"]["last_seq"]
            now = asyncio.get_running_loop().time()
            scan = Scan(
                names.stored.encode(),
                older_than=last_seq,
                lifetime=lifetime_of(info, now),
                now=now,
                give=self._give,
            )
            wanted = [names.stored + subject for subject in passing(keep.subjects, newest)]
            counted = await self._scan(names, wanted, scan)
            complete = counted and scan.reached >= newest.revision
            if complete or await self._repair(names, filters, scan):
                return scan.found
        raise Unavailable("the bucket changes faster than it can be listed")

    async def _scan(self, names: BucketNames, filters: list[str], scan: "Scan") -> bool:
        """Run one consumer to its end, and return whether all that it counted came."""
        mux = self._js.mux
        consumer = Consumer(self._js, mux, names, "list")
        created = False
        try:
            inbox = await mux.subscribe(scan.take)
        except RequestFailed as signal:
            raise unanswered(signal, None) from signal
        try:
            try:
                reply = await consumer.create(
                    filters,
                    inactive_seconds=self._buckets.resting(names.bucket, _INACTIVE_SECONDS),
                    deliver_policy="last_per_subject",
                    headers_only=True,
                )
            except asyncio.CancelledError:
                created = True  # or it will be: the request is on its way
                raise
            created = True
            expected: int = reply["num_pending"]
            most = min(_BATCH, reply["config"].get("max_batch") or _BATCH)
            consumer.heed(scan.forbid)
            await self._pull(mux, consumer, inbox.subject, scan, expected, most)
            if scan.forbidden:
                raise consumer.forbidden
            return scan.older == expected
        finally:
            consumer.heed(None)
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
        """Ask for batch after batch until all have come, or the server says that no more do.

        Args:
            most: messages in a batch, which the server allows.
        """
        asked = 0
        while not scan.ended:
            left = expected + scan.foreign - asked
            if left <= 0:
                if not await self._until(scan, 0) or asked >= expected + scan.foreign:
                    return
                continue
            if mux.in_flight:
                # Their replies first: they would come behind what is asked for here.
                await asyncio.sleep(_GIVE_WAY_SECONDS)
            batch = min(left, most)
            await self._room(batch * self._message)
            asked += batch
            scan.expect(batch)
            await consumer.ask(inbox, batch, _LULL_SECONDS)
            if not await self._until(scan, _BATCHES - 1):
                return

    async def _room(self, units: int) -> None:
        """Wait for so much of what may be under way.

        Raises:
            TooManyRequests: there was none in time.
        """
        try:
            async with asyncio.timeout(_ROOM_SECONDS):
                await self._lane.take(units)
        except TimeoutError:
            raise TooManyRequests(_TOO_MANY) from None

    def _give(self, messages: int) -> None:
        self._lane.give(messages * self._message)

    async def _until(self, scan: "Scan", batches: int) -> bool:
        """Wait until no more than so many batches are under way; False where nothing comes."""
        while scan.batches > batches and not scan.ended:
            before = scan.taken
            scan.moved.clear()
            try:
                async with asyncio.timeout(_SILENCE_SECONDS):
                    await scan.moved.wait()
            except TimeoutError:
                if self._js.mux.lost:
                    raise unanswered(ConnectionLost(), None) from None
                if scan.taken == before:
                    return False
        return True

    async def _remove(self, consumer: Consumer) -> None:
        try:
            await consumer.remove(_REMOVE_SECONDS)
        except GatewayError:
            return  # its inactive_threshold removes it

    async def _repair(self, names: BucketNames, filters: list[str], scan: "Scan") -> bool:
        """Read what the scan missed; return False where that is too much, and a new scan better."""
        subjects = min(len(scan.found) + _REPAIRS, _PAGE)
        page = Share(self._lane, subjects * (scan.longest + _AROUND_A_SUBJECT))
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
                scan.found[subject] = await self._alive(names, subject)

        try:
            async with asyncio.TaskGroup() as group:
                for subject in missing:
                    group.create_task(read(subject))
        except* GatewayError as failed:
            raise failed.exceptions[0] from None
        return True

    async def _subjects(self, stream: str, pattern: str, page: Share) -> AsyncIterator[str]:
        """Yield the subjects that a stream holds messages of, tombstones included.

        Args:
            page: of the bytes under way, for one answer.
        """
        offset = 0
        while True:
            info = await self._js.call(
                f"STREAM.INFO.{stream}",
                orjson.dumps({"subjects_filter": pattern, "offset": offset}),
                share=page,
            )
            found: dict[str, int] = info["state"].get("subjects") or {}
            for number, subject in enumerate(found):
                if number % _SLICE == 0:
                    await asyncio.sleep(0)
                yield subject
            offset += len(found)
            if not found or offset >= info.get("total", 0):
                return

    async def _alive(self, names: BucketNames, subject: str) -> bool:
        try:
            share = self._buckets.share(names)
            reply = await self._js.call(names.get, get_last(subject), share=share)
        except KeyNotFound:
            return False
        return message_kind(reply["message"].get("hdrs"))[0] is Operation.PUT


class _Run:
    """One run, and the callers who want its list."""

    task: asyncio.Task[list[str]]

    def __init__(self) -> None:
        self.callers = 0

    async def result(self) -> list[str]:
        """Wait for the list, which is the callers' in common; the last who leaves ends the run."""
        self.callers += 1
        try:
            return await asyncio.shield(self.task)
        finally:
            self.callers -= 1
            if not self.callers and not self.task.done():
                self.task.cancel()
                await asyncio.wait({self.task})


async def _sorted_keys(found: dict[str, bool], cut: int, keep: Filter) -> list[str]:
    """Return the live keys that are wanted, sorted, and let others in between the parts.

    Args:
        cut: length of what stands before a key in its subject.
    """
    keys: list[str] = []
    subjects = iter(found.items())
    while part := list(islice(subjects, _SLICE)):
        shown = [display(subject[cut:]) for subject, alive in part if alive]
        keys += filter(keep.matches, shown)
        await asyncio.sleep(0)
    # A sample of the keys divides them into ranges, each of which is sorted for itself.
    borders = sorted(random.sample(keys, len(keys) // _SLICE))
    ranges: list[list[str]] = [[] for _ in range(len(borders) + 1)]
    every = iter(keys)
    while some := list(islice(every, _SLICE)):
        for key in some:
            ranges[bisect(borders, key)].append(key)
        await asyncio.sleep(0)
    found_keys: list[str] = []
    for some in ranges:
        # Code points sort as their UTF-8 bytes do. Two subjects can show as one key.
        found_keys += sorted(set(some))
        await asyncio.sleep(0)
    return found_keys

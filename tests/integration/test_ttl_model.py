"""Values with TTLs, written at random: every view shows what the model says (tests.support).

All buckets are written and watched at once, for some seconds. Then each test asks one question
about what was seen. `--ttl-seed N` repeats the writes of a run that failed; the timing differs.
"""

import asyncio
import json
import random
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass, field
from math import inf
from typing import Any

import aiohttp
import pytest
from nats.js.errors import KeyNotFoundError
from nats.js.kv import KeyValue

from jetkv.testing import LocalNats
from tests.support.http import BUCKETS, Http
from tests.support.native import native_client
from tests.support.ttl_model import Key, Look, Shape, Version, moment
from tests.support.ttl_writers import Client, Writer, Written
from tests.support.watching import Frame, Watcher, state_of, watching

WRITING_SECONDS = 4.5
SETTLING_SECONDS = 3.5
"""The longest TTL that can expire, and what the server takes to see it."""

GATEWAY_SLACK = 0.1
"""Seconds in which the gateway may show an expired value. It knows the server's clock from a reply,
so it is late by the time that the reply took. On top of this come the stalls of this process, in
which the gateway runs: one may delay that reply, another one the answer."""

SERVER_SLACK = {True: 2.5, False: 1.2}
"""Seconds in which nats-server itself may have an expired value, by whether it is 2.10. That looks
once a second; newer ones take up to 0.3 s, and more on a busy machine."""

KEYS = [f"k{number}" for number in range(6)]

SHAPES = [
    Shape("values alone expire"),
    Shape("a TTL and markers", ttl=2),
    Shape("a TTL and no markers", ttl=2, markers=False),
    Shape("a history", history=5, markers=False),
    Shape("a history, a TTL and markers", history=5, ttl=2, shortest=2),
    Shape("a history, a TTL and no TTLs of values", history=5, ttl=1, markers=False, key_ttl=False),
]


class Stalls:
    """The longest time that this process stood still."""

    def __init__(self) -> None:
        self.longest = 0.0

    @contextmanager
    def measured(self) -> Iterator[None]:
        over = threading.Event()

        def look() -> None:
            last = time.monotonic()
            while not over.wait(0.01):
                now = time.monotonic()
                self.longest = max(self.longest, now - last - 0.01)
                last = now

        thread = threading.Thread(target=look, daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()


@dataclass
class Watched:
    """A live watch of all buckets or of one: its frames, each with the time of its arrival."""

    buckets: list[str]
    frames: list[tuple[float, Frame]] = field(default_factory=list)

    async def follow(self, watcher: Watcher) -> None:
        while True:
            frame = await watcher.next(60)
            self.frames.append((time.time(), frame))

    def of(self, bucket: str) -> list[tuple[float, Frame]]:
        return [(at, frame) for at, frame in self.frames if frame["bucket"] == bucket]


class Reader:
    """Looks at all keys of a bucket, again and again."""

    def __init__(
        self, client: Client, http: Http, written: Written, kv: KeyValue, seed: str
    ) -> None:
        self._client = client
        self._http = http
        self._written = written
        self._kv = kv
        self._chance = random.Random(seed)

    async def run(self, until: float) -> None:
        views: list[Callable[[], Awaitable[None]]] = [
            self.names, self.metas, self.lines, self.revisions, self.pages, self.batch,
            self.snapshot, self.native,
        ]  # fmt: skip
        while time.time() < until:
            self._chance.shuffle(views)
            for view in views:
                await view()
                await asyncio.sleep(0.03)

    def _note(
        self,
        view: str,
        begin: float,
        end: float,
        shown: dict[str, dict[str, Any]],
        *,
        tells_expiry: bool = True,
    ) -> None:
        for name, key in self._written.keys.items():
            key.looks.append(Look(view, begin, end, shown.get(name), tells_expiry))

    async def _get(self, query: str, **headers: str) -> tuple[float, float, bytes]:
        reply = await self._client.ask("GET", f"{self._written.path}/keys{query}", **headers)
        assert reply.status == 200, reply
        return reply.begin, reply.end, reply.body

    async def names(self) -> None:
        begin, end, body = await self._get("")
        shown: dict[str, dict[str, Any]] = {name: {} for name in json.loads(body)["keys"]}
        self._note("the list", begin, end, shown, tells_expiry=False)

    async def metas(self) -> None:
        begin, end, body = await self._get("?include=meta")
        self._note("the list with meta", begin, end, _by_key(json.loads(body)["entries"]))

    async def lines(self) -> None:
        query = "?include=values&values=json"
        begin, end, body = await self._get(query, Accept="application/x-ndjson")
        # A key that is written meanwhile may come again, so its last line counts.
        self._note("the lines", begin, end, _by_key(_lines(body)))

    async def revisions(self) -> None:
        query = "?include=history&values=json"
        begin, end, body = await self._get(query, Accept="application/x-ndjson")
        last = _by_key(_lines(body))
        puts = {name: entry for name, entry in last.items() if entry["operation"] == "put"}
        self._note("the lines of history", begin, end, puts)

    async def pages(self) -> None:
        first, cursor, seen = time.time(), "", set()
        while True:
            begin, end, body = await self._get(f"?include=meta&limit=2{cursor}")
            page = json.loads(body)
            for entry in page["entries"]:
                seen.add(entry["key"])
                key = self._written.keys[entry["key"]]
                key.looks.append(Look("a page", begin, end, entry))
            if "next_cursor" not in page:
                break
            cursor = f"&cursor={page['next_cursor']}"
        for name in self._written.keys.keys() - seen:
            look = Look("a page", begin, end, None, since=first)
            self._written.keys[name].looks.append(look)

    async def batch(self) -> None:
        body = json.dumps({"get": list(self._written.keys)}).encode()
        reply = await self._client.ask("POST", f"{self._written.path}/batch?values=json", body)
        assert reply.status == 200, reply
        entries = [entry for entry in json.loads(reply.body)["entries"] if entry is not None]
        self._note("a batch get", reply.begin, reply.end, _by_key(entries))

    async def snapshot(self) -> None:
        begin = time.time()
        async with watching(
            Http(self._http.host, self._http.port, base="/json"),
            self._written.bucket,
            "?snapshot=true",
        ) as watcher:
            frames = await watcher.until(lambda frame: frame["type"] == "kv_snapshot_end")
        end = time.time()
        state = {frame["key"]: frame for frame in frames[:-1]}
        puts = {name: one for name, one in state.items() if one["operation"] == "put"}
        self._note("a snapshot", begin, end, puts)

    async def native(self) -> None:
        for name, key in self._written.keys.items():
            begin, shown = time.time(), None
            try:
                entry = await self._kv.get(name)
            except KeyNotFoundError:
                pass
            else:
                # nats-py takes a marker for an empty value; none is written here.
                if entry.value:
                    shown = {"value": entry.value.decode(), "revision": entry.revision}
            key.looks.append(Look("nats-py", begin, time.time(), shown, tells_expiry=False))


def _lines(body: bytes) -> list[dict[str, Any]]:
    *entries, end = [json.loads(line) for line in body.splitlines()]
    assert end["type"] == "end", end
    return entries


def _by_key(entries: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    return {entry["key"]: entry for entry in entries}


@dataclass
class Run:
    """One run over all buckets.

    Attributes:
        settled: when all was settled, after the last write.
        listed: by bucket, the keys that were listed then.
    """

    seed: int
    written: list[Written]
    watches: list[Watched]
    settled: float
    listed: dict[str, list[str]]
    slack: float
    server_slack: float

    @property
    def keys(self) -> list[Key]:
        return [key for written in self.written for key in written.keys.values()]

    def check(self, faults: list[str]) -> None:
        told = "\n".join(faults[:4])
        assert not faults, f"{len(faults)} faults; repeat with --ttl-seed {self.seed}\n{told}"

    def check_views(self, *views: str, slack: float) -> None:
        """Check what some views showed; each has shown values and has shown none."""
        looks = [look for key in self.keys for look in key.looks]
        for view in views:
            assert {look.shown is None for look in looks if look.view == view} == {True, False}
        slacks = dict.fromkeys(views, slack)
        self.check([fault for key in self.keys for fault in key.faults(slacks)])


def _settings(shape: Shape, version: tuple[int, int]) -> tuple[Shape, dict[str, Any]]:
    """Return a shape as a server can have it, and the settings of such a bucket."""
    settings: dict[str, Any] = {"history": shape.history}
    if shape.ttl < inf:
        settings["ttl_seconds"] = int(shape.ttl)
    if version < (2, 11):
        return Shape(shape.name, shape.history, shape.ttl, False, False), settings
    return shape, {**settings, "expiry_markers": shape.markers, "key_ttl": shape.key_ttl}


async def _run(http: Http, nats: LocalNats, seed: int) -> Run:
    stalls, readable = Stalls(), Http(http.host, http.port, base="/json")
    async with (
        native_client(nats.url) as native,
        aiohttp.ClientSession() as session,
        AsyncExitStack() as stack,
    ):
        client = Client(session, http.url)
        buckets = []
        for number, shape in enumerate(SHAPES):
            able, settings = _settings(shape, native.version)
            name = f"ttl-model-{seed}-{number}"
            reply = await client.ask(
                "POST", BUCKETS, json.dumps({"name": name, **settings}).encode()
            )
            assert reply.status == 201, reply
            stack.push_async_callback(client.ask, "DELETE", f"{BUCKETS}/{name}")
            buckets.append(Written(able, name, {key: Key(able, key) for key in KEYS}))
        watches = [Watched([one.bucket]) for one in buckets]
        watches.append(Watched([one.bucket for one in buckets]))
        following = []
        for watched in watches[:-1]:
            watcher = await stack.enter_async_context(watching(readable, watched.buckets[0]))
            following.append(asyncio.create_task(watched.follow(watcher)))
        several = "?" + "&".join(f"watch={bucket}" for bucket in watches[-1].buckets)
        watcher = await stack.enter_async_context(watching(readable, "", several))
        following.append(asyncio.create_task(watches[-1].follow(watcher)))
        until = time.time() + WRITING_SECONDS
        with stalls.measured():
            async with asyncio.TaskGroup() as group:
                for one in buckets:
                    kv = await native.kv(one.bucket)
                    reader = Reader(client, http, one, kv, f"{seed} {one.shape.name}")
                    group.create_task(reader.run(until + 1.5))
                    for key in one.keys.values():
                        writer = Writer(client, one, key, f"{seed} {one.shape.name} {key.name}")
                        group.create_task(writer.run(until))
        await asyncio.sleep(until + SETTLING_SECONDS - time.time())
        settled, listed = time.time(), {}
        for one in buckets:
            reply = await client.ask("GET", f"{one.path}/keys")
            listed[one.bucket] = json.loads(reply.body)["keys"]
        for task in following:
            assert not task.done(), task
            task.cancel()
        await asyncio.wait(following)
        return Run(
            seed=seed,
            written=buckets,
            watches=watches,
            settled=settled,
            listed=listed,
            slack=GATEWAY_SLACK + 2 * stalls.longest,
            server_slack=SERVER_SLACK[native.version < (2, 11)] + 2 * stalls.longest,
        )


@pytest.fixture(scope="module")
def run(http: Http, nats: LocalNats, request: pytest.FixtureRequest) -> Run:
    seed = request.config.getoption("--ttl-seed")
    return asyncio.run(_run(http, nats, random.randrange(10**6) if seed is None else seed))


def test_each_write_gets_the_answer_that_fits_what_is_there(run: Run) -> None:
    run.check([refusal for written in run.written for refusal in written.refusals])


def test_a_get_shows_a_value_until_its_time_is_up_and_not_after(run: Run) -> None:
    run.check_views("GET", "GET of a revision", "an eventual GET", slack=run.slack)


def test_a_list_shows_a_value_until_its_time_is_up_and_not_after(run: Run) -> None:
    run.check_views("the list", "the list with meta", "the lines", "a page", slack=run.slack)


def test_a_batch_get_shows_a_value_until_its_time_is_up_and_not_after(run: Run) -> None:
    run.check_views("a batch get", slack=run.slack)


def test_a_snapshot_shows_a_value_until_its_time_is_up_and_not_after(run: Run) -> None:
    run.check_views("a snapshot", slack=run.slack)


def test_a_history_shows_what_is_stored_and_has_not_expired(run: Run) -> None:
    assert any(look.entries for key in run.keys for look in key.histories)
    run.check([fault for key in run.keys for fault in key.history_faults(run.slack)])
    run.check_views("the lines of history", slack=run.slack)


def test_a_native_client_sees_the_same_as_far_as_the_server_is_in_time(run: Run) -> None:
    run.check_views("nats-py", slack=run.server_slack)


def test_a_live_watch_shows_each_value_as_it_was_written(run: Run) -> None:
    faults = []
    for watched, written, frames in _watched(run):
        newest = 0
        for at, frame in frames:
            if frame["revision"] <= newest:
                faults.append(f"{len(watched.buckets)} watched: {frame} after revision {newest}")
            newest = frame["revision"]
            if frame["operation"] != "put":
                continue
            version = written.keys[frame["key"]].version_of(frame["revision"])
            if version is None or version.value != frame["value"] or at < version.sent:
                faults.append(f"{written.shape.name}: {frame} is not {version}")
            elif fault := version.expiry_fault(frame):
                faults.append(f"{written.shape.name}: the frame {fault}")
    run.check(faults)


def test_a_live_watch_says_that_a_value_expired_only_once_its_time_is_up(run: Run) -> None:
    faults, expiries = [], 0
    for _, written, frames in _watched(run):
        state: dict[str, Version | None] = {}
        for at, frame in frames:
            key = frame["key"]
            if frame["operation"] == "put":
                state[key] = written.keys[key].version_of(frame["revision"])
                continue
            before = state.pop(key, None)
            if frame.get("reason") == "expired" and before is not None:
                expiries += 1
                if not before.may_be_over(at):
                    faults.append(f"{written.shape.name}: {frame} too early for {before}")
    run.check(faults)
    assert expiries or not any(written.shape.markers for written in run.written)


def test_a_live_watch_ends_in_the_state_of_the_bucket(run: Run) -> None:
    """Without markers, the reader has to look at `expires_at`."""
    faults = []
    for watched, written, frames in _watched(run):
        state = state_of([frame for _, frame in frames])
        if not written.shape.markers:
            ends = {frame["key"]: frame.get("expires_at") for _, frame in frames}
            over = {key for key, end in ends.items() if end and moment(end) < run.settled}
            state = {key: value for key, value in state.items() if key not in over}
        live = {
            name: version.value
            for name, key in written.keys.items()
            if (version := key.live_at(run.settled)) is not None
        }
        if state != live or run.listed[written.bucket] != sorted(live):
            several = "one of several" if len(watched.buckets) > 1 else "alone"
            faults.append(
                f"{written.shape.name}, watched {several}: the watch ended with {state}, the "
                f"list with {run.listed[written.bucket]}, the model with {live}"
            )
    run.check(faults)


def _watched(run: Run) -> Iterator[tuple[Watched, Written, list[tuple[float, Frame]]]]:
    """Yield the frames of each bucket by each watch."""
    for watched in run.watches:
        for written in run.written:
            if written.bucket in watched.buckets:
                yield watched, written, watched.of(written.bucket)

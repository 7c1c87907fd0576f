"""One fault, struck while writers write and watchers watch, and the evidence of what was seen."""

import asyncio
import base64
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jetkv_gateway.embedded import NatsServer
from jetkv_gateway.jetstream.headers import read_headers
from tests.support.gateway import running_gateway
from tests.support.http import BUCKETS, Bucket, Http
from tests.support.native import Native, native_client
from tests.support.waiting import eventually
from tests.watch.promises import (
    ID_ALONE,
    SNAPSHOT_END,
    Bookmark,
    Chain,
    Probe,
    Session,
    Stored,
    Update,
    Write,
    fold,
)
from tests.watch.recorder import EVENT_STREAM, WEB_SOCKET, Recorder, digest, drops
from tests.watch.writers import Ledger, Writers

DEADLINE = 20.0
"""Generous: how soon things happen is measured elsewhere."""

_PRELOADED = 120
_PROBES_OF_A_KIND = 3

Life = tuple[str, str]
"""A bucket from its creation to its end: its name and created_at."""


@dataclass
class Evidence:
    """What a scenario leaves to be judged.

    Attributes:
        stored: what each bucket held when all was over.
        chains: of all watchers but probes.
        stalled: names of the watchers that stopped reading for a while.
        trouble: why the scenario itself did not go as planned; watchers that never arrived, too.
    """

    may_end: frozenset[str]
    must_end: frozenset[str]
    may_refuse: frozenset[str]
    stored: dict[Life, Stored] = field(default_factory=dict)
    writes: dict[Life, list[Write]] = field(default_factory=dict)
    chains: list[Chain] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    probes: list[Probe] = field(default_factory=list)
    probes_of_the_dead: list[Probe] = field(default_factory=list)
    stalled: list[str] = field(default_factory=list)
    trouble: list[str] = field(default_factory=list)

    def of(self, chain: Chain) -> Stored:
        return self.stored[chain.bucket, chain.created_at]

    def writes_of(self, chain: Chain) -> list[Write]:
        return self.writes[chain.bucket, chain.created_at]

    @property
    def sessions(self) -> list[tuple[Chain, Session]]:
        return [(chain, session) for chain in self.chains for session in chain.sessions]


@dataclass(frozen=True)
class Fault:
    """What is done to a watch.

    Attributes:
        strike: does it; watchers watch and writers write meanwhile.
        may_end: words that it may end a connection with.
        must_end: words that it cannot but end some connection with.
        may_refuse: how it may refuse a watch: a status, or what a client sees without one.
        own_nats: whether the nats-server is hurt.
        settings: of the gateway; None where the shared one will do.
        histories: of the two buckets.
        stalls: whether some readers stop reading until `Scenario.awake` is set.
        workers: of a gateway that is a process of its own; 0: it is in this process.
    """

    name: str
    strike: Callable[["Scenario"], Awaitable[None]]
    may_end: frozenset[str] = frozenset()
    must_end: frozenset[str] = frozenset()
    may_refuse: frozenset[str] = frozenset()
    own_nats: bool = False
    settings: dict[str, Any] | None = None
    histories: tuple[int, int] = (64, 1)
    stalls: bool = False
    workers: int = 0


class Scenario:
    """The parts of a running scenario, for a fault to strike at.

    Attributes:
        http: the gateway of now.
        nats_folder: the data of a nats-server of its own.
        awake: ends the sleep of readers that stopped reading.
    """

    def __init__(
        self, fault: Fault, nats: NatsServer, http: Http | None, nats_folder: Path
    ) -> None:
        self.fault = fault
        self.nats = nats
        self.nats_folder = nats_folder
        self.awake = asyncio.Event()
        self.ledger = Ledger()
        self.created_at: dict[str, str] = {}
        self.buckets: dict[str, int] = {}
        self.recorders: list[Recorder] = []
        self.stallers: list[Recorder] = []
        self.evidence = Evidence(fault.may_end | fault.must_end, fault.must_end, fault.may_refuse)
        self._http = http
        self._gateway = ExitStack()
        self.writers: Writers

    @property
    def http(self) -> Http:
        assert self._http is not None
        return self._http

    def start_gateway(self, **settings: Any) -> None:
        self._http = self._gateway.enter_context(
            running_gateway(self.nats.url, **{**(self.fault.settings or {}), **settings})
        )

    def stop_gateway(self) -> None:
        self._gateway.close()

    @asynccontextmanager
    async def native(self, url: str | None = None) -> AsyncIterator[Native]:
        async with native_client(url or self.nats.url) as native:
            yield native

    # Buckets and writes

    async def make_buckets(self) -> None:
        for history in self.fault.histories:
            name = f"history-{history}-{uuid.uuid4().hex[:8]}"
            self.buckets[name] = history
            await self.make_bucket(name)

    async def make_bucket(self, name: str) -> None:
        answer = await asyncio.to_thread(
            self.http.post, BUCKETS, {"name": name, "history": self.buckets[name]}
        )
        assert answer.status == 201, answer
        self.created_at[name] = answer.json["created_at"]

    async def preload(self, native: Native) -> None:
        """Give all buckets keys and tombstones from before."""
        for bucket in self.buckets:
            for number in range(_PRELOADED):
                await self.write_natively(native, bucket, f"old.{number}", f"old {number}")
            for number in range(0, _PRELOADED, 7):
                await self.write_natively(native, bucket, f"old.{number}", None)

    async def write_natively(self, native: Native, bucket: str, key: str, value: str | None) -> int:
        """Put, or delete for None; return the revision."""
        headers = {} if value is not None else {"KV_Operation": "DEL"}
        ack = await native.publish(f"$KV.{bucket}.{key}", (value or "").encode(), **headers)
        text = "" if value is None else digest(base64.b64encode(value.encode()).decode())
        self.ledger.note(
            Write(
                bucket,
                self.created_at[bucket],
                key,
                "delete" if value is None else "put",
                text,
                ack["seq"],
                asyncio.get_running_loop().time(),
            )
        )
        revision: int = ack["seq"]
        return revision

    async def more_writes(self, count: int = 80) -> None:
        """Wait until that many more are acked."""
        goal = self.ledger.acked + count

        async def enough() -> bool:
            return self.ledger.acked >= goal

        await eventually(enough, f"{count} more writes are acked", DEADLINE)

    # Watchers

    def record(self, bucket: str, kind: str, name: str, **options: Any) -> Recorder:
        recorder = Recorder(lambda: self.http, bucket, kind, name, **options)
        self.recorders.append(recorder)
        return recorder

    async def watch_from_the_start(self) -> None:
        """Open the watchers that are there before anybody writes."""
        for bucket in self.buckets:
            since = (await self.stored(bucket)).last
            for kind in (WEB_SOCKET, EVENT_STREAM):
                self.record(bucket, kind, "from now on", since=since)
                self.record(bucket, kind, "with a snapshot", snapshot=True)
                self.record(
                    bucket, kind, "restless", snapshot=True, drops=drops(f"{kind} {bucket[:9]}")
                )
                if self.fault.stalls:
                    self.stallers.append(
                        self.record(
                            bucket,
                            kind,
                            "with pauses",
                            since=since,
                            stalls_until=self.awake,
                        )
                    )
        await self.all_opened()

    def watch_meanwhile(self, name: str) -> None:
        """Open watchers while others write and whatever else happens."""
        for bucket in self.buckets:
            for kind in (WEB_SOCKET, EVENT_STREAM):
                self.record(bucket, kind, f"with a snapshot, {name}", snapshot=True)
            # Only an event stream says where it begins, so only there it is known what is owed.
            for count in (1, 2, 5):
                self.record(bucket, EVENT_STREAM, f"visitor, {name}", drops=(count, 3 * count))

    async def all_opened(self) -> None:
        async with asyncio.timeout(DEADLINE):
            for recorder in self.recorders:
                await recorder.opened()

    # The end

    async def stored(self, bucket: str) -> Stored:
        """Read all that the leader holds."""
        async with self.native() as native:
            last = (await native.state(bucket))["last_seq"]
            updates: dict[int, Update] = {}
            for start in range(1, last + 1, 250):
                numbers = range(start, min(start + 250, last + 1))
                replies = await asyncio.gather(
                    *(native.api(f"STREAM.MSG.GET.KV_{bucket}", {"seq": n}) for n in numbers)
                )
                for reply in replies:
                    if "error" not in reply:
                        update = _stored_update(bucket, reply["message"])
                        updates[update.revision] = update
            return Stored(updates, last)

    async def settle(self) -> None:
        """Stop writing, and wait until every watcher has arrived at the newest revision."""
        await asyncio.to_thread(self.writers.pause)
        for bucket in self.buckets:
            await self._mark(bucket)
        for bucket, created_at in self.created_at.items():
            stored = await self.stored(bucket)
            life = (bucket, created_at)
            self.evidence.stored[life] = stored
            self.evidence.writes[life] = self.ledger.of(bucket, created_at)

        async def all_arrived() -> bool:
            return not self._late()

        try:
            await eventually(all_arrived, "all watchers have arrived", DEADLINE)
        except AssertionError as error:
            self.evidence.trouble.append(str(error))
            for recorder in self._late():
                last = recorder.chains[-1].last if recorder.chains else None
                self.evidence.trouble.append(f"{recorder.name} of {recorder.bucket} is at {last}")

    def _late(self) -> list[Recorder]:
        late = []
        for recorder in self.recorders:
            created_at = self.created_at[recorder.bucket]
            last = self.evidence.stored[recorder.bucket, created_at].last
            if not recorder.has_reached(created_at, last):
                late.append(recorder)
        return late

    async def _mark(self, bucket: str) -> None:
        """Write a last key, so that the newest revision is one that every watcher gets."""

        async def written() -> bool:
            answer = await asyncio.to_thread(Bucket(self.http, bucket).put, "last", "mark")
            acked = answer.status == 200
            if acked or answer.status == 504:
                self.ledger.note(
                    Write(
                        bucket,
                        self.created_at[bucket],
                        "last",
                        "put",
                        base64.b64encode(b"mark").decode(),
                        answer.json["revision"] if acked else None,
                        asyncio.get_running_loop().time() if acked else None,
                    )
                )
            return acked

        await eventually(written, "the last key is written", DEADLINE)

    def _bookmarks(self, bucket: str) -> list[tuple[Bookmark, Chain]]:
        """A few of each kind that watchers of the bucket's present life have seen."""
        created_at = self.created_at[bucket]
        last = self.evidence.stored[bucket, created_at].last
        found: dict[str, list[tuple[Bookmark, Chain]]] = {SNAPSHOT_END: [], ID_ALONE: [], "id": []}
        for recorder in self.recorders:
            chain = recorder.chains[-1] if recorder.chains else None
            if chain is None or chain.created_at != created_at:
                continue
            for item in chain.items:
                if item.revision >= last:
                    continue
                if isinstance(item, Bookmark):
                    found[item.source].append((item, chain))
                elif recorder.kind == EVENT_STREAM:
                    found["id"].append((Bookmark(item.revision, "id"), chain))
        return [picked for kind in found.values() for picked in _spread(kind)]

    async def probe(self) -> None:
        """Resume from bookmarks of all kinds, by both ways, and see whether the truth comes."""
        probes = []
        for bucket in self.buckets:
            created_at = self.created_at[bucket]
            for number, (bookmark, chain) in enumerate(self._bookmarks(bucket)):
                kind = (WEB_SOCKET, EVENT_STREAM)[number % 2]
                recorder = Recorder(
                    lambda: self.http,
                    bucket,
                    kind,
                    "probe",
                    after=bookmark.revision,
                    created_at=created_at,
                )
                probes.append((bookmark, _known_at(bookmark, chain), recorder))

        async def all_arrived() -> bool:
            return all(
                recorder.has_reached(
                    self.created_at[recorder.bucket],
                    self.evidence.stored[recorder.bucket, self.created_at[recorder.bucket]].last,
                )
                for _, _, recorder in probes
            )

        try:
            await eventually(all_arrived, "all bookmarks are resumed from", DEADLINE)
        except AssertionError as error:
            self.evidence.trouble.append(str(error))
        for bookmark, state, recorder in probes:
            await recorder.finish()
            self.evidence.refused += recorder.refused
            if recorder.chains:
                self.evidence.probes.append(Probe(bookmark, state, recorder.chains[0]))

    async def probe_the_dead(self, life: Life, bookmarks: list[tuple[Bookmark, Chain]]) -> None:
        """Resume from bookmarks of a bucket that was created again since."""
        bucket, created_at = life
        recorders = [
            Recorder(
                lambda: self.http,
                bucket,
                (WEB_SOCKET, EVENT_STREAM)[number % 2],
                "probe of a bucket that is gone",
                after=bookmark.revision,
                created_at=created_at,
            )
            for number, (bookmark, _) in enumerate(bookmarks)
        ]
        for (bookmark, _), recorder in zip(bookmarks, recorders, strict=True):
            try:
                async with asyncio.timeout(DEADLINE):
                    await recorder.has_ended_once()
            except TimeoutError:
                self.evidence.trouble.append(f"{bookmark} of a bucket that is gone hears nothing")
            await recorder.finish()
            if recorder.chains:
                self.evidence.probes_of_the_dead.append(Probe(bookmark, None, recorder.chains[0]))

    async def bookmarks_before_the_end(self) -> dict[Life, list[tuple[Bookmark, Chain]]]:
        """Settle, and return bookmarks of all buckets, which are about to be deleted."""
        await self.settle()
        return {
            (bucket, self.created_at[bucket]): self._bookmarks(bucket) for bucket in self.buckets
        }

    async def finish(self) -> None:
        self.awake.set()
        await asyncio.gather(*(recorder.finish() for recorder in self.recorders))
        for recorder in self.recorders:
            self.evidence.chains += recorder.chains
            self.evidence.refused += recorder.refused
        self.evidence.stalled = [recorder.name for recorder in self.stallers]
        self.evidence.trouble += self.ledger.odd


async def run(scenario: Scenario) -> Evidence:
    """Write, watch, strike, write on, and let all settle."""
    await scenario.make_buckets()
    async with scenario.native() as native:
        await scenario.preload(native)
    scenario.writers = Writers(
        lambda: scenario.http,
        scenario.ledger,
        scenario.created_at,
        {bucket: history == 1 for bucket, history in scenario.buckets.items()},
    )
    try:
        await scenario.watch_from_the_start()
        scenario.writers.start()
        await scenario.more_writes()
        scenario.watch_meanwhile("before")
        await scenario.fault.strike(scenario)
        scenario.watch_meanwhile("after")
        await scenario.more_writes()
        await scenario.all_opened()
        await scenario.settle()
        await scenario.probe()
    finally:
        await scenario.finish()
        await asyncio.to_thread(scenario.writers.stop)
    return scenario.evidence


def _known_at(bookmark: Bookmark, chain: Chain) -> dict[str, Update] | None:
    """What a reader knew at a bookmark; None where it began without a snapshot."""
    if not chain.began_with_a_snapshot:
        return None
    seen = []
    for item in chain.items:
        if isinstance(item, Update) and item.revision <= bookmark.revision:
            seen.append(item)
        if item.revision == bookmark.revision and not (
            isinstance(item, Update) and bookmark.source == SNAPSHOT_END
        ):
            break
    return fold(seen)


def _spread(found: list[Any]) -> list[Any]:
    """A few of a list, from all over it."""
    step = max(1, len(found) // _PROBES_OF_A_KIND)
    return found[::step][:_PROBES_OF_A_KIND]


def _stored_update(bucket: str, message: dict[str, Any]) -> Update:
    headers = read_headers(base64.b64decode(message.get("hdrs", "")))
    live = "KV-Operation" not in headers
    return Update(
        message["seq"],
        message["subject"].removeprefix(f"$KV.{bucket}."),
        "put" if live else "delete",
        digest(message.get("data", "")) if live else "",
    )

"""Clients that go on while gateways change: run by the Python of either version, with its SDK.

    python traffic.py NAME BALANCER GATEWAY GATEWAY

It works until its standard input ends, and then prints what it found, as one line of JSON. The SDK
calls the balancer. What the SDK hides (idempotency keys, cursors) calls the gateways in turn.
"""

import asyncio
import json
import random
import sys
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import aiohttp

import jetkv

BUCKETS = ("one", "two")
LISTED = 600
PAGE = 30
PATIENCE = 30.0
"""Seconds that anything may take."""


@dataclass
class Report:
    """What one client found.

    Attributes:
        counted: how often each counter was counted up, as far as the SDK said so.
        stored: by bucket, the keys and values that were acked.
        statuses: how often each status was answered to the clients without the SDK.
        done: how often each kind of work was done.
        faults: what must not be.
    """

    counted: Counter[str] = field(default_factory=Counter)
    stored: dict[str, dict[str, str]] = field(default_factory=dict)
    statuses: Counter[int] = field(default_factory=Counter)
    done: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)


class Traffic:
    """All clients of one process."""

    def __init__(self, name: str, balancer: str, gateways: list[str]) -> None:
        self.name = name
        self.report = Report(stored={bucket: {} for bucket in BUCKETS})
        self._balancer = balancer
        self._gateways = gateways
        self._turn = 0
        self._stopped = asyncio.Event()
        self._written: dict[tuple[str, int], str] = {}

    async def run(self, say_running: Callable[[], None]) -> None:
        async with (
            jetkv.AsyncClient(self._balancer) as client,
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=PATIENCE)) as session,
        ):
            kv = client.kv()
            one, two = (kv.bucket(name) for name in BUCKETS)
            async with (
                self._followed(one.watch(), BUCKETS[:1]),
                self._followed(kv.watch({one: ">", two: ">"}), BUCKETS),
            ):
                work = [
                    self._write(one),
                    self._write(two),
                    self._count(one, "shared"),
                    self._count(one, self.name),
                    self._repeat(session),
                    self._list(session),
                ]
                tasks = [asyncio.create_task(self._guarded(each)) for each in work]
                say_running()
                await asyncio.to_thread(sys.stdin.read)
                self._stopped.set()
                await asyncio.gather(*tasks)

    async def _guarded(self, work: Awaitable[None]) -> None:
        try:
            await work
        except (jetkv.JetKVError, aiohttp.ClientError, TimeoutError) as error:
            self.report.faults.append(f"{type(error).__name__}: {error}")

    async def _write(self, bucket: Any) -> None:
        number = 0
        while not self._stopped.is_set():
            number += 1
            key, value = f"{self.name}-{number}", f"value {number}"
            revision = await bucket.put(key, value)
            self.report.stored[bucket.name][key] = value
            self._written[bucket.name, revision] = key
            self.report.done["writes"] += 1
            await asyncio.sleep(0.005)

    async def _count(self, bucket: Any, counter: str) -> None:
        while not self._stopped.is_set():
            await bucket.modify(f"counter-{counter}", lambda value: (value or 0) + 1, timeout=60)
            self.report.counted[counter] += 1
            await asyncio.sleep(0.01)

    @asynccontextmanager
    async def _followed(self, watch: Any, buckets: tuple[str, ...]) -> AsyncIterator[None]:
        """Watch meanwhile: all that is written has to come, once and in order."""
        seen: dict[str, list[int]] = {bucket: [] for bucket in buckets}
        more = asyncio.Event()

        async def follow() -> None:
            async for update in watch:
                bucket = buckets[0] if len(buckets) == 1 else update.bucket
                revisions = seen[bucket]
                if revisions and update.revision <= revisions[-1]:
                    self.report.faults.append(f"{update.revision} after {revisions[-1]}")
                revisions.append(update.revision)
                more.set()

        task = asyncio.create_task(self._guarded(follow()))
        task.add_done_callback(lambda _: more.set())
        try:
            yield
            last = dict(sorted(self._written))
            async with asyncio.timeout(PATIENCE):
                while not task.done() and any(
                    (seen[bucket] or [0])[-1] < last[bucket] for bucket in buckets
                ):
                    more.clear()
                    await more.wait()
        finally:
            await watch.aclose()
            await task
        for bucket in buckets:
            # It begins when it is open, and not at the first write.
            begun = seen[bucket][0]
            wanted = {r for name, r in self._written if name == bucket and r >= begun}
            missed = sorted(wanted - set(seen[bucket]))
            if missed:
                self.report.faults.append(f"a watch of {buckets} missed {missed[:10]} of {bucket}")
            self.report.done[f"changes in a watch of {len(buckets)}"] += len(wanted)

    async def _repeat(self, session: aiohttp.ClientSession) -> None:
        """Create keys, and repeat each request at the other gateway and later: one answer each."""
        answered: list[tuple[str, str]] = []
        number = 0
        while not self._stopped.is_set():
            number += 1
            key = f"once-{self.name}-{number}"
            answered.append((key, await self._create(session, key)))
            self.report.stored["two"][key] = key
            for again, first in (answered[-1], random.choice(answered[-400:])):
                answer = await self._create(session, again)
                if answer != first:
                    self.report.faults.append(f"{again}: first {first}, then {answer}")
                self.report.done["repeated requests"] += 1
            await asyncio.sleep(0.02)

    async def _create(self, session: aiohttp.ClientSession, key: str) -> str:
        headers = {"If-None-Match": "*", "Idempotency-Key": key}
        path = f"/api/v1/kv/buckets/two/keys/{key}"
        return await self._asked(session, "PUT", path, data=json.dumps(key), headers=headers)

    async def _list(self, session: aiohttp.ClientSession) -> None:
        """List pages, each one from the other gateway: every key comes once."""
        path = f"/api/v1/kv/buckets/one/keys?prefix=listed/&limit={PAGE}"
        while not self._stopped.is_set():
            keys: list[str] = []
            cursor = ""
            while True:
                page = json.loads(await self._asked(session, "GET", path + cursor))
                keys += page.get("keys", [])
                if "next_cursor" not in page:
                    break
                cursor = f"&cursor={page['next_cursor']}"
                await asyncio.sleep(0.02)
            if keys != sorted(f"listed/{number}" for number in range(LISTED)):
                self.report.faults.append(f"a list had {len(keys)} keys: {keys[:3]}…")
            self.report.done["lists"] += 1

    async def _asked(
        self, session: aiohttp.ClientSession, method: str, path: str, **options: Any
    ) -> str:
        """Ask the gateways in turn; one that is away has not been asked."""
        async with asyncio.timeout(PATIENCE):
            while True:
                self._turn += 1
                url = self._gateways[self._turn % len(self._gateways)]
                try:
                    async with session.request(method, url + path, **options) as answer:
                        text = await answer.text()
                except (aiohttp.ClientConnectionError, ConnectionError):
                    await asyncio.sleep(0.01)
                    continue
                self.report.statuses[answer.status] += 1
                return f"{answer.status} {text}" if answer.status != 200 else text


async def main() -> None:
    name, balancer, *gateways = sys.argv[1:]
    traffic = Traffic(name, balancer, gateways)
    await traffic.run(lambda: print("running", flush=True))
    print(json.dumps(vars(traffic.report)))


if __name__ == "__main__":
    asyncio.run(main())

"""The system under test: three nats-servers, R3, and two gateways with two workers each.

The first gateway reaches its servers through proxies, so that its network alone can be made bad.
"""

import asyncio
import os
import random
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp

from jetkv.testing.ports import PortHolder
from jetkv_gateway.embedded import Process
from tests.cluster.probes import Yardstick
from tests.cluster.proxy import Proxy, proxied
from tests.cluster.traffic import session
from tests.support.cluster import Member, running_cluster
from tests.support.http import BUCKETS, Http
from tests.support.native import Native, native_client
from tests.support.waiting import eventually, until

__all__ = ["HISTORY", "Gateway", "Nodes", "running_nodes"]

HISTORY = 64
WORKERS = 2
USER, PASSWORD = "app", "first"

_ENVIRONMENT = {name: value for name, value in os.environ.items() if not name.startswith("JETKV_")}
_START_SECONDS = 20.0
_ANSWER_SECONDS = 4.0


def authorization(password: str = PASSWORD) -> str:
    return f'authorization {{ user: "{USER}", password: "{password}" }}'


class Gateway(Process):
    """`jetkv serve` with two workers, as an operator runs it."""

    stop_seconds = 15.0

    def __init__(self, folder: Path, number: int, nats_urls: Sequence[str]) -> None:
        super().__init__(folder / f"gateway{number}.log")
        self.number = number
        self._holder = PortHolder()
        self._nats_urls = ",".join(nats_urls)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._holder.port}"

    @property
    def http(self) -> Http:
        return Http("127.0.0.1", self._holder.port)

    @property
    def log(self) -> str:
        return self._log.read_text(errors="replace")

    def start(self) -> None:
        """Start, and return when both workers are ready."""
        arguments = ["--auth", "off", "--port", str(self._holder.port), "--log-level", "info"]
        arguments += ["--workers", str(WORKERS), "--nats-url", self._nats_urls]
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "jetkv_gateway", "serve", *arguments],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**_ENVIRONMENT, "JETKV_NATS_USER": USER, "JETKV_NATS_PASSWORD": PASSWORD},
                start_new_session=True,
            )
        ready: set[str] = set()

        def all_are_ready() -> bool:
            assert self.running, f"the gateway ended: {self.last_words()}"
            with suppress(OSError):
                answer = self.http.get("/ready")
                if answer.status == 200:
                    ready.add(answer.headers["x-request-id"].partition("-")[0])
            return len(ready) == WORKERS

        until(all_are_ready, f"{WORKERS} workers are ready", _START_SECONDS)

    def workers(self) -> list[int]:
        """The process ids of the workers that live."""
        assert self.pid is not None
        # What they are forked from stands between.
        return [worker for child in _children(self.pid) for worker in _children(child)]

    def kill_worker(self, chance: random.Random) -> None:
        """End one worker as a crash does."""
        os.kill(chance.choice(sorted(self.workers())), signal.SIGKILL)

    def close(self) -> None:
        self.stop()
        self._holder.close()


def _children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


@dataclass
class Nodes:
    """All processes; `bucket` is the one that is used now."""

    folder: Path
    members: list[Member]
    gateways: list[Gateway]
    proxies: list[Proxy]
    yardsticks: list[Yardstick]
    bucket: str = ""

    @asynccontextmanager
    async def native(self, *members: Member) -> AsyncIterator[Native]:
        """Connect to the first of some members that answers, of all when none are given."""
        for member in members or self.members:
            if not member.running:
                continue
            with suppress(Exception):
                async with asyncio.timeout(_ANSWER_SECONDS):
                    connecting = native_client(
                        member.url,
                        user=USER,
                        password=PASSWORD,
                        connect_timeout=1,
                        max_reconnect_attempts=1,
                    )
                    native = await connecting.__aenter__()
                break
        else:
            raise ConnectionError("no member answers")
        try:
            yield native
        finally:
            await connecting.__aexit__(None, None, None)

    async def api(self, verb: str, body: Any = None) -> dict[str, Any]:
        """Call the JetStream API by a member that lives, until one answers."""
        reply: dict[str, Any] = {}

        async def answered() -> bool:
            with suppress(Exception):
                async with self.native() as native, asyncio.timeout(_ANSWER_SECONDS):
                    reply.update(await native.api(verb, body))
            return bool(reply)

        await eventually(answered, f"{verb} is answered", 20)
        return reply

    async def stream(self) -> dict[str, Any]:
        """STREAM.INFO of the bucket."""
        return await self.api(f"STREAM.INFO.KV_{self.bucket}")

    async def leader(self) -> Member:
        """The member that leads the bucket's stream."""
        found: list[Member] = []

        async def known() -> bool:
            name = (await self.stream()).get("cluster", {}).get("leader", "")
            found[:] = [member for member in self.members if member.name == name]
            return bool(found)

        await eventually(known, "the stream has a leader", 20)
        return found[0]

    async def whole(self) -> None:
        """Wait until every replica of the bucket is there and up to date."""

        async def is_whole() -> bool:
            cluster = (await self.stream()).get("cluster", {})
            replicas = cluster.get("replicas", [])
            return (
                bool(cluster.get("leader"))
                and len(replicas) == 2
                and all(
                    replica["current"] and not replica.get("offline") and not replica.get("lag")
                    for replica in replicas
                )
            )

        await eventually(is_whole, "all replicas are current", 30)

    async def make_bucket(self, name: str) -> None:
        """Make a bucket on three nodes whose history forgets nothing that the clients write."""
        document = {"name": name, "replicas": 3, "history": HISTORY}
        async with session(kept=False) as http:

            async def made() -> bool:
                with suppress(aiohttp.ClientError):
                    async with http.post(f"{self.gateways[1].url}{BUCKETS}", json=document) as got:
                        return got.status in (201, 409)
                return False

            await eventually(made, "the cluster makes a bucket", 20)
        self.bucket = name
        await self.whole()


@asynccontextmanager
async def running_nodes(folder: Path) -> AsyncIterator[Nodes]:
    """Start everything; ready for `make_bucket`."""
    async with AsyncExitStack() as stack:
        members = stack.enter_context(
            running_cluster(folder, config=authorization(), advertise=False)
        )
        proxies = [await stack.enter_async_context(proxied(m.port)) for m in members]
        behind = [proxy.url for proxy in proxies]
        direct = [member.url for member in members]
        gateways = [
            Gateway(folder, 0, behind),
            Gateway(folder, 1, [direct[2], direct[0], direct[1]]),
        ]
        for gateway in gateways:
            stack.callback(gateway.close)
        await asyncio.gather(*(asyncio.to_thread(gateway.start) for gateway in gateways))
        orders = [direct[turn:] + direct[:turn] for turn in range(3)]
        yardsticks = [
            Yardstick(f"n{number}", order, USER, PASSWORD) for number, order in enumerate(orders)
        ]
        yardsticks.append(Yardstick("proxy", behind, USER, PASSWORD))
        for yardstick in yardsticks:
            await yardstick.connect()
            stack.push_async_callback(yardstick.close)
        yield Nodes(folder, members, gateways, proxies, yardsticks)

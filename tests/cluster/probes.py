"""Probes at a fixed beat: when gateways, and nats-py's own client beside them, are of use.

A probe is a write that waits for no other one, on a connection of its own at a gateway, and by a
client made with `nats.connect` alone at NATS: what a program would have without the gateway.
"""

import asyncio
import itertools
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import nats
from nats.aio.client import Client as NatsClient
from nats.errors import Error as NatsError
from nats.js.errors import Error as JetStreamError

from tests.cluster.history import BEAT, NATIVE, Sample
from tests.cluster.traffic import session
from tests.support.http import BUCKETS

__all__ = ["Probes", "Yardstick"]

_NATIVE_PATIENCE = 5.0  # nats-py's own default for a JetStream publish

Ask = Callable[[str, str], Awaitable[tuple[bool, str, str, int | None]]]


class Probes:
    """Keeps probing all that it was given, and keeps what came of it."""

    def __init__(self, bucket: str) -> None:
        self._bucket = bucket
        self._numbers = itertools.count()
        self._tasks: set[asyncio.Task[None]] = set()
        self.samples: list[Sample] = []

    @asynccontextmanager
    async def probing(self, source: str, ask: Ask) -> AsyncIterator[None]:
        """Probe one source until the context is left; probes under way are waited for."""
        beat = asyncio.create_task(self._beat(source, ask), name=f"probes of {source}")
        try:
            yield
        finally:
            beat.cancel()
            await asyncio.wait([beat])
            if self._tasks:
                await asyncio.wait(self._tasks)

    @asynccontextmanager
    async def gateway(self, number: int, url: str) -> AsyncIterator[None]:
        """Probe a gateway, each time on a new connection, which any of its workers may take."""
        address = f"{url}{BUCKETS}/{self._bucket}/keys/"
        async with session(0, kept=False) as http:

            async def ask(key: str, value: str) -> tuple[bool, str, str, int | None]:
                try:
                    async with http.put(address + key, data=value.encode()) as answer:
                        worker = answer.headers.get("X-Request-Id", "").partition("-")[0]
                        content = await answer.read()
                except (aiohttp.ClientError, TimeoutError, OSError) as error:
                    return False, type(error).__name__, "", None
                ok = answer.status == 200
                revision = json.loads(content)["revision"] if ok else None
                return ok, str(answer.status), worker, revision

            async with self.probing(f"g{number}", ask):
                yield

    def native(self, yardstick: "Yardstick") -> Any:
        """Probe NATS by a client of its own."""

        async def ask(key: str, value: str) -> tuple[bool, str, str, int | None]:
            subject = f"$KV.{self._bucket}.{key}"
            try:
                ack = await yardstick.client.jetstream(timeout=_NATIVE_PATIENCE).publish(
                    subject, value.encode()
                )
            except (NatsError, JetStreamError, TimeoutError, OSError) as error:
                return False, type(error).__name__, "", None
            return True, "ack", "", ack.seq

        return self.probing(yardstick.name, ask)

    async def _beat(self, source: str, ask: Ask) -> None:
        loop = asyncio.get_running_loop()
        next_at = loop.time()
        while True:
            task = asyncio.create_task(self._probe(source, ask))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
            next_at = max(next_at + BEAT, loop.time())
            await asyncio.sleep(next_at - loop.time())

    async def _probe(self, source: str, ask: Ask) -> None:
        number = next(self._numbers)
        key, value = f"probe.{source}", f"p{number}"
        start = time.monotonic_ns()
        ok, status, worker, revision = await ask(key, value)
        end = time.monotonic_ns()
        self.samples.append(Sample(source, start, end, ok, status, worker, key, value, revision))

    def well_since(self, moment: int, sources: set[str]) -> bool:
        """Whether each source has succeeded with a probe that began after `moment`."""
        return sources <= {s.source for s in self.samples if s.ok and s.start > moment}


class Yardstick:
    """nats-py as a program has it: `nats.connect`, its own reconnection, nothing else."""

    def __init__(self, name: str, urls: list[str], user: str, password: str) -> None:
        self.name = f"{NATIVE}.{name}"
        self._urls = urls
        self._options: dict[str, Any] = {"user": user, "password": password}
        self.client = NatsClient()

    async def connect(self) -> None:
        """Connect to the first server of the list if it is to be had."""

        async def quiet(_error: Exception) -> None:
            """nats-py prints a traceback for each failed attempt otherwise."""

        self.client = await nats.connect(
            self._urls, dont_randomize=True, error_cb=quiet, **self._options
        )

    @property
    def at_home(self) -> bool:
        """Whether it is connected to the first of its servers."""
        url = self.client.connected_url
        return url is not None and self.client.is_connected and url.geturl() == self._urls[0]

    async def go_home(self) -> None:
        """Reconnect unless it is where it belongs."""
        if not self.at_home:
            await self.close()
            await self.connect()

    async def close(self) -> None:
        await self.client.close()

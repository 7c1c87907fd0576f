"""Two gateways on one NATS are restarted in turn while clients write as fast as they can.

What a client may meet is a connection that is refused, or one that was closed between requests.
Nothing that was acked is lost, and no answer is broken.
"""

import asyncio
import base64
import random
import signal
import time
from collections import Counter
from collections.abc import Callable

import aiohttp
import pytest

from jetkv.testing import LocalNats
from jetkv_gateway.app import factory, server_options
from jetkv_gateway.auth.authenticator import NoAuth
from jetkv_gateway.serving.server import GatewayServer, config_for, listen
from jetkv_gateway.settings import load
from tests.cli.conftest import START_SECONDS, Process
from tests.support.http import Bucket, Http
from tests.support.scripted import deaf
from tests.support.waiting import until
from tests.support.watching import watching

pytestmark = pytest.mark.long

PAUSES = [0, 0.4, 0, 0, 3, 0]
"""Seconds at most between two requests of a client; a quiet connection is kept for one."""

ROUNDS = 1

ANSWERED = "answered 200"
REFUSED = "connection refused"
CLOSED_BETWEEN = "closed between requests, seen before sending"
CLOSED_AS_SENT = "closed just as a request went out, without a byte of an answer"
NEW_AND_CLOSED = "a new connection, closed without a byte of an answer"
HARMLESS = {ANSWERED, REFUSED, CLOSED_BETWEEN, CLOSED_AS_SENT}


class Writer:
    """One client with one kept-alive connection, which goes to the other gateway if refused.

    Args:
        pause: seconds at most between two of its requests.
        size: bytes of a value.
    """

    def __init__(
        self, name: str, gateways: list[Http], bucket: str, *, pause: float, size: int
    ) -> None:
        self.seen: Counter[str] = Counter()
        self.acked: dict[str, str] = {}
        self.statuses: list[str] = []
        self._name = name
        self._urls = [Bucket(http, bucket) for http in gateways]
        self._pause = pause
        self._filling = "x" * size
        self._reused = False

    async def write(self, stopped: asyncio.Event) -> None:
        tracing = aiohttp.TraceConfig()
        tracing.on_connection_reuseconn.append(self._on_reuse)
        tracing.on_connection_create_start.append(self._on_create)
        number, target = 0, hash(self._name) % len(self._urls)
        async with aiohttp.ClientSession(
            trace_configs=[tracing], timeout=aiohttp.ClientTimeout(total=30)
        ) as session:
            # aiohttp would send a PUT twice when a kept connection breaks.
            session._retry_connection = False
            while not stopped.is_set():
                number += 1
                bucket, key = self._urls[target], f"{self._name}-{number}"
                value = f"{key}:{random.random()}:{self._filling}"
                outcome = await self._put(session, bucket.http.url + bucket.key(key), value)
                self.seen[outcome] += 1
                if outcome == ANSWERED:
                    self.acked[key] = value
                elif outcome == REFUSED:
                    target = (target + 1) % len(self._urls)
                    await asyncio.sleep(0.01)
                if self._pause:
                    await asyncio.sleep(random.uniform(0, self._pause))

    async def _put(self, session: aiohttp.ClientSession, url: str, value: str) -> str:
        try:
            async with session.put(url, data=value.encode()) as response:
                body = await response.read()
        except aiohttp.ClientConnectorError:
            return REFUSED
        except aiohttp.ServerDisconnectedError as error:
            if not isinstance(error.message, str):
                return f"an answer broken off: {error.message!r}"
            return CLOSED_AS_SENT if self._reused else NEW_AND_CLOSED
        except aiohttp.ClientConnectionResetError:
            return CLOSED_BETWEEN
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            return f"{'kept' if self._reused else 'new'} connection: {error!r}"
        return ANSWERED if response.status == 200 else f"{response.status} {body[:200]!r}"

    async def _on_reuse(self, *_: object) -> None:
        self._reused = True

    async def _on_create(self, *_: object) -> None:
        self._reused = False


@pytest.fixture
def serve(start, nats: LocalNats) -> Callable[[int], tuple[Process, Http]]:
    def serve(port: int) -> tuple[Process, Http]:
        process = start(
            "serve", "--auth", "off", "--nats-url", nats.url, "--port", str(port), "--workers", "2"
        )
        process.wait_for("serves http://", START_SECONDS)
        http = process.http()
        until(lambda: http.get("/ready").status == 200, "the gateway is ready", START_SECONDS)
        return process, http

    return serve


async def test_a_rolling_restart_under_full_load_loses_no_acked_write(
    serve, bucket: Bucket, capsys: pytest.CaptureFixture[str]
) -> None:
    gateways = [await asyncio.to_thread(serve, 0) for _ in range(2)]
    targets = [http for _, http in gateways]
    writers = [
        Writer(
            f"w{number}",
            targets,
            bucket.name,
            pause=PAUSES[number],
            size=200_000 if number % 5 == 4 else 100,
        )
        for number in range(len(PAUSES))
    ]
    stopped = asyncio.Event()
    tasks = [asyncio.create_task(writer.write(stopped)) for writer in writers]
    codes = []
    for _ in range(ROUNDS):
        for index, (process, http) in enumerate(gateways):
            codes.append(await asyncio.to_thread(process.stop, signal.SIGTERM, 20))
            assert "Traceback" not in process.output
            gateways[index] = await asyncio.to_thread(serve, http.port)
    stopped.set()
    await asyncio.gather(*tasks)

    seen = sum((writer.seen for writer in writers), Counter[str]())
    with capsys.disabled():
        print(f"\nrolling restart: {dict(seen)}")
    assert codes == [0] * 2 * ROUNDS
    assert set(seen) <= HARMLESS, seen
    assert seen[ANSWERED] > 1000
    assert seen[CLOSED_AS_SENT] <= 2, "a client that asks again within a second is told beforehand"
    async with watching(bucket.http, bucket.name, "?snapshot=true") as watcher:
        frames = await watcher.until(lambda frame: frame["type"] == "kv_snapshot_end", 60)
    stored = {frame["key"]: frame["value"] for frame in frames if "key" in frame}
    for writer in writers:
        for key, value in writer.acked.items():
            assert key in stored, f"{key} was acked and is not there"
            assert base64.b64decode(stored[key]).decode() == value


def test_a_gateway_waits_for_nats_before_it_accepts_anybody_and_then_starts_all_the_same() -> None:
    with deaf() as port:
        flags = {"auth": "off", "nats_url": f"nats://127.0.0.1:{port}", "log_level": "error"}
        settings = load(flags, None)
        config = config_for(factory(settings, NoAuth()), server_options(settings))
        server = GatewayServer(config, lambda: setattr(server, "should_exit", True))
        began = time.monotonic()
        with (
            listen("127.0.0.1", 0) as listening,
            asyncio.Runner(loop_factory=config.get_loop_factory()) as runner,
        ):
            runner.run(server.serve(sockets=[listening]))
    assert server.started
    assert time.monotonic() - began >= 2

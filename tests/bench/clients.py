"""One call after the other on one connection: the SDK, its bare transports, and other clients.

All speak to the same gateway from this process, in turns of a few hundred calls, so that what
else the machine does falls on all of them; each does what its user would have to do for a value.
"""

import asyncio
import json
import statistics
import time
from base64 import b64decode
from collections import defaultdict
from collections.abc import Awaitable, Callable
from pathlib import Path

import aiohttp
import httpcore
import httpx
from ironflow import IronflowClient
from yarl import URL

from jetkv import AsyncClient, Client
from jetkv_gateway.embedded import NatsServer
from tests.bench import peers
from tests.bench.apps import BUCKET

CALLS = 200
KEY = "user:1"
PATH = f"/api/v1/kv/buckets/{BUCKET}/keys/user%3A1"
VALUE = {"name": "Ada Lovelace", "roles": ["admin", "author"], "seen": 1234567890, "note": "x" * 40}
BODY = json.dumps(VALUE).encode()
READ = {"Accept": "application/json"}
WRITE = {"Content-Type": "application/json"}

Figures = dict[tuple[str, str], list[float]]
"""Of (operation, client): seconds a call, for each round."""


def measure(folder: Path, rounds: int, progress: Callable[[str], None]) -> Figures:
    """Return what a call takes."""
    with NatsServer(folder / "nats-clients") as nats, peers.gateway(nats.url) as server:
        url = f"http://127.0.0.1:{server.port}"
        figures: Figures = defaultdict(list)
        for number in range(-1, rounds * 5):
            progress(f"clients: turn {number + 1} of {rounds * 5}")
            found = _sync_turn(url) | asyncio.run(_async_turn(url))
            if number >= 0:  # the first one warms up
                for name, seconds in found.items():
                    figures[name].append(seconds)
    progress("")
    return figures


def _sync_turn(url: str) -> dict[tuple[str, str], float]:
    pool = httpcore.ConnectionPool()
    official = IronflowClient(server_url=url)
    with Client(url) as client, httpx.Client(base_url=url) as other:
        bucket = client.kv().bucket(BUCKET)

        def bare(method: str, body: bytes | None, headers: dict[str, str]) -> bytes:
            return pool.request(method, url + PATH, headers=headers, content=body).content

        calls: dict[tuple[str, str], Callable[[], object]] = {
            ("put", "bare httpcore"): lambda: bare("PUT", BODY, WRITE),
            ("put", "jetkv.Client"): lambda: bucket.put(KEY, VALUE),
            ("put", "httpx.Client"): lambda: other.put(PATH, json=VALUE).json()["revision"],
            ("put", "ironflow-py"): lambda: official.kv_update_buckets_keys(BUCKET, KEY, VALUE),
            ("get", "bare httpcore"): lambda: bare("GET", None, READ),
            ("get", "jetkv.Client"): lambda: bucket.get(KEY).value,
            ("get", "httpx.Client"): lambda: _value(other.get(PATH).json()),
            ("get", "ironflow-py"): lambda: _value(official.kv_get_buckets_keys(BUCKET, KEY)),
        }
        found = {}
        for name, call in calls.items():
            call()
            began = time.perf_counter()
            for _ in range(CALLS):
                call()
            found[name] = (time.perf_counter() - began) / CALLS
    pool.close()
    return found


async def _async_turn(url: str) -> dict[tuple[str, str], float]:
    where = URL(url + PATH, encoded=True)
    async with (
        AsyncClient(url) as client,
        httpx.AsyncClient(base_url=url) as other,
        aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as session,
    ):
        bucket = client.kv().bucket(BUCKET)

        async def bare(method: str, body: bytes | None, headers: dict[str, str]) -> bytes:
            async with session.request(
                method, where, data=body, headers=headers, allow_redirects=False
            ) as answer:
                return await answer.read()

        async def get() -> object:
            return (await bucket.get(KEY)).value

        async def other_put() -> object:
            return (await other.put(PATH, json=VALUE)).json()["revision"]

        async def other_get() -> object:
            return _value((await other.get(PATH)).json())

        calls: dict[tuple[str, str], Callable[[], Awaitable[object]]] = {
            ("put", "bare aiohttp"): lambda: bare("PUT", BODY, WRITE),
            ("put", "jetkv.AsyncClient"): lambda: bucket.put(KEY, VALUE),
            ("put", "httpx.AsyncClient"): other_put,
            ("get", "bare aiohttp"): lambda: bare("GET", None, READ),
            ("get", "jetkv.AsyncClient"): get,
            ("get", "httpx.AsyncClient"): other_get,
        }
        found = {}
        for name, call in calls.items():
            await call()
            began = time.perf_counter()
            for _ in range(CALLS):
                await call()
            found[name] = (time.perf_counter() - began) / CALLS
    return found


def _value(entry: dict[str, str]) -> object:
    return json.loads(b64decode(entry["value"]))


def tables(figures: Figures) -> list[str]:
    lines = [
        "| One connection | Client | ms a call | SDK is |",
        "|---|---|---:|---:|",
    ]
    for operation, client in sorted(figures):
        ours = "jetkv.AsyncClient" if client in _ASYNC else "jetkv.Client"
        ratio = "" if client == ours else f"{_ratio(figures, operation, ours, client):.2f} ×"
        middle = statistics.median(figures[operation, client]) * 1000
        lines.append(f"| {operation} | {client} | {middle:.3f} | {ratio} |")
    return lines


_ASYNC = ("jetkv.AsyncClient", "bare aiohttp", "httpx.AsyncClient")


def _ratio(figures: Figures, operation: str, one: str, other: str) -> float:
    """Return the median of the ratios of single turns: both saw the same machine."""
    pairs = zip(figures[operation, one], figures[operation, other], strict=True)
    return statistics.median(a / b for a, b in pairs)


def bar(figures: Figures) -> list[tuple[str, str, str, bool]]:
    """Return (what, wanted, reached, met) for each line of the bar."""
    rows = []
    for ours, limits in {
        "jetkv.Client": {"bare httpcore": 1.3, "httpx.Client": 1.0, "ironflow-py": 1.0},
        "jetkv.AsyncClient": {"bare aiohttp": 1.3, "httpx.AsyncClient": 1.0, "ironflow-py": 1.0},
    }.items():
        for other, limit in limits.items():
            reached = _ratio(figures, "get", ours, other)
            rows.append(
                (f"get: {ours} / {other}", f"≤ {limit}", f"{reached:.2f}", reached <= limit)
            )
    return rows

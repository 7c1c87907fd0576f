"""More than a gateway can do: four times the load it sustains, and big listings beside small calls.

Clients, probe, gateway and nats-server share the machine. For the overload the clients get its last
core for themselves, and gateway and nats-server the others: a crowd that offers four times as much
would else take from the gateway what it needs, and it would be the machine that is measured.
"""

import asyncio
import json
import os
import statistics
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from nats.aio.client import Client

from jetkv_gateway.embedded import NatsServer
from tests.bench import flood, peers
from tests.bench.apps import BUCKET
from tests.bench.children import Child, child
from tests.bench.flood import Outcome
from tests.bench.publisher import create, with_client

PATIENCE = 1.0
TIMES = 4
CROWD = 64
KEYS = 1000
LISTED = 100_000
LISTERS = 10
SINGLE = (1, 8)
HEALTH_SECONDS = 0.1
_BIG = "big"
_MOST_CONNECTIONS = 8000  # a process has 20,000 files at most on the machines we know


@dataclass
class Load:
    """One kind of load, round by round.

    Attributes:
        shares: goodput by the mean of the peaks just before and just after it.
        health: seconds until each answer of `/health`.
    """

    connections: list[int] = field(default_factory=list)
    outcomes: list[Outcome] = field(default_factory=list)
    shares: list[float] = field(default_factory=list)
    health: list[float] = field(default_factory=list)


@dataclass
class Beside:
    """GETs of one key, round by round: seconds of each answer, quiet and beside listings."""

    quiet: list[list[float]] = field(default_factory=list)
    busy: list[list[float]] = field(default_factory=list)


@dataclass
class Figures:
    peaks: list[float] = field(default_factory=list)
    loads: dict[str, Load] = field(default_factory=dict)
    beside: dict[int, Beside] = field(default_factory=dict)
    listing: list[float] = field(default_factory=list)
    listed: int = 0


def measure(folder: Path, rounds: int, seconds: float, progress: Callable[[str], None]) -> Figures:
    figures = Figures()
    with (
        NatsServer(folder / "nats-overload") as nats,
        peers.gateway(nats.url) as server,
        child(flood.Crowd, server.port, _calls()) as crowd,
        child(flood.Probe, server.port) as probe,
    ):
        _fill(server.port)
        _set_apart((server.pid, nats.pid), (crowd, probe))
        for number in range(rounds):
            progress(f"round {number + 1} of {rounds}: {TIMES} × the peak")
            _overload(figures, crowd, probe, seconds)
    with (
        NatsServer(folder / "nats-listings") as nats,
        peers.gateway(nats.url) as server,
        child(flood.Crowd, server.port, _calls()[:1]) as crowd,
    ):
        _fill(server.port)
        with_client(nats.url, _fill_big)
        for number in range(rounds):
            progress(f"round {number + 1} of {rounds}: listings of {LISTED:,} keys")
            began = time.perf_counter()
            count = json.loads(_list(server.port))["count"]
            figures.listing.append(time.perf_counter() - began)
            assert count == LISTED, count
            for connections in SINGLE:
                beside = figures.beside.setdefault(connections, Beside())
                beside.quiet.append(_singles(crowd, connections, seconds))
                with _listing(server.port) as finished:
                    beside.busy.append(_singles(crowd, connections, seconds))
                figures.listed += len(finished)
    progress("")
    return figures


def _set_apart(servers: tuple[int | None, ...], clients: tuple[Child, ...]) -> None:
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        return
    for pid in servers:
        for thread in Path(f"/proc/{pid}/task").iterdir():
            os.sched_setaffinity(int(thread.name), cores[:-1])
    for client in clients:
        client.call("stay_on", core=cores[-1])


def _overload(figures: Figures, crowd: Child, probe: Child, seconds: float) -> None:
    peak = _peak(crowd, seconds)
    figures.peaks.append(peak)
    few = int(peak * PATIENCE / 2)
    many = min(_MOST_CONNECTIONS, int(peak * PATIENCE * 2))
    loads = {
        f"closed loop, {TIMES} × the connections": ("closed_loop", TIMES * CROWD),
        "open loop, connections for half of the patience": ("open_loop", few),
        "open loop, connections for twice the patience": ("open_loop", many),
    }
    for name, (method, connections) in loads.items():
        rate = {"rate": TIMES * peak} if method == "open_loop" else {}
        crowd.call("connect", connections=connections)
        probe.start("run", seconds=seconds)
        outcome = crowd.call(
            method, connections=connections, seconds=seconds, patience=PATIENCE, **rate
        )
        load = figures.loads.setdefault(name, Load())
        load.health += probe.result()
        load.connections.append(connections)
        load.outcomes.append(outcome)
        # The machine may not be what it was a moment ago.
        next_peak = _peak(crowd, seconds)
        load.shares.append(outcome.goodput / statistics.mean((peak, next_peak)))
        peak = next_peak


def _peak(crowd: Child, seconds: float) -> float:
    outcome = crowd.call("closed_loop", connections=CROWD, seconds=seconds, patience=PATIENCE)
    goodput: float = outcome.goodput
    return goodput


def _singles(crowd: Child, connections: int, seconds: float) -> list[float]:
    outcome = crowd.call("closed_loop", connections=connections, seconds=seconds, patience=10.0)
    answered: list[float] = outcome.answered
    return answered


@contextmanager
def _listing(port: int) -> Iterator[list[float]]:
    """List again and again, many at a time, until the block ends; yield what each took."""
    over = threading.Event()
    finished: list[float] = []

    def run() -> None:
        while not over.is_set():
            began = time.perf_counter()
            _list(port)
            finished.append(time.perf_counter() - began)

    threads = [threading.Thread(target=run) for _ in range(LISTERS)]
    for thread in threads:
        thread.start()
    try:
        yield finished
    finally:
        over.set()
        for thread in threads:
            thread.join()


def _list(port: int) -> bytes:
    path = f"/api/v1/kv/buckets/{_BIG}/keys"
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=60) as answer:
        body: bytes = answer.read()
    return body


def _calls() -> list[bytes]:
    """Return GETs and PUTs in turns, of many keys."""
    out = []
    for number in range(KEYS):
        path = f"/api/v1/kv/buckets/{BUCKET}/keys/k{number}"
        out.append(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode())
        head = f"PUT {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 128\r\n\r\n"
        out.append(head.encode() + b"v" * 128)
    return out


def _fill(port: int) -> None:
    for number in range(KEYS):
        request = urllib.request.Request(
            f"http://127.0.0.1:{port}/api/v1/kv/buckets/{BUCKET}/keys/k{number}",
            data=b"v" * 128,
            method="PUT",
        )
        with urllib.request.urlopen(request, timeout=10):
            pass


async def _fill_big(client: Client) -> None:
    await create(client, _BIG)
    for start in range(0, LISTED, 1000):
        for number in range(start, start + 1000):
            # Not in the order of their names.
            name = number * 7919 % LISTED
            await client.publish(f"$KV.{_BIG}.user.{name:06}.profile", b"v" * 100)
        await client.flush(timeout=60)
        await asyncio.sleep(0.01)


def tables(figures: Figures) -> list[str]:
    lines = [
        f"| {TIMES} × the peak of {statistics.median(figures.peaks):,.0f}/s "
        "| connections | due/s | 200/s | by the peak | 429/s | given up/s | none free/s "
        "| p50 ms | p99 ms |",
        "|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for name, load in figures.loads.items():

        def rate(field_of: Callable[[Outcome], int], load: Load = load) -> str:
            each = [field_of(outcome) / outcome.seconds for outcome in load.outcomes]
            return f"{statistics.median(each):,.0f}"

        p50, p99 = (
            statistics.median(_part(outcome.answered, part) for outcome in load.outcomes) * 1000
            for part in (50, 99)
        )
        lines.append(
            f"| {name} | {statistics.median(load.connections):,.0f} | {rate(lambda o: o.due)} "
            f"| {rate(lambda o: len(o.answered))} | {statistics.median(load.shares):.2f} "
            f"| {rate(lambda o: o.refused)} | {rate(lambda o: o.gave_up)} "
            f"| {rate(lambda o: o.unsent)} | {p50:.0f} | {p99:.0f} |"
        )
    lines += ["", "| `/health` meanwhile | p50 ms | p99 ms | longest ms |", "|---|---:|---:|---:|"]
    for name, load in figures.loads.items():
        p50, p99 = (_part(load.health, part) * 1000 for part in (50, 99))
        lines.append(f"| {name} | {p50:.1f} | {p99:.1f} | {max(load.health) * 1000:.1f} |")
    lines += [
        "",
        f"| GET beside {LISTERS} listings of {LISTED:,} keys | p50 ms | p99 ms | req/s |",
        "|---|---:|---:|---:|",
    ]
    for connections, beside in figures.beside.items():
        for what, runs in (("quiet", beside.quiet), ("beside them", beside.busy)):
            p50, p99 = (
                statistics.median(_part(run, part) for run in runs) * 1000 for part in (50, 99)
            )
            each = sum(map(len, runs)) / sum(map(sum, runs)) * connections
            lines.append(
                f"| {connections} at a time, {what} | {p50:.2f} | {p99:.2f} | {each:,.0f} |"
            )
    lines += [
        "",
        f"One listing of {LISTED:,} keys with nothing beside it takes "
        f"{statistics.median(figures.listing):.2f} s.",
    ]
    return lines


def _part(values: list[float], part: int) -> float:
    ordered = sorted(values) or [float("inf")]
    return ordered[len(ordered) * part // 100]


def bar(figures: Figures) -> list[tuple[str, str, str, bool]]:
    """Return (what, wanted, reached, met) for each line of the bar."""
    rows = []
    for name, load in figures.loads.items():
        share = statistics.median(load.shares)
        rows.append((f"goodput / peak, {name}", "≥ 0.80", f"{share:.2f}", share >= 0.8))
    for name, load in figures.loads.items():
        longest = max(load.health)
        text = f"{longest * 1000:.0f} ms"
        rows.append((f"`/health`, {name}", "< 100 ms", text, longest < HEALTH_SECONDS))
    for connections, beside in figures.beside.items():
        quiet, busy = (
            statistics.median(_part(run, 99) for run in runs)
            for runs in (beside.quiet, beside.busy)
        )
        ratio = busy / quiet
        rows.append(
            (
                f"p99 of GET beside listings / quiet, {connections} at a time",
                "≤ 5.00",
                f"{ratio:.2f}",
                ratio <= 5,
            )
        )
    return rows

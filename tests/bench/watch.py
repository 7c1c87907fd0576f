"""Watches beside their peers: frames a second, latency, memory, what is left behind, return."""

import asyncio
import socket
import statistics
import time
from collections import defaultdict
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path

import nats
from nats.aio.client import Client

from jetkv_gateway.embedded import NatsServer
from tests.bench import fanout, peers, publisher
from tests.bench.children import Child
from tests.bench.fanout import GATEWAY, VALUE, WATCHERS, Bench, watch_path
from tests.bench.watchers import handshake

LATENCY_WATCHERS = (1, 100)
MEBIBYTE = 1024 * 1024

_LARGE = 64 * 1024
_LARGE_COUNT = 400 * 1_000_000 // _LARGE
_FLAGS = 100
_CONNECTS = 1000
_LEFT_SECONDS = 5.0
_AWAY_SECONDS = 2.0
_RETURN_SECONDS = 30.0


@dataclass(frozen=True)
class Memory:
    """Resident bytes of a gateway before and at most, and what became of the stuck watcher."""

    before: int
    peak: int
    seconds: float
    stuck: str

    @property
    def growth(self) -> int:
        return self.peak - self.before


@dataclass(frozen=True)
class Left:
    """Consumers that were left in the end, and when there were some for the last time."""

    consumers: int
    seconds: float


@dataclass
class Figures:
    frames: fanout.Figures
    latencies: dict[int, list[list[float]]]
    memory: Memory
    left: Left
    returns: dict[str, list[float]]


def measure(folder: Path, rounds: int, seconds: float, progress: Callable[[str], None]) -> Figures:
    frames: fanout.Figures = defaultdict(lambda: defaultdict(fanout.Fanout))
    latencies: dict[int, list[list[float]]] = defaultdict(list)
    with ExitStack() as stack:
        bench = Bench(stack, folder, progress)
        for number in range(rounds):
            progress(f"round {number + 1} of {rounds}: frames to watchers")
            fanout.one_round(bench, seconds, frames)
            for watchers in LATENCY_WATCHERS:
                progress(f"round {number + 1} of {rounds}: PUT to frame, {watchers} watchers")
                latencies[watchers].append(_latencies(bench, watchers, int(100 * seconds)))
        progress(f"memory: {_LARGE_COUNT} large values pass {WATCHERS[-1]} watchers, one is stuck")
        memory = _memory(bench)
        progress(f"{_CONNECTS} connects and drops")
        left = _left(bench)
        returns = _returns(bench, rounds)
    progress("")
    return Figures(frames, latencies, memory, left, returns)


def _latencies(bench: Bench, watchers: int, count: int) -> list[float]:
    """Return seconds from a PUT's answer to the frame, one PUT after the other.

    Each PUT is looked at by the next watcher: somebody is served first and somebody last.
    """
    port = bench.gateway.port
    answered = []
    with (
        bench.bucket() as bucket,
        bench.watching(port, watch_path(bucket), watchers, stamped=True),
        socket.create_connection(("127.0.0.1", port), timeout=10) as connection,
    ):
        for number in range(1, count + 1):
            answered.append(_put(connection, bucket, f"k{number:09}", b"v" * VALUE))
            _wait(lambda n=number: bench.got.value >= n, f"frame {number}", 10)
        received = bench.sockets.call("complete", frames=count, timeout=10)
    return sorted(
        received.stamps[number % watchers][number] - at for number, at in enumerate(answered)
    )


def _put(connection: socket.socket, bucket: str, key: str, value: bytes) -> float:
    """Return when the answer was there."""
    head = (
        f"PUT /api/v1/kv/buckets/{bucket}/keys/{key} HTTP/1.1\r\n"
        f"Host: 127.0.0.1\r\nContent-Length: {len(value)}\r\n\r\n"
    )
    connection.sendall(head.encode() + value)
    answer = b""
    while not answer.endswith(b"}"):
        part = connection.recv(4096)
        assert part, answer
        answer += part
    at = time.perf_counter()
    assert answer.startswith(b"HTTP/1.1 200"), answer
    return at


def _wait(condition: Callable[[], bool], what: str, timeout: float) -> None:
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(what)
        time.sleep(0.001)


def _memory(bench: Bench) -> Memory:
    """One of a thousand watches everything and never reads, while large values pass."""
    with (
        # A new one: what another has grown to already would hide what this takes.
        peers.gateway(bench.nats.url, **GATEWAY) as server,
        bench.bucket() as bucket,
        bench.watching(server.port, watch_path(bucket, "?key=flags.*"), WATCHERS[-1] - 1),
        socket.create_connection(("127.0.0.1", server.port), timeout=10) as stuck,
    ):
        stuck.sendall(handshake(server.port, watch_path(bucket)))
        head = stuck.recv(4096)
        assert head.startswith(b"HTTP/1.1 101"), head
        before = server.resident_bytes()
        server.forget_peak()
        start = time.perf_counter()
        bench.publisher.call(
            "pass_by", bucket=bucket, count=_LARGE_COUNT, size=_LARGE, flags=_FLAGS
        )
        received = bench.sockets.call("complete", frames=_FLAGS, timeout=120)
        stuck_port = stuck.getsockname()[1]
        with suppress(TimeoutError):
            _wait(lambda: not server.holds(stuck_port), "the end of the stuck watcher", 15)
        return Memory(
            before=before,
            peak=server.peak_bytes(),
            seconds=received.last - start,
            stuck="still stands" if server.holds(stuck_port) else "was ended",
        )


def _left(bench: Bench) -> Left:
    with bench.bucket() as bucket:
        bench.sockets.call(
            "come_and_go", port=bench.gateway.port, path=watch_path(bucket), count=_CONNECTS
        )
        start = time.perf_counter()
        passed = none_since = 0.0
        consumers = 0
        # Through to the end: one that was asked for late may appear late.
        while passed < _LEFT_SECONDS:
            consumers = bench.publisher.call("consumers", bucket=bucket)
            passed = time.perf_counter() - start
            if consumers:
                none_since = passed
            time.sleep(0.05)
        return Left(consumers, none_since)


def _returns(bench: Bench, rounds: int) -> dict[str, list[float]]:
    """Kill nats-server, and see how long after its return a change is delivered.

    nats-py takes so long that once is enough.
    """
    took: dict[str, list[float]] = defaultdict(list)
    bucket = "watch-return"
    with (
        NatsServer(bench.folder / "nats-return") as server,
        peers.gateway(server.url, **GATEWAY) as gateway,
    ):
        publisher.with_client(server.url, lambda client: publisher.create(client, bucket))
        for number in range(rounds):
            bench.progress(f"round {number + 1} of {rounds}: nats-server is killed and comes back")
            with bench.watching(gateway.port, watch_path(bucket), 1), ExitStack() as stack:
                if not number:
                    bench.natives.call("open", nats_url=server.url, bucket=bucket, count=1)
                    stack.callback(bench.natives.call, "close")
                server.kill()
                time.sleep(_AWAY_SECONDS)
                server.start()
                back = asyncio.run(_publish_at_once(server.url, f"$KV.{bucket}.k{number}"))
                took["gateway"].append(_delivered(bench.sockets, back))
                if not number:
                    # Its errors are those of a lost connection.
                    took["nats-py"].append(_delivered(bench.natives, back, strict=False))
    return took


def _delivered(watcher: Child, back: float, **options: bool) -> float:
    """Return seconds from `back` to the one frame that a watcher waits for; inf: too many."""
    left = max(0.1, _RETURN_SECONDS - (time.perf_counter() - back))
    try:
        received = watcher.call("complete", frames=1, timeout=left, **options)
    except TimeoutError:
        return float("inf")
    return received.first - back


async def _publish_at_once(nats_url: str, subject: str) -> float:
    """Publish as soon as a server is there; return when it was."""
    client: Client = await nats.connect(nats_url)
    back = time.perf_counter()
    try:
        async with asyncio.timeout(10):
            while True:
                try:
                    await client.jetstream().publish(subject, b"v" * VALUE, timeout=1)
                except (nats.errors.Error, nats.js.errors.Error):
                    await asyncio.sleep(0.01)  # JetStream comes after the connection
                else:
                    return back
    finally:
        await client.close()


def tables(figures: Figures) -> list[str]:
    lines = fanout.tables(figures.frames)
    lines += ["", "| From PUT's answer to the frame | p50 ms | p99 ms |", "|---|---:|---:|"]
    for watchers, runs in figures.latencies.items():
        p50, p99 = (_percentile(runs, part) * 1000 for part in (50, 99))
        lines.append(f"| one of {_count(watchers)} | {p50:.2f} | {p99:.2f} |")
    memory, left = figures.memory, figures.left
    lines += [
        "",
        "| Watch | |",
        "|---|---|",
        f"| {WATCHERS[-1]:,} watchers, one of them stuck, {_LARGE_COUNT:,} values of 64 KiB pass "
        f"| in {memory.seconds:.1f} s; resident {memory.before / MEBIBYTE:.1f} MiB before, "
        f"{memory.peak / MEBIBYTE:.1f} MiB at most; the stuck one {memory.stuck} |",
        f"| JetStream consumers after {_CONNECTS:,} connects and drops "
        f"| {left.consumers} after {_LEFT_SECONDS:g} s, the last seen after {left.seconds:.2f} s |",
    ]
    for name, took in figures.returns.items():
        each = ", ".join(f"{value:.2f}" for value in took)
        lines.append(f"| From nats-server's return to the first missed update, {name} | {each} s |")
    return lines


def _percentile(runs: list[list[float]], part: int) -> float:
    return statistics.median(run[len(run) * part // 100] for run in runs)


def _count(watchers: int) -> str:
    return f"{watchers} watcher{'s' if watchers > 1 else ''}"


def bar(figures: Figures) -> list[tuple[str, str, str, bool]]:
    """Return (what, wanted, reached, met) for each line of the bar."""
    rows = []
    for watchers in WATCHERS[1:]:
        ratio = fanout.ratio(figures.frames, watchers, "broadcast")
        rows.append(
            (
                f"frames / broadcast app, {watchers:,} watchers",
                "≥ 0.60",
                f"{ratio:.2f}",
                ratio >= 0.6,
            )
        )
    growth = figures.memory.growth / MEBIBYTE
    rows.append(("memory, one stuck among 1,000", "< 64 MiB", f"{growth:.1f} MiB", growth < 64))
    left = figures.left.consumers
    rows.append((f"consumers left after {_LEFT_SECONDS:g} s", "0", str(left), left == 0))
    took = max(figures.returns["gateway"])
    rows.append(("nats-server's return to the first update", "< 4 s", f"{took:.2f} s", took < 4))
    return rows

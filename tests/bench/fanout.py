"""Frames a second: one change of a bucket, and how fast it comes to one watcher or a thousand.

The peers are a uvicorn app that sends a constant text to all its WebSockets as fast as they take
it, and nats-py with one `kv.watch()` for each watcher. Changes come from a process of their own
that publishes natively, and never further ahead than the watchers can be. It and nats-server,
which keeps these buckets in memory, can do more than any watch: else theirs would be the pace that
is measured.
"""

import statistics
import urllib.request
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from jetkv_gateway.embedded import NatsServer
from tests.bench import peers, publisher
from tests.bench.children import CONTEXT, Child, child
from tests.bench.publisher import Publisher
from tests.bench.watchers import NativeWatchers, Received, WebSockets

WATCHERS = (1, 100, 1000)
VALUE = 128

_FRAMES_BEHIND = 100_000
_UVICORN = ("--ws", "websockets-sansio", "--ws-per-message-deflate", "false")
# The sockets that read answer no ping.
_NO_PINGS = ("--ws-ping-interval", "600", "--ws-ping-timeout", "600")
GATEWAY = {"JETKV_WATCH_PING_SECONDS": "600"}


@dataclass
class Fanout:
    """The rounds of one server with one number of watchers; `cpu` is per million frames."""

    rates: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)

    @property
    def rate(self) -> float:
        return statistics.median(self.rates)


Figures = dict[int, dict[str, Fanout]]
"""Of each number of watchers, and each server."""


class Bench:
    """The processes that all scenarios share."""

    def __init__(self, stack: ExitStack, folder: Path, progress: Callable[[str], None]) -> None:
        enter = stack.enter_context
        got = CONTEXT.RawValue("Q", 0)
        self.folder = folder
        self.progress = progress
        self.got = got
        self.nats = enter(NatsServer(folder / "nats-watch"))
        self.sockets: Child = enter(child(WebSockets, got))
        self.natives: Child = enter(child(NativeWatchers, got))
        self.publisher: Child = enter(child(Publisher, self.nats.url, got))
        self.gateway = enter(peers.gateway(self.nats.url, **GATEWAY))
        self.broadcast = enter(peers.uvicorn_app("broadcast", self.nats.url, *_UVICORN, *_NO_PINGS))
        self._buckets = 0

    @contextmanager
    def bucket(self, storage: str = "file") -> Iterator[str]:
        """A bucket that nothing was written to, and that is gone after the block."""
        self._buckets += 1
        name = f"watch-{self._buckets:03}"
        self.publisher.call("create", bucket=name, storage=storage)
        try:
            yield name
        finally:
            self.publisher.call("delete", bucket=name)

    @contextmanager
    def watching(
        self, port: int, path: str, count: int, *, stamped: bool = False
    ) -> Iterator[None]:
        self.sockets.call("open", port=port, path=path, count=count, stamped=stamped)
        try:
            yield
        finally:
            self.sockets.call("close")


def watch_path(bucket: str, query: str = "") -> str:
    return f"/api/v1/kv/buckets/{bucket}/watch{query}"


def _gateway_frames(bench: Bench, watchers: int, seconds: float) -> tuple[Received, float]:
    server = bench.gateway
    with (
        bench.bucket("memory") as bucket,
        bench.watching(server.port, watch_path(bucket), watchers),
    ):
        before = server.cpu_seconds()
        count = _publish(bench, bucket, watchers, seconds)
        received = bench.sockets.call("complete", frames=count, timeout=60)
        return received, server.cpu_seconds() - before


def _broadcast_frames(bench: Bench, watchers: int, seconds: float) -> tuple[Received, float]:
    server = bench.broadcast
    with bench.watching(server.port, "/", watchers):
        before = server.cpu_seconds()
        url = f"http://127.0.0.1:{server.port}/?seconds={seconds:g}&size={_text_size()}"
        with urllib.request.urlopen(url, timeout=60) as answer:
            count = int(answer.read())
        received = bench.sockets.call("complete", frames=count, timeout=60)
        return received, server.cpu_seconds() - before


def _native_frames(bench: Bench, watchers: int, seconds: float) -> tuple[Received, float]:
    with bench.bucket("memory") as bucket:
        bench.natives.call("open", nats_url=bench.nats.url, bucket=bucket, count=watchers)
        try:
            count = _publish(bench, bucket, watchers, seconds)
            received = bench.natives.call("complete", frames=count, timeout=60)
        finally:
            bench.natives.call("close")
        return received, received.cpu


_SERVERS = {
    "gateway": _gateway_frames,
    "broadcast": _broadcast_frames,
    "nats-py": _native_frames,
}


def _publish(bench: Bench, bucket: str, watchers: int, seconds: float) -> int:
    ahead = max(128, min(2048, _FRAMES_BEHIND // watchers))
    count: int = bench.publisher.call(
        "publish", bucket=bucket, size=VALUE, seconds=seconds, ahead=ahead
    )
    return count


def _text_size() -> int:
    """The length of the text in a frame of the gateway."""
    value = "x" * (4 * ((VALUE + 2) // 3))
    return len(
        f'{{"type":"kv_update","bucket":"watch-000","key":"k{0:09}","value":"{value}",'
        f'"revision":{publisher.FIRST_REVISION},"operation":"put"}}'
    )


def measure(folder: Path, rounds: int, seconds: float, progress: Callable[[str], None]) -> Figures:
    """Return the frames of each server to each number of watchers."""
    figures: Figures = defaultdict(lambda: defaultdict(Fanout))
    with ExitStack() as stack:
        bench = Bench(stack, folder, progress)
        for number in range(rounds):
            progress(f"round {number + 1} of {rounds}: frames to watchers")
            one_round(bench, seconds, figures)
    return figures


def one_round(bench: Bench, seconds: float, figures: Figures) -> None:
    """Add one round to the figures."""
    for watchers in WATCHERS:
        for name, run in _SERVERS.items():
            received, cpu = run(bench, watchers, seconds)
            series = figures[watchers][name]
            series.rates.append(received.rate)
            series.cpu.append(cpu / received.frames * 1_000_000)


def ratio(figures: Figures, watchers: int, peer: str) -> float:
    """Return the gateway's frames by a peer's."""
    return figures[watchers]["gateway"].rate / figures[watchers][peer].rate


def tables(figures: Figures) -> list[str]:
    lines = [
        "| Watchers of 128 B values | Server | frames/s | CPU s / 1,000,000 | gateway is |",
        "|---|---|---:|---:|---:|",
    ]
    for watchers, servers in figures.items():
        for name, series in servers.items():
            times = "" if name == "gateway" else f"{ratio(figures, watchers, name):.2f} ×"
            cpu = statistics.median(series.cpu)
            lines.append(f"| {watchers:,} | {name} | {series.rate:,.0f} | {cpu:.2f} | {times} |")
    return lines

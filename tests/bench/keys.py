"""Single keys over HTTP: the gateway beside its floors and its peers, in alternating rounds."""

import shutil
import statistics
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import groupby, product
from pathlib import Path

from jetkv_gateway.embedded import NatsServer
from tests.bench import load, native, peers
from tests.bench.load import Result

SIZES = (128, 16 * 1024, 1024 * 1024 - 1024)
"""The last one is a MiB as far as nats-server takes it: what it counts of headers is left out."""
CONNECTIONS = (1, 32, 256)
OPERATIONS = ("PUT", "GET")
MEMORY = Path("/dev/shm")

Scenario = tuple[str, int, int]
"""Operation, connections, bytes of a value."""

ALL = [
    *product(OPERATIONS, CONNECTIONS, SIZES),
    ("PUT once", 32, 128),
    ("FLAG", 32, 128),
]
BAR = [
    ("PUT", 1, 128),
    ("GET", 1, 128),
    ("PUT", 32, 128),
    ("GET", 32, 128),
    ("PUT once", 32, 128),
    ("FLAG", 32, 128),
    ("GET", 32, 16 * 1024),
]
"""What the table of ratios needs."""


@dataclass
class Series:
    """The rounds of one server in one scenario; `cpu` is seconds of the server for each call."""

    results: list[Result] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)

    @property
    def rate(self) -> float:
        return statistics.median(result.rate for result in self.results)

    @property
    def p50(self) -> float:
        return statistics.median(result.p50 for result in self.results)

    @property
    def p99(self) -> float:
        return statistics.median(result.p99 for result in self.results)

    @property
    def p999(self) -> float:
        return statistics.median(result.p999 for result in self.results)

    @property
    def failed(self) -> int:
        return sum(result.failed for result in self.results)


Figures = dict[Scenario, dict[str, Series]]


def servers(stack: ExitStack, nats_url: str, folder: Path, *, quick: bool) -> list[peers.Peer]:
    """Start the gateway and what it is compared with; `quick` leaves out what no ratio needs."""
    enter = stack.enter_context
    started = [
        enter(peers.gateway(nats_url)),
        enter(peers.floor("steps", nats_url)),
        enter(peers.floor("steps, direct", nats_url, direct=True)),
        enter(peers.uvicorn_app("nothing", nats_url)),
    ]
    if not quick:
        started.append(enter(peers.uvicorn_app("barest", nats_url)))
    if shutil.which("etcd"):
        started.append(enter(peers.etcd("etcd", folder / "etcd")))
        if MEMORY.is_dir() and not quick:
            # etcd syncs each write to the disk and nats-server does not: without a disk, too.
            memory = enter(tempfile.TemporaryDirectory(dir=MEMORY))
            started.append(enter(peers.etcd("etcd in memory", Path(memory))))
    if shutil.which("webdis") and shutil.which("redis-server") and not quick:
        started.append(enter(peers.webdis("webdis", folder / "webdis")))
    return started


def measure(
    folder: Path,
    scenarios: Iterable[Scenario],
    rounds: int,
    seconds: float,
    progress: Callable[[str], None],
    *,
    quick: bool,
) -> Figures:
    # By size, so that keys are filled again as rarely as possible.
    by_size = [
        (size, list(some))
        for size, some in groupby(sorted(scenarios, key=lambda one: one[2]), lambda one: one[2])
    ]
    figures: Figures = defaultdict(lambda: defaultdict(Series))
    with ExitStack() as stack:
        nats = stack.enter_context(NatsServer(folder / "nats"))
        started = servers(stack, nats.url, folder, quick=quick)
        for server in started:
            if server.name == "gateway":
                server.fill_flags()
        stores = {server.store: server for server in reversed(started)}
        for number, (size, some) in product(range(rounds), by_size):
            for server in stores.values():
                server.fill(size)
            for scenario in some:
                progress(f"round {number + 1} of {rounds}: {name_of(scenario)}")
                for server in started:
                    if _takes(server, scenario[0]):
                        _one(figures[scenario][server.name], server, scenario, seconds)
                if scenario[0] in OPERATIONS and scenario[1] == 1:
                    result, cpu = native.run(nats.url, scenario[0], size, seconds)
                    figures[scenario]["nats-py"].results.append(result)
                    figures[scenario]["nats-py"].cpu.append(cpu)
    return figures


def _takes(server: peers.Peer, operation: str) -> bool:
    if operation == "FLAG":
        return server.evaluate is not None
    return operation in OPERATIONS or server.name == "gateway"


def _one(series: Series, server: peers.Peer, scenario: Scenario, seconds: float) -> None:
    operation, connections, size = scenario
    call = server.call(operation, size)
    before = server.cpu_seconds()
    result = load.run(server.port, call, connections, seconds, load.keys(size))
    series.results.append(result)
    series.cpu.append((server.cpu_seconds() - before) / max(1.0, result.rate * seconds))


def name_of(scenario: Scenario) -> str:
    operation, connections, size = scenario
    amount = f"{size} B" if size < 1024 else f"{-(-size // 1024)} KiB"
    if size > 1_000_000:
        amount = "1 MiB"
    if operation == "PUT once":
        operation = "PUT with an id"
    if operation == "FLAG":
        return f"evaluation of a flag, {connections} connections"
    return f"{operation} {amount}, {connections} connection{'s' if connections > 1 else ''}"


def tables(figures: Figures) -> list[str]:
    lines = [
        "| Scenario | Server | req/s | p50 ms | p99 ms | p99.9 ms | CPU s / 10,000 | gateway is |",
        "|---|---|---:|---:|---:|---:|---:|---:|",
    ]
    for scenario, compared in figures.items():
        ours = compared["gateway"]
        for name, series in compared.items():
            ratio = ""
            if name != "gateway":
                # One that answers nothing of this size in time has no ratio.
                ratio = f"{ours.rate / series.rate:.2f} ×" if series.rate else "no answers"
            cpu = statistics.median(series.cpu) * 10_000
            note = f" ({series.failed} failed)" if series.failed else ""
            lines.append(
                f"| {name_of(scenario)} | {name} | {series.rate:,.0f}{note} | "
                f"{series.p50 * 1000:.2f} | {series.p99 * 1000:.2f} | {series.p999 * 1000:.2f} | "
                f"{cpu:.2f} | {ratio} |"
            )
    return lines

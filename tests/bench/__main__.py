"""`python -m tests.bench`: run all scenarios side by side and print figures and the bar.

Everything runs on this machine at the same time, load generator and nats-server included, so only
ratios within one run mean something. Rounds alternate between the servers, and medians are shown.
"""

import argparse
import itertools
import platform
import shutil
import statistics
import sys
import tempfile
from base64 import b64encode
from collections import defaultdict
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from jetkv_gateway.embedded import NatsServer
from tests.bench import clients, load, native, overload, peers, watch
from tests.bench.load import Result

SIZES = (128, 16 * 1024)
CONNECTIONS = (1, 32)
OPERATIONS = ("PUT", "GET")
MEMORY = Path("/dev/shm")

Scenario = tuple[str, int, int]


@dataclass
class Series:
    """The rounds of one server in one scenario."""

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
    def failed(self) -> int:
        return sum(result.failed for result in self.results)


Figures = dict[Scenario, dict[str, Series]]


def main() -> int:
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3, help="alternating rounds [3]")
    parser.add_argument("--seconds", type=float, default=3, help="of load in each [3]")
    parser.add_argument(
        "--only",
        choices=("all", "bar", "watch", "clients", "overload"),
        default="all",
        help="bar: requests of 128 B alone; watch, clients, overload: these alone [all]",
    )
    options = parser.parse_args()
    rounds, seconds = options.rounds, options.seconds
    sizes = SIZES if options.only == "all" else SIZES[:1]
    lines, met = [headline(rounds, seconds)], True
    with tempfile.TemporaryDirectory(prefix="jetkv-bench-") as folder:
        if options.only in ("all", "bar"):
            figures = measure(Path(folder), sizes, rounds, seconds)
            rows = bar(figures)
            lines += ["", *tables(figures), "", *bar_table("Bar (128 B)", rows)]
            met = met and all(row[-1] for row in rows)
        if options.only in ("all", "watch"):
            watched = watch.measure(Path(folder), rounds, seconds, progress)
            rows = watch.bar(watched)
            lines += ["", *watch.tables(watched), "", *bar_table("Bar (watch)", rows)]
            met = met and all(row[-1] for row in rows)
        if options.only in ("all", "clients"):
            called = clients.measure(Path(folder), rounds, progress)
            rows = clients.bar(called)
            lines += ["", *clients.tables(called), "", *bar_table("Bar (clients)", rows)]
            met = met and all(row[-1] for row in rows)
        if options.only in ("all", "overload"):
            loaded = overload.measure(Path(folder), rounds, seconds, progress)
            rows = overload.bar(loaded)
            lines += ["", *overload.tables(loaded), "", *bar_table("Bar (overload)", rows)]
            met = met and all(row[-1] for row in rows)
    print("\n".join(lines))
    return 0 if met else 1


def measure(folder: Path, sizes: tuple[int, ...], rounds: int, seconds: float) -> Figures:
    scenarios = list(itertools.product(OPERATIONS, CONNECTIONS, sizes))
    figures: Figures = defaultdict(lambda: defaultdict(Series))
    with ExitStack() as stack:
        nats = stack.enter_context(NatsServer(folder / "nats"))
        servers = [
            stack.enter_context(peers.gateway(nats.url)),
            stack.enter_context(peers.uvicorn_app("barest", nats.url)),
            stack.enter_context(peers.uvicorn_app("nothing", nats.url)),
        ]
        if shutil.which("etcd"):
            servers.append(stack.enter_context(peers.etcd("etcd", folder / "etcd")))
            if MEMORY.is_dir():
                # etcd syncs each write to the disk and nats-server does not: without a disk, too.
                memory = stack.enter_context(tempfile.TemporaryDirectory(dir=MEMORY))
                servers.append(stack.enter_context(peers.etcd("etcd in memory", Path(memory))))
        for number, (operation, connections, size) in itertools.product(range(rounds), scenarios):
            scenario = operation, connections, size
            progress(f"round {number + 1} of {rounds}: {name_of(scenario)}")
            for server in servers:
                if operation == "GET":
                    fill(server, size)
                call = server.call(operation, value_for(server.name, size))
                before = server.cpu_seconds()
                result = load.run(server.port, call, connections, seconds)
                series = figures[scenario][server.name]
                series.results.append(result)
                spent = server.cpu_seconds() - before
                series.cpu.append(spent / max(1.0, result.rate * seconds))
            if connections == 1:
                result, cpu = native.run(nats.url, operation, size, seconds)
                figures[scenario]["nats-py"].results.append(result)
                figures[scenario]["nats-py"].cpu.append(cpu)
    progress("")
    return figures


def value_for(server: str, size: int) -> str:
    return b64encode(b"v" * size).decode() if server.startswith("etcd") else "v" * size


def fill(server: peers.Peer, size: int) -> None:
    """Make sure that every key has a value of this size."""
    load.run(server.port, server.call("PUT", value_for(server.name, size)), 8, 1)


def progress(text: str) -> None:
    if sys.stderr.isatty():
        print(f"\r\x1b[K{text}", end="", file=sys.stderr, flush=True)
    elif text:
        print(text, file=sys.stderr, flush=True)


def name_of(scenario: Scenario) -> str:
    operation, connections, size = scenario
    amount = f"{size} B" if size < 1024 else f"{size // 1024} KiB"
    return f"{operation} {amount}, {connections} connection{'s' if connections > 1 else ''}"


def headline(rounds: int, seconds: float) -> str:
    return (
        f"{platform.machine()}, Python {platform.python_version()}, load by {load.generator()}; "
        f"medians of {rounds} alternating rounds of {seconds:g} s"
    )


def tables(figures: Figures) -> list[str]:
    lines = [
        "| Scenario | Server | req/s | p50 ms | p99 ms | CPU s / 10,000 | gateway is |",
        "|---|---|---:|---:|---:|---:|---:|",
    ]
    for scenario, servers in figures.items():
        ours = servers["gateway"]
        for name, series in servers.items():
            ratio = "" if name == "gateway" else f"{ours.rate / series.rate:.2f} ×"
            cpu = statistics.median(series.cpu) * 10_000
            note = f" ({series.failed} failed)" if series.failed else ""
            lines.append(
                f"| {name_of(scenario)} | {name} | {series.rate:,.0f}{note} | "
                f"{series.p50 * 1000:.2f} | {series.p99 * 1000:.2f} | {cpu:.2f} | {ratio} |"
            )
    return lines


def bar_table(heading: str, rows: list[tuple[str, str, str, bool]]) -> list[str]:
    lines = [f"| {heading} | wanted | reached | |", "|---|---:|---:|---|"]
    for text, wanted, reached, met in rows:
        lines.append(f"| {text} | {wanted} | {reached} | {'met' if met else 'MISSED'} |")
    return lines


def bar(figures: Figures) -> list[tuple[str, str, str, bool]]:
    """Return (what, wanted, reached, met) for each line of the bar."""
    rows = []

    def at_least(text: str, wanted: float, reached: float) -> None:
        rows.append((text, f"≥ {wanted:.2f}", f"{reached:.2f}", reached >= wanted))

    def at_most(text: str, wanted: float, reached: float) -> None:
        rows.append((text, f"≤ {wanted:.2f}", f"{reached:.2f}", reached <= wanted))

    put, get = figures["PUT", 32, 128], figures["GET", 32, 128]
    at_least("PUT / barest path", 0.8, put["gateway"].rate / put["barest"].rate)
    at_least("GET / barest path", 0.8, get["gateway"].rate / get["barest"].rate)
    at_least("PUT / do-nothing app", 0.4, put["gateway"].rate / put["nothing"].rate)
    if "etcd" in put:
        at_least("PUT / etcd JSON gateway", 1.4, put["gateway"].rate / put["etcd"].rate)
        at_least("GET / etcd JSON gateway", 1.2, get["gateway"].rate / get["etcd"].rate)
    for name, series in (("PUT", put["gateway"]), ("GET", get["gateway"])):
        at_most(f"{name} p99 / p50", 4, series.p99 / series.p50)
    for operation in OPERATIONS:
        one = figures[operation, 1, 128]
        at_most(
            f"{operation} p50 / nats-py, one connection", 2, one["gateway"].p50 / one["nats-py"].p50
        )
    return rows


if __name__ == "__main__":
    sys.exit(main())

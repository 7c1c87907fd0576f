"""`python -m tests.bench.telemetry`: what metrics, request log and traces cost GET and PUT.

One gateway is under load, and what listens to its events changes every few hundredths of a second.
So all figures are of the same run, and what else goes on at this machine hits each of them. What
is compared is the processor time of the gateway's thread for each request.
"""

import argparse
import asyncio
import itertools
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

from jetkv.testing import LocalNats
from jetkv_gateway.http.gateway import Gateway
from jetkv_gateway.telemetry.events import EVENTS
from jetkv_gateway.telemetry.otel import Exports
from jetkv_gateway.telemetry.sampling import Sampling
from jetkv_gateway.telemetry.traces import TraceListener
from tests.bench import load
from tests.bench.children import child
from tests.support.gateway import running_gateway
from tests.support.http import BUCKETS, Http

CONNECTIONS = 32
VALUE = "v" * 128
WINDOW_SECONDS = 0.05
NOTHING = "nothing"

_COLLECTOR = """
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_POST(self):
        self.rfile.read(int(self.headers["content-length"]))
        self.send_response(200)
        self.send_header("content-length", "0")
        self.end_headers()
    def log_message(self, *_): ...
server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
print(server.server_address[1], flush=True)
server.serve_forever()
"""


@dataclass
class Cost:
    """The work of the gateway with some listeners: processor seconds, and requests."""

    seconds: float = 0.0
    requests: int = 0

    @property
    def each(self) -> float:
        """Microseconds of a request."""
        return self.seconds / max(1, self.requests) * 1e6


class Generator:
    """Puts load on a gateway, from a process of its own."""

    async def run(self, port: int, call: load.Call, seconds: float) -> float:
        done = await asyncio.to_thread(load.run, port, call, CONNECTIONS, seconds)
        return done.rate


class Meter:
    """Counts requests of the gateway in this process, and the processor time of its threads."""

    def __init__(self) -> None:
        self._requests = itertools.count()
        self._threads: list[int] = []
        run, count = Gateway.run, self._requests.__next__

        def counted(gateway: Gateway, call):
            count()
            return run(gateway, call)

        Gateway.run = counted  # type: ignore[method-assign] # for as long as the program runs

    def add(self, thread: threading.Thread) -> None:
        assert thread.ident is not None, "it runs"
        self._threads.append(time.pthread_getcpuclockid(thread.ident))

    def measure(self, seconds: float) -> Cost:
        began, first = self._seconds(), next(self._requests)
        time.sleep(seconds)
        return Cost(self._seconds() - began, next(self._requests) - first - 1)

    def _seconds(self) -> float:
        return sum(time.clock_gettime(clock) for clock in self._threads)


@contextmanager
def collector() -> Iterator[None]:
    """Let traces go to a collector that reads and forgets them, in a process of its own."""
    process = subprocess.Popen([sys.executable, "-c", _COLLECTOR], stdout=subprocess.PIPE)
    assert process.stdout is not None
    port = int(process.stdout.readline())
    os.environ["OTEL_EXPORTER_OTLP_ENDPOINT"] = f"http://127.0.0.1:{port}"
    try:
        yield
    finally:
        process.kill()
        process.wait(10)


def listen(listeners: Sequence[object]) -> None:
    """Let these alone hear of events."""
    EVENTS._listeners[:] = listeners
    EVENTS._connect()


def alternate(
    meter: Meter, kinds: dict[str, list[object]], end: float, costs: dict[str, Cost]
) -> None:
    """Measure each kind in turns until `end`, each round beginning with another one."""
    names = list(kinds)
    for turn in itertools.count():
        for at in range(len(names)):
            if time.monotonic() >= end:
                return
            name = names[(turn + at) % len(names)]
            listen(kinds[name])
            time.sleep(WINDOW_SECONDS / 5)  # requests that began before
            cost = meter.measure(WINDOW_SECONDS)
            costs[name].seconds += cost.seconds
            costs[name].requests += cost.requests


def run(seconds: float, say: Callable[[str], None]) -> None:
    meter = Meter()
    with (
        collector(),
        tempfile.TemporaryDirectory(prefix="jetkv-bench-") as folder,
        LocalNats(Path(folder)) as nats,
        child(Generator) as generator,
        running_gateway(nats.url, buckets="bench") as http,
    ):
        names = {thread.name: thread for thread in threading.enumerate()}
        meter.add(next(thread for name, thread in names.items() if "_serve" in name))
        exports = Exports(OTLPSpanExporter(), "bench")
        exporting = next(one for one in threading.enumerate() if "Otel" in one.name)
        usual = list(EVENTS._listeners)
        some = TraceListener(exports, Sampling(round(0.01 * 2**64)))
        kinds: dict[str, list[object]] = {
            NOTHING: [],
            "metrics and request log": usual,
            "and traces, none recorded": [*usual, TraceListener(exports, Sampling(0))],
            "and traces, 1 of 100 recorded": [*usual, some],
        }
        every = [*usual, TraceListener(exports, Sampling())]
        fill(http)
        for call in calls():
            costs = {name: Cost() for name in kinds}
            generator.start("run", port=http.port, call=call, seconds=2 * seconds + 2)
            time.sleep(1)
            alternate(meter, kinds, time.monotonic() + seconds, costs)
            # What is exported would fall into the windows of the others.
            meter.add(exporting)
            costs["and traces, all recorded"] = Cost()
            for _ in range(int(seconds)):
                listen(every)
                cost = meter.measure(0.7)
                costs["and traces, all recorded"].seconds += cost.seconds
                costs["and traces, all recorded"].requests += cost.requests
            meter._threads.pop()
            generator.result()
            for name, cost in costs.items():
                ratio = cost.each / costs[NOTHING].each
                say(f"| {call.method} | {name} | {cost.each:.1f} µs | {ratio:.3f} |")
        listen(usual)


def calls() -> list[load.Call]:
    path = f"{BUCKETS}/bench/keys/%KEY%"
    return [load.Call("PUT", path, VALUE), load.Call("GET", path)]


def fill(http: Http) -> None:
    for number in range(load.KEYS):
        http.put(f"{BUCKETS}/bench/keys/k{number}", VALUE)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.telemetry", description=__doc__)
    parser.add_argument("--seconds", type=float, default=30, help="for PUT, and for GET [30]")
    print("| Request | Listeners | Time of the processor | Ratio |\n|---|---|---:|---:|")
    run(parser.parse_args().seconds, lambda line: print(line, flush=True))


if __name__ == "__main__":
    main()

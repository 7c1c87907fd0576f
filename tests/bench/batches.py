"""Batches beside single requests, all on one connection, in alternating rounds of one run.

    python -m tests.bench.batches [--seconds 2] [--rounds 3]

A gateway and a nats-server of their own, values of 128 bytes. The bars: a batch get of 100 keys
takes at most 6 times as long as one GET; atomic batches of 100 puts store at least 2 times, and of
1,000 at least 5 times, as many keys a second as single PUTs.
"""

import argparse
import http.client
import json
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

from jetkv.testing import LocalGateway, LocalNats

BUCKET = "/api/v1/kv/buckets/bench"
VALUE = "x" * 128

Act = Callable[[int], None]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    with (
        tempfile.TemporaryDirectory(prefix="jetkv-bench-") as folder,
        LocalNats(Path(folder)) as nats,
        LocalGateway(nats.url, buckets="bench") as gateway,
    ):
        host, port = gateway.url.removeprefix("http://").split(":")
        figures = measure(http.client.HTTPConnection(host, int(port)), options)
    return report(figures)


def measure(
    connection: http.client.HTTPConnection, options: argparse.Namespace
) -> dict[str, list[float]]:
    """Return for each kind of request the seconds that one took, a median of each round."""

    def send(method: str, path: str, body: str | None = None) -> None:
        connection.request(method, BUCKET + path, body)
        answer = connection.getresponse()
        content = answer.read()
        assert answer.status == 200, content

    def puts(count: int) -> str:
        ops = [{"op": "put", "key": f"k{n}", "text": VALUE} for n in range(count)]
        return json.dumps({"ops": ops})

    hundred, thousand = puts(100), puts(1000)
    wanted = json.dumps({"get": [f"k{n}" for n in range(100)]})
    send("POST", "/batch", thousand)
    acts: dict[str, Act] = {
        "GET": lambda n: send("GET", f"/keys/k{n % 1000}"),
        "batch get of 100": lambda _: send("POST", "/batch", wanted),
        "PUT": lambda n: send("PUT", f"/keys/k{n % 1000}", VALUE),
        "batch of 100 puts": lambda _: send("POST", "/batch", hundred),
        "batch of 1,000 puts": lambda _: send("POST", "/batch", thousand),
    }
    figures: dict[str, list[float]] = defaultdict(list)
    for _ in range(options.rounds):
        for name, act in acts.items():
            figures[name].append(_median(act, options.seconds))
    return figures


def _median(act: Act, seconds: float) -> float:
    times = []
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        begun = time.perf_counter()
        act(len(times))
        times.append(time.perf_counter() - begun)
    return statistics.median(times)


def report(figures: dict[str, list[float]]) -> int:
    """Print the figures and the bars; return 0 where all are met."""
    took = {name: statistics.median(times) for name, times in figures.items()}
    print("| One connection | p50 |\n|---|---:|")
    for name, seconds in took.items():
        print(f"| {name} | {seconds * 1e6:,.0f} µs |")
    bars = [
        ("batch get of 100 / GET", 6.0, took["batch get of 100"] / took["GET"], False),
        (
            "keys/s of batches of 100 / PUT",
            2.0,
            100 * took["PUT"] / took["batch of 100 puts"],
            True,
        ),
        (
            "keys/s of batches of 1,000 / PUT",
            5.0,
            1000 * took["PUT"] / took["batch of 1,000 puts"],
            True,
        ),
    ]
    print("\n| Bar (batches) | wanted | reached | |\n|---|---:|---:|---|")
    met = True
    for text, bar, reached, at_least in bars:
        is_met = reached >= bar if at_least else reached <= bar
        met &= is_met
        sign = "≥" if at_least else "≤"
        print(f"| {text} | {sign} {bar:g} | {reached:.1f} | {'met' if is_met else 'MISSED'} |")
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())

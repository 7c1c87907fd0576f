"""Buckets of many keys: pages beside one listing, JSON lines of a million keys, a prefix of few."""

import asyncio
import json
import statistics
import time
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from nats.aio.client import Client

from jetkv_gateway.embedded import NatsServer
from tests.bench import flood, peers
from tests.bench.children import Child, child
from tests.bench.publisher import create, with_client

LISTED = 100_000
MANY = 1_000_000
PAGE = 1000
SMALL = "small"
LARGE = "large"
PREFIXED = 100
_PREFIX = "few."
_MIB = 1024 * 1024


@dataclass
class Lines:
    """One answer of JSON lines: seconds until its first line and its end, and how many lines."""

    first: float
    seconds: float
    count: int


class Reader:
    """Reads JSON lines in a process of its own."""

    def __init__(self, port: int) -> None:
        self._port = port

    async def lines(self, bucket: str) -> Lines:
        began = time.perf_counter()
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        head = f"GET /api/v1/kv/buckets/{bucket}/keys HTTP/1.0\r\nHost: 127.0.0.1\r\n"
        writer.write(f"{head}Accept: application/x-ndjson\r\n\r\n".encode())
        first, count, rest = 0.0, 0, b""
        await reader.readuntil(b"\r\n\r\n")
        while chunk := await reader.read(_MIB):
            first = first or time.perf_counter() - began
            count += chunk.count(b"\n")
            rest = (rest + chunk)[-1000:]
        writer.close()
        assert b'{"type":"end"' in rest, rest
        return Lines(first, time.perf_counter() - began, count - 1)


@dataclass
class Figures:
    """The rounds: seconds, but for `grown`, which is bytes."""

    listing: list[float] = field(default_factory=list)
    pages: list[float] = field(default_factory=list)
    lines: list[Lines] = field(default_factory=list)
    grown: list[int] = field(default_factory=list)
    prefix: list[float] = field(default_factory=list)
    quiet: list[list[float]] = field(default_factory=list)
    busy: list[list[float]] = field(default_factory=list)


def measure(folder: Path, rounds: int, seconds: float, progress: Callable[[str], None]) -> Figures:
    figures = Figures()
    with (
        NatsServer(folder / "nats-lists") as nats,
        peers.gateway(nats.url) as server,
        child(flood.Crowd, server.port, [_get()]) as crowd,
        child(Reader, server.port) as reader,
    ):
        with_client(nats.url, partial(_fill, bucket=SMALL, count=LISTED))
        progress(f"storing {MANY:,} keys")
        with_client(nats.url, partial(_fill, bucket=LARGE, count=MANY))
        for number in range(rounds):
            progress(f"round {number + 1} of {rounds}: lists of {LISTED:,} and {MANY:,} keys")
            # Before anything large: what a list has taken once is not given back at once.
            server.forget_peak()
            before = server.resident_bytes()
            figures.lines.append(reader.call("lines", bucket=LARGE))
            figures.grown.append(server.peak_bytes() - before)
            figures.quiet.append(_gets(crowd, seconds))
            reader.start("lines", bucket=LARGE)
            figures.busy.append(_gets(crowd, seconds))
            reader.result()
            for _ in range(5):
                figures.prefix.append(_timed(lambda: _prefix(server.port)))
            figures.listing.append(_timed(lambda: _list(server.port)))
            figures.pages.append(_timed(lambda: _pages(server.port)))
    progress("")
    return figures


def _timed(work: Callable[[], None]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def _document(port: int, bucket: str, query: str) -> dict[str, object]:
    path = f"/api/v1/kv/buckets/{bucket}/keys?{query}"
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=120) as answer:
        document: dict[str, object] = json.loads(answer.read())
    return document


def _list(port: int) -> None:
    assert _document(port, SMALL, "")["count"] == LISTED


def _prefix(port: int) -> None:
    assert _document(port, LARGE, f"prefix={_PREFIX}")["count"] == PREFIXED


def _pages(port: int) -> None:
    count, cursor = 0, ""
    while True:
        document = _document(port, SMALL, f"limit={PAGE}{cursor}")
        count += int(str(document["count"]))
        if "next_cursor" not in document:
            break
        cursor = f"&cursor={document['next_cursor']}"
    assert count == LISTED, count


def _get() -> bytes:
    path = f"/api/v1/kv/buckets/{SMALL}/keys/user.{0:07}"
    return f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode()


def _gets(crowd: Child, seconds: float) -> list[float]:
    crowd.call("connect", connections=1)
    answered: list[float] = crowd.call(
        "closed_loop", connections=1, seconds=seconds, patience=5.0
    ).answered
    return answered


async def _fill(client: Client, bucket: str, count: int) -> None:
    await create(client, bucket)
    for start in range(0, count, 1000):
        for number in range(start, start + 1000):
            # Not in the order of their names; those of the prefix were written together.
            name = number * 7919 % count
            is_few = bucket == LARGE and count // 2 <= number < count // 2 + PREFIXED
            head = _PREFIX if is_few else "user."
            await client.publish(f"$KV.{bucket}.{head}{name:07}", b"v" * 100)
        await client.flush(timeout=60)
        await asyncio.sleep(0.01)


def tables(figures: Figures) -> list[str]:
    median = statistics.median
    lines = [one.seconds for one in figures.lines]
    return [
        "| Many keys | s | µs a key |",
        "|---|---:|---:|",
        _row(f"one listing of {LISTED:,} keys", median(figures.listing), LISTED),
        _row(f"all pages of {PAGE:,}", median(figures.pages), LISTED),
        _row(f"JSON lines of {MANY:,} keys", median(lines), MANY),
        _row(f"a prefix of {PREFIXED} keys among {MANY:,}", median(figures.prefix), PREFIXED),
    ]


def _row(what: str, seconds: float, keys: int) -> str:
    return f"| {what} | {seconds:.3f} | {seconds / keys * 1e6:.1f} |"


def bar(figures: Figures) -> list[tuple[str, str, str, bool]]:
    """Return (what, wanted, reached, met) for each line of the bar."""
    median = statistics.median
    listing = median(figures.listing)
    pages = median(figures.pages) / listing
    a_key = median(one.seconds for one in figures.lines) / MANY / (listing / LISTED)
    grown = max(figures.grown) / _MIB
    first = max(one.first for one in figures.lines) * 1000
    quiet, busy = (
        median(sorted(run)[len(run) * 99 // 100] for run in runs)
        for runs in (figures.quiet, figures.busy)
    )
    prefix = median(figures.prefix) * 1000
    return [
        (f"all pages of {PAGE:,} / one listing", "≤ 3.00", f"{pages:.2f}", pages <= 3),
        (
            f"a key of {MANY:,} JSON lines / of a listing of {LISTED:,}",
            "≤ 1.00",
            f"{a_key:.2f}",
            a_key <= 1,
        ),
        ("memory for JSON lines", "≤ 32 MiB", f"{grown:.1f} MiB", grown <= 32),
        ("first line", "≤ 200 ms", f"{first:.0f} ms", first <= 200),
        (
            "p99 of GET beside JSON lines / quiet",
            "≤ 5.00",
            f"{busy / quiet:.2f}",
            busy / quiet <= 5,
        ),
        (f"a prefix of {PREFIXED} keys among {MANY:,}", "< 50 ms", f"{prefix:.0f} ms", prefix < 50),
    ]

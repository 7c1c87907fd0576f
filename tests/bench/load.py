"""Load on one HTTP server: `wrk` where it is installed, else a generator of our own.

wrk costs a fraction of a core, so the server alone is the limit. The generator in Python costs
about as much as the server; with it, what answers fastest looks slower than it is.
"""

import asyncio
import itertools
import re
import secrets
import shutil
import subprocess
import tempfile
import time
from base64 import b64encode
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

KEYS = 1000
LARGE_KEYS = 16
"""Of values from `LARGE` on: a thousand of 1 MiB would be a test of the disk."""
LARGE = 256 * 1024

CRLF = "\r\n"

_UNITS = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0}


@dataclass(frozen=True)
class Call:
    """One kind of request. `%KEY%` in path and body stands for a key's name.

    `header` is one more line of the head, such as `Idempotency-Key: %ID%`, in which `%ID%` stands
    for what no other request has.
    """

    method: str
    path: str
    body: str = ""
    header: str = ""


@dataclass(frozen=True)
class Result:
    """Requests per second, and latencies in seconds."""

    rate: float
    p50: float
    p99: float
    p999: float
    failed: int = 0


def generator() -> str:
    return "wrk" if shutil.which("wrk") else "a generator in Python"


def run(port: int, call: Call, connections: int, seconds: float, count: int = KEYS) -> Result:
    """Put load on a server for some seconds, with calls of `count` keys in turns."""
    if shutil.which("wrk"):
        return _wrk(port, call, connections, seconds, count)
    return asyncio.run(_own(port, call, connections, seconds, count))


def keys(size: int) -> int:
    """Return how many keys hold values of so many bytes."""
    return KEYS if size < LARGE else LARGE_KEYS


def expand(call: Call, count: int = KEYS) -> list[Call]:
    """Return one call for each key; in etcd's JSON a key is base64."""
    out = []
    for number in range(count):
        key = f"k{number}"
        encoded = b64encode(key.encode()).decode()
        out.append(
            replace(
                call,
                path=call.path.replace("%KEY%", key),
                body=call.body.replace("%KEY%", encoded),
            )
        )
    return out


_SCRIPT = """
local n = 0
local heads, tails = {}, {}
init = function()
  for line in io.lines("%(calls)s") do
    local method, path, body = line:match("^(%%S+) (%%S+) ?(.*)$")
    if body == "" then body = nil end
    local whole = wrk.format(method, path, {%(headers)s}, body)
    local place = whole:find("%%%%ID%%%%")
    if place then
      heads[#heads + 1] = whole:sub(1, place - 1) .. "%(run)s"
      tails[#heads] = whole:sub(place + 4)
    else
      heads[#heads + 1] = whole
    end
  end
end
local sent = 0
request = function()
  n = n %% #heads + 1
  local tail = tails[n]
  if not tail then return heads[n] end
  sent = sent + 1
  return heads[n] .. sent .. tail
end
done = function(summary, latency, requests)
  io.write(string.format("percentile 99.9 %%d us\\n", latency:percentile(99.9)))
end
"""


def _wrk(port: int, call: Call, connections: int, seconds: float, count: int) -> Result:
    with tempfile.TemporaryDirectory() as folder:
        calls = Path(folder) / "calls"
        calls.write_text("".join(f"{c.method} {c.path} {c.body}\n" for c in expand(call, count)))
        name, _, value = call.header.partition(": ")
        script = Path(folder) / "load.lua"
        script.write_text(
            _SCRIPT
            % {
                "calls": calls,
                "headers": f'["{name}"]="{value}"' if name else "",
                "run": secrets.token_hex(8),
            }
        )
        out = subprocess.run(
            [
                *("wrk", "-t1", f"-c{connections}", f"-d{seconds:g}s", "--latency"),
                *("--timeout", "20s", "-s", str(script), f"http://127.0.0.1:{port}"),
            ],
            check=True,
            capture_output=True,
            text=True,
        ).stdout
    failed = re.search(r"Non-2xx or 3xx responses: (\d+)", out)
    rate = re.search(r"Requests/sec:\s+([\d.]+)", out)
    p999 = re.search(r"percentile 99.9 (\d+) us", out)
    assert rate is not None, out
    assert p999 is not None, out
    return Result(
        float(rate[1]),
        _latency(out, "50%"),
        _latency(out, "99%"),
        int(p999[1]) * 1e-6,
        int(failed[1]) if failed else 0,
    )


def _latency(out: str, percentile: str) -> float:
    match = re.search(rf"{percentile}\s+([\d.]+)(us|ms|s|m) *\n", out)
    assert match is not None, out
    return float(match[1]) * _UNITS[match[2]]


class _Connection(asyncio.Protocol):
    """Keeps one request in flight until the end."""

    def __init__(
        self, request: Callable[[int], bytes], offset: int, end: float, done: asyncio.Future
    ) -> None:
        self.request = request
        self.turn = offset
        self.end = end
        self.done = done
        self.latencies: list[float] = []
        self.failed = 0
        self.buffer = b""

    def connection_made(self, transport) -> None:
        self.transport = transport
        self._send()

    def _send(self) -> None:
        self.turn += 1
        data = self.request(self.turn)
        self.sent = time.perf_counter()
        self.transport.write(data)

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        head, found, body = self.buffer.partition(b"\r\n\r\n")
        if not found:
            return
        length = re.search(rb"content-length: (\d+)", head, re.IGNORECASE)
        if len(body) < (int(length[1]) if length else 0):
            return
        now = time.perf_counter()
        self.latencies.append(now - self.sent)
        self.failed += head[9:10] != b"2"
        self.buffer = b""
        if now < self.end:
            self._send()
        elif not self.done.done():
            self.transport.close()
            self.done.set_result(None)

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.done.done():
            self.done.set_exception(exc or ConnectionError("closed by the server"))


async def _own(port: int, call: Call, connections: int, seconds: float, count: int) -> Result:
    run = secrets.token_hex(8)
    requests = [
        (
            f"{c.method} {c.path} HTTP/1.1\r\nHost: 127.0.0.1\r\n"
            f"{c.header + CRLF if c.header else ''}Content-Length: {len(c.body)}\r\n\r\n{c.body}"
        ).encode()
        for c in expand(call, count)
    ]
    sent = itertools.count()

    def request(turn: int) -> bytes:
        whole = requests[turn % len(requests)]
        if not call.header:
            return whole
        return whole.replace(b"%ID%", f"{run}{next(sent)}".encode(), 1)

    loop = asyncio.get_running_loop()
    start = time.perf_counter()
    protocols = []
    for number in range(connections):
        protocol = _Connection(request, number * 31, start + seconds, loop.create_future())
        await loop.create_connection(lambda p=protocol: p, "127.0.0.1", port)
        protocols.append(protocol)
    await asyncio.gather(*(protocol.done for protocol in protocols))
    elapsed = time.perf_counter() - start
    latencies = [value for protocol in protocols for value in protocol.latencies]
    return result(latencies, elapsed, sum(protocol.failed for protocol in protocols))


def result(latencies: list[float], elapsed: float, failed: int = 0) -> Result:
    """Return the result of calls that took so long each, all of them within `elapsed`."""
    ordered = sorted(latencies)
    p50, p99, p999 = (ordered[int(len(ordered) * part)] for part in (0.5, 0.99, 0.999))
    return Result(len(ordered) / elapsed, p50, p99, p999, failed)

"""Load on one HTTP server: `wrk` where it is installed, else a generator of our own.

wrk costs a fraction of a core, so the server alone is the limit. The generator in Python costs
about as much as the server; with it, what answers fastest looks slower than it is.
"""

import asyncio
import re
import shutil
import subprocess
import tempfile
import time
from base64 import b64encode
from dataclasses import dataclass
from pathlib import Path

KEYS = 1000

_UNITS = {"us": 1e-6, "ms": 1e-3, "s": 1.0}


@dataclass(frozen=True)
class Call:
    """One kind of request. `%KEY%` in path and body stands for a key's name."""

    method: str
    path: str
    body: str = ""


@dataclass(frozen=True)
class Result:
    """Requests per second, and latencies in seconds."""

    rate: float
    p50: float
    p99: float
    failed: int = 0


def generator() -> str:
    return "wrk" if shutil.which("wrk") else "a generator in Python"


def run(port: int, call: Call, connections: int, seconds: float) -> Result:
    """Put load on a server for some seconds."""
    if shutil.which("wrk"):
        return _wrk(port, call, connections, seconds)
    return asyncio.run(_own(port, call, connections, seconds))


def expand(call: Call) -> list[Call]:
    """Return one call for each key; in etcd's JSON a key is base64."""
    out = []
    for number in range(KEYS):
        key = f"k{number}"
        encoded = b64encode(key.encode()).decode()
        out.append(
            Call(call.method, call.path.replace("%KEY%", key), call.body.replace("%KEY%", encoded))
        )
    return out


_SCRIPT = """
local n = 0
local requests = {}
init = function()
  for line in io.lines("%s") do
    local method, path, body = line:match("^(%%S+) (%%S+) ?(.*)$")
    if body == "" then body = nil end
    requests[#requests + 1] = wrk.format(method, path, nil, body)
  end
end
request = function()
  n = n %% #requests + 1
  return requests[n]
end
"""


def _wrk(port: int, call: Call, connections: int, seconds: float) -> Result:
    with tempfile.TemporaryDirectory() as folder:
        calls = Path(folder) / "calls"
        calls.write_text("".join(f"{c.method} {c.path} {c.body}\n" for c in expand(call)))
        script = Path(folder) / "load.lua"
        script.write_text(_SCRIPT % calls)
        out = subprocess.run(
            [
                *("wrk", "-t1", f"-c{connections}", f"-d{seconds:g}s", "--latency"),
                *("-s", str(script), f"http://127.0.0.1:{port}"),
            ],
            check=True,
            capture_output=True,
            text=True,
        ).stdout
    failed = re.search(r"Non-2xx or 3xx responses: (\d+)", out)
    rate = re.search(r"Requests/sec:\s+([\d.]+)", out)
    assert rate is not None, out
    return Result(
        float(rate[1]), _latency(out, "50%"), _latency(out, "99%"), int(failed[1]) if failed else 0
    )


def _latency(out: str, percentile: str) -> float:
    match = re.search(rf"{percentile}\s+([\d.]+)(us|ms|s)\n", out)
    assert match is not None, out
    return float(match[1]) * _UNITS[match[2]]


class _Connection(asyncio.Protocol):
    """Keeps one request in flight until the end."""

    def __init__(
        self, requests: list[bytes], offset: int, end: float, done: asyncio.Future
    ) -> None:
        self.requests = requests
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
        self.turn = (self.turn + 1) % len(self.requests)
        self.sent = time.perf_counter()
        self.transport.write(self.requests[self.turn])

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


async def _own(port: int, call: Call, connections: int, seconds: float) -> Result:
    requests = [
        (
            f"{c.method} {c.path} HTTP/1.1\r\nHost: 127.0.0.1\r\n"
            f"Content-Length: {len(c.body)}\r\n\r\n{c.body}"
        ).encode()
        for c in expand(call)
    ]
    loop = asyncio.get_running_loop()
    start = time.perf_counter()
    protocols = []
    for number in range(connections):
        protocol = _Connection(requests, number * 31, start + seconds, loop.create_future())
        await loop.create_connection(lambda p=protocol: p, "127.0.0.1", port)
        protocols.append(protocol)
    await asyncio.gather(*(protocol.done for protocol in protocols))
    elapsed = time.perf_counter() - start
    latencies = sorted(value for protocol in protocols for value in protocol.latencies)
    return Result(
        len(latencies) / elapsed,
        latencies[len(latencies) // 2],
        latencies[len(latencies) * 99 // 100],
        sum(protocol.failed for protocol in protocols),
    )

"""The servers under test, each a process of its own on a free loopback port."""

import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from tests.bench.apps import BUCKET
from tests.bench.load import Call, expand, keys
from tests.support.ports import free_port

FLAGS = "feature-flags"
EVALUATE = Call(
    "POST",
    "/ofrep/v1/evaluate/flags/%KEY%",
    '{"context":{"targetingKey":"user-4711","plan":"pro","country":"NZ"}}',
)

_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Peer:
    """A server, and how it says PUT and GET. `value` stands for the value to put."""

    name: str
    port: int
    pid: int
    put_path: str
    get: Call
    wrap: str = "%VALUE%"
    put_method: str = "PUT"
    base64: bool = False
    evaluate: Call | None = None
    """The evaluation of a flag; None where nothing like it is measured."""

    store: str = "nats"
    """Where it keeps its values: benches that share one find the values of the others."""

    def call(self, operation: str, size: int) -> Call:
        """Return the call; the operation `PUT once` is a PUT with an id of its own each."""
        if operation == "GET":
            return self.get
        if operation == "FLAG":
            assert self.evaluate is not None, "only such servers are asked"
            return self.evaluate
        value = "v" * size
        if self.base64:
            value = b64encode(value.encode()).decode()
        header = "Idempotency-Key: %ID%" if operation == "PUT once" else ""
        body = self.wrap.replace("%VALUE%", value)
        return Call(self.put_method, self.put_path, body, header)

    def fill(self, size: int) -> None:
        """Give each key a value of so many bytes.

        Raises:
            OSError: the server refuses one.
        """
        self._send(expand(self.call("PUT", size), keys(size)))

    def _send(self, calls: list[Call]) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        try:
            for call in calls:
                connection.request(call.method, call.path, call.body.encode())
                answer = connection.getresponse()
                if answer.status != 200:
                    raise OSError(f"{self.name} answers {answer.status}: {answer.read()!r}")
                answer.read()
        finally:
            connection.close()

    def fill_flags(self) -> None:
        """Store a flag with a rollout under each key.

        Raises:
            OSError: the server refuses one.
        """
        path = f"/api/v1/kv/buckets/{FLAGS}/keys/%KEY%"
        self._send(expand(Call("PUT", path, '{"enabled":true,"rollout":0.5}')))

    def cpu_seconds(self) -> float:
        """User and system time used by the process so far."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / _TICKS

    def resident_bytes(self) -> int:
        """Memory of the process that is in RAM now."""
        return self._status("VmRSS")

    def peak_bytes(self) -> int:
        """The most that was in RAM since `forget_peak`."""
        return self._status("VmHWM")

    def forget_peak(self) -> None:
        # Where the kernel cannot, the peak counts from the start of the process: it is no smaller.
        with suppress(OSError):
            Path(f"/proc/{self.pid}/clear_refs").write_text("5")

    def _status(self, name: str) -> int:
        lines = Path(f"/proc/{self.pid}/status").read_text().splitlines()
        line = next(line for line in lines if line.startswith(f"{name}:"))
        return int(line.split()[1]) * 1024

    def holds(self, client_port: int) -> bool:
        """Whether its connection with this port of 127.0.0.1 is still open on its side.

        What the kernel alone still tries to send belongs to no process, and has no inode.
        """
        ends = [f"0100007F:{port:04X}" for port in (self.port, client_port)]
        lines = [
            line.split() for line in Path(f"/proc/{self.pid}/net/tcp").read_text().splitlines()
        ]
        return any(fields[1:3] == ends and fields[9] != "0" for fields in lines)


@contextmanager
def process(command: list[str], port: int, **environment: str) -> Iterator[int]:
    """Run a server until the block ends; yield its process id once it listens."""
    server = subprocess.Popen(
        command,
        env={**os.environ, **environment},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        deadline = time.monotonic() + 15
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                break
            except OSError:
                if time.monotonic() > deadline or server.poll() is not None:
                    raise RuntimeError(f"did not start: {' '.join(command)}") from None
                time.sleep(0.05)
        yield server.pid
    finally:
        server.send_signal(signal.SIGTERM)
        try:
            server.wait(10)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()


@contextmanager
def gateway(nats_url: str, **environment: str) -> Iterator[Peer]:
    port = free_port()
    command = [sys.executable, "-m", "jetkv_gateway", "serve", "--auth", "off"]
    command += ["--port", str(port), "--nats-url", nats_url, "--bucket", BUCKET, "--bucket", FLAGS]
    with process(command, port, **environment) as pid:
        path = f"/api/v1/kv/buckets/{BUCKET}/keys/%KEY%"
        _await_ready(f"http://127.0.0.1:{port}/ready")
        yield Peer("gateway", port, pid, path, Call("GET", path), evaluate=EVALUATE)


@contextmanager
def uvicorn_app(name: str, nats_url: str, *flags: str) -> Iterator[Peer]:
    """One of the apps of `apps.py`, under uvicorn as the gateway sets it up."""
    port = free_port()
    command = [sys.executable, "-m", "uvicorn", f"tests.bench.apps:{name}", "--port", str(port)]
    command += ["--no-access-log", "--no-server-header", "--no-proxy-headers"]
    command += ["--log-level", "error", "--loop", "uvloop", "--http", "httptools", *flags]
    with process(command, port, BENCH_NATS=nats_url) as pid:
        path = f"/api/v1/kv/buckets/{BUCKET}/keys/%KEY%"
        evaluate = EVALUATE if name == "nothing" else None
        yield Peer(name, port, pid, path, Call("GET", path), evaluate=evaluate)


@contextmanager
def floor(name: str, nats_url: str, *, direct: bool = False) -> Iterator[Peer]:
    """The floor of `floors/steps.py`; `direct` reads by DIRECT.GET."""
    port = free_port()
    command = [sys.executable, "-m", "tests.bench.floors.steps", str(port)]
    environment = {"BENCH_NATS": nats_url, "BENCH_DIRECT": "1" if direct else "0"}
    with process(command, port, **environment) as pid:
        path = f"/api/v1/kv/buckets/{BUCKET}/keys/%KEY%"
        yield Peer(name, port, pid, path, Call("GET", path))


@contextmanager
def webdis(name: str, folder: Path) -> Iterator[Peer]:
    """Redis behind HTTP; Redis appends writes to a file and syncs it each second."""
    folder.mkdir()
    redis_port, port = free_port(), free_port()
    redis = ["redis-server", "--port", str(redis_port), "--bind", "127.0.0.1"]
    redis += ["--dir", str(folder), "--save", "", "--appendonly", "yes"]
    config = folder / "webdis.json"
    settings = {
        "redis_host": "127.0.0.1",
        "redis_port": redis_port,
        "http_host": "127.0.0.1",
        "http_port": port,
        "threads": 1,
        "http_max_request_size": 64 * 1024 * 1024,
        "daemonize": False,
        "verbosity": 0,
        "logfile": str(folder / "webdis.log"),
    }
    config.write_text(json.dumps(settings))
    with process(redis, redis_port), process(["webdis", str(config)], port) as pid:
        yield Peer(name, port, pid, "/SET/%KEY%", Call("GET", "/GET/%KEY%"), store=name)


@contextmanager
def etcd(name: str, data_dir: Path) -> Iterator[Peer]:
    """etcd's JSON gateway, which is part of the etcd server."""
    binary = shutil.which("etcd")
    assert binary is not None
    port, peer_port = free_port(), free_port()
    client, peer = f"http://127.0.0.1:{port}", f"http://127.0.0.1:{peer_port}"
    command = [binary, "--data-dir", str(data_dir), "--log-level", "error"]
    command += ["--listen-client-urls", client, "--advertise-client-urls", client]
    command += ["--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer]
    command += ["--initial-cluster", f"default={peer}"]
    # What was replaced is dropped here, too; and room for large values.
    command += ["--auto-compaction-mode", "revision", "--auto-compaction-retention", "1000"]
    command += ["--quota-backend-bytes", str(8 * 1024**3)]
    with process(command, port) as pid:
        _await_ready(f"{client}/health")
        yield Peer(
            name,
            port,
            pid,
            "/v3/kv/put",
            Call("POST", "/v3/kv/range", '{"key":"%KEY%"}'),
            wrap='{"key":"%KEY%","value":"%VALUE%"}',
            put_method="POST",
            base64=True,
            store=name,
        )


def _await_ready(url: str) -> None:
    deadline = time.monotonic() + 15
    while True:
        try:
            with urllib.request.urlopen(url, timeout=2):
                return
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)

"""What is attacked: a nats-server and a gateway with one worker, processes of their own."""

import json
import os
import resource
import shutil
import signal
import ssl
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from jetkv_gateway.embedded import NatsServer
from tests.support.http import BUCKETS
from tests.support.ports import free_port
from tests.support.tls import Certificates
from tests.support.tokens import token_line

MEMORY = Path("/dev/shm")
BUCKET = "attacked"
WELL_BEHAVED, GREEDY = "token-of-the-well-behaved-client", "token-of-a-greedy-client"
"""The tokens of a stand with tokens, the same in each process. The second one has a rate."""
GREEDY_RATE = 100
KEYS = f"{BUCKETS}/{BUCKET}/keys"
WATCH = f"{BUCKETS}/{BUCKET}/watch"

_START_SECONDS = 20.0
_STOP_SECONDS = 40.0


class Stand:
    """A nats-server, and a gateway in front of it.

    Args:
        descriptors: what the gateway may have open; None for what this process may.
        environment: settings of the gateway, as `JETKV_…`.
        tls: whether the gateway has a certificate.
        tokens: whether callers need a token.
    """

    def __init__(
        self,
        folder: Path,
        *,
        descriptors: int | None = None,
        environment: dict[str, str],
        tls: bool = False,
        tokens: bool = False,
    ) -> None:
        self.tls = ssl.create_default_context() if tls else None
        self.token = WELL_BEHAVED if tokens else ""
        environment = dict(environment)
        if self.tls is not None:
            cert, key = Certificates(folder).issue("127.0.0.1")
            environment |= {"JETKV_TLS_CERT": str(cert), "JETKV_TLS_KEY": str(key)}
            self.tls.check_hostname = False
            self.tls.verify_mode = ssl.CERT_NONE
        self._auth = ["--auth", "off"]
        if tokens:
            file = folder / "tokens"
            lines = [token_line("probe", WELL_BEHAVED), token_line("greedy", GREEDY)]
            file.write_text(f"{lines[0]}\n{lines[1]} rate={GREEDY_RATE}\n")
            self._auth = ["--auth", "tokens", "--auth-tokens", str(file)]
        self._descriptors = descriptors
        self._environment = environment
        self._log = folder / "gateway.log"
        self._gateway: subprocess.Popen[bytes] | None = None
        self._nats_log = folder / "nats" / "nats-server.log"
        self._monitor = free_port()
        self.port = free_port()
        self.nats = NatsServer(folder / "nats", config=f"http: 127.0.0.1:{self._monitor}")

    def __enter__(self) -> "Stand":
        self.nats.start()
        try:
            self.start_gateway()
        except BaseException:
            self.nats.stop()
            raise
        return self

    def __exit__(self, *_exc: object) -> None:
        try:
            self.stop_gateway()
        finally:
            self.nats.stop()

    @property
    def pid(self) -> int:
        assert self._gateway is not None
        return self._gateway.pid

    @property
    def url(self) -> str:
        return f"http{'' if self.tls is None else 's'}://127.0.0.1:{self.port}"

    def _open(self, request: urllib.request.Request | str, seconds: float) -> Any:
        if isinstance(request, str):
            request = urllib.request.Request(request)
        if self.token:
            request.add_header("Authorization", f"Bearer {self.token}")
        return urllib.request.urlopen(request, timeout=seconds, context=self.tls)

    @property
    def running(self) -> bool:
        return self._gateway is not None and self._gateway.poll() is None

    def start_gateway(self, *, ready: bool = True) -> None:
        """Start it on the stand's port; with `ready`, return once it serves."""
        command = [sys.executable, "-m", "jetkv_gateway", "serve", *self._auth]
        command += ["--port", str(self.port), "--nats-url", self.nats.url, "--bucket", BUCKET]
        with self._log.open("ab") as log:
            self._gateway = subprocess.Popen(
                command,
                env={**os.environ, **self._environment},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                preexec_fn=self._limit if self._descriptors is not None else None,
            )
        if not ready:
            return
        deadline = time.monotonic() + _START_SECONDS
        while not self._is_ready():
            if time.monotonic() > deadline or not self.running:
                raise RuntimeError(f"the gateway did not start: {self.last_words()}")
            time.sleep(0.02)

    def _limit(self) -> None:
        assert self._descriptors is not None
        resource.setrlimit(resource.RLIMIT_NOFILE, (self._descriptors, self._descriptors))

    def _is_ready(self) -> bool:
        try:
            with self._open(f"{self.url}/ready", 2):
                return True
        except OSError:
            return False

    def stop_gateway(self) -> None:
        if self._gateway is None or self._gateway.poll() is not None:
            return
        self._gateway.send_signal(signal.SIGTERM)
        try:
            self._gateway.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._gateway.kill()
            self._gateway.wait()

    def last_words(self) -> str:
        lines = self._log.read_text(errors="replace").strip().splitlines()
        return "\n".join(lines[-10:])

    def put(self, key: str, value: bytes, *, bucket: str = BUCKET) -> int:
        """Put one value; its revision."""
        path = f"{BUCKETS}/{bucket}/keys/{key}"
        request = urllib.request.Request(f"{self.url}{path}", data=value, method="PUT")
        with self._open(request, 20) as answer:
            revision: int = json.loads(answer.read())["revision"]
        return revision

    def create(self, bucket: str, **settings: object) -> None:
        """Make a bucket."""
        document = json.dumps({"name": bucket, **settings}).encode()
        request = urllib.request.Request(f"{self.url}{BUCKETS}", data=document, method="POST")
        with self._open(request, 20):
            pass

    def is_well(self) -> bool:
        """Whether it answers now, within five seconds."""
        try:
            with self._open(f"{self.url}/health", 5):
                return True
        except OSError:
            return False

    def resident_bytes(self) -> int:
        return self._status("VmRSS")

    def peak_bytes(self) -> int:
        """The most memory that was resident since `forget_peak`."""
        return self._status("VmHWM")

    def waited_seconds(self) -> float:
        """How long the gateway has waited for a core that others had; 0 where nobody counts it."""
        try:
            return int(Path(f"/proc/{self.pid}/schedstat").read_text().split()[1]) / 1e9
        except (OSError, IndexError):
            return 0.0

    def forget_peak(self) -> None:
        # Where the kernel cannot, the peak counts from the start of the process: it is no smaller.
        with suppress(OSError):
            Path(f"/proc/{self.pid}/clear_refs").write_text("5")

    def _status(self, name: str) -> int:
        try:
            lines = Path(f"/proc/{self.pid}/status").read_text().splitlines()
            line = next(line for line in lines if line.startswith(f"{name}:"))
        except (OSError, StopIteration):
            return 0
        return int(line.split()[1]) * 1024

    def slow_consumers(self) -> int:
        """How often nats-server gave up on a client that did not read in time."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self._monitor}/varz", timeout=5) as answer:
            counted: int = json.loads(answer.read())["slow_consumers"]
        return max(counted, self._nats_log.read_text(errors="replace").count("Slow Consumer"))

    def reconnects(self) -> int:
        """How often the gateway that runs now had to reconnect to NATS."""
        with self._open(f"{self.url}/metrics", 10) as answer:
            text = answer.read().decode()
        for line in text.splitlines():
            if line.startswith("jetkv_nats_reconnects_total "):
                return int(float(line.split()[1]))
        return 0

    def set_apart(self, clients: tuple[int, ...]) -> None:
        """Give the clients one core of their own, if there are two.

        What an attacker takes from the machine would else be counted against the gateway.
        """
        cores = sorted(os.sched_getaffinity(0))
        if len(cores) < 2:
            return
        half = len(cores) // 2
        for pid, mine in [
            (self.pid, cores[:half]),
            (self.nats.pid, cores[:half]),
            *((pid, cores[half:]) for pid in clients),
        ]:
            for thread in Path(f"/proc/{pid}/task").iterdir():
                with suppress(ProcessLookupError):
                    os.sched_setaffinity(int(thread.name), mine)


@contextmanager
def stand(
    *,
    descriptors: int | None = None,
    environment: dict[str, str] | None = None,
    tls: bool = False,
    tokens: bool = False,
) -> Iterator[Stand]:
    """Run a fresh nats-server and gateway until the block ends; their data is gone then."""
    where = MEMORY if MEMORY.is_dir() else None
    folder = Path(tempfile.mkdtemp(prefix="jetkv-attacks-", dir=where))
    try:
        settings = environment or {}
        with Stand(
            folder, descriptors=descriptors, environment=settings, tls=tls, tokens=tokens
        ) as made:
            yield made
    finally:
        shutil.rmtree(folder, ignore_errors=True)

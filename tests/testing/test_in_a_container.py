"""Tests that run in a container and start others outside: what is missing is said.

Where no engine runs, a stand-in answers what is asked before a container is made.
"""

import json
import socketserver
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest
from testcontainers.core import docker_client
from testcontainers.core.config import ConnectionMode

from jetkv.testing import ServerDidNotStart
from jetkv.testing.containers import NatsContainer


class Engine:
    """What a Docker engine says of itself and its networks, on a socket; it makes no container."""

    def __init__(self) -> None:
        self.networks: list[dict[str, object]] = []
        self.asked: list[str] = []


@pytest.fixture
def engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Engine]:
    engine = Engine()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._say(200, self._found())

        def do_POST(self) -> None:
            self._say(500, {"message": "no containers here"})

        def _found(self) -> object:
            engine.asked.append(self.path)
            if "/networks" in self.path:
                return engine.networks
            if "/containers" in self.path:
                return []
            return {"ApiVersion": "1.45", "MinAPIVersion": "1.24", "Version": "27.0"}

        def _say(self, status: int, answer: object) -> None:
            body = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def address_string(self) -> str:
            return "a socket"

        def log_message(self, *_: object) -> None:
            pass

    path = tmp_path / "engine.sock"
    with socketserver.ThreadingUnixStreamServer(str(path), Handler) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        monkeypatch.setenv("DOCKER_HOST", f"unix://{path}")
        # It looks for /.dockerenv, which not every machine of these tests has.
        monkeypatch.setattr(docker_client.utils, "inside_container", lambda: True)
        monkeypatch.setattr(docker_client.c, "connection_mode_override", None)
        monkeypatch.setattr(docker_client.c, "tc_host_override", None)
        monkeypatch.setattr(docker_client.c, "ryuk_disabled", True)
        yield engine
        server.shutdown()
        thread.join(5)


LOOPBACK = {"Name": "shared", "IPAM": {"Config": [{"Subnet": "127.0.0.0/8"}]}}


@pytest.mark.parametrize(
    ("networks", "mode"), [([], "gateway_ip"), ([LOOPBACK], "bridge_ip")], ids=["none", "shared"]
)
def test_without_a_connection_mode_it_is_said_what_to_set(
    engine: Engine, networks: list[dict[str, object]], mode: str
) -> None:
    engine.networks = networks
    with pytest.raises(ServerDidNotStart) as caught:
        NatsContainer().start()
    said = str(caught.value)
    assert "this process runs in a container, where" in said
    assert mode in said
    assert "Set TESTCONTAINERS_CONNECTION_MODE=docker_host" in said
    assert "TESTCONTAINERS_HOST_OVERRIDE" in said
    assert "not started" not in said


def test_a_connection_mode_that_gives_no_address_is_named(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(docker_client.c, "connection_mode_override", ConnectionMode.bridge_ip)
    with pytest.raises(ServerDidNotStart, match="TESTCONTAINERS_CONNECTION_MODE is bridge_ip"):
        NatsContainer().start()


@pytest.mark.parametrize("host", [None, "host.docker.internal"])
def test_what_is_said_to_be_set_is_enough(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, host: str | None
) -> None:
    monkeypatch.setattr(docker_client.c, "connection_mode_override", ConnectionMode.docker_host)
    monkeypatch.setattr(docker_client.c, "tc_host_override", host)
    # It gets as far as the engine lets it: it makes nothing.
    with pytest.raises(ServerDidNotStart, match="no containers here"):
        NatsContainer().start()

"""`jetkv serve` under a service manager: a datagram socket of the test's own."""

import os
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.cli.conftest import START_SECONDS, Serve
from tests.cli.workers import both_serve

pytestmark = pytest.mark.long


class Manager:
    """What a service manager reads from the gateway."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(str(path))

    def next(self, seconds: float) -> str | None:
        """Return the next message, or None if there is none in time."""
        self.socket.settimeout(seconds)
        with suppress(TimeoutError):
            return self.socket.recv(4096).decode()
        return None

    def wait_for(self, message: str) -> list[str]:
        """Wait for a message that begins so, and return those before it."""
        before: list[str] = []
        end = time.monotonic() + START_SECONDS
        while (found := self.next(end - time.monotonic())) is not None:
            if found.startswith(message):
                return before
            before.append(found)
        raise AssertionError(f"no {message} after {before}")

    def environment(self) -> dict[str, str]:
        return {"NOTIFY_SOCKET": str(self.path), "WATCHDOG_USEC": "30000000"}


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Manager]:
    made = Manager(tmp_path / "notify")
    yield made
    made.socket.close()


@pytest.mark.parametrize("workers", ["1", "2"])
def test_it_is_ready_alive_and_stopping_in_this_order(
    serve: Serve, manager: Manager, workers: str
) -> None:
    process, _ = serve("--workers", workers, **manager.environment())
    assert "READY=1" not in "".join(manager.wait_for("READY=1"))
    manager.wait_for("WATCHDOG=1")
    manager.wait_for("WATCHDOG=1")
    process.popen.send_signal(signal.SIGTERM)
    assert set(manager.wait_for("STOPPING=1")) <= {"WATCHDOG=1"}
    assert process.stop() == 0


def test_it_is_ready_only_once_even_if_a_worker_is_replaced(serve: Serve, manager: Manager) -> None:
    process, http = serve("--workers", "2", **manager.environment())
    manager.wait_for("READY=1")
    os.kill(both_serve(process, http)[0], signal.SIGKILL)
    process.wait_for("replaced")
    both_serve(process, http)
    process.popen.send_signal(signal.SIGTERM)
    assert set(manager.wait_for("STOPPING=1")) <= {"WATCHDOG=1"}


def drain(manager: Manager) -> None:
    while manager.next(0.01) is not None:
        pass


def test_signs_of_life_end_with_the_last_worker_that_answers(
    serve: Serve, manager: Manager
) -> None:
    process, http = serve(
        "--workers",
        "2",
        # A worker counts as silent sooner, and is never killed for it.
        first=(
            "import jetkv_gateway.serving.worker as worker\n"
            "worker.SILENCE_SECONDS = 3.0\n"
            "worker.Worker.kill = lambda self: None"
        ),
        **manager.environment(),
    )
    workers = both_serve(process, http)
    manager.wait_for("READY=1")
    os.kill(workers[0], signal.SIGSTOP)
    process.wait_for(f"worker {workers[0]} does not answer")
    drain(manager)
    manager.wait_for("WATCHDOG=1")
    os.kill(workers[1], signal.SIGSTOP)
    process.wait_for(f"worker {workers[1]} does not answer")
    drain(manager)
    assert manager.next(2.5) is None
    for pid in workers:
        os.kill(pid, signal.SIGCONT)
    manager.wait_for("WATCHDOG=1")


def test_a_process_that_hangs_gives_no_sign_of_life(serve: Serve, manager: Manager) -> None:
    process, _ = serve(**manager.environment())
    manager.wait_for("WATCHDOG=1")
    process.popen.send_signal(signal.SIGSTOP)
    drain(manager)
    assert manager.next(2.5) is None
    process.popen.send_signal(signal.SIGCONT)
    manager.wait_for("WATCHDOG=1")

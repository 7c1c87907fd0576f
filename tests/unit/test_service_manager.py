"""What the service manager is told, and that nothing goes wrong without one."""

import os
import socket
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from jetkv_gateway.serving.service_manager import ServiceManager

Told = Callable[[], list[bytes]]


def received(server: socket.socket) -> list[bytes]:
    messages = []
    while True:
        try:
            messages.append(server.recv(4096))
        except BlockingIOError:
            return messages


@pytest.fixture(params=["a path", "an abstract name"])
def address(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return str(tmp_path / "notify") if request.param == "a path" else f"@jetkv-{os.getpid()}"


@pytest.fixture
def told(address: str) -> Iterator[Told]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as server:
        server.setblocking(False)
        server.bind(address.replace("@", "\0"))
        yield lambda: received(server)


def test_it_says_ready_and_stopping_in_messages_of_their_own(address: str, told: Told) -> None:
    with closing(ServiceManager({"NOTIFY_SOCKET": address})) as manager:
        manager.ready()
        manager.stopping()
    assert told() == [b"READY=1\nSTATUS=serves", b"STOPPING=1\nSTATUS=stops"]


def test_it_gives_signs_of_life_if_the_manager_waits_for_them(address: str, told: Told) -> None:
    wanted = {"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": str(os.getpid())}
    with closing(ServiceManager({"NOTIFY_SOCKET": address, **wanted})) as manager:
        manager.alive()
    assert told() == [b"WATCHDOG=1"]


@pytest.mark.parametrize(
    "watchdog", [{}, {"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1"}], ids=["none", "of another"]
)
def test_it_gives_no_sign_of_life_without_a_watchdog_of_its_own(
    address: str, told: Told, watchdog: dict[str, str]
) -> None:
    with closing(ServiceManager({"NOTIFY_SOCKET": address, **watchdog})) as manager:
        manager.alive()
    assert told() == []


def test_processes_that_start_later_do_not_speak_for_this_one() -> None:
    environment = {"NOTIFY_SOCKET": "/run/n", "WATCHDOG_USEC": "1", "WATCHDOG_PID": "1", "A": "b"}
    with closing(ServiceManager(environment)):
        assert environment == {"A": "b"}


@pytest.mark.parametrize("socket_name", ["", "vsock:2:1", "relative"])
def test_it_does_nothing_without_a_socket_that_it_can_use(socket_name: str) -> None:
    with closing(ServiceManager({"NOTIFY_SOCKET": socket_name})) as manager:
        manager.ready()
        manager.alive()


def test_a_manager_that_is_gone_or_reads_nothing_stops_nobody(tmp_path: Path) -> None:
    path = tmp_path / "notify"
    with closing(ServiceManager({"NOTIFY_SOCKET": str(path), "WATCHDOG_USEC": "1"})) as manager:
        manager.ready()
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as server:
            server.bind(str(path))
            for _ in range(10_000):
                manager.alive()

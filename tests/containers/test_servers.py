"""What a test can do to NATS and to the gateway in containers, and what the gateway makes of it."""

import subprocess
import sys
from typing import ClassVar

import pytest
from testcontainers.core.docker_client import DockerClient

from jetkv.testing import ServerDidNotStart, ServerHandle, ServerNotRunning, engine
from jetkv.testing.containers import JetKVContainer, NatsContainer
from tests.containers.conftest import IMAGE, client
from tests.support.http import BUCKETS, Bucket
from tests.support.native import Native
from tests.support.waiting import until


@pytest.fixture
def kept(own: JetKVContainer) -> Bucket:
    """A bucket on servers of the test's own, with a key `a` of value `1`."""
    http = client(own)
    assert http.post(BUCKETS, {"name": "kept"}).status == 201
    bucket = Bucket(http, "kept")
    assert bucket.put("a", b"1").status == 200
    return bucket


def is_ready(server: JetKVContainer) -> bool:
    return client(server).get("/ready").status == 200


def test_both_are_server_handles(nats: NatsContainer, gateway: JetKVContainer) -> None:
    handles: list[ServerHandle] = [nats, gateway]
    assert all(isinstance(handle, ServerHandle) for handle in handles)


def test_a_value_that_is_put_is_got(bucket: Bucket) -> None:
    bucket.put("user:123", b"\x00\xff")
    assert bucket.get("user:123").value == b"\x00\xff"


async def test_a_value_that_is_put_is_seen_by_nats_clients(bucket: Bucket, native: Native) -> None:
    bucket.put("a", b"1")
    assert (await (await native.kv(bucket.name)).get("a")).value == b"1"


def test_settings_reach_the_gateway(images: None, nats: NatsContainer) -> None:
    with JetKVContainer(nats=nats, buckets=["cache,history=5"], bucket_prefix="own_") as server:
        assert Bucket(client(server), "cache").info()["history"] == 5


def test_the_token_lets_in_and_nothing_else_does(images: None, nats: NatsContainer) -> None:
    with JetKVContainer(nats=nats, token="sesame") as server:
        assert client(server).get(BUCKETS).status == 401
        assert client(server, Authorization="Bearer other").get(BUCKETS).status == 401
        assert client(server, Authorization="Bearer sesame").get(BUCKETS).status == 200


def test_the_token_lets_in_after_a_restart(images: None, nats: NatsContainer) -> None:
    with JetKVContainer(nats=nats, token="sesame") as server:
        server.restart()
        assert client(server, Authorization="Bearer sesame").get(BUCKETS).status == 200


def test_data_outlives_a_crash_of_nats(own: JetKVContainer, kept: Bucket) -> None:
    own.nats.kill()
    own.nats.start()
    until(lambda: is_ready(own), "the gateway is ready again")
    assert kept.get("a").value == b"1"


def test_nats_keeps_its_address_over_a_restart(own: JetKVContainer) -> None:
    before = own.nats.url
    own.nats.restart()
    assert own.nats.url == before
    assert own.nats.running


def test_without_nats_a_write_is_certainly_not_applied(own: JetKVContainer, kept: Bucket) -> None:
    own.nats.kill()
    until(lambda: not is_ready(own), "the gateway sees that NATS is gone")
    assert kept.put("a", b"2").status == 503


def test_a_frozen_nats_leaves_a_writes_outcome_unknown(own: JetKVContainer, kept: Bucket) -> None:
    own.nats.pause()
    answer = kept.put("a", b"2")
    assert answer.status == 504
    assert answer.json["details"]["outcome"] == "unknown"


def test_a_thawed_nats_goes_on(own: JetKVContainer, kept: Bucket) -> None:
    own.nats.pause()
    own.nats.resume()
    until(lambda: is_ready(own), "the gateway is ready again")
    assert kept.get("a").value == b"1"


def test_a_killed_gateway_comes_back_on_its_address(own: JetKVContainer, kept: Bucket) -> None:
    before = own.url
    own.kill()
    assert not own.running
    own.start()
    assert own.url == before
    assert kept.get("a").value == b"1"


def test_a_frozen_gateway_can_be_killed(own: JetKVContainer) -> None:
    own.pause()
    own.kill()
    assert not own.running


def test_a_frozen_gateway_runs(own: JetKVContainer) -> None:
    own.pause()
    own.pause()
    assert own.running
    own.resume()
    assert is_ready(own)


def test_what_does_not_run_cannot_be_frozen(own: JetKVContainer) -> None:
    own.stop()
    with pytest.raises(ServerNotRunning, match=r"call start\(\) first"):
        own.pause()


def test_stopping_twice_is_no_error(own: JetKVContainer) -> None:
    own.stop()
    own.stop()
    own.kill()
    assert not own.running


def test_nothing_is_left_after_the_with_block(images: None) -> None:
    with JetKVContainer() as server:
        ids = {server.container.get_container_id(), server.nats.container.get_container_id()}
        network = server.nats.network.name
    engine_client = DockerClient().client
    assert not ids & {container.id for container in engine_client.containers.list(all=True)}
    assert not engine_client.networks.list(names=[network])
    engine_client.close()


def test_a_port_that_somebody_else_took_is_replaced(
    images: None, monkeypatch: pytest.MonkeyPatch, gateway: JetKVContainer
) -> None:
    taken = int(gateway.url.rpartition(":")[2])
    choose = engine.PortHolder

    class TakenAtFirst(choose):
        chosen: ClassVar[list[int]] = []

        def __init__(self) -> None:
            super().__init__()
            if not self.chosen:
                self.port = taken
            self.chosen.append(self.port)

    monkeypatch.setattr(engine, "PortHolder", TakenAtFirst)
    with NatsContainer() as nats:
        assert TakenAtFirst.chosen[0] == taken
        assert nats.url.rpartition(":")[2] == str(TakenAtFirst.chosen[-1])


def test_a_gateway_wants_its_nats_to_be_started(images: None) -> None:
    with pytest.raises(ServerNotRunning, match=r"call start\(\) first"):
        JetKVContainer(nats=NatsContainer()).start()


def test_a_missing_image_says_how_to_build_it(nats: NatsContainer) -> None:
    with pytest.raises(ServerDidNotStart, match="docker build -f deploy/Dockerfile"):
        JetKVContainer("127.0.0.1:1/none", nats=nats).start()


def test_a_gateway_that_ends_at_once_says_why(nats: NatsContainer) -> None:
    with pytest.raises(ServerDidNotStart, match="request_timeout"):
        JetKVContainer(IMAGE, nats=nats, request_timeout="long").start()


def test_no_engine_says_what_to_do(images: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", "tcp://127.0.0.1:1")
    with pytest.raises(ServerDidNotStart, match="DOCKER_HOST"):
        NatsContainer().start()


@pytest.mark.parametrize("address", ["nats://localhost:4222", "127.0.0.1", "nats://a,nats://[::1]"])
def test_a_containers_own_loopback_is_no_address_of_nats(address: str) -> None:
    with pytest.raises(ValueError, match="the container's own loopback"):
        JetKVContainer(nats_url=address)


def test_a_setting_that_is_not_for_tests_to_choose_is_refused() -> None:
    with pytest.raises(ValueError, match="use `token`"):
        JetKVContainer(auth="tokens")


def test_a_missing_extra_is_named() -> None:
    code = "import sys; sys.modules['testcontainers'] = None; import jetkv.testing.containers"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30)
    assert 'pip install "jetkv[testing]"' in ended.stderr

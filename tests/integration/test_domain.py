"""A JetStream domain: on the server that has it, and through a leaf node that has no JetStream."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from jetkv.testing import LocalNats
from jetkv_gateway.embedded import NatsServer
from tests.support.gateway import running_gateway
from tests.support.guarded import TOKENS, Guarded
from tests.support.http import BUCKETS, Bucket, Http
from tests.support.native import native_client
from tests.support.ports import free_ports
from tests.support.tokens import stored_token
from tests.support.waiting import until
from tests.support.watching import updates, watching


@pytest.fixture(scope="module")
def leaf_port() -> int:
    return free_ports(1)[0]


@pytest.fixture(scope="module")
def hub(leaf_port: int, tmp_path_factory: pytest.TempPathFactory) -> Iterator[NatsServer]:
    """A server whose JetStream is in the domain `hub`, and which takes leaf nodes."""
    config = f'server_name: hub\nleafnodes {{ listen: "127.0.0.1:{leaf_port}" }}'
    folder = tmp_path_factory.mktemp("hub")
    with NatsServer(folder, jetstream="domain: hub", config=config) as server:
        yield server


@pytest.fixture(scope="module")
def leaf(
    hub: NatsServer, leaf_port: int, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[NatsServer]:
    """A leaf node of the hub, without JetStream of its own."""
    config = (
        "server_name: leaf\njetstream: disabled\n"
        f'leafnodes {{ remotes: [{{ url: "nats://127.0.0.1:{leaf_port}" }}] }}'
    )
    with NatsServer(tmp_path_factory.mktemp("leaf"), config=config) as server:
        yield server


@pytest.fixture(scope="module", params=["hub", "leaf"])
def http(request: pytest.FixtureRequest) -> Iterator[Http]:
    """A gateway with the setting `nats_domain`, beside the hub and behind a leaf node."""
    server: NatsServer = request.getfixturevalue(request.param)
    with running_gateway(server.url, nats_domain="hub") as client:
        yield client


def test_put_get_and_compare_and_set_work_in_a_domain(bucket: Bucket) -> None:
    assert bucket.put("user:1", "v1").json == {"revision": 1}
    assert bucket.put("user:1", "v2", If_Match="1").json == {"revision": 2}
    assert bucket.put("user:1", "v3", If_Match="1").error == "revision mismatch"
    assert bucket.put("user:1", "v3", If_None_Match="*").error == "key already exists"
    assert bucket.get("user:1").value == b"v2"
    assert bucket.get("none").error == "key not found"


def test_an_eventual_read_works_in_a_domain(bucket: Bucket) -> None:
    bucket.put("k", "v")
    answer = bucket.get("k", "?consistency=eventual")
    assert answer.value == b"v"
    assert answer.headers["jetkv-consistency"] == "eventual"


def test_listings_work_in_a_domain(bucket: Bucket) -> None:
    keys = sorted(f"a.{number}" for number in range(300))
    for key in [*keys, "b"]:
        bucket.put(key, "v")
    assert bucket.keys() == [*keys, "b"]
    assert bucket.keys("a.*") == keys


def test_delete_purge_and_history_work_in_a_domain(make_bucket) -> None:
    bucket = make_bucket(history=5)
    bucket.put("k", "v1")
    bucket.put("k", "v2")
    assert bucket.delete("k").status == 204
    entries = bucket.history("k").json["entries"]
    assert [entry["operation"] for entry in entries] == ["put", "put", "delete"]
    assert bucket.delete("k", "?purge=true").status == 204
    assert len(bucket.history("k").json["entries"]) == 1
    assert bucket.get("k").error == "key not found"


def test_buckets_are_listed_and_deleted_in_a_domain(http: Http, make_bucket) -> None:
    name = make_bucket().name
    assert name in [info["name"] for info in http.get(BUCKETS).json["buckets"]]
    assert http.delete(f"{BUCKETS}/{name}").status == 204
    assert http.get(f"{BUCKETS}/{name}").error == "bucket not found"
    assert Bucket(http, name).put("k", "v").error == "bucket not found"


async def test_no_listing_leaves_a_consumer_behind_in_a_domain(
    hub: NatsServer, bucket: Bucket
) -> None:
    bucket.put("k", "v")
    assert bucket.keys() == ["k"]
    async with native_client(hub.url) as native:
        assert (await native.state(bucket.name))["consumer_count"] == 0


def test_a_domain_that_does_not_exist_is_not_ready(tmp_path: Path) -> None:
    with (
        LocalNats(tmp_path) as nats,
        running_gateway(nats.url, ready=False, nats_domain="nowhere") as http,
    ):

        def issue() -> str:
            text: str = http.get("/ready").json["issues"].get("jetstream", "")
            return text

        until(issue, "the gateway has connected")
        assert "no leader for this, or is not enabled" in issue()


async def test_a_watch_works_in_a_domain_with_snapshot_and_what_follows(bucket: Bucket) -> None:
    await asyncio.to_thread(bucket.put, "user:1", "before")
    async with watching(bucket.http, bucket.name, "?key=user:*&snapshot=true") as watcher:
        await asyncio.to_thread(bucket.put, "other", "x")
        await asyncio.to_thread(bucket.put, "user:2", "after")
        frames = await watcher.take(3)
    assert updates(frames) == [("user:1", "put", 1), ("user:2", "put", 3)]
    # It ends before the second one or after it, as they race.
    assert [frame["type"] for frame in frames[1:]].count("kv_snapshot_end") == 1


@pytest.mark.parametrize("at", ["hub", "leaf"])
def test_tokens_of_a_domain_are_created_and_withdrawn(
    hub: NatsServer, leaf: NatsServer, at: str
) -> None:
    server = {"hub": hub, "leaf": leaf}[at]
    root = stored_token(server.url, f"root-{at}", "*:*", domain="hub")
    with running_gateway(server.url, nats_domain="hub", auth="tokens") as http:
        guarded = Guarded([http], root)
        token = guarded.create(f"app-{at}", "read:b")
        assert guarded.ask("GET", BUCKETS, token=token).status == 200
        assert guarded.ask("DELETE", f"{TOKENS}/app-{at}").status == 204
        until(
            lambda: guarded.ask("GET", BUCKETS, token=token).status == 401,
            "the token is withdrawn",
        )

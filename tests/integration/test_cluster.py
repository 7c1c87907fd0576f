"""What only a cluster does: replicas that are behind, and nodes that die under a consumer."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from jetkv_gateway.embedded import NatsServer
from tests.support.cluster import running_cluster
from tests.support.gateway import running_gateway
from tests.support.http import BUCKETS, Bucket, Http
from tests.support.native import native_client
from tests.support.waiting import until
from tests.support.watching import updates, watching

pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def members(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[NatsServer]]:
    with running_cluster(tmp_path_factory.mktemp("cluster")) as servers:
        yield servers


@pytest.fixture(scope="module")
def cluster_http(members: list[NatsServer]) -> Iterator[Http]:
    with running_gateway(",".join(server.url for server in members)) as http:
        yield http


@pytest.fixture
def replicated(cluster_http: Http, bucket_name: str) -> Iterator[Bucket]:
    """A bucket on three nodes."""
    settings = {"name": bucket_name, "replicas": 3}
    until(
        lambda: cluster_http.post(BUCKETS, settings).status in (201, 409),
        "the cluster makes a bucket",
        20,
    )
    yield Bucket(cluster_http, bucket_name)
    cluster_http.delete(f"{BUCKETS}/{bucket_name}")


@contextmanager
def busy(bucket: Bucket) -> Iterator[None]:
    """Keep the replicas at work with large values."""
    over = threading.Event()

    def write(number: int) -> None:
        turn = 0
        while not over.is_set():
            bucket.put(f"noise{number}.{turn % 50}", b"x" * 20_000)
            turn += 1

    threads = [threading.Thread(target=write, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        over.set()
        for thread in threads:
            thread.join()


def test_a_listing_holds_what_was_written_just_before_whatever_replica_is_behind(
    replicated: Bucket,
) -> None:
    with busy(replicated):
        for number in range(150):
            assert replicated.put(f"mine.{number}", "v").status == 200
            assert f"mine.{number}" in replicated.keys("mine.*")


async def test_a_snapshot_holds_what_was_written_just_before_whatever_replica_is_behind(
    replicated: Bucket,
) -> None:
    def write(number: int) -> int:
        answer = replicated.put(f"mine.{number}", "v")
        assert answer.status == 200
        revision: int = answer.json["revision"]
        return revision

    with busy(replicated):
        for number in range(100):
            revision = await asyncio.to_thread(write, number)
            query = "?key=mine.*&snapshot=true"
            async with watching(replicated.http, replicated.name, query) as watcher:
                frames = await watcher.until(lambda frame: frame["type"] == "kv_snapshot_end")
            assert (f"mine.{number}", "put", revision) in updates(frames)


async def test_a_watch_goes_on_when_the_node_of_its_consumer_dies(
    members: list[NatsServer], replicated: Bucket
) -> None:
    async with watching(replicated.http, replicated.name) as watcher:
        node = await _node_of_the_consumer(members, replicated.name)
        node.kill()
        try:
            acked: list[int] = []
            while len(acked) < 20:
                answer = await asyncio.to_thread(replicated.put, f"k{len(acked)}", "v")
                if answer.status == 200:
                    acked.append(answer.json["revision"])
            frames = await watcher.until(lambda frame: frame["revision"] == acked[-1], 30)
        finally:
            node.start()
    assert set(acked) <= {revision for _, _, revision in updates(frames)}


async def test_a_server_that_is_frozen_is_left_for_another(
    members: list[NatsServer], replicated: Bucket
) -> None:
    async with native_client(members[0].url) as native:
        info = await native.api(f"STREAM.INFO.KV_{replicated.name}")
    leads: str = info["cluster"]["leader"]
    leader = members[int(leads.removeprefix("n"))]
    follower = next(member for member in members if member is not leader)

    def serve() -> None:
        with running_gateway(f"{follower.url},{leader.url}") as http:
            bucket = Bucket(http, replicated.name)
            assert bucket.put("k", "v").status == 200
            follower.pause()
            try:
                until(lambda: bucket.put("k", "w").status == 200, "another server is asked", 8)
            finally:
                follower.resume()

    await asyncio.to_thread(serve)


async def _node_of_the_consumer(members: list[NatsServer], bucket: str) -> NatsServer:
    async with native_client(members[0].url) as native:
        names = (await native.api(f"CONSUMER.NAMES.KV_{bucket}"))["consumers"]
        assert len(names) == 1
        info = await native.api(f"CONSUMER.INFO.KV_{bucket}.{names[0]}")
    leader: str = info["cluster"]["leader"]
    return members[int(leader.removeprefix("n"))]

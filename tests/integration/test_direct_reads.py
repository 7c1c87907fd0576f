"""Direct reads are used where they are the leader's, and nowhere else."""

import asyncio
from pathlib import Path

import pytest

from jetkv.testing import LocalNats
from tests.servers import fetch
from tests.support.cluster import free_ports
from tests.support.direct_reads import READS, SOLO, Load, clustered, get, read
from tests.support.gateway import running_gateway
from tests.support.http import Bucket
from tests.support.native import SECOND, Native, native_client
from tests.support.reloading import reload
from tests.support.spying import ways
from tests.support.waiting import eventually, until


async def test_a_read_on_a_server_that_stands_alone_is_direct_and_says_strong(
    solo_bucket: Bucket, solo_native: Native
) -> None:
    async with ways(solo_native, "b") as seen:
        await read(solo_bucket)
        assert await seen.seen() == (READS, 0)


@pytest.mark.parametrize("version", ["2.10.25", "2.12.8"])
async def test_so_it_is_on_older_servers(tmp_path: Path, version: str) -> None:
    with (
        LocalNats(tmp_path, config=SOLO, binary=fetch(version)) as server,
        running_gateway(server.url, buckets="b") as http,
    ):
        bucket = Bucket(http, "b")
        bucket.put("k", "v")
        async with native_client(server.url) as native, ways(native, "b") as seen:
            await read(bucket)
            assert await seen.seen() == (READS, 0)


async def test_a_bucket_that_is_not_known_yet_is_read_from_its_leader_and_looked_at_once(
    solo: LocalNats, solo_native: Native
) -> None:
    await solo_native.make_bucket("late")
    await solo_native.publish("$KV.late.k", b"v")
    with running_gateway(solo.url) as http:
        bucket = Bucket(http, "late")
        async with ways(solo_native, "late") as seen:
            assert (await get(bucket)).value == b"v"
            assert await seen.seen() == (0, 1)

            async def direct() -> bool:
                await read(bucket, 1)
                return (await seen.seen())[0] > 0

            await eventually(direct, "the bucket is known")


async def test_a_revision_is_read_directly_too(solo_bucket: Bucket, solo_native: Native) -> None:
    first = solo_bucket.put("r", "old").json["revision"]
    solo_bucket.put("r", "new")
    async with ways(solo_native, "b") as seen:
        assert (await get(solo_bucket, "r", f"?revision={first}")).value == b"old"
        assert await seen.seen() == (1, 0)
    assert (await get(solo_bucket, "k", f"?revision={first}")).error == "key not found"


async def test_a_key_that_is_not_there_is_asked_of_the_leader_until_it_is(
    solo_bucket: Bucket, solo_native: Native
) -> None:
    async with ways(solo_native, "b") as seen:
        for _ in range(5):
            assert (await get(solo_bucket, "new")).error == "key not found"
        assert await seen.seen() == (1, 5)
        await solo_native.publish("$KV.b.new", b"v")
        for _ in range(5):
            assert (await get(solo_bucket, "new")).value == b"v"
        assert await seen.seen() == (5, 6)


async def test_a_tombstone_is_no_value_however_it_is_read(
    solo_bucket: Bucket, solo_native: Native
) -> None:
    assert solo_bucket.delete("k").status == 204
    async with ways(solo_native, "b") as seen:
        assert (await get(solo_bucket)).error == "key not found"
        assert await seen.seen() == (1, 0)


async def test_a_content_type_and_a_coding_come_with_a_direct_read(solo_bucket: Bucket) -> None:
    solo_bucket.put("typed", b"\x00\xff", Content_Type="image/png", Content_Encoding="gzip")
    answer = await get(solo_bucket, "typed", "?values=raw")
    assert answer.body == b"\x00\xff"
    assert answer.headers["content-type"] == "image/png"
    assert answer.headers["content-encoding"] == "gzip"


async def test_a_value_with_a_time_of_its_own_is_past_when_that_is_over(
    solo: LocalNats, solo_native: Native
) -> None:
    if solo_native.version < (2, 11):
        pytest.skip("nats-server 2.10 knows no TTL of a single message")
    await solo_native.make_bucket("times", max_age=3600 * SECOND, allow_msg_ttl=True)
    with running_gateway(solo.url) as http:
        bucket = Bucket(http, "times")
        bucket.put("other", "v")
        await solo_native.publish("$KV.times.k", b"v", Nats_TTL="1s")
        await solo_native.publish("$KV.times.never", b"v", Nats_TTL="never")
        assert (await get(bucket)).status == 200

        async def gone() -> bool:
            return (await get(bucket)).status == 404

        await eventually(gone, "its time is up", 5)
        assert (await get(bucket, "never")).status == 200


@pytest.mark.parametrize("replicas", [1, 3])
async def test_no_strong_read_in_a_cluster_is_direct(
    cluster: list[LocalNats], replicas: int
) -> None:
    name = f"clustered{replicas}"
    with clustered(cluster[0], name, replicas) as bucket:
        bucket.put("k", "v")
        async with native_client(cluster[0].url) as native, ways(native, name) as seen:
            await read(bucket)
            assert (await seen.seen())[0] == 0
            assert (await get(bucket, "k", "?consistency=eventual")).status == 200
            assert (await seen.seen())[0] == 1


async def test_a_bucket_that_is_scaled_from_one_replica_to_three_under_load_is_never_stale(
    cluster: list[LocalNats],
) -> None:
    with clustered(cluster[0], "scaled", 1) as bucket, Load(bucket) as load:
        await asyncio.to_thread(load.wait, 50)
        async with native_client(cluster[1].url) as native:
            for replicas in (3, 1, 3):
                config = (await native.api("STREAM.INFO.KV_scaled"))["config"]
                config["num_replicas"] = replicas
                answer = await native.api("STREAM.UPDATE.KV_scaled", config)
                assert "error" not in answer, answer
                await asyncio.to_thread(load.wait, 100)
    assert load.stale == []


async def test_a_hub_behind_a_leaf_is_asked_as_a_leader_and_beside_it_directly(
    tmp_path: Path,
) -> None:
    port = free_ports(1)[0]
    listens = f'server_name: hub\nleafnodes {{ listen: "127.0.0.1:{port}" }}'
    connects = (
        "server_name: leaf\njetstream: disabled\n"
        f'leafnodes {{ remotes: [{{ url: "nats://127.0.0.1:{port}" }}] }}'
    )
    with (
        LocalNats(tmp_path / "hub", config=listens, jetstream="domain: hub") as hub,
        LocalNats(tmp_path / "leaf", config=connects) as leaf,
        running_gateway(hub.url, nats_domain="hub", buckets="b") as near,
        running_gateway(leaf.url, nats_domain="hub") as far,
    ):
        async with (
            native_client(hub.url) as native,
            # What comes by a domain's name is mapped to the API of its server.
            ways(native, "b") as seen,
        ):
            for http, ways_used in ((near, (READS, 0)), (far, (0, READS))):
                bucket = Bucket(http, "b")
                assert (await asyncio.to_thread(bucket.put, "k", "v")).status == 200
                await seen.forget()
                with Load(bucket) as load:
                    await asyncio.to_thread(load.wait, 50)
                assert load.stale == []
                await seen.forget()
                await read(bucket)
                assert await seen.seen() == ways_used


@pytest.mark.parametrize("jetstream", ["disabled", ""])
async def test_a_leaf_that_a_reload_made_one_leads_no_stream_of_its_hub(
    tmp_path: Path, jetstream: str
) -> None:
    """Its INFO says no cluster, so the leader's name alone tells the two apart (2.15)."""
    port = free_ports(1)[0]
    listens = f'server_name: hub\nleafnodes {{ listen: "127.0.0.1:{port}" }}'
    remote = f'leafnodes {{ remotes: [{{ url: "nats://127.0.0.1:{port}" }}] }}'
    alone = "server_name: leaf\n" + (f"jetstream: {jetstream}\n" if jetstream else "") + "# none"
    with (
        LocalNats(tmp_path / "hub", config=listens, jetstream="domain: hub") as hub,
        LocalNats(tmp_path / "leaf", config=alone) as leaf,
    ):
        log = tmp_path / "leaf" / "nats-server.log"
        try:
            reload(leaf, tmp_path / "leaf", "# none", remote)
        except AssertionError:
            assert "config reload not supported for LeafNode" in log.read_text()
            pytest.skip("this server takes no leaf node by a reload")
        with (
            running_gateway(leaf.url, ready=False, nats_domain="hub") as http,
            running_gateway(hub.url, nats_domain="hub", buckets="b"),
        ):
            bucket = Bucket(http, "b")
            until(lambda: bucket.put("k", "v").status == 200, "the leaf has its hub")
            async with native_client(hub.url) as native, ways(native, "b") as seen:
                await read(bucket)
                assert await seen.seen() == (0, READS)


async def test_a_server_that_is_a_leaf_node_itself_is_asked_as_a_leader(tmp_path: Path) -> None:
    """It could extend the JetStream of its hub, and a stream of it be moved there."""
    port = free_ports(1)[0]
    listens = f'server_name: hub\nleafnodes {{ listen: "127.0.0.1:{port}" }}'
    remote = f'leafnodes {{ remotes: [{{ url: "nats://127.0.0.1:{port}" }}] }}'
    with (
        LocalNats(tmp_path / "hub", config=listens, jetstream="domain: hub"),
        LocalNats(
            tmp_path / "leaf", config=f"server_name: leaf\n{remote}", jetstream="domain: leaf"
        ) as leaf,
        running_gateway(leaf.url, buckets="b") as http,
    ):
        bucket = Bucket(http, "b")
        assert bucket.put("k", "v").status == 200
        async with native_client(leaf.url) as native, ways(native, "b") as seen:
            await read(bucket)
            assert await seen.seen() == (0, READS)

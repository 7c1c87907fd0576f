"""No read is stale while servers, connections and buckets change."""

import asyncio
import os
import signal
from pathlib import Path

from jetkv.testing import LocalNats
from tests.support.cluster import cluster_config, free_ports
from tests.support.direct_reads import Load, get, read
from tests.support.gateway import running_gateway
from tests.support.http import BUCKETS, Bucket
from tests.support.native import Native, native_client
from tests.support.spying import ways
from tests.support.waiting import until


async def test_a_server_that_joins_a_cluster_is_asked_as_a_leader_from_then_on(
    tmp_path: Path,
) -> None:
    names, ports = ["n0", "n1", "n2"], free_ports(3)
    joined, *others = (
        LocalNats(tmp_path / name, config=cluster_config(name, port, ports))
        for name, port in zip(names, ports, strict=True)
    )
    alone = LocalNats(tmp_path / "n0", port=joined.port, config="server_name: n0")
    with alone, running_gateway(alone.url, buckets="b") as http:
        bucket = Bucket(http, "b")
        with Load(bucket) as load:
            await asyncio.to_thread(load.wait, 50)
        assert load.stale == []
        alone.stop()
        with Load(bucket), joined, others[0], others[1]:
            async with native_client(joined.url) as native, ways(native, "b") as seen:

                def made() -> bool:
                    # A cluster does not know the streams of a server that comes to it.
                    bucket_of_three = {"name": "b", "replicas": 3}
                    return http.post(BUCKETS, bucket_of_three).status == 201

                await asyncio.to_thread(until, made, "the bucket is created again", 30)
                with Load(bucket, key="after") as load:
                    await asyncio.to_thread(load.wait, 200)
                assert load.stale == []
                direct, leader = await seen.seen()
                assert direct == 0
                assert leader > 200


async def test_neither_a_reload_nor_a_bucket_makes_a_cluster_of_a_server_that_stands_alone(
    solo: LocalNats, tmp_path: Path, solo_bucket: Bucket, solo_native: Native
) -> None:
    """What direct reads lean on: it takes a restart, which ends the connection."""
    folder = tmp_path / "solo"
    config = folder / "nats-server.conf"
    before = config.read_text()
    config.write_text(f'{before}\ncluster {{ name: c, listen: "127.0.0.1:{free_ports(1)[0]}" }}')
    assert solo.pid is not None
    os.kill(solo.pid, signal.SIGHUP)
    log = folder / "nats-server.log"
    until(lambda: "not supported for cluster" in log.read_text(), "the server refuses it")
    info = await solo_native.api("STREAM.INFO.KV_b")
    assert info["cluster"] == {"leader": "solo"}
    # Before 2.15 it is not refused, and nothing comes of it.
    await solo_native.api("STREAM.UPDATE.KV_b", {**info["config"], "num_replicas": 3})
    assert (await solo_native.api("STREAM.INFO.KV_b"))["cluster"] == {"leader": "solo"}
    await read(solo_bucket)


async def test_a_bucket_is_looked_at_again_on_each_connection(
    solo: LocalNats, solo_bucket: Bucket
) -> None:
    solo.restart()
    until(lambda: solo_bucket.get("k").status == 200, "the gateway is back")
    async with native_client(solo.url) as native, ways(native, "b") as seen:
        # What is known of a bucket lasts for longer than these take.
        await read(solo_bucket, 100)
        direct, leader = await seen.seen()
        assert direct > leader


async def test_a_read_that_was_on_its_way_when_the_server_went_away_is_answered(
    solo: LocalNats, solo_bucket: Bucket
) -> None:
    solo.pause()
    reading = asyncio.create_task(get(solo_bucket))
    await asyncio.sleep(0.2)
    solo.kill()
    solo.start()
    answer = await reading
    assert (answer.status, answer.value) == (200, b"v")


async def test_a_server_that_is_frozen_and_killed_under_load_is_never_read_stale(
    solo: LocalNats, solo_bucket: Bucket
) -> None:
    with Load(solo_bucket) as load:
        for seconds in (0.3, 1.5):
            await asyncio.to_thread(load.wait, 50)
            solo.pause()
            await asyncio.sleep(seconds)
            solo.resume()
            await asyncio.to_thread(load.wait, 50)
            solo.kill()
            solo.start()
        await asyncio.to_thread(load.wait, 50)
    assert load.stale == []


async def test_a_bucket_that_others_created_again_is_read_as_it_is_now(
    solo_bucket: Bucket, solo_native: Native
) -> None:
    await read(solo_bucket, 1)
    await solo_native.api("STREAM.DELETE.KV_b")
    assert (await get(solo_bucket)).error == "bucket not found"
    await solo_native.make_bucket("b")
    assert (await get(solo_bucket)).error == "key not found"
    await solo_native.publish("$KV.b.k", b"new")
    answer = await get(solo_bucket)
    assert (answer.value, answer.json["revision"]) == (b"new", 1)

"""Direct reads are used where they are the leader's, and nowhere else; no read is ever stale."""

import asyncio
import os
import signal
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import Self

import pytest

from jetkv.testing import LocalNats
from tests.servers import fetch
from tests.support.cluster import cluster_config, free_ports
from tests.support.gateway import running_gateway
from tests.support.hostile import publish_raw
from tests.support.http import BUCKETS, Answer, Bucket
from tests.support.native import SECOND, Native, native_client
from tests.support.reloading import reload
from tests.support.spying import ways
from tests.support.waiting import eventually, until

SOLO = "server_name: solo"
READS = 30


@pytest.fixture
def solo(tmp_path: Path) -> Iterator[LocalNats]:
    """A server that stands alone."""
    with LocalNats(tmp_path / "solo", config=SOLO) as server:
        yield server


@pytest.fixture
def known(solo: LocalNats) -> Iterator[Bucket]:
    """A bucket on it that its gateway knows, with the key `k`."""
    with running_gateway(solo.url, buckets="b,history=5") as http:
        bucket = Bucket(http, "b")
        assert bucket.put("k", "v").status == 200
        yield bucket


@pytest.fixture
async def beside(solo: LocalNats) -> AsyncIterator[Native]:
    async with native_client(solo.url) as native:
        yield native


@contextmanager
def clustered(member: LocalNats, name: str, replicas: int) -> Iterator[Bucket]:
    """A bucket in a cluster, through a gateway of its own."""
    # A cluster that has just started sometimes never answers its first request.
    settings = {"buckets": f"{name},replicas={replicas}", "request_timeout": 1.5}
    with running_gateway(member.url, **settings) as http:
        yield Bucket(http, name)


async def get(bucket: Bucket, key: str = "k", query: str = "") -> Answer:
    return await asyncio.to_thread(bucket.get, key, query)


async def read(bucket: Bucket, times: int = READS) -> None:
    """Read a key so often; each read is one of the leader."""
    for _ in range(times):
        answer = await get(bucket)
        assert (answer.status, answer.headers["jetkv-consistency"]) == (200, "strong")


@dataclass
class Impostor:
    """Somebody who answers direct reads of a bucket."""

    block: bytes
    data: bytes = b"old"
    answers: int = 0

    @asynccontextmanager
    async def at(self, server: LocalNats, bucket: str) -> AsyncIterator[None]:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(b'CONNECT {"headers":true,"verbose":false,"protocol":1}\r\n')
        writer.write(b"SUB $JS.API.DIRECT.GET.KV_%b 1\r\n" % bucket.encode())
        writer.write(b"PING\r\n")
        while await reader.readline() != b"PONG\r\n":
            pass
        answering = asyncio.create_task(self._answer(reader, writer))
        try:
            yield
        finally:
            answering.cancel()
            await asyncio.gather(answering, return_exceptions=True)
            writer.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while line := await reader.readline():
            words = line.split()
            if words[0] == b"PING":
                writer.write(b"PONG\r\n")
            elif words[0] == b"MSG":
                await reader.readexactly(int(words[-1]) + 2)
                sizes = len(self.block), len(self.block) + len(self.data)
                writer.write(b"HPUB %b %d %d\r\n" % (words[-2], *sizes))
                writer.write(self.block + self.data + b"\r\n")
                self.answers += 1


def message(stream: str, subject: str, *, revision: int = 1, stored: bytes = b"") -> bytes:
    """The headers of an answer to a direct read."""
    return (
        b"NATS/1.0\r\n%bNats-Stream: %b\r\nNats-Subject: %b\r\nNats-Sequence: %d\r\n"
        b"Nats-Time-Stamp: 2026-01-02T03:04:05Z\r\n\r\n"
    ) % (stored, stream.encode(), subject.encode(), revision)


class Load:
    """Writers with a key each, who read it back after each write that was acked.

    Attributes:
        reads: how many were answered.
        stale: what was older than the newest revision that the key was known to have.
    """

    def __init__(self, bucket: Bucket, writers: int = 4, key: str = "w") -> None:
        self._bucket = bucket
        self._key = key
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._run, args=(n,)) for n in range(writers)]
        self.reads = 0
        self.stale: list[str] = []

    def _run(self, writer: int) -> None:
        key, number, newest = f"{self._key}{writer}", 0, 0
        while not self._over.is_set():
            number += 1
            with suppress(OSError, HTTPException):
                put = self._bucket.put(key, str(number))
                if put.status == 200:
                    newest = max(newest, put.json["revision"])
                got = self._bucket.get(key)
                if got.status not in (200, 404):
                    continue
                self.reads += 1
                revision = got.json["revision"] if got.status == 200 else 0
                if revision < newest:
                    self.stale.append(f"{key}: {revision} after {newest} ({got.status})")
                newest = max(newest, revision)

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()

    def wait(self, reads: int, seconds: float = 30.0) -> None:
        """Wait until there were so many more reads."""
        wanted = self.reads + reads
        until(
            lambda: self.reads >= wanted or self.stale, f"{reads} more reads were answered", seconds
        )


# Where they are used.


async def test_a_read_on_a_server_that_stands_alone_is_direct_and_says_strong(
    known: Bucket, beside: Native
) -> None:
    async with ways(beside, "b") as seen:
        await read(known)
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
    solo: LocalNats, beside: Native
) -> None:
    await beside.make_bucket("late")
    await beside.publish("$KV.late.k", b"v")
    with running_gateway(solo.url) as http:
        bucket = Bucket(http, "late")
        async with ways(beside, "late") as seen:
            assert (await get(bucket)).value == b"v"
            assert await seen.seen() == (0, 1)

            async def direct() -> bool:
                await read(bucket, 1)
                return (await seen.seen())[0] > 0

            await eventually(direct, "the bucket is known")


async def test_a_revision_is_read_directly_too(known: Bucket, beside: Native) -> None:
    first = known.put("r", "old").json["revision"]
    known.put("r", "new")
    async with ways(beside, "b") as seen:
        assert (await get(known, "r", f"?revision={first}")).value == b"old"
        assert await seen.seen() == (1, 0)
    assert (await get(known, "k", f"?revision={first}")).error == "key not found"


async def test_a_key_that_is_not_there_is_asked_of_the_leader_until_it_is(
    known: Bucket, beside: Native
) -> None:
    async with ways(beside, "b") as seen:
        for _ in range(5):
            assert (await get(known, "new")).error == "key not found"
        assert await seen.seen() == (1, 5)
        await beside.publish("$KV.b.new", b"v")
        for _ in range(5):
            assert (await get(known, "new")).value == b"v"
        assert await seen.seen() == (5, 6)


async def test_a_tombstone_is_no_value_however_it_is_read(known: Bucket, beside: Native) -> None:
    assert known.delete("k").status == 204
    async with ways(beside, "b") as seen:
        assert (await get(known)).error == "key not found"
        assert await seen.seen() == (1, 0)


async def test_a_content_type_and_a_coding_come_with_a_direct_read(known: Bucket) -> None:
    known.put("typed", b"\x00\xff", Content_Type="image/png", Content_Encoding="gzip")
    answer = await get(known, "typed", "?values=raw")
    assert answer.body == b"\x00\xff"
    assert answer.headers["content-type"] == "image/png"
    assert answer.headers["content-encoding"] == "gzip"


async def test_a_value_with_a_time_of_its_own_is_past_when_that_is_over(
    solo: LocalNats, beside: Native
) -> None:
    if beside.version < (2, 11):
        pytest.skip("nats-server 2.10 knows no TTL of a single message")
    await beside.make_bucket("times", max_age=3600 * SECOND, allow_msg_ttl=True)
    with running_gateway(solo.url) as http:
        bucket = Bucket(http, "times")
        bucket.put("other", "v")
        await beside.publish("$KV.times.k", b"v", Nats_TTL="1s")
        await beside.publish("$KV.times.never", b"v", Nats_TTL="never")
        assert (await get(bucket)).status == 200

        async def gone() -> bool:
            return (await get(bucket)).status == 404

        await eventually(gone, "its time is up", 5)
        assert (await get(bucket, "never")).status == 200


# Where they are not.


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


# What changes under a connection, and with it.


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

                await asyncio.to_thread(until, made, "the bucket is made anew", 30)
                with Load(bucket, key="after") as load:
                    await asyncio.to_thread(load.wait, 200)
                assert load.stale == []
                direct, leader = await seen.seen()
                assert direct == 0
                assert leader > 200


async def test_neither_a_reload_nor_a_bucket_makes_a_cluster_of_a_server_that_stands_alone(
    solo: LocalNats, tmp_path: Path, known: Bucket, beside: Native
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
    info = await beside.api("STREAM.INFO.KV_b")
    assert info["cluster"] == {"leader": "solo"}
    # Before 2.15 it is not refused, and nothing comes of it.
    await beside.api("STREAM.UPDATE.KV_b", {**info["config"], "num_replicas": 3})
    assert (await beside.api("STREAM.INFO.KV_b"))["cluster"] == {"leader": "solo"}
    await read(known)


async def test_a_bucket_is_looked_at_again_on_each_connection(
    solo: LocalNats, known: Bucket
) -> None:
    solo.restart()
    until(lambda: known.get("k").status == 200, "the gateway is back")
    async with native_client(solo.url) as native, ways(native, "b") as seen:
        # What is known of a bucket lasts for longer than these take.
        await read(known, 100)
        direct, leader = await seen.seen()
        assert direct > leader


async def test_a_read_that_was_on_its_way_when_the_server_went_away_is_answered(
    solo: LocalNats, known: Bucket
) -> None:
    solo.pause()
    reading = asyncio.create_task(get(known))
    await asyncio.sleep(0.2)
    solo.kill()
    solo.start()
    answer = await reading
    assert (answer.status, answer.value) == (200, b"v")


async def test_a_server_that_is_frozen_and_killed_under_load_is_never_read_stale(
    solo: LocalNats, known: Bucket
) -> None:
    with Load(known) as load:
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


async def test_a_bucket_made_anew_by_others_is_read_as_it_is_now(
    known: Bucket, beside: Native
) -> None:
    await read(known, 1)
    await beside.api("STREAM.DELETE.KV_b")
    assert (await get(known)).error == "bucket not found"
    await beside.make_bucket("b")
    assert (await get(known)).error == "key not found"
    await beside.publish("$KV.b.k", b"new")
    answer = await get(known)
    assert (answer.value, answer.json["revision"]) == (b"new", 1)


# Who else may answer.


async def make_mirror(native: Native, name: str, origin: str) -> None:
    """Mirror a bucket; the mirror answers direct reads of it in turns with it."""
    config = {"mirror": {"name": f"KV_{origin}"}, "allow_direct": True, "mirror_direct": True}
    await native.make_stream({"name": f"KV_{name}", **config})


async def test_a_mirror_that_lacks_what_its_origin_has_is_never_believed(
    solo: LocalNats, beside: Native
) -> None:
    # Not written by HTTP: a mirror of 2.10 stops at what is stored so.
    await beside.make_bucket("origin", max_msgs_per_subject=5)
    for key, value in (("k", b"v"), ("only", b"v"), ("k", b"w")):
        await beside.publish(f"$KV.origin.{key}", value)
    await make_mirror(beside, "mirror", "origin")

    async def caught_up() -> bool:
        return (await beside.state("mirror"))["last_seq"] == 3

    await eventually(caught_up, "the mirror has all of it")
    for revision in (2, 3):
        # As if these had not come yet: of the one key it has an older value, of the other none.
        await beside.api("STREAM.MSG.DELETE.KV_mirror", {"seq": revision})
    with running_gateway(solo.url) as http:
        bucket = Bucket(http, "origin")
        until(lambda: bucket.get("none").status == 404, "the bucket is known")
        async with ways(beside, "origin") as seen:
            for _ in range(READS):
                assert (await get(bucket, "only")).status == 200
                if (await seen.seen())[1]:
                    break  # the mirror's turn came
            else:
                pytest.fail("the mirror has answered none of them")
            for _ in range(READS):
                assert (await get(bucket)).value == b"w"


async def test_mirrors_that_answer_for_their_origin_under_load_are_never_believed(
    known: Bucket, beside: Native
) -> None:
    for number in range(3):
        await make_mirror(beside, f"mirror{number}", "b")
    with Load(known, writers=8) as load:
        await asyncio.to_thread(load.wait, 600)
    assert load.stale == []


IMPOSTORS = {
    "a mirror": message("KV_mirror", "$KV.b.k"),
    "a mirror whose message claims to be of the bucket": message(
        "KV_mirror", "$KV.b.k", stored=message("KV_b", "$KV.b.k", revision=99)[10:-2]
    ),
    "a mirror whose name ends like the stream's": message("XKV_b", "$KV.b.k"),
    "another key": message("KV_b", "$KV.b.other"),
    "nobody": b"NATS/1.0\r\n\r\n",
    "not found": b"NATS/1.0 404 Message Not Found\r\n\r\n",
    "no request": b"NATS/1.0 408 Bad Request\r\n\r\n",
    "no number": message("KV_b", "$KV.b.k").replace(b"Sequence: 1", b"Sequence: one"),
    "more behind it": message("KV_b", "$KV.b.k")[:-2] + b"More: 1\r\n\r\n",
}


@pytest.mark.parametrize("block", IMPOSTORS.values(), ids=IMPOSTORS)
async def test_what_is_no_message_of_the_bucket_and_key_is_asked_of_the_leader(
    solo: LocalNats, known: Bucket, beside: Native, block: bytes
) -> None:
    config = (await beside.api("STREAM.INFO.KV_b"))["config"]
    await beside.api("STREAM.UPDATE.KV_b", {**config, "allow_direct": False})
    other = Impostor(block)
    async with other.at(solo, "b"):  # nobody but this one answers now
        for _ in range(5):
            answer = await get(known)
            assert (answer.status, answer.value, answer.json["revision"]) == (200, b"v", 1)
    assert other.answers > 0


async def test_headers_that_were_forged_in_a_message_are_its_own_business(
    solo: LocalNats, known: Bucket, beside: Native
) -> None:
    forged = message("KV_other", "$KV.b.k", revision=77)
    publish_raw(
        solo.port,
        b"HPUB $KV.b.k %d %d\r\n%bw\r\n" % (len(forged), len(forged) + 1, forged),
    )
    async with ways(beside, "b") as seen:
        answer = await get(known)
        assert (answer.value, answer.json["revision"]) == (b"w", 2)
        assert not answer.json["created_at"].startswith("2026-01-02T03:04:05")
        assert await seen.seen() == (1, 0)


# What is not allowed.


async def test_a_bucket_without_direct_gets_is_read_from_its_leader(
    solo: LocalNats, beside: Native
) -> None:
    await beside.make_bucket("plain", allow_direct=False)
    with running_gateway(solo.url) as http:
        bucket = Bucket(http, "plain")
        bucket.put("k", "v")
        async with ways(beside, "plain") as seen:
            await read(bucket)
            assert await seen.seen() == (0, READS)


async def test_direct_gets_that_others_take_away_are_missed_by_nobody(
    known: Bucket, beside: Native
) -> None:
    await read(known, 1)
    config = (await beside.api("STREAM.INFO.KV_b"))["config"]
    answer = await beside.api("STREAM.UPDATE.KV_b", {**config, "allow_direct": False})
    assert "error" not in answer, answer
    await read(known)


async def test_what_does_not_answer_is_asked_once_and_remembered(
    known: Bucket, beside: Native
) -> None:
    config = (await beside.api("STREAM.INFO.KV_b"))["config"]
    async with ways(beside, "b") as seen:  # who listens, and does not answer
        await beside.api("STREAM.UPDATE.KV_b", {**config, "allow_direct": False})
        await read(known)
        assert await seen.seen() == (1, READS)


async def test_a_missing_permission_is_remembered(tmp_path: Path) -> None:
    user = (
        f"{SOLO}\nauthorization {{ users: [ {{ user: gateway, password: p, "
        'permissions: { publish: { deny: ["$JS.API.DIRECT.>"] } } } ] }'
    )
    login = {"nats_user": "gateway", "nats_password": "p"}
    with (
        LocalNats(tmp_path, config=user) as server,
        running_gateway(server.url, buckets="b", **login) as http,
    ):
        bucket = Bucket(http, "b")
        bucket.put("k", "v")
        await read(bucket)
        log = (tmp_path / "nats-server.log").read_text()
        assert log.count("Publish Violation") == 1

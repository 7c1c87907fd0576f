"""Values whose time is up are no values, also while the server still has them.

nats-server 2.10 removes them up to a second late.
"""

import asyncio
import base64
import json
from collections.abc import Iterator
from datetime import datetime
from math import inf

import pytest

from jetkv.testing import LocalNats
from jetkv_gateway.embedded import NatsServer
from jetkv_gateway.jetstream.api import Naming
from jetkv_gateway.jetstream.bucket_cache import BucketCache
from jetkv_gateway.jetstream.buckets import JetStreamBuckets
from jetkv_gateway.jetstream.client import JetStream
from jetkv_gateway.jetstream.expiry import Lifetime, lifetime_of, seconds_of
from jetkv_gateway.kv.buckets import BucketSpec
from tests.servers import fetch
from tests.support.gateway import running_gateway
from tests.support.http import BUCKETS, Answer, Bucket, Http
from tests.support.link import connected
from tests.support.native import SECOND, Native, bucket_stream, native_client
from tests.support.waiting import eventually, soon
from tests.support.watching import watching


@pytest.fixture(scope="module")
def old(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NatsServer]:
    """The oldest server that the gateway works with."""
    with NatsServer(tmp_path_factory.mktemp("old"), binary=fetch("2.10.25")) as server:
        yield server


@pytest.fixture(scope="module")
def old_http(old: NatsServer) -> Iterator[Http]:
    with running_gateway(old.url) as http:
        yield http


async def test_a_value_past_its_time_is_gone_while_the_server_still_has_it(
    old: NatsServer, old_http: Http
) -> None:
    bucket = Bucket(old_http, "late")
    assert old_http.post(BUCKETS, {"name": "late", "ttl_seconds": 1}).status == 201
    late = []

    async def one(native: Native, number: int) -> None:
        """Its moment lies anywhere between two beats of the server's timer."""
        key = f"k{number}"
        await asyncio.sleep(number / 8)
        assert (await asyncio.to_thread(bucket.put, key, "v")).status == 200
        assert (await asyncio.to_thread(bucket.get, key)).status == 200
        assert key in await asyncio.to_thread(bucket.keys)
        await asyncio.sleep(1)

        async def gone() -> bool:
            return (await asyncio.to_thread(bucket.get, key)).status == 404

        await eventually(gone, "it is gone", 2)
        assert key not in await asyncio.to_thread(bucket.keys)
        if await native.last("late", key) is not None:
            late.append(key)
        assert (await asyncio.to_thread(bucket.delete, key)).status == 204
        last = await native.last("late", key)
        assert last is None or "KV-Operation" not in last[1], "a delete of no value writes nothing"
        created = await asyncio.to_thread(bucket.put, key, "new", If_None_Match="*")
        assert created.status == 200, "nobody is told that a key exists which nobody finds"
        assert (await asyncio.to_thread(bucket.get, key)).value == b"new"

    async with native_client(old.url) as native:
        await asyncio.gather(*(one(native, number) for number in range(8)))
    assert late, "the server was late with none of them"


async def test_a_value_past_its_time_is_in_no_snapshot_and_no_history(
    old: NatsServer, old_http: Http
) -> None:
    settings = {"name": "seen", "ttl_seconds": 1, "history": 2}
    assert old_http.post(BUCKETS, settings).status == 201
    bucket = Bucket(old_http, "seen")
    late = []

    def get(path: str, **headers: str) -> Answer:
        return old_http.get(f"{bucket.path}/{path}", **headers)

    async def snapshot(filters: str) -> list[str]:
        async with watching(old_http, bucket.name, f"?snapshot=true&{filters}") as watcher:
            frames = await watcher.until(lambda frame: frame["type"] == "kv_snapshot_end")
        return [frame["key"] for frame in frames[:-1]]

    async def one(native: Native, number: int) -> None:
        """Its moment lies anywhere between two beats of the server's timer."""
        key = f"k{number}"
        await asyncio.sleep(number / 8)
        put = await asyncio.to_thread(bucket.put, key, "v")
        assert len((await asyncio.to_thread(bucket.history, key)).json["entries"]) == 1
        await asyncio.sleep(1)

        async def gone() -> bool:
            return (await asyncio.to_thread(bucket.get, key)).status == 404

        await eventually(gone, "it is gone", 2)
        seen, both, history, lines, eventual, past = await asyncio.gather(
            snapshot(f"key={key}"),
            snapshot(f"key={key}&key=none"),
            asyncio.to_thread(bucket.history, key),
            asyncio.to_thread(
                get, f"keys?filter={key}&include=history", Accept="application/x-ndjson"
            ),
            asyncio.to_thread(get, f"keys/{key}?consistency=eventual"),
            asyncio.to_thread(get, f"keys/{key}?revision={put.json['revision']}"),
        )
        if await native.last(bucket.name, key) is not None:
            late.append(key)
        assert (seen, both) == ([], [])
        assert [history.status, eventual.status, past.status] == [404, 404, 404]
        assert [json.loads(line)["type"] for line in lines.body.splitlines()] == ["end"]

    async with native_client(old.url) as native:
        await asyncio.gather(*(one(native, number) for number in range(8)))
    assert late, "the server was late with none of them"


async def test_a_value_is_not_past_its_time_once_its_bucket_lets_it_live_for_longer(
    old: NatsServer, old_http: Http
) -> None:
    async with native_client(old.url) as native:
        stream = bucket_stream("longer", max_age=2 * SECOND)
        await native.make_stream(stream)
        bucket = Bucket(old_http, "longer")
        assert (await asyncio.to_thread(bucket.put, "k", "v")).status == 200
        assert (await asyncio.to_thread(bucket.get, "k")).status == 200
        assert "error" not in await native.api(
            "STREAM.UPDATE.KV_longer", {**stream, "max_age": 3600 * SECOND}
        )
        await asyncio.sleep(2.1)
        assert (await asyncio.to_thread(bucket.get, "k")).value == b"v", "it is looked at again"


async def test_while_one_looks_at_the_limits_again_others_still_know_when_values_expire(
    own_nats: LocalNats,
) -> None:
    own_nats.start()
    async with connected(own_nats.url) as connection:
        js = JetStream(connection, Naming(), 5.0)
        cache = BucketCache(js)
        await JetStreamBuckets(js, cache).create(BucketSpec("b", ttl_seconds=60))
        await cache.fresh_limits("b")
        own_nats.pause()
        looking = asyncio.create_task(cache.fresh_limits("b"))
        await soon(lambda: js.mux.in_flight, "the leader is asked")
        known = cache.lifetime("b")
        assert known is not None
        assert known.max_age == 60
        own_nats.resume()
        assert (await looking).lifetime is not None


AT = 1_700_000_000.0
NOW = 100.0


@pytest.mark.parametrize(
    ("max_age", "own", "headers", "age", "past"),
    [
        (60, False, {}, 59.9, False),
        (60, False, {}, 60, True),
        (60, False, {"Nats-TTL": "5s"}, 10, False),  # the stream does not know the header
        (60, True, {"Nats-TTL": "5s"}, 4.9, False),
        (60, True, {"Nats-TTL": "5s"}, 5, True),
        (60, True, {"Nats-TTL": "5"}, 5, True),
        (60, True, {"Nats-TTL": "1h"}, 60, True),
        (60, True, {"Nats-TTL": "never"}, 1e6, False),
        (60, True, {"Nats-TTL": "1h30m"}, 59, False),
        (60, True, {"Nats-TTL": "²"}, 59, False),
        (60, True, {}, 60, True),
        (inf, True, {}, 1e9, False),
        (inf, True, {"Nats-TTL": "2m"}, 120, True),
        (inf, True, {"Nats-TTL": "0"}, 1e9, False),
    ],
)
def test_whose_time_is_up(
    max_age: float, own: bool, headers: dict[str, str], age: float, past: bool
) -> None:
    lifetime = Lifetime(max_age, own, clock=AT - NOW)
    assert lifetime.is_expired(AT - age, headers, NOW) is past
    block = "NATS/1.0\r\n" + "".join(f"{n}: {v}\r\n" for n, v in headers.items()) + "\r\n"
    coded = base64.b64encode(block.encode()).decode() if headers else None
    assert lifetime.is_expired(AT - age, coded, NOW) is past
    assert lifetime.is_expired(AT - age, block.encode(), NOW) is past


@pytest.mark.parametrize(
    "text", ["2026-11-28T23:17:50.828552597Z", "2024-02-29T00:00:00Z", "1999-12-31T23:59:59.5Z"]
)
def test_a_time_of_nats_is_read_to_the_part_of_a_second(text: str) -> None:
    whole, _, rest = text.rstrip("Z").partition(".")
    expected = datetime.fromisoformat(whole + "+00:00").timestamp() + float(f"0.{rest or 0}")
    assert seconds_of(text) == pytest.approx(expected, abs=2e-6)


def test_a_time_is_the_servers_whatever_the_gateways_clock_says() -> None:
    info = {"config": {"max_age": 60 * SECOND}, "ts": "2026-11-28T23:17:50.5Z"}
    lifetime = lifetime_of(info, NOW)
    assert lifetime is not None
    stored = seconds_of("2026-11-28T23:16:55.123456789Z")
    assert not lifetime.is_expired(stored, None, NOW + 4.5)
    assert lifetime.is_expired(stored, None, NOW + 4.7)
    assert lifetime_of({"config": {}, "ts": info["ts"]}, NOW) is None

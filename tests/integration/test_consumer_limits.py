"""Limits and permissions of NATS that a watch or a listing meets: none leaves it in silence."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from websockets.exceptions import InvalidStatus

from jetkv_gateway.embedded import NatsServer
from jetkv_gateway.jetstream.api import Naming
from jetkv_gateway.jetstream.client import JetStream
from jetkv_gateway.jetstream.consumer import Consumer
from jetkv_gateway.jetstream.credits import ReadCredits
from jetkv_gateway.jetstream.feed import Feed
from jetkv_gateway.jetstream.names import names_of
from jetkv_gateway.kv.errors import BucketUnsuitable, Unavailable
from jetkv_gateway.watch import catch_up, live
from tests.cluster.proxy import proxied
from tests.support.gateway import running_gateway
from tests.support.http import BUCKETS, Bucket, Http
from tests.support.link import connected
from tests.support.native import SECOND, Native, native_client
from tests.support.waiting import eventually, until
from tests.support.watching import streaming, updates, watching


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "NO_ROOM_SECONDS", 0.5)
    monkeypatch.setattr(catch_up, "NO_ROOM_SECONDS", 0.5)


async def occupied(native: Native, bucket: str, name: str = "other") -> None:
    """Let another client have a consumer of a bucket's stream."""
    config = {"name": name, "ack_policy": "none", "mem_storage": True}
    body = {"stream_name": f"KV_{bucket}", "config": config}
    reply = await native.api(f"CONSUMER.CREATE.KV_{bucket}.{name}", body)
    assert "error" not in reply, reply


async def refused(http: Http, bucket: str, query: str = "") -> int:
    """The status that a handshake is refused with."""
    with pytest.raises(InvalidStatus) as caught:
        async with watching(http, bucket, query):
            pass
    return caught.value.response.status_code


def on(condition: Any) -> Any:
    return asyncio.to_thread(condition)


# --- a limit on what may be asked for at a time


@pytest.fixture
async def small_batches(tmp_path: Path) -> AsyncIterator[tuple[Bucket, Native]]:
    """A bucket of 150 keys on a server that delivers ten messages at a time."""
    limits = "limits { max_request_batch: 10 }"
    with NatsServer(tmp_path / "nats", jetstream=limits) as server:
        async with native_client(server.url) as native:
            await native.make_bucket("b", allow_msg_ttl=False)
            for number in range(150):
                await native.publish(f"$KV.b.k{number}", b"v")
            gateway = running_gateway(server.url)
            http = await asyncio.to_thread(gateway.__enter__)
            try:
                yield Bucket(http, "b"), native
            finally:
                await asyncio.to_thread(gateway.__exit__, None, None, None)


async def test_a_watch_asks_for_as_little_at_a_time_as_the_server_allows(
    small_batches: tuple[Bucket, Native],
) -> None:
    bucket, native = small_batches
    async with watching(bucket.http, "b", "?snapshot=true") as watcher:
        frames = await watcher.until(lambda frame: frame["type"] == "kv_snapshot_end", 5)
        assert len(updates(frames)) == 150
        for number in range(40):
            await native.publish(f"$KV.b.new{number}", b"v")
        assert [frame["key"] for frame in await watcher.take(40, 5)][-1] == "new39"
    async with watching(bucket.http, "b", "?resume_after=100") as watcher:
        assert len(await watcher.take(90, 5)) == 90


async def test_a_listing_asks_for_as_little_at_a_time_as_the_server_allows(
    small_batches: tuple[Bucket, Native],
) -> None:
    bucket, _ = small_batches
    assert len(await asyncio.to_thread(bucket.keys)) == 150


async def test_a_watch_goes_on_when_its_consumer_is_given_a_limit(
    http: Http, native: Native, bucket: Bucket
) -> None:
    async with watching(http, bucket.name) as watcher:
        names = (await native.api(f"CONSUMER.NAMES.KV_{bucket.name}"))["consumers"]
        info = await native.api(f"CONSUMER.INFO.KV_{bucket.name}.{names[0]}")
        config = {**info["config"], "max_batch": 1}
        body = {"stream_name": f"KV_{bucket.name}", "config": config, "action": "update"}
        reply = await native.api(f"CONSUMER.CREATE.KV_{bucket.name}.{names[0]}", body)
        assert "error" not in reply, reply
        for number in range(400):
            await native.publish(f"$KV.{bucket.name}.k{number}", b"v")
        assert [frame["key"] for frame in await watcher.take(400)][-1] == "k399"


@asynccontextmanager
async def feed_with(
    nats: NatsServer,
    bucket: str,
    limits: dict[str, Any],
    credits: ReadCredits | None = None,
    *,
    catch_up: bool = False,
) -> AsyncIterator[tuple[Feed, dict[str, Any]]]:
    """A feed on a consumer that has limits, and what the server says of its consumer."""
    naming = Naming()
    names = names_of(naming, bucket)
    async with connected(nats.url) as connection:
        consumer = Consumer(JetStream(connection, naming, 5.0), connection.mux, names, "limited")
        reply = await consumer.create([], inactive_seconds=60, **limits)
        stored = names.subject_prefix.encode()
        feed = Feed(
            connection.mux,
            stored,
            consumer,
            credits=credits or ReadCredits(),
            catch_up=catch_up,
            latest=None,
            heartbeat=1.0,
        )
        await feed.open()
        try:
            yield feed, reply["config"]
        finally:
            await feed.close()
            feed.release()
            await consumer.remove(5)


async def test_a_feed_that_ends_before_its_last_messages_are_read_gives_its_credit_back(
    make_bucket, nats: NatsServer
) -> None:
    bucket: Bucket = make_bucket()
    bucket.put("k", "v")
    credits = ReadCredits()
    async with feed_with(nats, bucket.name, {}, credits, catch_up=True) as (feed, _):
        assert [change.key for change in (await feed.read()).changes] == ["k"]
        bucket.put("l", "v")

        async def arrived() -> bool:
            return bool(feed._arrived)

        await eventually(arrived, "the batch goes on")
        feed._finish("the connection to NATS was lost")
        assert [change.key for change in (await feed.read()).changes] == ["l"]
        async with asyncio.timeout(1):  # it has nothing to wait for
            with pytest.raises(Unavailable):
                await feed.read()
    assert credits.free == credits.total


LIMITS: list[dict[str, Any]] = [
    {"max_batch": 1},
    {"max_expires": SECOND},
    {"max_bytes": 2000},
    {"max_batch": 2, "max_expires": SECOND // 2, "max_bytes": 1000},
]


@pytest.mark.parametrize("limits", LIMITS, ids=str)
async def test_a_feed_keeps_to_every_limit_that_its_consumer_has(
    nats: NatsServer, native: Native, bucket: Bucket, limits: dict[str, Any]
) -> None:
    async with feed_with(nats, bucket.name, limits) as (feed, config):
        feed.apply_limits(config)
        for number in range(5):
            await native.publish(f"$KV.{bucket.name}.k{number}", b"v" * 200)
        keys: list[str] = []
        while len(keys) < 5:
            keys += [change.key for change in (await feed.read()).changes]
        assert keys == ["k0", "k1", "k2", "k3", "k4"]


@pytest.mark.parametrize("limits", LIMITS, ids=str)
async def test_what_is_refused_for_good_is_an_error_with_the_reason(
    nats: NatsServer, native: Native, bucket: Bucket, limits: dict[str, Any]
) -> None:
    async with feed_with(nats, bucket.name, limits) as (feed, _):
        with pytest.raises(BucketUnsuitable, match="Exceeded MaxRequest"):
            await feed.read()


async def first_changes(feed: Feed) -> None:
    while not (await feed.read()).changes:
        pass


async def test_a_value_over_what_may_be_asked_for_is_an_error_with_the_reason(
    nats: NatsServer, native: Native, bucket: Bucket
) -> None:
    await native.publish(f"$KV.{bucket.name}.k", b"v" * 5000)
    async with feed_with(nats, bucket.name, {"max_bytes": 2000}) as (feed, config):
        feed.apply_limits(config)
        with pytest.raises(BucketUnsuitable, match="MaxBytes"):
            await first_changes(feed)


# --- no consumer is left


@pytest.fixture
async def crowded(native: Native, bucket_name: str) -> str:
    """A bucket that may have one consumer."""
    await native.make_bucket(bucket_name, max_consumers=1)
    await native.publish(f"$KV.{bucket_name}.k", b"v")
    return bucket_name


async def test_a_bucket_with_few_consumers_is_named(http: Http, crowded: str) -> None:
    warnings = Bucket(http, crowded).info()["warnings"]
    assert [warning["code"] for warning in warnings] == ["limited_consumers"]


async def test_a_watch_and_a_listing_for_which_no_consumer_is_left_are_refused(
    http: Http, native: Native, crowded: str
) -> None:
    await occupied(native, crowded)
    assert await refused(http, crowded) == 429
    assert await refused(http, crowded, "?snapshot=true") == 429
    async with streaming(http, crowded) as stream:
        assert stream.status == 429
    began = time.monotonic()
    answer = await asyncio.to_thread(http.get, f"{BUCKETS}/{crowded}/keys")
    assert (answer.status, answer.json["code"]) == (429, "resource_exhausted")
    assert "consumers" in answer.error
    assert time.monotonic() - began < 2


async def test_a_watch_that_cannot_catch_up_for_want_of_a_consumer_ends_with_a_word(
    http: Http, crowded: str, impatient: None
) -> None:
    async with watching(http, crowded, "?snapshot=true") as watcher:
        frames, _ = await watcher.closed()
    assert [(frame["type"], frame["code"]) for frame in frames] == [("error", "resource_exhausted")]
    assert "consumers" in frames[0]["message"]


async def test_a_browser_that_comes_back_and_finds_no_consumer_is_told(
    http: Http, native: Native, crowded: str, impatient: None
) -> None:
    await occupied(native, crowded)
    async with streaming(http, crowded, Last_Event_ID="0") as stream:
        assert stream.status == 200
        event = await stream.next()
        assert event is not None
        assert event.frame["code"] == "resource_exhausted"


@pytest.mark.parametrize("gets_room", [True, False])
async def test_a_watch_whose_consumer_is_taken_during_an_outage_waits_and_then_ends_with_a_word(
    nats: NatsServer,
    native: Native,
    crowded: str,
    monkeypatch: pytest.MonkeyPatch,
    gets_room: bool,
) -> None:
    monkeypatch.setattr(live, "NO_ROOM_SECONDS", 60.0 if gets_room else 3.0)
    async with proxied(nats.port) as proxy:
        gateway = running_gateway(proxy.url)
        http = await asyncio.to_thread(gateway.__enter__)
        try:
            async with watching(http, crowded) as watcher:
                proxy.refuse()
                for name in (await native.api(f"CONSUMER.NAMES.KV_{crowded}"))["consumers"]:
                    await native.api(f"CONSUMER.DELETE.KV_{crowded}.{name}")
                await occupied(native, crowded)
                await native.publish(f"$KV.{crowded}.k", b"new")
                proxy.mend()
                await on(
                    lambda: until(lambda: "watches" in http.get("/ready").json["warnings"], "named")
                )
                ready = await asyncio.to_thread(http.get, "/ready")
                assert ready.status == 200
                assert "consumers" in ready.json["warnings"]["watches"]
                assert crowded not in ready.json["warnings"]["watches"]
                if gets_room:
                    await native.api(f"CONSUMER.DELETE.KV_{crowded}.other")
                    assert updates([await watcher.next()]) == [("k", "put", 2)]
                else:
                    frames, _ = await watcher.closed()
                    assert [frame["code"] for frame in frames] == ["resource_exhausted"]
            await on(lambda: until(lambda: not http.get("/ready").json["warnings"], "it is over"))
        finally:
            proxy.mend()
            await asyncio.to_thread(gateway.__exit__, None, None, None)


async def test_an_account_without_a_consumer_left_is_no_silence_either(tmp_path: Path) -> None:
    account = (
        'accounts { A { users: [{ user: "a", password: "a" }]\n'
        "jetstream { max_mem: 64MB, max_file: 64MB, max_streams: 5, max_consumers: 1 } } }"
    )
    with NatsServer(tmp_path / "nats", config=account) as server:
        url = server.url.replace("nats://", "nats://a:a@")
        async with native_client(url) as native:
            await native.make_bucket("b")
            await native.publish("$KV.b.k", b"v")
            await occupied(native, "b")
            gateway = running_gateway(url)
            http = await asyncio.to_thread(gateway.__enter__)
            try:
                assert await refused(http, "b") == 429
                answer = await asyncio.to_thread(http.get, f"{BUCKETS}/b/keys")
                assert answer.status == 429
            finally:
                await asyncio.to_thread(gateway.__exit__, None, None, None)


# --- what the gateway's NATS user may not do


@pytest.fixture
async def forbidding(tmp_path: Path) -> AsyncIterator:
    """A gateway whose NATS user may not publish to the subject that a test names."""
    opened: list[Any] = []
    with NatsServer(tmp_path / "nats") as server:

        async def forbid(subject: str) -> Http:
            server.stop()
            server._config = (
                'authorization { users: [{ user: "root", password: "r" }, { user: "gw", '
                f'password: "g", permissions: {{ publish: {{ deny: "{subject}" }} }} }}] }}'
            )
            server.start()
            async with native_client(server.url, user="root", password="r") as native:
                await native.api("STREAM.CREATE.KV_b", bucket_config())
                await native.publish("$KV.b.k", b"v")
            opened.append(running_gateway(server.url, nats_user="gw", nats_password="g"))
            http: Http = await asyncio.to_thread(opened[-1].__enter__)
            return http

        yield forbid
        for gateway in opened:
            await asyncio.to_thread(gateway.__exit__, None, None, None)


def bucket_config() -> dict[str, Any]:
    return {
        "name": "KV_b",
        "subjects": ["$KV.b.>"],
        "max_msgs_per_subject": 1,
        "discard": "new",
        "allow_rollup_hdrs": True,
        "allow_direct": True,
    }


@pytest.mark.parametrize("query", ["", "?snapshot=true", "?resume_after=0"])
async def test_a_watch_that_may_not_ask_for_messages_ends_with_a_word(
    forbidding, query: str
) -> None:
    http = await forbidding("$JS.API.CONSUMER.MSG.NEXT.>")
    async with watching(http, "b", query) as watcher:
        frames, _ = await watcher.closed(3)
    assert [frame["code"] for frame in frames] == ["permission_denied"]
    assert "$JS.API.CONSUMER.MSG.NEXT.KV_b.*" in frames[0]["message"]


async def test_a_listing_that_may_not_ask_for_messages_is_refused_at_once(forbidding) -> None:
    http = await forbidding("$JS.API.CONSUMER.MSG.NEXT.>")
    began = time.monotonic()
    answer = await asyncio.to_thread(http.get, f"{BUCKETS}/b/keys")
    assert (answer.status, answer.json["code"]) == (403, "permission_denied")
    assert "$JS.API.CONSUMER.MSG.NEXT.KV_b.*" in answer.error
    assert time.monotonic() - began < 2


async def test_a_watch_that_may_not_have_a_consumer_is_refused(forbidding) -> None:
    http = await forbidding("$JS.API.CONSUMER.CREATE.>")
    assert await refused(http, "b") == 403
    answer = await asyncio.to_thread(http.get, f"{BUCKETS}/b/keys")
    assert answer.status == 403


# --- a stream that is no longer a bucket


async def test_a_watch_ends_with_a_word_where_the_subjects_of_its_bucket_are_changed(
    http: Http, native: Native, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live, "LOOK_SECONDS", 0.2)
    async with watching(http, bucket.name) as watcher:
        await asyncio.to_thread(bucket.put, "k", "v")
        await watcher.next()
        config = (await native.api(f"STREAM.INFO.KV_{bucket.name}"))["config"]
        changed = {**config, "subjects": [f"other.{bucket.name}.>"]}
        assert "error" not in await native.api(f"STREAM.UPDATE.KV_{bucket.name}", changed)
        frames, _ = await watcher.closed()
    assert [frame["code"] for frame in frames] == ["failed_precondition"]
    assert "its subjects are" in frames[0]["message"]


async def test_a_look_at_the_bucket_does_not_end_a_watch(
    http: Http, native: Native, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live, "LOOK_SECONDS", 0.02)
    async with watching(http, bucket.name) as watcher:
        for number in range(100):
            await native.publish(f"$KV.{bucket.name}.k{number}", b"v")

            async def seen(number: int = number) -> bool:
                return (await watcher.next())["key"] == f"k{number}"

            await eventually(seen, "each comes")

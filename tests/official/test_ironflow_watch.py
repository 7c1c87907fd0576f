"""The published Ironflow client for Python, unchanged, watching the gateway.

It watches by asyncio alone; its other calls block.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import (
    AbstractAsyncContextManager,
    ExitStack,
    aclosing,
    asynccontextmanager,
    suppress,
)

import pytest
import websockets.asyncio.client
from ironflow import IronflowClient, IronflowError
from websockets.asyncio.client import ClientConnection, connect

from jetkv_gateway.embedded import NatsServer
from tests.support.gateway import running_gateway
from tests.support.http import Bucket, Http
from tests.support.tokens import new_token, token_line
from tests.support.waiting import eventually

pytestmark = pytest.mark.official_client

SECONDS = 10


class Watch:
    """One iteration over `watch_kv`, already connected."""

    def __init__(self, events: AsyncIterator, first: asyncio.Task, connection: ClientConnection):
        self.connection = connection
        self._events = events
        self._first: asyncio.Task | None = first

    async def next(self):
        """The next event; None when the iteration has ended."""
        first, self._first = self._first, None
        async with asyncio.timeout(SECONDS):
            return await (first or anext(self._events, None))

    async def take(self, count: int) -> list[tuple]:
        events = [await self.next() for _ in range(count)]
        return [(event.key, event.operation, event.value, event.revision) for event in events]


Watching = Callable[..., AbstractAsyncContextManager[Watch]]


@pytest.fixture
def watching(monkeypatch: pytest.MonkeyPatch) -> Watching:
    """Watch a bucket; the body runs once the client is connected."""

    @asynccontextmanager
    async def watch(client: IronflowClient, bucket: str, key: str | None = None, **options):
        connected: asyncio.Future[ClientConnection] = asyncio.get_running_loop().create_future()

        async def connect_and_tell(*args, **kwargs) -> ClientConnection:
            connection = await connect(*args, **kwargs, **options)
            connected.set_result(connection)
            return connection

        # The client connects at the first step of the iteration, and tells nobody when it is done.
        monkeypatch.setattr(websockets.asyncio.client, "connect", connect_and_tell)
        async with aclosing(client.watch_kv(bucket, key=key)) as events:

            async def step():
                return await anext(events, None)

            first = asyncio.create_task(step())
            try:
                await asyncio.wait(
                    {connected, first}, timeout=SECONDS, return_when=asyncio.FIRST_COMPLETED
                )
                if not connected.done() and first.done():
                    first.result()
                yield Watch(events, first, connected.result())
            finally:
                first.cancel()
                with suppress(asyncio.CancelledError, IronflowError):
                    await first

    return watch


@pytest.fixture
def client(http: Http) -> IronflowClient:
    return IronflowClient(server_url=http.url)


@pytest.fixture
def tokens(nats: NatsServer, tmp_path) -> Iterator[tuple[Http, str]]:
    """A gateway that wants a token, and one that it takes."""
    path = tmp_path / "tokens"
    token = new_token()
    path.write_text(token_line("app", token))
    with running_gateway(nats.url, auth="tokens", auth_tokens=path) as http:
        yield http, token


async def put(client: IronflowClient, bucket: Bucket, key: str, value: object) -> int:
    answer = await asyncio.to_thread(client.kv_update_buckets_keys, bucket.name, key, value)
    return answer["revision"]


async def put_raw(bucket: Bucket, key: str, value: bytes) -> int:
    """Store bytes; the client itself can only store JSON."""
    answer = await asyncio.to_thread(bucket.put, key, value)
    assert answer.status == 200, answer
    return answer.json["revision"]


async def first_event(client: IronflowClient, bucket: str, key: str | None = None) -> object:
    async with asyncio.timeout(SECONDS), aclosing(client.watch_kv(bucket, key=key)) as events:
        return await anext(events)


async def test_the_first_event_is_the_first_write_after_it_connected(
    client: IronflowClient, bucket: Bucket, watching: Watching
) -> None:
    await put(client, bucket, "k", "before")
    async with watching(client, bucket.name) as watch:
        revision = await put(client, bucket, "k", {"n": 1})
        event = await watch.next()
    assert (event.bucket, event.key, event.operation) == (bucket.name, "k", "put")
    assert (event.value, event.revision) == (b'{"n": 1}', revision)


async def test_every_write_comes_once_and_in_order(
    client: IronflowClient, bucket: Bucket, watching: Watching
) -> None:
    async with watching(client, bucket.name) as watch:
        revisions = [await put_raw(bucket, f"k{n % 3}", b"%d" % n) for n in range(60)]
        events = await watch.take(60)
    assert events == [
        (f"k{n % 3}", "put", b"%d" % n, revision) for n, revision in enumerate(revisions)
    ]


@pytest.mark.parametrize("value", [b"", b"\x00\xff\n", b"x" * 700_000], ids=len)
async def test_a_value_comes_byte_for_byte(
    client: IronflowClient, bucket: Bucket, watching: Watching, value: bytes
) -> None:
    async with watching(client, bucket.name) as watch:
        await put_raw(bucket, "k", value)
        assert (await watch.next()).value == value


@pytest.mark.parametrize("key", ["user:123", "a/b c", "ключ", "a*b>c", "100%"])
async def test_any_key_comes_as_it_was_written(
    client: IronflowClient, bucket: Bucket, watching: Watching, key: str
) -> None:
    async with watching(client, bucket.name) as watch:
        await put(client, bucket, key, 1)
        assert (await watch.next()).key == key


@pytest.mark.parametrize("purge", [False, True])
async def test_a_delete_and_a_purge_come_as_a_delete_without_a_value(
    client: IronflowClient, bucket: Bucket, watching: Watching, purge: bool
) -> None:
    revision = await put(client, bucket, "k", 1)
    async with watching(client, bucket.name) as watch:
        await asyncio.to_thread(client.kv_delete_buckets_keys, bucket.name, "k", purge=purge)
        assert await watch.take(1) == [("k", "delete", None, revision + 1)]


async def test_an_expired_key_comes_as_a_delete_without_a_value(
    client: IronflowClient, make_bucket, watching: Watching
) -> None:
    bucket = make_bucket(ttl_seconds=1)
    async with watching(client, bucket.name) as watch:
        revision = await put(client, bucket, "k", 1)
        assert await watch.take(2) == [
            ("k", "put", b"1", revision),
            ("k", "delete", None, revision + 1),
        ]


@pytest.mark.parametrize(
    ("filter", "seen"),
    [
        ("user.*", ["user.1", "user.2"]),
        ("session.>", ["session.a.b"]),
        ("user:*", ["user:3 x"]),
        ("user:", ["user:3 x"]),
        ("user:3 x", ["user:3 x"]),
        (">", ["user.1", "user:3 x", "session.a.b", "user.2"]),
    ],
)
async def test_only_keys_that_the_filter_accepts_come(
    client: IronflowClient, bucket: Bucket, watching: Watching, filter: str, seen: list[str]
) -> None:
    async with watching(client, bucket.name, filter) as watch:
        for key in ("user.1", "user:3 x", "session.a.b", "user.2"):
            await put(client, bucket, key, 1)
        # Written last, so what comes before it is all there is.
        await put(client, bucket, seen[0], 2)
        events = await watch.take(len(seen) + 1)
    assert [event[0] for event in events] == [*seen, seen[0]]
    assert events[-1][2] == b"2"


async def test_an_unknown_bucket_is_an_error_with_its_text(
    client: IronflowClient, bucket_name: str
) -> None:
    with pytest.raises(IronflowError, match=r"^bucket not found$"):
        await first_event(client, bucket_name)


async def test_a_bad_filter_is_a_400(client: IronflowClient, bucket: Bucket) -> None:
    with pytest.raises(IronflowError, match="HTTP 400") as error:
        await first_event(client, bucket.name, "a.>.b")
    assert (error.value.status_code, error.value.code) == (400, "invalid_argument")


async def test_a_bad_bucket_name_is_a_400(client: IronflowClient) -> None:
    with pytest.raises(IronflowError, match="HTTP 400") as error:
        await first_event(client, "no.bucket")
    assert error.value.status_code == 400


async def test_a_client_with_a_token_watches(
    tokens: tuple[Http, str], bucket: Bucket, watching: Watching
) -> None:
    http, token = tokens
    client = IronflowClient(server_url=http.url, api_key=token)
    async with watching(client, bucket.name) as watch:
        revision = await put(client, bucket, "k", 1)
        assert await watch.take(1) == [("k", "put", b"1", revision)]


async def test_a_client_with_a_scoped_token_sees_what_its_scope_covers(
    nats: NatsServer, tmp_path, bucket: Bucket, watching: Watching
) -> None:
    token, file = new_token(), tmp_path / "tokens"
    file.write_text(token_line("app", token, f"read,write:{bucket.name}/user.*"))
    with running_gateway(nats.url, auth="tokens", auth_tokens=file) as http:
        client = IronflowClient(server_url=http.url, api_key=token)
        async with watching(client, bucket.name) as watch:
            await put_raw(bucket, "secret.1", b"1")
            revision = await put(client, bucket, "user.1", 1)
            assert await watch.take(1) == [("user.1", "put", b"1", revision)]
        listed = await asyncio.to_thread(client.kv_list_buckets_keys, bucket.name)
        assert listed["keys"] == ["user.1"]
        with pytest.raises(IronflowError, match="permission denied: write in bucket") as error:
            await put(client, bucket, "secret.1", 2)
        assert error.value.status_code == 403


@pytest.mark.parametrize("api_key", [None, "jetkv_wrong"])
async def test_a_client_without_a_good_token_gets_a_401(
    tokens: tuple[Http, str], bucket: Bucket, api_key: str | None, monkeypatch
) -> None:
    monkeypatch.delenv("IRONFLOW_API_KEY", raising=False)
    http, _ = tokens
    client = IronflowClient(server_url=http.url, api_key=api_key)
    with pytest.raises(IronflowError, match="HTTP 401") as error:
        await first_event(client, bucket.name)
    assert (error.value.status_code, error.value.code) == (401, "unauthenticated")


async def test_a_bucket_that_is_deleted_is_an_error_with_its_text(
    client: IronflowClient, bucket: Bucket, watching: Watching
) -> None:
    async with watching(client, bucket.name) as watch:
        await asyncio.to_thread(client.kv_delete_buckets, bucket.name)
        with pytest.raises(IronflowError, match=r"^bucket deleted$"):
            await watch.next()


async def test_a_server_that_stops_ends_the_iteration(
    nats: NatsServer, bucket: Bucket, watching: Watching
) -> None:
    with ExitStack() as stack:
        http = await asyncio.to_thread(stack.enter_context, running_gateway(nats.url))
        async with watching(IronflowClient(server_url=http.url), bucket.name) as watch:
            await asyncio.to_thread(stack.close)
            assert await watch.next() is None


async def test_the_pings_of_the_client_are_answered(
    client: IronflowClient, bucket: Bucket, watching: Watching
) -> None:
    # As it does by itself every 20 seconds, and closes when no answer comes in time.
    async with watching(client, bucket.name, ping_interval=0.05, ping_timeout=5) as watch:

        async def answered() -> bool:
            return watch.connection.latency > 0

        await eventually(answered, "a ping was answered")
        await put(client, bucket, "k", 1)
        assert (await watch.next()).key == "k"

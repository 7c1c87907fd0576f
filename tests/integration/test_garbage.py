"""What NATS answers, or does not, leaves nothing to the cyclic collector: errors hold their frames.

An error that a frame holds in a variable, and that holds the frame in its traceback, is a cycle.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from jetkv.testing import LocalNats
from jetkv_gateway.jetstream.api import Naming
from jetkv_gateway.jetstream.connection import Connection
from jetkv_gateway.jetstream.requests import RequestTimeout
from jetkv_gateway.jetstream.store import open_store
from jetkv_gateway.kv.commands import Get, ListKeys, Put
from jetkv_gateway.kv.errors import BucketNotFound, KeyNotFound
from jetkv_gateway.kv.retries import Retries
from jetkv_gateway.kv.store import Store
from tests.support.garbage import garbage
from tests.support.http import Bucket
from tests.support.link import connected
from tests.support.native import Native

COUNT = 200
# Of what goes on beside, such as pings.
BESIDE = COUNT // 10


@pytest.fixture
async def connection(nats: LocalNats) -> AsyncIterator[Connection]:
    async with connected(nats.url) as connection:
        yield connection


@pytest.fixture
async def store(connection: Connection) -> Store:
    return open_store(connection, Naming(), timeout=5)


async def check_nothing_left(do: Callable[[], Awaitable[None]]) -> None:
    await do()
    with garbage() as left:
        for _ in range(COUNT):
            await do()
    assert left.count < BESIDE, left.kinds


async def test_a_key_that_is_not_there(store: Store, bucket: Bucket) -> None:
    async def ask() -> None:
        with pytest.raises(KeyNotFound):
            await store.entries.get(Get(bucket.name, "none", "none"), Retries())

    await check_nothing_left(ask)


async def test_a_bucket_that_is_not_there(store: Store) -> None:
    async def ask() -> None:
        with pytest.raises(BucketNotFound):
            await store.entries.get(Get("nowhere", "k", "k"), Retries())
        with pytest.raises(BucketNotFound):
            await store.entries.put(Put("nowhere", "k", "k", b"v"), Retries())

    await check_nothing_left(ask)


async def test_a_listing(store: Store, bucket: Bucket) -> None:
    await asyncio.to_thread(bucket.put, "k", "v")

    async def ask() -> None:
        assert await store.listings.keys(ListKeys(bucket.name)) == ["k"]

    await check_nothing_left(ask)


async def test_requests_that_nobody_answers(connection: Connection, native: Native) -> None:
    await native.client.subscribe("silent")
    await native.settled()

    async def ask() -> None:
        with pytest.raises(RequestTimeout):
            await connection.mux.request("silent", timeout=0)

    async def many() -> None:
        await asyncio.gather(*(ask() for _ in range(COUNT)))

    await many()
    with garbage() as left:
        await many()
    assert left.count < BESIDE, left.kinds

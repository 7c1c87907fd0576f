"""The changes of a bucket on a real server: the suite of `kv.store.Changes` on JetStream."""

from collections.abc import AsyncIterator

import pytest

from jetkv.testing import LocalNats
from jetkv_gateway.jetstream.api import Naming
from jetkv_gateway.jetstream.store import open_store
from jetkv_gateway.kv.keys import encode
from tests.support.changes_suite import ChangesSuite, World
from tests.support.link import connected
from tests.support.native import Native


class OnJetStream(World):
    """A bucket of history 1, written by another client."""

    def __init__(self, native: Native, bucket: str) -> None:
        self.native = native
        self.bucket = bucket

    async def put(self, key: str, value: bytes = b"v") -> int:
        return await self._write(key, value)

    async def delete(self, key: str) -> int:
        return await self._write(key, b"", KV_Operation="DEL")

    async def remove_bucket(self) -> None:
        await self.native.api(f"STREAM.DELETE.KV_{self.bucket}")

    async def feeds(self) -> int:
        count: int = (await self.native.state(self.bucket))["consumer_count"]
        return count

    async def _write(self, key: str, value: bytes, **headers: str) -> int:
        ack = await self.native.publish(f"$KV.{self.bucket}.{encode(key)}", value, **headers)
        revision: int = ack["seq"]
        return revision


class TestJetStreamChanges(ChangesSuite):
    """What watches ask of a server."""

    @pytest.fixture
    async def world(
        self, nats: LocalNats, native: Native, bucket_name: str
    ) -> AsyncIterator[World]:
        world = OnJetStream(native, bucket_name)
        await native.make_bucket(bucket_name)
        async with connected(nats.url) as connection:
            world.changes = open_store(connection, Naming(), timeout=5).changes
            yield world

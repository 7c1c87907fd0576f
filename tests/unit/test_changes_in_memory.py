"""The buckets in memory do what JetStream does: the suite of `kv.store.Changes` on them."""

import pytest

from tests.support.changes import MemoryBucket, MemoryChanges
from tests.support.changes_suite import ChangesSuite, World


class InMemory(World):
    """A bucket in memory."""

    bucket = "b"

    def __init__(self) -> None:
        self.changes: MemoryChanges = MemoryChanges(b=MemoryBucket())

    async def put(self, key: str, value: bytes = b"v") -> int:
        return self.changes.buckets["b"].write(key, value)

    async def delete(self, key: str) -> int:
        return self.changes.buckets["b"].delete(key)

    async def remove_bucket(self) -> None:
        self.changes.delete("b")

    async def feeds(self) -> int:
        return self.changes.feeds


class TestMemoryChanges(ChangesSuite):
    """Held to what is asked of JetStream."""

    @pytest.fixture
    def world(self) -> World:
        return InMemory()

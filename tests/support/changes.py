"""Stand-ins for the changes of buckets."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from jetkv_gateway.kv.filters import EVERYTHING, Filter
from jetkv_gateway.kv.model import BucketState
from jetkv_gateway.kv.store import Feed, Newest, Stamp

__all__ = ["Unasked"]


class Unasked:
    """`kv.store.Changes` that nobody may ask for anything but what a test's own class answers."""

    async def state(self, bucket: str) -> BucketState:
        raise AssertionError("not asked for here")

    async def newest(self, bucket: str) -> Newest | None:
        raise AssertionError("not asked for here")

    async def first_from(self, bucket: str, revision: int) -> Stamp | None:
        raise AssertionError("not asked for here")

    @asynccontextmanager
    async def follow(
        self,
        bucket: str,
        *,
        after: int,
        latest: bool = False,
        filters: Sequence[Filter] = (EVERYTHING,),
        through: Newest | None = None,
        closely: bool = False,
    ) -> AsyncIterator[Feed]:
        raise AssertionError("not asked for here")
        yield

    async def available(self, timeout: float) -> None:
        raise AssertionError("not asked for here")

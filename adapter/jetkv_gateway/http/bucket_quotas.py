"""Holds callers to their quotas when they create or change buckets (docs/access.md#quotas)."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from jetkv_gateway.http.call import Call
from jetkv_gateway.kv.errors import Unavailable
from jetkv_gateway.kv.quotas import check_buckets, check_bytes
from jetkv_gateway.kv.store import Buckets

__all__ = ["BucketQuotas"]

_TURN_SECONDS = 10.0


class BucketQuotas:
    """The quotas of the callers of a worker."""

    def __init__(self, buckets: Buckets) -> None:
        self._buckets = buckets
        self._turn = asyncio.Lock()

    @asynccontextmanager
    async def checked(
        self, call: Call, bucket: str, max_bytes: int | None, *, creates: bool
    ) -> AsyncIterator[str]:
        """Check a change of a bucket, and yield the owner of a new one. Apply it in the block.

        Only one change of callers with a quota runs at a time in a worker, since two of them might
        fit alone and not together.

        Args:
            max_bytes: the wanted limit of the bucket; None keeps it.
            creates: whether the bucket is created if it does not exist.

        Raises:
            QuotaExceeded
            InvalidArgument: the bucket needs a limit.
            Unavailable: others take their turns for too long.
        """
        quota, owner = call.principal.quota, call.principal.name
        if quota is None:
            yield ""
            return
        try:
            async with asyncio.timeout(_TURN_SECONDS):
                await self._turn.acquire()
        except TimeoutError:
            raise Unavailable("too many changes of buckets at a time") from None
        try:
            buckets = await self._buckets.list(call)
            known = next((one for one in buckets if one.name == bucket), None)
            if known is None and creates:
                check_buckets(quota, owner, buckets)
                check_bytes(quota, owner, buckets, bucket, max_bytes or 0)
            elif known is not None and known.owner == owner and max_bytes is not None:
                check_bytes(quota, owner, buckets, bucket, max_bytes)
            yield owner
        finally:
            self._turn.release()

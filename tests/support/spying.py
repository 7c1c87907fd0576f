"""Which way reads of a bucket go: what a client that listens in sees of them."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from nats.aio.msg import Msg

from tests.support.native import Native


@dataclass
class Ways:
    """How many reads went each way since the last `forget`."""

    native: Native
    direct: int = 0
    leader: int = 0

    async def seen(self) -> tuple[int, int]:
        """(direct reads, reads of the leader) until now."""
        await self.native.client.flush()
        await asyncio.sleep(0)
        return self.direct, self.leader

    async def forget(self) -> None:
        await self.seen()
        self.direct = self.leader = 0


@asynccontextmanager
async def ways(native: Native, bucket: str, prefix: str = "$JS.API") -> AsyncIterator[Ways]:
    """Count the reads of a bucket.

    Somebody listens to its direct reads then, so that one which nobody answers is no longer
    answered by "no responders".
    """
    found = Ways(native)

    async def on_direct(_message: Msg) -> None:
        found.direct += 1

    async def on_leader(_message: Msg) -> None:
        found.leader += 1

    stream = f"KV_{bucket}"
    heard = [
        await native.client.subscribe(f"{prefix}.DIRECT.GET.{stream}", cb=on_direct),
        await native.client.subscribe(f"{prefix}.STREAM.MSG.GET.{stream}", cb=on_leader),
    ]
    await native.client.flush()
    try:
        yield found
    finally:
        for subscription in heard:
            await subscription.unsubscribe()

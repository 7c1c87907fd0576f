"""What other programs do on NATS beside the gateway: make buckets, and publish changes to them."""

import asyncio
import json
import time
from collections.abc import Callable
from ctypes import c_ulonglong
from urllib.parse import urlsplit

import nats
from nats.aio.client import Client
from nats.aio.msg import Msg

from tests.bench.children import until
from tests.support.native import bucket_stream

FIRST_REVISION = 1_000_000_000
"""So that all revisions, and all frames, have the same length."""

_BATCH = 64
_WINDOW = 2048
"""Changes that nats-server has not acked."""


class _Line(asyncio.Protocol):
    """A bare connection to nats-server: a change takes less than a microsecond of this process.

    By nats-py it takes several times as long, and the fastest watch would be measured by that.
    """

    def __init__(self) -> None:
        self.acked = 0
        self.refused: bytes | None = None
        self._cut = b""

    def connection_made(self, transport) -> None:
        self.transport = transport
        transport.write(b'CONNECT {"verbose":false,"pedantic":false}\r\nSUB acks 1\r\n')

    def data_received(self, data: bytes) -> None:
        if b"PING\r\n" in data:
            self.transport.write(b"PONG\r\n")
        data = self._cut + data
        if b'"error"' in data or b"-ERR" in data:
            self.refused = data
        self.acked += data.count(b'"seq":')
        self._cut = data[-5:]

    def connection_lost(self, exc: Exception | None) -> None:
        self.refused = self.refused or repr(exc).encode()


class Publisher:
    """A nats-py client.

    Args:
        progress: the number of changes that each watcher has got by now.
    """

    def __init__(self, nats_url: str, progress: c_ulonglong) -> None:
        self._nats_url = nats_url
        self._progress = progress
        self._client: Client | None = None
        self._published = 0
        self._acked = 0
        self._refused: bytes | None = None

    async def create(self, bucket: str, storage: str) -> None:
        await create(await self._connected(), bucket, storage)

    async def delete(self, bucket: str) -> None:
        await request(await self._connected(), f"STREAM.DELETE.KV_{bucket}", {})

    async def consumers(self, bucket: str) -> int:
        info = await request(await self._connected(), f"STREAM.INFO.KV_{bucket}", {})
        return info["state"]["consumer_count"]

    async def publish(self, bucket: str, size: int, seconds: float, ahead: int) -> int:
        """Change keys, each once, for some seconds; return how many.

        Args:
            ahead: how many changes watchers may be behind.
        """
        server = urlsplit(self._nats_url)
        loop = asyncio.get_running_loop()
        _, line = await loop.create_connection(_Line, server.hostname, server.port)
        # The last one of each batch is acked. Were one before it lost, watchers would not get it.
        start, rest = f"PUB $KV.{bucket}.k%09d ", f"{size}\r\n{'v' * size}\r\n"
        change, last = (start + rest).encode(), (start + "acks " + rest).encode()
        count = 0

        async def room(left: int) -> None:
            await until(
                lambda: count - _BATCH * line.acked <= left or line.refused is not None,
                "acks of nats-server",
                30,
            )
            assert line.refused is None, line.refused

        end = time.perf_counter() + seconds
        while time.perf_counter() < end:
            await self._caught_up(count + _BATCH - ahead)
            batch = [change % number for number in range(count + 1, count + _BATCH)]
            count += _BATCH
            line.transport.write(b"".join([*batch, last % count]))
            await room(_WINDOW)
            await asyncio.sleep(0)
        await room(0)
        line.transport.close()
        return count

    async def pass_by(self, bucket: str, count: int, size: int, flags: int) -> None:
        """Change many keys to large values, and now and then a flag to a small one."""
        for number in range(1, count + 1):
            await self._send(f"$KV.{bucket}.blob.{number:09}", b"v" * size)
            if number % (count // flags) == 0:
                await self._send(f"$KV.{bucket}.flags.f{number:09}", b"on")
            await self._acks(_BATCH)
        await self._acks(0)

    async def _connected(self) -> Client:
        if self._client is None:
            self._client = await nats.connect(self._nats_url)
            self._inbox = self._client.new_inbox()
            await self._client.subscribe(self._inbox, cb=self._take)
        return self._client

    async def _send(self, subject: str, value: bytes) -> None:
        client = await self._connected()
        await client.publish(subject, value, reply=self._inbox)
        self._published += 1

    async def _caught_up(self, count: int) -> None:
        await until(lambda: self._progress.value >= count, f"{count} at each watcher", 30)

    async def _acks(self, open_at_most: int) -> None:
        """Wait until all but so many publishes are acked."""
        await until(
            lambda: self._published - self._acked <= open_at_most or self._refused is not None,
            "acks of nats-server",
            30,
        )
        assert self._refused is None, self._refused

    async def _take(self, message: Msg) -> None:
        self._acked += 1
        if b'"error"' in message.data or not message.data:
            self._refused = message.data


async def request(client: Client, subject: str, document: dict) -> dict:
    reply = await client.request(f"$JS.API.{subject}", json.dumps(document).encode(), timeout=20)
    answer = json.loads(reply.data)
    assert "error" not in answer, answer
    return answer


async def create(client: Client, bucket: str, storage: str = "file") -> None:
    """Make a bucket whose revisions all have the same length."""
    stream = bucket_stream(bucket, first_seq=FIRST_REVISION, storage=storage)
    await request(client, f"STREAM.CREATE.KV_{bucket}", stream)


def with_client(nats_url: str, use: Callable) -> object:
    """Run `await use(client)` on a connection of its own."""

    async def run() -> object:
        client = await nats.connect(nats_url)
        try:
            return await use(client)
        finally:
            await client.close()

    return asyncio.run(run())

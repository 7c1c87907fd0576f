"""NATS without the gateway: what any other program on the same NATS sees and does."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import nats
from nats.aio.client import Client
from nats.js.api import KeyValueConfig
from nats.js.errors import ServerError
from nats.js.kv import KeyValue

from jetkv_gateway.jetstream.headers import read_headers

SECOND = 1_000_000_000
STORE_NOT_CREATED = 10049


def bucket_stream(bucket: str, **config: Any) -> dict[str, Any]:
    """A bucket's stream as any NATS client lays it out; `config` is added to it."""
    return {
        "name": f"KV_{bucket}",
        "subjects": [f"$KV.{bucket}.>"],
        "max_msgs_per_subject": 1,
        "discard": "new",
        "storage": "file",
        "num_replicas": 1,
        "allow_rollup_hdrs": True,
        "allow_direct": True,
        "deny_delete": True,
        **config,
    }


class Native:
    """A nats-py client; the streams it made are gone when it closes."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self._made: list[str] = []

    @property
    def version(self) -> tuple[int, int]:
        """The server's, such as (2, 10)."""
        version = self.client.connected_server_version
        return version.major, version.minor

    async def settled(self) -> None:
        """Wait until the server has taken in all that was sent.

        nats-py's `flush` does not: its PING overtakes what waits to be written.
        """
        await self.api("INFO")

    async def api(self, verb: str, body: Any = None) -> dict[str, Any]:
        """Call the JetStream API; the reply as it is, with its `error` if it has one."""
        payload = b"" if body is None else json.dumps(body).encode()
        message = await self.client.request(f"$JS.API.{verb}", payload, timeout=5)
        reply: dict[str, Any] = json.loads(message.data)
        return reply

    async def error(self, verb: str, body: Any = None) -> dict[str, Any]:
        """Call the JetStream API, which has to refuse; its error."""
        reply = await self.api(verb, body)
        assert "error" in reply, reply
        error: dict[str, Any] = reply["error"]
        return error

    async def publish(self, subject: str, value: bytes = b"", **headers: str) -> dict[str, Any]:
        """Publish into a stream; its ack as it is. Underscores in header names stand for dashes."""
        sent = {name.replace("_", "-"): text for name, text in headers.items()}
        message = await self.client.request(subject, value, timeout=5, headers=sent or None)
        ack: dict[str, Any] = json.loads(message.data)
        return ack

    async def fill(self, bucket: str, keys: Sequence[str], value: bytes = b"v") -> None:
        """Store a value under many keys that are valid in NATS; it is stored on return."""
        for start in range(0, len(keys), 500):
            some = keys[start : start + 500]
            await asyncio.gather(*(self.publish(f"$KV.{bucket}.{key}", value) for key in some))

    async def make_stream(self, config: dict[str, Any]) -> None:
        """Create a stream; where another one is just leaving the disk, it takes a second try."""
        reply = await self.api(f"STREAM.CREATE.{config['name']}", config)
        async with asyncio.timeout(5):
            while reply.get("error", {}).get("err_code") == STORE_NOT_CREATED:
                await asyncio.sleep(0.02)
                reply = await self.api(f"STREAM.CREATE.{config['name']}", config)
        assert "error" not in reply, reply
        self._made.append(config["name"])

    async def make_bucket(self, bucket: str, **config: Any) -> None:
        await self.make_stream(bucket_stream(bucket, **config))

    async def make_kv(self, bucket: str, **config: Any) -> KeyValue:
        """Create a bucket as nats-py does; see `make_stream` for the second try."""
        jetstream = self.client.jetstream()
        async with asyncio.timeout(5):
            while True:
                try:
                    kv = await jetstream.create_key_value(KeyValueConfig(bucket, **config))
                except ServerError as error:
                    if error.err_code != STORE_NOT_CREATED:
                        raise
                    await asyncio.sleep(0.02)
                else:
                    self._made.append(f"KV_{bucket}")
                    return kv

    async def kv(self, bucket: str) -> KeyValue:
        return await self.client.jetstream().key_value(bucket)

    async def state(self, bucket: str) -> dict[str, Any]:
        """A stream's state: `messages`, `last_seq`, `consumer_count` and more."""
        reply = await self.api(f"STREAM.INFO.KV_{bucket}")
        state: dict[str, Any] = reply["state"]
        return state

    async def last(self, bucket: str, tokens: str) -> tuple[bytes, dict[str, str]] | None:
        """The newest message of a subject, value and headers, or None."""
        query = {"last_by_subj": f"$KV.{bucket}.{tokens}"}
        reply = await self.api(f"STREAM.MSG.GET.KV_{bucket}", query)
        if "error" in reply:
            return None
        message = reply["message"]
        headers = read_headers(base64.b64decode(message.get("hdrs", "")))
        return base64.b64decode(message.get("data", "")), headers

    async def remove_made(self) -> None:
        for stream in reversed(self._made):
            await self.api(f"STREAM.DELETE.{stream}")


@asynccontextmanager
async def native_client(url: str, **options: Any) -> AsyncIterator[Native]:
    """Connect; `options` are nats-py's, such as `user` and `password`."""
    native = Native(await nats.connect(url, **options))
    try:
        yield native
    finally:
        if native.client.is_connected:
            await native.remove_made()
        await native.client.close()

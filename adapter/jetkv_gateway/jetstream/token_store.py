"""The gateway's own bucket of tokens on JetStream (docs/access.md#where-tokens-are-kept).

It is a bucket like the others, but its stream has a name and subjects that no route leads to.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from jetkv_gateway.jetstream.api import EXPECTED_NEWEST, OPERATION, OWN_BUCKET, TokenNaming
from jetkv_gateway.jetstream.bucket_cache import BucketCache
from jetkv_gateway.jetstream.bucket_changes import JetStreamBucketChanges
from jetkv_gateway.jetstream.buckets import JetStreamBuckets
from jetkv_gateway.jetstream.changes import JetStreamChanges
from jetkv_gateway.jetstream.client import JetStream, RetryWindow
from jetkv_gateway.jetstream.entries import JetStreamEntries
from jetkv_gateway.jetstream.errors import WRONG_LAST_SEQUENCE, api_error
from jetkv_gateway.jetstream.headers import write_headers
from jetkv_gateway.jetstream.names import names_of
from jetkv_gateway.kv.buckets import BucketSpec
from jetkv_gateway.kv.commands import Put
from jetkv_gateway.kv.errors import BucketExists, BucketNotFound, GatewayError, RevisionMismatch
from jetkv_gateway.kv.keys import encode
from jetkv_gateway.kv.model import MUST_NOT_EXIST
from jetkv_gateway.kv.plans import BucketChange
from jetkv_gateway.kv.retries import Retries
from jetkv_gateway.kv.store import Feed
from jetkv_gateway.kv.token_store import Record, Records

__all__ = ["JetStreamTokenStore"]

_REPLICAS = 3
_DESCRIPTION = "Tokens of jetkv gateways: hashes, scopes, expiry. Written by the gateways alone."
_CHECK = "list the tokens"


class JetStreamTokenStore:
    """`kv.token_store.TokenStore` on JetStream.

    Args:
        js: of the other buckets of the gateway. The tokens share its connection and credit.
    """

    def __init__(self, js: JetStream) -> None:
        self._js = js = js.sharing(TokenNaming(js.naming.prefix, js.naming.domain))
        self._names = names_of(js.naming, OWN_BUCKET)
        cache = BucketCache(js)
        self._cache = cache
        self._buckets = JetStreamBuckets(js, cache)
        self._bucket_changes = JetStreamBucketChanges(js, cache, self._buckets)
        self._changes = JetStreamChanges(js, cache)
        self._entries = JetStreamEntries(js, cache)

    async def ensure(self) -> None:
        spec = BucketSpec(
            name=OWN_BUCKET,
            description=_DESCRIPTION,
            expiry_markers=False,
            key_ttl=False,
            batches=False,
        )
        try:
            await self._cache.stream(OWN_BUCKET)
        except BucketNotFound:
            try:
                await self._buckets.create(spec)
            except BucketExists:
                await self._cache.stream(OWN_BUCKET)

    async def grow(self) -> bool:
        info = await self._buckets.info(OWN_BUCKET)
        if info.replicas >= _REPLICAS:
            return True
        if not info.cluster:
            return False
        try:
            await self._bucket_changes.apply(BucketChange(OWN_BUCKET, {"replicas": _REPLICAS}))
        except GatewayError:
            return False
        return True

    @asynccontextmanager
    async def follow(self) -> AsyncIterator["_TokenFeed"]:
        newest = await self._changes.newest(OWN_BUCKET)
        async with self._changes.follow(OWN_BUCKET, after=0, latest=True) as feed:
            yield _TokenFeed(feed, newest.revision if newest is not None else 0)

    async def wait_available(self, timeout: float) -> None:
        await self._js.wait_available(timeout)

    async def newest(self) -> int:
        newest = await self._changes.newest(OWN_BUCKET)
        return newest.revision if newest is not None else 0

    async def create(self, key: str, value: bytes) -> int:
        put = Put.of(OWN_BUCKET, key, value, expected=MUST_NOT_EXIST)
        return await self._entries.put(put, Retries())

    async def put(self, key: str, value: bytes) -> int:
        return await self._entries.put(Put.of(OWN_BUCKET, key, value), Retries())

    async def remove(self, key: str, last: int | None = None) -> int:
        names, headers = self._names, {OPERATION: "DEL"}
        if last is not None:
            headers[EXPECTED_NEWEST] = str(last)
        answer = await self._js.publish(
            names.stream,
            (names.publish_prefix + encode(key)).encode(),
            b"",
            write_headers(headers),
            _CHECK,
            RetryWindow(None),
        )
        if "error" in answer:
            if answer["error"].get("err_code") == WRONG_LAST_SEQUENCE:
                raise RevisionMismatch
            raise api_error(answer["error"])
        revision: int = answer["seq"]
        return revision


class _TokenFeed:
    """`kv.token_store.TokenFeed` on a feed of the bucket.

    Args:
        newest: the newest revision when the feed was opened.
    """

    def __init__(self, feed: Feed, newest: int) -> None:
        self._feed = feed
        self._newest = newest

    async def read(self) -> Records:
        batch = await self._feed.read()
        changes = [
            Record(one.key, one.value if one.live else None, one.revision) for one in batch.changes
        ]
        return Records(changes, batch.reached, batch.reached >= self._newest)

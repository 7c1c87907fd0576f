"""Buckets: create, describe, list, delete."""

from typing import Any

import orjson

from jetkv_gateway.jetstream.bucket_cache import BucketCache
from jetkv_gateway.jetstream.capabilities import Capability, since
from jetkv_gateway.jetstream.client import JetStream
from jetkv_gateway.jetstream.credits import CreditRequest
from jetkv_gateway.jetstream.errors import nothing_applied
from jetkv_gateway.jetstream.streams import bucket_info, stream_config, unsuitable_reason
from jetkv_gateway.kv.buckets import BucketInfo, BucketSpec
from jetkv_gateway.kv.errors import (
    BucketExists,
    BucketNotFound,
    BucketUnsuitable,
    DeadlineExceeded,
    InvalidArgument,
)
from jetkv_gateway.kv.keys import check_bucket
from jetkv_gateway.kv.retries import Retries

__all__ = ["JetStreamBuckets"]

_PAGE_BYTES = 1024 * 1024
"""The largest page of a list of streams; a server sends at most 256 streams per page."""


class JetStreamBuckets:
    """`kv.store.Buckets` on JetStream."""

    def __init__(self, js: JetStream, cache: BucketCache) -> None:
        self._js = js
        self._naming = js.naming
        self._cache = cache
        self._page = CreditRequest(js.credits.bulk, _PAGE_BYTES)

    async def create(self, spec: BucketSpec, retries: Retries | None = None) -> BucketInfo:
        self._cache.forget(spec.name)
        await self._require_free(spec.name, retries)
        config = stream_config(self._naming, spec, markers=await self._marks_expiry(spec))
        info = await self._js.call(
            f"STREAM.CREATE.{self._naming.stream(spec.name)}",
            orjson.dumps(config),
            check=f"GET the bucket {spec.name!r}: it is listed once it was created",
            retries=retries,
        )
        return bucket_info(self._naming, info)

    async def _require_free(self, name: str, retries: Retries | None) -> None:
        """Refuse a name that is in use, even by a stream that is offline.

        After a downgrade, a standalone server cannot read some streams. It lets a create replace
        such a stream, reports success, and loses the old data.

        Raises:
            BucketExists: the bucket exists.
            BucketUnsuitable: a stream of that name exists, but is offline.
        """
        try:
            await self._js.call(f"STREAM.INFO.{self._naming.stream(name)}", retries=retries)
        except BucketNotFound:
            return
        except DeadlineExceeded as error:
            raise nothing_applied(error) from error.__cause__
        raise BucketExists

    async def _marks_expiry(self, spec: BucketSpec) -> bool:
        if not spec.ttl_seconds or spec.expiry_markers is False:
            return False
        can = (await self._js.host()).can(Capability.EXPIRY_MARKERS)
        if spec.expiry_markers and not can:
            version = since(Capability.EXPIRY_MARKERS)
            raise BucketUnsuitable(f"expiry_markers need nats-server {version} or newer")
        return can

    async def info(self, name: str, retries: Retries | None = None) -> BucketInfo:
        return bucket_info(self._naming, await self._cache.stream(name, retries=retries))

    async def list(self, retries: Retries | None = None) -> list[BucketInfo]:
        found: dict[str, BucketInfo] = {}
        offset = 0
        while True:
            page = await self._js.call(
                "STREAM.LIST",
                orjson.dumps({"offset": offset, "subject": "$KV.*.>"}),
                retries=retries,
                credit=self._page,
            )
            streams = page.get("streams") or []
            for info in streams:
                bucket = self._listed(info["config"])
                if bucket is not None:
                    found[bucket] = bucket_info(self._naming, info)
            offset += len(streams)
            if not streams or offset >= page["total"]:
                return [found[name] for name in sorted(found)]

    def _listed(self, config: dict[str, Any]) -> str | None:
        bucket = self._naming.bucket(config["name"])
        if bucket is None or unsuitable_reason(config) is not None:
            return None
        try:
            return check_bucket(bucket)
        except InvalidArgument:
            return None

    async def delete(self, name: str, retries: Retries | None = None) -> None:
        try:
            await self._cache.stream(name, retries=retries)
            self._cache.forget(name)
            await self._js.call(
                f"STREAM.DELETE.{self._naming.stream(name)}",
                check=f"GET the bucket {name!r}: it answers 404 once it was deleted",
                retries=retries,
            )
        except DeadlineExceeded as error:
            raise nothing_applied(error) from error.__cause__

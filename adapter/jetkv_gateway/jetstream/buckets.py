"""Buckets: create, describe, list, delete."""

import logging
from typing import Any

import orjson

from jetkv_gateway.jetstream.bucket_cache import BucketCache
from jetkv_gateway.jetstream.client import JetStream
from jetkv_gateway.jetstream.configs import marked, new_config, owned, read_settings, unmarked
from jetkv_gateway.jetstream.credits import CreditRequest
from jetkv_gateway.jetstream.errors import nothing_applied
from jetkv_gateway.jetstream.features import resolved
from jetkv_gateway.jetstream.republish import check_republish
from jetkv_gateway.jetstream.streams import bucket_info, unsuitable_reason
from jetkv_gateway.kv.buckets import BucketInfo, BucketSpec
from jetkv_gateway.kv.errors import (
    BucketExists,
    BucketNotFound,
    BucketProtected,
    DeadlineExceeded,
    GatewayError,
    InvalidArgument,
)
from jetkv_gateway.kv.keys import check_bucket
from jetkv_gateway.kv.retries import Retries

__all__ = ["JetStreamBuckets"]

_log = logging.getLogger("jetkv.nats")

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
        await check_republish(self._js, spec.name, spec.republish, retries)
        await self._require_free(spec.name, retries)
        config = new_config(self._naming, spec.name, await resolved(self._js, spec, retries))
        config = owned(config, spec.owner)
        stream = self._naming.stream(spec.name)
        info = await self._js.call(
            f"STREAM.CREATE.{stream}",
            orjson.dumps(marked(config)),
            check=f"GET the bucket {spec.name!r}: it is listed once it was created",
            retries=retries,
        )
        try:
            plain = orjson.dumps(unmarked(info["config"]))
            await self._js.call(f"STREAM.UPDATE.{stream}", plain, check="")
        except GatewayError as error:
            # The bucket is there; with the mark, only a native create of the same one would fail.
            _log.info("bucket %s keeps the mark of its creation: %s", spec.name, error.message)
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
            info = await self._cache.stream(name, retries=retries)
            if read_settings(info["config"])["protected"]:
                raise BucketProtected
            self._cache.forget(name)
            await self._js.call(
                f"STREAM.DELETE.{self._naming.stream(name)}",
                check=f"GET the bucket {name!r}: it answers 404 once it was deleted",
                retries=retries,
            )
        except DeadlineExceeded as error:
            raise nothing_applied(error) from error.__cause__

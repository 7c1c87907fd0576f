"""Changes buckets: compares the wanted settings with the current ones and applies the difference.

NATS has no compare-and-set for a stream's configuration. The gateway reads it, changes only the
bucket's settings in it, and writes the whole. Of two changes at the same time, the later one wins.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import orjson

from jetkv_gateway.jetstream.bucket_cache import BucketCache
from jetkv_gateway.jetstream.bucket_warnings import cluster_of
from jetkv_gateway.jetstream.buckets import JetStreamBuckets
from jetkv_gateway.jetstream.capabilities import host_of
from jetkv_gateway.jetstream.client import JetStream
from jetkv_gateway.jetstream.configs import changed_config, described, new_config
from jetkv_gateway.jetstream.errors import nothing_applied
from jetkv_gateway.jetstream.expiry import seconds_of
from jetkv_gateway.jetstream.features import require, resolved
from jetkv_gateway.jetstream.losses import losses_of
from jetkv_gateway.jetstream.names import names_of
from jetkv_gateway.jetstream.republish import check_republish
from jetkv_gateway.jetstream.streams import bucket_info
from jetkv_gateway.kv.bucket_values import Republish
from jetkv_gateway.kv.buckets import FIELDS, BucketInfo, BucketSpec
from jetkv_gateway.kv.errors import (
    BucketExists,
    BucketNotFound,
    CannotBeChanged,
    DeadlineExceeded,
    InvalidArgument,
    WouldLoseData,
)
from jetkv_gateway.kv.plans import BucketChange, Changed, Difference, plan
from jetkv_gateway.kv.retries import Retries

__all__ = ["JetStreamBucketChanges"]

_TRIES = 3
"""The limit of tries while others create and delete the bucket at the same time."""


class JetStreamBucketChanges:
    """`kv.store.BucketChanges` on JetStream."""

    def __init__(self, js: JetStream, cache: BucketCache, buckets: JetStreamBuckets) -> None:
        self._js = js
        self._cache = cache
        self._buckets = buckets

    async def apply(self, change: BucketChange, retries: Retries | None = None) -> Changed:
        left = _TRIES
        while True:
            left -= 1
            try:
                info = await self._cache.stream(change.name, retries=retries)
            except BucketNotFound:
                if not change.create:
                    raise
            except DeadlineExceeded as error:
                raise nothing_applied(error) from error.__cause__
            else:
                return await self._change(change, info, retries)
            try:
                return await self._create(change, retries)
            except BucketExists:
                # Another client created the bucket meanwhile, or a stream has this name.
                if not left:
                    raise

    async def _create(self, change: BucketChange, retries: Retries | None) -> Changed:
        spec = change.spec
        if change.dry_run:
            info = await self._would_be(spec, retries)
        else:
            info = await self._buckets.create(spec, retries)
        return Changed(info, tuple(name for name in FIELDS if name in change.wanted), created=True)

    async def _would_be(self, spec: BucketSpec, retries: Retries | None) -> BucketInfo:
        """Return the bucket that a create would make.

        Raises:
            GatewayError: why the create would be refused, as far as the gateway can know.
        """
        await check_republish(self._js, spec.name, spec.republish, retries)
        if spec.replicas > 1 and self._js.connection.connected_server.standalone:
            raise InvalidArgument(_NO_CLUSTER)
        config = new_config(self._js.naming, spec.name, await resolved(self._js, spec, retries))
        return bucket_info(
            self._js.naming,
            {
                "config": described(config),
                "state": {"messages": 0, "bytes": 0},
                "created": datetime.now(UTC).isoformat().replace("+00:00", "Z"),
            },
        )

    async def _change(
        self, change: BucketChange, info: Mapping[str, Any], retries: Retries | None
    ) -> Changed:
        js = self._js
        names = names_of(js.naming, change.name)
        current = bucket_info(js.naming, dict(info))
        found = plan(current, change.wanted)
        republish = change.wanted.get("republish", Republish())
        if "republish" in found.changes or republish.forbidden:
            await check_republish(js, change.name, republish, retries)
        if found.impossible:
            raise CannotBeChanged(_shown(found.impossible))
        for name, difference in found.changes.items():
            if difference.wanted is True:
                require(host_of(info), name)
        if "replicas" in found.changes and change.wanted["replicas"] > 1 and not cluster_of(info):
            # Some versions accept this and still keep one copy.
            raise InvalidArgument(_NO_CLUSTER)
        if not change.allow_data_loss:
            try:
                losses = await losses_of(js, self._cache, names, info, found, retries)
            except DeadlineExceeded as error:
                raise nothing_applied(error) from error.__cause__
            if losses:
                raise WouldLoseData(_shown(losses))
        changed = tuple(found.changes)
        if not changed:
            return Changed(current, (), created=False)
        config = changed_config(info["config"], found.changes, seconds_of(info["ts"]))
        if change.dry_run:
            if "duplicate_window" in info["config"]:  # not with sources
                config = described(config)
            return Changed(bucket_info(js.naming, {**info, "config": config}), changed, False)
        self._cache.forget(change.name)
        try:
            updated = await js.call(
                f"STREAM.UPDATE.{names.stream}",
                orjson.dumps(config),
                check=f"GET the bucket {change.name!r}: it shows the settings that it has",
                retries=retries,
            )
        finally:
            # Forget what was read meanwhile, because it may be older than the change.
            self._cache.forget(change.name)
        return Changed(bucket_info(js.naming, updated), changed, created=False)


_NO_CLUSTER = "invalid replicas: more than one needs a NATS cluster"


def _shown(differences: Mapping[str, Difference]) -> dict[str, dict[str, Any]]:
    return {
        name: {"current": one.current, "wanted": one.wanted} for name, one in differences.items()
    }

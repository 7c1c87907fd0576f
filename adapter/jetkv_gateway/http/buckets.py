"""Handlers of the routes for buckets."""

from jetkv_gateway.http.bucket_schema import BucketCreate, BucketList, BucketOut
from jetkv_gateway.http.call import Call
from jetkv_gateway.kv.access import Verb
from jetkv_gateway.kv.store import Buckets

__all__ = ["BODY_LIMIT", "BucketHandlers"]

BODY_LIMIT = 64 * 1024
"""The largest JSON body, in bytes."""


class BucketHandlers:
    """The handlers of the routes for buckets."""

    def __init__(self, buckets: Buckets) -> None:
        self._buckets = buckets

    async def create_bucket(self, call: Call) -> None:
        spec = BucketCreate.read(call.request.body).spec()
        # Only the body names the bucket, so the permission is checked here.
        call.require(Verb.CREATE_BUCKET, spec.name)
        info = BucketOut.of(await self._buckets.create(spec, call.retries))
        call.answer_json(201, info.json_bytes())

    async def list_buckets(self, call: Call) -> None:
        found = [BucketOut.of(info) for info in await self._buckets.list(call.retries)]
        call.answer_json(200, BucketList(buckets=found, count=len(found)).json_bytes())

    async def get_bucket(self, call: Call, bucket: str) -> None:
        info = BucketOut.of(await self._buckets.info(bucket, call.retries))
        call.answer_json(200, info.json_bytes())

    async def delete_bucket(self, call: Call, bucket: str) -> None:
        await self._buckets.delete(bucket, call.retries)
        call.answer(204, b"", b"")

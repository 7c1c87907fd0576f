"""Handlers of the routes for buckets."""

from dataclasses import replace

from jetkv_gateway.http.auditing import note_subjects
from jetkv_gateway.http.bucket_quotas import BucketQuotas
from jetkv_gateway.http.bucket_schema import (
    BucketChanged,
    BucketCreate,
    BucketList,
    BucketOut,
    BucketPatch,
)
from jetkv_gateway.http.call import Call
from jetkv_gateway.http.preconditions import refuse_conditions
from jetkv_gateway.kv.access import Verb
from jetkv_gateway.kv.scopes import ScopeVerb
from jetkv_gateway.kv.store import BucketChanges, Buckets

__all__ = ["BODY_LIMIT", "BucketHandlers"]

BODY_LIMIT = 64 * 1024
"""The largest JSON body, in bytes."""


class BucketHandlers:
    """The handlers of the routes for buckets."""

    def __init__(self, buckets: Buckets, changes: BucketChanges) -> None:
        self._buckets = buckets
        self._changes = changes
        self._quotas = BucketQuotas(buckets)

    async def create_bucket(self, call: Call) -> None:
        spec = BucketCreate.read(call.request.body).spec()
        verb = Verb.CREATE_BUCKET
        note_subjects(call, [(verb.value, spec.name, "key", None, None)])
        # Only the body names the bucket, so the permission is checked here.
        call.require(verb, spec.name)
        async with self._quotas.checked(call, spec.name, spec.max_bytes, creates=True) as owner:
            info = await self._buckets.create(replace(spec, owner=owner), call)
        call.answer_json(201, BucketOut.of(info, call.principal.grants).json_bytes())

    async def list_buckets(self, call: Call) -> None:
        grants = call.principal.grants
        if not grants.everywhere(ScopeVerb.READ):
            call.mark_filtered()
        found = [
            BucketOut.of(info, grants)
            for info in await self._buckets.list(call)
            if grants.touches(ScopeVerb.READ, info.name)
        ]
        call.answer_json(200, BucketList(buckets=found, count=len(found)).json_bytes())

    async def get_bucket(self, call: Call, bucket: str) -> None:
        grants = call.principal.grants
        if not grants.covers(ScopeVerb.READ, bucket):
            call.mark_filtered()
        info = await self._buckets.info(bucket, call)
        call.answer_json(200, BucketOut.of(info, grants).json_bytes())

    async def put_bucket(self, call: Call, bucket: str) -> None:
        await self._change(call, bucket, create=True)

    async def patch_bucket(self, call: Call, bucket: str) -> None:
        await self._change(call, bucket, create=False)

    async def _change(self, call: Call, bucket: str, *, create: bool) -> None:
        refuse_conditions(call.headers, "on a change of a bucket")
        body = BucketPatch.read(call.request.body)
        dry_run = call.flag("dry_run")
        change = body.change(
            bucket,
            create=create,
            dry_run=dry_run,
            allow_data_loss=call.flag("allow_data_loss"),
        )
        max_bytes = change.wanted.get("max_bytes")
        async with self._quotas.checked(call, bucket, max_bytes, creates=create) as owner:
            changed = await self._changes.apply(replace(change, owner=owner), call)
        status = 201 if changed.created and not dry_run else 200
        answer = BucketChanged.of_change(changed, call.principal.grants)
        call.answer_json(status, answer.json_bytes())

    async def delete_bucket(self, call: Call, bucket: str) -> None:
        await self._buckets.delete(bucket, call)
        call.answer(204, b"", b"")

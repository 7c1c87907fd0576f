"""The routes of buckets, their keys and the history of a key (contract 1.1, 2.4)."""

import asyncio

import orjson
from fastapi import APIRouter, Request, Response

from jetkv_gateway.http.exchange import EXCHANGE, Exchange
from jetkv_gateway.http.histories import HistoryAnswer
from jetkv_gateway.http.paths import bucket_name, decode_segment
from jetkv_gateway.http.schema import (
    BucketCreate,
    BucketList,
    BucketOut,
    History,
    KeyList,
    errors,
)
from jetkv_gateway.http.views import View, choose_view
from jetkv_gateway.kv.access import Verb
from jetkv_gateway.kv.errors import InvalidArgument
from jetkv_gateway.kv.filters import compile_filter
from jetkv_gateway.kv.store import Buckets, Entries, Listings

__all__ = ["bucket_routes"]

_BODY_LIMIT = 64 * 1024
_KEYS_AT_ONCE = 2000
"""Of a list made JSON in one go: for half a millisecond or so, nobody else is served."""
_ANY = errors(400, 401, 403, 503, 504)

_FILTER = {
    "name": "filter",
    "in": "query",
    "description": (
        "`*` is one dot token, a final `>` the rest, `*` inside a token a glob that stops at a "
        "dot; without wildcards that key, or a prefix where it ends in one of `. : / -`"
    ),
    "schema": {
        "type": "string",
        "pattern": r"^([^>\x00-\x1f\x7f]*|([^>\x00-\x1f\x7f]*\.)?>)$",
        "maxLength": 512,
    },
}
_VALUES = {
    "name": "values",
    "in": "query",
    "description": "How values are shown",
    "schema": {"type": "string", "enum": ["base64", "json"]},
}


def bucket_routes(buckets: Buckets, listings: Listings, entries: Entries) -> APIRouter:
    """Return the routes."""
    router = APIRouter(prefix="/api/v1/kv/buckets", tags=["Buckets"])
    turn = asyncio.Semaphore(1)

    @router.post(
        "",
        status_code=201,
        response_model=BucketOut,
        response_model_exclude_none=True,
        responses={**_ANY, **errors(409, 413, 429, 501, 507)},
        openapi_extra={
            "requestBody": {
                "required": True,
                "content": {
                    "application/json": {"schema": {"$ref": "#/components/schemas/BucketCreate"}}
                },
            }
        },
    )
    async def create_bucket(request: Request) -> BucketOut:
        """Create a bucket. A field that is not known is refused."""
        exchange = _exchange(request)
        exchange.require(Verb.CREATE_BUCKET)
        exchange.parameters()
        spec = BucketCreate.read(await exchange.body(_BODY_LIMIT)).spec()
        exchange.require(Verb.CREATE_BUCKET, spec.name)
        return BucketOut.of(await buckets.create(spec))

    @router.get("", response_model=BucketList, response_model_exclude_none=True, responses=_ANY)
    async def list_buckets(request: Request) -> BucketList:
        """All buckets, sorted by name."""
        exchange = _exchange(request)
        exchange.require(Verb.LIST_BUCKETS)
        exchange.parameters()
        found = [BucketOut.of(info) for info in await buckets.list()]
        return BucketList(buckets=found, count=len(found))

    @router.get(
        "/{bucket}",
        response_model=BucketOut,
        response_model_exclude_none=True,
        responses={**_ANY, **errors(404, 409)},
    )
    async def get_bucket(request: Request, bucket: str) -> BucketOut:
        """One bucket as it stands."""
        exchange = _exchange(request)
        name = bucket_name(bucket.encode("ascii"))
        exchange.require(Verb.BUCKET_INFO, name)
        exchange.parameters()
        return BucketOut.of(await buckets.info(name))

    @router.delete("/{bucket}", status_code=204, responses={**_ANY, **errors(404, 409)})
    async def delete_bucket(request: Request, bucket: str) -> None:
        """Delete a bucket with all keys and their history, for good."""
        exchange = _exchange(request)
        name = bucket_name(bucket.encode("ascii"))
        exchange.require(Verb.DELETE_BUCKET, name)
        exchange.parameters()
        await buckets.delete(name)

    @router.get(
        "/{bucket}/keys",
        response_model=KeyList,
        responses={**_ANY, **errors(404, 409, 429)},
        openapi_extra={"parameters": [_FILTER]},
        tags=["Keys"],
    )
    async def list_keys(request: Request, bucket: str) -> Response:
        """The live keys, sorted by their UTF-8 bytes."""
        exchange = _exchange(request)
        name = bucket_name(bucket.encode("ascii"))
        exchange.require(Verb.LIST_KEYS, name)
        keep = compile_filter(exchange.parameters("filter").get("filter"))

        async def answer() -> Response:
            return await _key_list(await listings.keys(name, keep), turn)

        return await exchange.while_there(answer())

    @router.get(
        "/{bucket}/history/{key:path}",
        response_model=History,
        responses={**_ANY, **errors(404, 409, 429)},
        openapi_extra={"parameters": [_VALUES]},
        tags=["Keys"],
    )
    async def get_history(request: Request, bucket: str, key: str) -> Response:
        """The stored revisions of a key, tombstones included, oldest first."""
        exchange = _exchange(request)
        name = bucket_name(bucket.encode("ascii"))
        decoded = decode_segment(key.encode("ascii"), "key")
        exchange.require(Verb.READ, name, decoded)
        view = choose_view(exchange.parameters("values").get("values"), None, exchange.view)
        if view is View.RAW:
            raise InvalidArgument("query parameter 'values' must be base64 or json here")
        return HistoryAnswer(exchange, entries.history(name, decoded), view)

    return router


def _exchange(request: Request) -> Exchange:
    exchange: Exchange = request.scope[EXCHANGE]
    return exchange


async def _key_list(keys: list[str], turn: asyncio.Semaphore) -> Response:
    """Make the answer of a listing; one at a time, since each is large and is sent in one go."""
    async with turn:
        parts = []
        for start in range(0, len(keys), _KEYS_AT_ONCE):
            parts.append(orjson.dumps(keys[start : start + _KEYS_AT_ONCE])[1:-1])
            await asyncio.sleep(0)
        body = b'{"keys":[%s],"count":%d}' % (b",".join(parts), len(keys))
    return Response(body, media_type="application/json")

"""What the tools and resources do at the gateway."""

import dataclasses
import json
from collections.abc import Callable
from typing import Any

from jetkv import AsyncClient
from jetkv._async.bucket import endpoint_of
from jetkv._core import fields, listing, requests
from jetkv._core.answers import check_status, read_document
from jetkv._core.fields import array
from jetkv._core.messages import Request
from jetkv.codec import codec_for
from jetkv.errors import ValueTooLargeError
from jetkv.mcp.tools import Get, ListBuckets, ListKeys, Put

__all__ = ["Store"]

Document = dict[str, Any]

_BYTES = codec_for(bytes)
_JSON = "application/json"
_TEXT = "text/plain; charset=utf-8"


class Store:
    """Reads and writes for a model.

    Args:
        client: how to reach the gateway, with the token that decides what a model may do.
        max_value_bytes: the largest value that is returned. A larger one is refused, not cut.
    """

    def __init__(self, client: AsyncClient, *, max_value_bytes: int) -> None:
        self._endpoint = endpoint_of(client.kv().bucket("any"))  # every bucket has the same one
        self._max_value_bytes = max_value_bytes

    async def list_buckets(self, asked: ListBuckets) -> Document:
        """Return a page of the buckets. The cursor is the name of the last one."""
        found = await self._read(
            requests.list_buckets(),
            lambda document: {
                fields.string(one, "name"): one for one in array(document, "buckets")
            },
        )
        left = sorted(name for name in found if asked.cursor is None or name > asked.cursor)
        page = [found[name] for name in left[: asked.limit]]
        answer: Document = {"buckets": page, "count": len(page)}
        if len(page) < len(left):
            answer["next_cursor"] = page[-1]["name"]
        return answer

    async def list_keys(self, asked: ListKeys) -> Document:
        request = listing.list_page(
            asked.bucket, asked.filter, None, limit=asked.limit, cursor=asked.cursor
        )
        page = listing.read_key_page(await self._endpoint.call(request), request)
        found: Document = {"keys": list(page.keys), "count": len(page.keys)}
        if page.next_cursor is not None:
            found["next_cursor"] = page.next_cursor
        if page.filtered:
            found["filtered"] = True
        return found

    async def get(self, asked: Get) -> Document:
        """Return an entry whose value is ready to use.

        Raises:
            ValueTooLargeError: the value is too large for a model.
        """
        found = await self._read(_view(requests.get_key(asked.bucket, asked.key), "json"), dict)
        self._check_size(_size_of(found), asked.key)
        return found

    async def put(self, asked: Put) -> Document:
        condition = requests.UNCONDITIONAL
        if asked.expected_revision is not None:
            condition = (
                requests.if_revision(asked.expected_revision)
                if asked.expected_revision
                else requests.IF_ABSENT
            )
        value = asked.value.encode()
        request = requests.put_key(asked.bucket, asked.key, value, _BYTES, condition)
        headers = {**request.headers, "Content-Type": _JSON if _is_json(asked.value) else _TEXT}
        return await self._read(dataclasses.replace(request, headers=headers), dict)

    async def describe(self, bucket: str) -> Document:
        """Return the description of a bucket."""
        return await self._read(requests.get_bucket(bucket), dict)

    async def raw(self, bucket: str, key: str) -> tuple[bytes, str | None]:
        """Return a value as it is stored, and its content type if it is plain to read.

        Raises:
            ValueTooLargeError: the value is too large for a model.
        """
        request = _view(requests.get_key(bucket, key), "raw")
        answer = await self._endpoint.call(request)
        check_status(answer, request, 200)
        self._check_size(len(answer.body), key)
        encoded = "content-encoding" in answer.headers
        return answer.body, None if encoded else answer.headers.get("content-type")

    async def _read(self, request: Request, read: Callable[[Document], Document]) -> Document:
        return read_document(await self._endpoint.call(request), request, read)

    def _check_size(self, size: int, key: str) -> None:
        if size > self._max_value_bytes:
            raise ValueTooLargeError(
                f"the value of {key!r} has {size} bytes; this server returns at most "
                f"{self._max_value_bytes}",
                hint="the user can read it with `jetkv kv get`, or start this server with a larger "
                "--max-value-bytes",
            )


def _view(request: Request, view: str) -> Request:
    return dataclasses.replace(request, target=f"{request.target}?values={view}")


def _size_of(entry: Document) -> int:
    """Return the bytes of a value, of JSON without white space."""
    value = entry.get("value", "")
    encoding = entry.get("encoding")
    if encoding == "base64":
        return len(value.rstrip("=")) * 3 // 4
    if encoding == "json":
        value = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return len(value.encode())


def _is_json(text: str) -> bool:
    def refuse(name: str) -> Any:
        raise ValueError(f"{name} is not JSON")

    try:
        json.loads(text, parse_constant=refuse)
    except (ValueError, RecursionError):
        return False
    return True

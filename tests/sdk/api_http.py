"""`Api` by raw HTTP requests, with an event stream for watches."""

import asyncio
import json
from base64 import b64decode
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any
from urllib.parse import quote, urlencode

from tests.sdk.api import (
    ENDINGS,
    About,
    Change,
    Changed,
    Changes,
    Failed,
    Found,
    Kind,
    known_details,
)
from tests.support.http import BUCKETS, Answer, Http
from tests.support.watching import EventStream, streaming

_TEXTS = {
    "bucket not found": Kind.BUCKET_NOT_FOUND,
    "key not found": Kind.KEY_NOT_FOUND,
    "bucket already exists": Kind.BUCKET_EXISTS,
    "key already exists": Kind.KEY_EXISTS,
    "revision mismatch": Kind.REVISION_MISMATCH,
    "value too large": Kind.TOO_LARGE,
    "would lose data": Kind.WOULD_LOSE_DATA,
    "cannot be changed": Kind.CANNOT_BE_CHANGED,
    "bucket is protected": Kind.PROTECTED,
}


def _expect(answer: Answer, status: int) -> Answer:
    if answer.status == status:
        return answer
    assert answer.status >= 400, answer
    kind = Kind.INVALID if answer.status == 400 else _TEXTS[answer.error]
    raise Failed(kind, answer.status, known_details(answer.json.get("details")))


def _found(document: dict[str, Any]) -> Found:
    return Found(
        document["key"],
        b64decode(document["value"], validate=True),
        document["revision"],
        document["operation"],
        datetime.fromisoformat(document["created_at"]),
    )


def _about(document: dict[str, Any]) -> About:
    return About(
        document["name"],
        document["values"],
        document["history"],
        document.get("ttl_seconds"),
        document.get("description", ""),
        document["storage"],
        datetime.fromisoformat(document["created_at"]),
    )


class _HttpChanges(Changes):
    def __init__(self, stream: EventStream) -> None:
        super().__init__()
        self._stream = stream
        self._synced = False

    @property
    def synced(self) -> bool:
        return self._synced

    async def _next(self) -> Change:
        while True:
            event = await self._stream.next()
            assert event is not None, "the stream ended without a word"
            frame = event.frame
            if frame["type"] == "error":
                raise Failed(ENDINGS[frame["code"]], None, {})
            if frame["type"] == "kv_snapshot_end":
                self._synced = True
                continue
            return Change(
                frame["key"],
                b64decode(frame["value"], validate=True),
                frame["revision"],
                frame["operation"],
                frame.get("reason"),
            )


class HttpApi:
    """Raw HTTP requests."""

    def __init__(self, http: Http) -> None:
        self._http = http

    async def _send(
        self,
        status: int,
        method: str,
        path: str,
        body: str | bytes | None = None,
        **headers: str,
    ) -> Answer:
        answer = await asyncio.to_thread(self._http.request, method, path, body, **headers)
        return _expect(answer, status)

    async def create_bucket(self, name: str, *, ttl: int | None = None, **settings: Any) -> About:
        document = {"name": name, **({"ttl_seconds": ttl} if ttl else {}), **settings}
        answer = await asyncio.to_thread(self._http.post, BUCKETS, document)
        return _about(_expect(answer, 201).json)

    async def ensure_bucket(self, name: str, **settings: Any) -> Changed:
        return await self._change(name, {}, **settings)

    async def plan_bucket(self, name: str, **settings: Any) -> Changed:
        return await self._change(name, {"dry_run": "true"}, **settings)

    async def _change(
        self, name: str, query: dict[str, str], *, allow_data_loss: bool = False, **settings: Any
    ) -> Changed:
        if allow_data_loss:
            query = {**query, "allow_data_loss": "true"}
        if "ttl" in settings:
            settings["ttl_seconds"] = settings.pop("ttl")
        path = f"{BUCKETS}/{name}?{urlencode(query)}"
        answer = await asyncio.to_thread(self._http.put, path, json.dumps(settings))
        document = _expect(answer, 201 if answer.status == 201 else 200).json
        changed = [setting.removesuffix("_seconds") for setting in document["changed"]]
        return Changed(_about(document), changed, document.get("created", False))

    async def buckets(self) -> list[About]:
        answer = await self._send(200, "GET", BUCKETS)
        assert answer.json["count"] == len(answer.json["buckets"])
        return [_about(found) for found in answer.json["buckets"]]

    async def bucket_info(self, name: str) -> About:
        return _about((await self._send(200, "GET", f"{BUCKETS}/{name}")).json)

    async def delete_bucket(self, name: str) -> None:
        await self._send(204, "DELETE", f"{BUCKETS}/{name}")

    async def get(
        self, bucket: str, key: str, *, revision: int | None = None, consistency: str = "strong"
    ) -> Found:
        query = {"consistency": consistency} | ({"revision": revision} if revision else {})
        path = f"{_key(bucket, key)}?{urlencode(query)}"
        return _found((await self._send(200, "GET", path)).json)

    async def put(self, bucket: str, key: str, value: bytes) -> int:
        return await self._put(bucket, key, value)

    async def create(self, bucket: str, key: str, value: bytes) -> int:
        return await self._put(bucket, key, value, If_None_Match="*")

    async def update(self, bucket: str, key: str, value: bytes, revision: int) -> int:
        return await self._put(bucket, key, value, If_Match=str(revision))

    async def _put(self, bucket: str, key: str, value: bytes, **headers: str) -> int:
        answer = await self._send(200, "PUT", _key(bucket, key), value, **headers)
        revision: int = answer.json["revision"]
        return revision

    async def delete(self, bucket: str, key: str, *, revision: int | None = None) -> None:
        headers = {} if revision is None else {"If_Match": str(revision)}
        await self._send(204, "DELETE", _key(bucket, key), **headers)

    async def purge(self, bucket: str, key: str, *, revision: int | None = None) -> None:
        headers = {} if revision is None else {"If_Match": str(revision)}
        await self._send(204, "DELETE", f"{_key(bucket, key)}?purge=true", **headers)

    async def keys(self, bucket: str, filter: str | None = None) -> list[str]:
        query = "" if filter is None else f"?{urlencode({'filter': filter})}"
        answer = await self._send(200, "GET", f"{BUCKETS}/{bucket}/keys{query}")
        found: list[str] = answer.json["keys"]
        assert answer.json["count"] == len(found)
        return found

    async def history(self, bucket: str, key: str) -> list[Found]:
        path = f"{BUCKETS}/{bucket}/history/{quote(key, safe='')}"
        answer = await self._send(200, "GET", path)
        return [_found(entry) for entry in answer.json["entries"]]

    @asynccontextmanager
    async def watch(
        self,
        bucket: str,
        *filters: str,
        snapshot: bool = False,
        resume_after: int | None = None,
        ignore_deletes: bool = False,
    ) -> AsyncIterator[Changes]:
        query: list[tuple[str, Any]] = [("key", name) for name in filters]
        query += [("snapshot", "true")] if snapshot else []
        query += [("resume_after", resume_after)] if resume_after is not None else []
        query += [("ignore_deletes", "true")] if ignore_deletes else []
        path = f"?{urlencode(query)}" if query else ""
        async with streaming(self._http, bucket, path) as stream:
            if stream.status != 200:
                # The body of a refusal is not a stream: ask for it as a whole.
                whole = f"{BUCKETS}/{bucket}/watch{path}"
                await self._send(200, "GET", whole, Accept="text/event-stream")
            changes = _HttpChanges(stream)
            try:
                yield changes
            finally:
                await changes.stop()


def _key(bucket: str, key: str) -> str:
    return f"{BUCKETS}/{bucket}/keys/{quote(key, safe='')}"

"""A bucket that is written and watched over WebSocket in the same test."""

import asyncio
from urllib.parse import quote

from tests.support.http import BUCKETS, Bucket, Http
from tests.support.watching import Frame, Watcher, watching


def watch(bucket: Bucket, query: str = ""):
    return watching(bucket.http, bucket.name, query)


async def put(bucket: Bucket, key: str, value: str | bytes = "v", **headers: str) -> int:
    """Put a value; its revision."""
    answer = await asyncio.to_thread(bucket.put, key, value, **headers)
    assert answer.status == 200, answer
    revision: int = answer.json["revision"]
    return revision


async def delete(bucket: Bucket, key: str, query: str = "") -> None:
    answer = await asyncio.to_thread(bucket.delete, key, query)
    assert answer.status == 204, answer


async def remove(bucket: Bucket) -> None:
    answer = await asyncio.to_thread(bucket.http.delete, bucket.path)
    assert answer.status == 204, answer


async def create(bucket: Bucket) -> None:
    answer = await asyncio.to_thread(bucket.http.post, BUCKETS, {"name": bucket.name})
    assert answer.status == 201, answer


async def created_at(bucket: Bucket) -> str:
    info = await asyncio.to_thread(bucket.info)
    return quote(info["created_at"], safe="")


async def before(watcher: Watcher, bucket: Bucket, key: str = "the-end") -> list[Frame]:
    """All frames up to those of a put that is made now; the put's own left out."""
    await put(bucket, key)
    return (await watcher.until(lambda frame: frame.get("key") == key))[:-1]


def in_json(bucket: Bucket) -> Bucket:
    return Bucket(Http(bucket.http.host, bucket.http.port, base="/json"), bucket.name)


def ends(frame: Frame) -> bool:
    return frame["type"] == "kv_snapshot_end"

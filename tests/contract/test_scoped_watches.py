"""A watch shows the changes of the keys that its caller may read, and of no others."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import pytest

from jetkv_gateway.embedded import NatsServer
from tests.support.gateway import running_gateway
from tests.support.http import Bucket, Http
from tests.support.scopes import ScopesAreTokens, may
from tests.support.watching import Frame, streaming, watch_path, watching

EVENTS = {"Accept": "text/event-stream"}
LAST = "zz.last"
"""A key that every watch of these tests may read: what comes before it has all come."""


@pytest.fixture(scope="module")
def scoped(nats: NatsServer) -> Iterator[Http]:
    with running_gateway(nats.url, authenticator=ScopesAreTokens()) as http:
        yield http


async def put(bucket: Bucket, *keys: str) -> None:
    for key in keys:
        assert (await asyncio.to_thread(bucket.put, key, key)).status == 200


def reader(bucket: Bucket, *filters: str) -> dict[str, str]:
    return may(*[f"read:{bucket.name}/{one}" for one in (*filters, LAST)])


class Watching:
    """A watcher over either transport."""

    def __init__(self, source: Any, headers: Any) -> None:
        self._source = source
        self.filtered = headers.get("jetkv-filtered")

    async def frame(self) -> Frame:
        frame = await self._source.next()
        return frame if isinstance(frame, dict) else frame.frame

    async def keys(self) -> list[str]:
        """The keys of the updates up to the last one."""
        found: list[str] = []
        while True:
            frame = await self.frame()
            assert frame["type"] != "error", frame
            if frame.get("key") == LAST:
                return found
            if frame["type"] == "kv_update":
                found.append(frame["key"])


@asynccontextmanager
async def watcher(
    transport: str, http: Http, bucket: str, query: str, headers: dict[str, str]
) -> AsyncIterator[Watching]:
    if transport == "websocket":
        async with watching(http, bucket, query, additional_headers=headers) as socket:
            assert socket.connection.response is not None
            yield Watching(socket, socket.connection.response.headers)
    else:
        async with streaming(http, bucket, query, **headers) as stream:
            assert stream.status == 200
            yield Watching(stream, stream.headers)


transports = pytest.mark.parametrize("transport", ["websocket", "sse"])


@transports
@pytest.mark.parametrize(
    ("query", "filters", "expected"),
    [
        ("", ["user.*"], ["user.1", "user.2"]),
        ("", ["user.1", "user.3.x"], ["user.1", "user.3.x"]),
        ("&key=*.1", ["user.*"], ["user.1"]),
        ("&key=user.1&key=admin.1", ["user.*"], ["user.1"]),
        ("&key=u*.2&key=other", ["user.*", "other"], ["user.2", "other"]),
        ("&key=admin.>", ["user.*"], []),
    ],
)
@pytest.mark.parametrize("when", ["live", "snapshot", "resume"])
async def test_a_watch_has_the_changes_of_the_keys_that_are_wanted_and_covered(
    scoped: Http,
    bucket: Bucket,
    transport: str,
    query: str,
    filters: list[str],
    expected: list[str],
    when: str,
) -> None:
    written = ["admin.1", "user.1", "user.2", "other", "user.3.x", LAST]
    asked = {"live": "?env=x", "snapshot": "?snapshot=true", "resume": "?resume_after=0"}[when]
    if query:
        query += f"&key={LAST}"
    if when != "live":
        await put(bucket, *written)
    async with watcher(
        transport, scoped, bucket.name, asked + query, reader(bucket, *filters)
    ) as seen:
        if when == "live":
            await put(bucket, *written)
        assert await seen.keys() == expected
        assert seen.filtered == "true"


@transports
async def test_a_watch_within_its_scope_is_not_filtered(
    scoped: Http, bucket: Bucket, transport: str
) -> None:
    headers = reader(bucket, "user.*")
    query = f"?key=user.1&key={LAST}"
    async with watcher(transport, scoped, bucket.name, query, headers) as seen:
        await put(bucket, "user.1", "user.2", LAST)
        assert await seen.keys() == ["user.1"]
        assert seen.filtered is None


@transports
@pytest.mark.parametrize("options", ["?snapshot=true", "?resume_after=0", "?env=x"])
async def test_watchers_at_once_with_different_scopes_see_their_own_keys(
    scoped: Http, bucket: Bucket, transport: str, options: str
) -> None:
    """They share the live feed, and the reading of what they have missed."""
    groups = ["a", "b", "c"]
    before = [f"{group}.{number}" for number in range(5) for group in groups]
    after = [f"{group}.new" for group in groups]
    await put(bucket, *before)
    async with AsyncExitStack() as stack:
        opened = [
            (group, watcher(transport, scoped, bucket.name, options, reader(bucket, f"{group}.*")))
            for group in groups
            for _ in range(4)
        ]
        watchers = await asyncio.gather(
            *[stack.enter_async_context(opening) for _, opening in opened]
        )
        await put(bucket, *after, LAST)
        for (group, _), seen in zip(opened, watchers, strict=True):
            old = [] if options == "?env=x" else [f"{group}.{number}" for number in range(5)]
            assert await seen.keys() == [*old, f"{group}.new"]


@transports
async def test_a_snapshot_of_nothing_is_its_end_alone(
    scoped: Http, bucket: Bucket, transport: str
) -> None:
    await put(bucket, "admin.1")
    headers = may(f"read:{bucket.name}/user.*")
    query = "?snapshot=true&key=admin.>"
    async with watcher(transport, scoped, bucket.name, query, headers) as seen:
        assert (await seen.frame())["type"] == "kv_snapshot_end"
        assert seen.filtered == "true"


@transports
async def test_a_watch_over_several_buckets_is_narrowed_in_each_of_them(
    scoped: Http, make_bucket, transport: str
) -> None:
    one, other = make_bucket(), make_bucket()
    headers = may(f"read:{one.name}/user.*", f"read:{other.name}", f"read:{one.name}/{LAST}")
    query = f"?watch={one.name}&watch={other.name}/user.1&snapshot=true"
    async with watcher(transport, scoped, "", query, headers) as seen:
        assert (await seen.frame())["type"] == "kv_snapshot_end"
        await put(one, "admin.1", "user.1")
        first = await seen.frame()
        await put(other, "admin.1", "user.1")
        second = await seen.frame()
        assert [(one["bucket"], one["key"]) for one in (first, second)] == [
            (one.name, "user.1"),
            (other.name, "user.1"),
        ]
        assert seen.filtered == "true"


def test_a_watch_of_a_bucket_without_any_read_is_403_whether_or_not_it_exists(
    scoped: Http, bucket: Bucket
) -> None:
    found = []
    for name in (bucket.name, f"{bucket.name}-absent"):
        headers = {**EVENTS, **may(f"write:{name}", f"read:{name}-2")}
        for path in (watch_path(name), watch_path("", f"?watch={name}")):
            answer = scoped.get(path, **headers)
            found.append((answer.status, answer.error.replace(name, "NAME")))
    assert set(found) == {(403, "permission denied: read in bucket NAME")}


async def test_the_keep_alive_of_a_narrowed_watch_names_no_key(
    scoped: Http, bucket: Bucket
) -> None:
    """Bookmarks move on with keys that are not shown; they are revisions alone."""
    headers = reader(bucket, "user.*")
    async with streaming(scoped, bucket.name, "", **headers) as stream:
        await put(bucket, "admin.secret", LAST)
        seen = []
        while True:
            block = await stream.block()
            assert block is not None
            seen.append(json.dumps([block.data, block.id, block.comments]))
            if LAST in block.data:
                break
    assert "secret" not in "".join(seen)

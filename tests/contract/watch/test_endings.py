"""How a watch ends: its error frame and its close code."""

import asyncio
from contextlib import ExitStack

import pytest
from websockets.exceptions import InvalidStatus

from jetkv_gateway.embedded import NatsServer
from tests.support.gateway import running_gateway
from tests.support.http import Answer, Bucket, Http
from tests.support.native import Native
from tests.support.watched import (
    create,
    ends,
    put,
    remove,
    watch,
)
from tests.support.watching import updates, watching


@pytest.mark.parametrize("query", ["", "?snapshot=true", "?resume_after=0"])
async def test_an_unknown_bucket_is_one_error_frame_and_4404(http: Http, query: str) -> None:
    async with watching(http, "no-such-bucket", query) as watcher:
        frames, code = await watcher.closed()
    assert frames == [{"type": "error", "message": "bucket not found", "code": "not_found"}]
    assert code == 4404


DELETED = [{"type": "error", "message": "bucket deleted", "code": "bucket_deleted"}]


@pytest.mark.parametrize("query", ["", "?key=k", "?snapshot=true", "?resume_after=0"])
async def test_a_bucket_that_is_deleted_is_one_error_frame_and_4410(
    bucket: Bucket, query: str
) -> None:
    async with watch(bucket, query) as watcher:
        await put(bucket, "k")
        await watcher.until(lambda frame: frame.get("revision") == 1 and not ends(frame))
        await remove(bucket)
        frames, code = await watcher.closed()
    assert [frame for frame in frames if not ends(frame)] == DELETED
    assert code == 4410


async def test_a_bucket_that_another_client_deletes_is_the_same(
    bucket: Bucket, native: Native
) -> None:
    async with watch(bucket) as watcher:
        await native.api(f"STREAM.DELETE.KV_{bucket.name}")
        assert await watcher.closed() == (DELETED, 4410)


async def test_a_bucket_that_is_created_again_at_once_was_deleted_all_the_same(
    bucket: Bucket,
) -> None:
    await put(bucket, "old")
    async with watch(bucket) as watcher:
        await remove(bucket)
        await create(bucket)
        await put(bucket, "new")
        assert await watcher.closed() == (DELETED, 4410)


async def test_a_watch_of_the_bucket_created_again_sees_its_changes(bucket: Bucket) -> None:
    async with watch(bucket) as old:
        await remove(bucket)
        await create(bucket)
        async with watch(bucket) as new:
            await put(bucket, "k")
            assert updates([await new.next()]) == [("k", "put", 1)]
            assert await old.closed() == (DELETED, 4410)


async def test_watchers_of_another_bucket_do_not_notice(make_bucket) -> None:
    one, other = make_bucket(), make_bucket()
    async with watch(one) as watcher, watch(other) as ended:
        await remove(other)
        assert (await ended.closed())[1] == 4410
        await put(one, "k")
        assert updates([await watcher.next()]) == [("k", "put", 1)]


@pytest.mark.parametrize("query", ["", "?snapshot=true"])
async def test_a_server_that_stops_closes_with_1001_and_no_word(
    nats: NatsServer, bucket: Bucket, query: str
) -> None:
    with ExitStack() as stack:
        http = stack.enter_context(running_gateway(nats.url))
        async with watching(http, bucket.name, query) as watcher:
            await put(bucket, "k")
            await watcher.until(lambda frame: frame["type"] == "kv_update")
            stopping = asyncio.create_task(asyncio.to_thread(stack.close))
            frames, code = await watcher.closed()
        await stopping
    assert ([frame for frame in frames if not ends(frame)], code) == ([], 1001)


async def test_a_stream_that_is_no_bucket_is_refused_before_the_upgrade(
    http: Http, native: Native, bucket_name: str
) -> None:
    await native.make_stream({"name": f"KV_{bucket_name}", "subjects": [f"other.{bucket_name}.>"]})
    with pytest.raises(InvalidStatus) as refused:
        async with watching(http, bucket_name):
            pass
    response = refused.value.response
    answer = Answer(response.status_code, dict(response.headers), response.body or b"")
    assert (answer.status, answer.json["code"]) == (409, "failed_precondition")


async def test_a_client_that_closes_gets_its_close_back(bucket: Bucket) -> None:
    async with watch(bucket) as watcher:
        await watcher.connection.close(1000)
        assert watcher.connection.close_code == 1000

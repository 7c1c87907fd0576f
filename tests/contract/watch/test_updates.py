"""The frame of an update: its fields, values and order (docs/watch.md#frames)."""

import asyncio
import base64

import pytest

from jetkv_gateway.embedded import NatsServer
from tests.support.gateway import running_gateway
from tests.support.http import Bucket
from tests.support.native import Native
from tests.support.watched import (
    before,
    delete,
    put,
    watch,
)
from tests.support.watching import updates, value_of


async def test_a_put_is_shown_with_exactly_the_fields_of_the_contract(bucket: Bucket) -> None:
    async with watch(bucket) as watcher:
        revision = await put(bucket, "user.alice", "value")
        assert await watcher.next() == {
            "type": "kv_update",
            "bucket": bucket.name,
            "key": "user.alice",
            "value": "dmFsdWU=",
            "revision": revision,
            "operation": "put",
        }


async def test_a_delete_has_an_empty_value_and_no_reason(bucket: Bucket) -> None:
    await put(bucket, "k", "value")
    async with watch(bucket) as watcher:
        await delete(bucket, "k")
        assert await watcher.next() == {
            "type": "kv_update",
            "bucket": bucket.name,
            "key": "k",
            "value": "",
            "revision": 2,
            "operation": "delete",
        }


async def test_a_purge_is_a_delete_that_says_so(bucket: Bucket) -> None:
    await put(bucket, "k")
    async with watch(bucket) as watcher:
        await delete(bucket, "k", "?purge=true")
        frame = await watcher.next()
        assert (frame["operation"], frame["value"]) == ("delete", "")
        assert frame["reason"] == "purge"


async def test_what_ran_out_of_time_is_a_delete_that_says_so(make_bucket, native: Native) -> None:
    bucket = make_bucket(ttl_seconds=1)
    async with watch(bucket) as watcher:
        await put(bucket, "k")
        assert (await watcher.next())["operation"] == "put"
        if native.version < (2, 11):
            # Markers came with 2.11; before, the value just goes.
            assert await before(watcher, bucket) == []
            return
        frame = await watcher.next()
        assert (frame["key"], frame["operation"], frame["value"]) == ("k", "delete", "")
        assert frame["reason"] == "expired"


async def test_a_put_that_was_acked_before_the_101_is_not_shown(bucket: Bucket) -> None:
    await put(bucket, "earlier")
    async with watch(bucket) as watcher:
        await put(bucket, "later")
        assert (await watcher.next())["key"] == "later"


async def test_a_put_right_after_the_101_is_shown_to_a_second_watcher_too(bucket: Bucket) -> None:
    async with watch(bucket) as first:
        await put(bucket, "a")
        async with watch(bucket) as second:
            await put(bucket, "b")
            assert (await second.next())["key"] == "b"
        assert [frame["key"] for frame in await first.take(2)] == ["a", "b"]


async def test_a_text_with_a_null_is_no_trouble(bucket: Bucket) -> None:
    async with watch(bucket) as watcher:
        await put(bucket, "k", b"a\x00b\r\n")
        assert value_of(await watcher.next()) == b"a\x00b\r\n"


async def test_every_byte_comes_back_in_padded_base64(bucket: Bucket) -> None:
    value = bytes(range(256))
    async with watch(bucket) as watcher:
        await put(bucket, "k", value)
        assert (await watcher.next())["value"] == base64.b64encode(value).decode()


async def test_an_empty_value_is_a_put_all_the_same(bucket: Bucket) -> None:
    async with watch(bucket) as watcher:
        await put(bucket, "k", b"")
        frame = await watcher.next()
        assert (frame["operation"], frame["value"]) == ("put", "")


@pytest.mark.parametrize(
    "key",
    [
        "a b",
        "user:42",
        "a/b",
        "..",
        ".hidden",
        "a..b",
        "ends.",
        "*",
        "a*b",
        ">",
        "ä",
        "🔑",
        '"quoted"\\',
        "%41",
        "=not=escaped=",
        "k" * 512,
    ],
)
async def test_a_key_comes_back_as_it_was_written(bucket: Bucket, key: str) -> None:
    async with watch(bucket) as watcher:
        await put(bucket, key)
        assert (await watcher.next())["key"] == key


async def test_changes_of_many_writers_come_in_revision_order_and_each_once(
    bucket: Bucket,
) -> None:
    async with watch(bucket) as watcher:

        async def write(name: str) -> None:
            for number in range(15):
                await put(bucket, f"{name}.{number}", name)

        await asyncio.gather(*(write(name) for name in "abcd"))
        revisions = [frame["revision"] for frame in await watcher.take(60)]
        assert revisions == list(range(1, 61))
        assert await before(watcher, bucket) == []


async def test_values_of_all_sizes_come_in_order_behind_a_burst_of_small_ones(
    bucket: Bucket, native: Native
) -> None:
    sizes = [10] * 600 + [150_000, 10, 200_000, 400_000, 10, 1_000_000] + [10] * 600
    async with watch(bucket) as watcher:

        async def write() -> None:
            for number, size in enumerate(sizes):
                await native.publish(f"$KV.{bucket.name}.k{number}", bytes(size))

        writing = asyncio.create_task(write())
        try:
            for number, size in enumerate(sizes):
                frame = await watcher.next()
                assert (frame["key"], len(value_of(frame))) == (f"k{number}", size)
        finally:
            writing.cancel()
            await asyncio.wait({writing})


async def test_a_refused_write_is_not_shown(bucket: Bucket) -> None:
    await put(bucket, "k")
    async with watch(bucket) as watcher:
        refused = await asyncio.to_thread(bucket.put, "k", "w", If_None_Match="*")
        assert refused.status == 412
        assert await before(watcher, bucket) == []


async def test_a_native_clients_changes_are_shown(bucket: Bucket, native: Native) -> None:
    kv = await native.kv(bucket.name)
    async with watch(bucket) as watcher:
        await kv.put("k", b"native")
        await kv.delete("k")
        await kv.purge("k")
        frames = await watcher.take(3)
        assert updates(frames) == [("k", "put", 1), ("k", "delete", 2), ("k", "delete", 3)]
        assert value_of(frames[0]) == b"native"
        assert [frame.get("reason") for frame in frames] == [None, None, "purge"]


async def test_a_value_of_the_servers_maximum_arrives_whole(bucket: Bucket) -> None:
    refused = await asyncio.to_thread(bucket.put, "k", bytes(2 * 1024 * 1024))
    assert refused.status == 413
    value = bytes(range(256)) * (refused.json["details"]["limit_bytes"] // 256)
    async with watch(bucket) as watcher:
        await put(bucket, "k", value)
        await put(bucket, "k", "small")
        frames = await watcher.take(2)
        assert [value_of(frame) for frame in frames] == [value, b"small"]


async def test_a_native_message_of_the_servers_maximum_arrives_whole(
    bucket: Bucket, native: Native
) -> None:
    value = b"x" * native.client.max_payload
    async with watch(bucket) as watcher:
        await native.publish(f"$KV.{bucket.name}.k", value)
        assert value_of(await watcher.next()) == value


async def test_a_bucket_is_called_by_its_name_without_the_servers_prefix(
    nats: NatsServer, native: Native, bucket_name: str
) -> None:
    await native.make_bucket(f"APP_{bucket_name}")
    with running_gateway(nats.url, bucket_prefix="APP_") as http:
        bucket = Bucket(http, bucket_name)
        async with watch(bucket) as watcher:
            await put(bucket, "k")
            assert (await watcher.next())["bucket"] == bucket_name


async def test_the_environment_of_the_official_clients_is_accepted(bucket: Bucket) -> None:
    async with watch(bucket, "?env=production") as watcher:
        await put(bucket, "k")
        assert (await watcher.next())["key"] == "k"

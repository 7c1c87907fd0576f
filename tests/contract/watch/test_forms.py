"""Watches without deletes, without values, and under the base URL /json."""

from tests.support.http import Bucket
from tests.support.watched import delete, in_json, put, watch
from tests.support.watching import updates, value_of


async def test_without_deletes_only_puts_are_shown(bucket: Bucket) -> None:
    async with watch(bucket, "?ignore_deletes=true") as watcher:
        await put(bucket, "a")
        await delete(bucket, "a")
        await put(bucket, "a")
        await delete(bucket, "a", "?purge=true")
        await put(bucket, "b")
        assert updates(await watcher.take(3)) == [("a", "put", 1), ("a", "put", 3), ("b", "put", 5)]


async def test_without_deletes_a_resumed_watch_has_none_either(make_bucket) -> None:
    bucket = make_bucket(history=10)
    await put(bucket, "a")
    await delete(bucket, "a")
    await put(bucket, "b")
    async with watch(bucket, "?ignore_deletes=true&resume_after=0") as watcher:
        assert updates(await watcher.take(2)) == [("a", "put", 1), ("b", "put", 3)]


async def test_without_values_the_size_is_shown(bucket: Bucket) -> None:
    async with watch(bucket, "?meta_only=true") as watcher:
        await put(bucket, "k", "value")
        await delete(bucket, "k")
        base = {"type": "kv_update", "bucket": bucket.name, "key": "k"}
        assert await watcher.take(2) == [
            {**base, "size": 5, "revision": 1, "operation": "put"},
            {**base, "size": 0, "revision": 2, "operation": "delete"},
        ]


async def test_forms_do_not_get_mixed_up_between_watchers(bucket: Bucket) -> None:
    async with (
        watch(bucket, "?meta_only=true") as meta,
        watch(in_json(bucket)) as text,
        watch(bucket) as plain,
    ):
        await put(bucket, "k", "value")
        assert "value" not in await meta.next()
        assert (await text.next())["value"] == "value"
        assert (await plain.next())["value"] == "dmFsdWU="


async def test_under_the_json_base_the_value_is_the_stored_text(bucket: Bucket) -> None:
    async with watch(in_json(bucket)) as watcher:
        for value in ('{"role": "admin"}', "plain", "42", "", "ä\n"):
            await put(bucket, "k", value, Content_Type="application/json")
        frames = await watcher.take(5)
        values = [frame["value"] for frame in frames]
        assert values == ['{"role": "admin"}', "plain", "42", "", "ä\n"]
        assert {frame["encoding"] for frame in frames} == {"text"}


async def test_under_the_json_base_what_is_no_text_is_base64_and_says_so(bucket: Bucket) -> None:
    async with watch(in_json(bucket)) as watcher:
        await put(bucket, "k", b"\xff\x00")
        frame = await watcher.next()
        assert (value_of(frame), frame["encoding"]) == (b"\xff\x00", "base64")


async def test_under_the_json_base_a_delete_is_the_same(bucket: Bucket) -> None:
    await put(bucket, "k")
    async with watch(in_json(bucket)) as watcher:
        await delete(bucket, "k")
        frame = await watcher.next()
        assert (frame["operation"], frame["value"]) == ("delete", "")
        assert "encoding" not in frame


async def test_the_stored_text_is_in_the_snapshot_too(bucket: Bucket) -> None:
    await put(bucket, "k", "text")
    async with watch(in_json(bucket), "?snapshot=true") as watcher:
        assert (await watcher.next())["value"] == "text"

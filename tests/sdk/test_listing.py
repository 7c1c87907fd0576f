"""Many keys by the SDK: pages, entries, deletes of many and compaction, sync and async."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from jetkv import Deleted, EntryMeta, errors
from tests.support.clients import MakeClient
from tests.support.http import BUCKETS, Bucket, Http
from tests.support.listing import fill
from tests.support.native import Native
from tests.support.waiting import eventually

KEYS = ["a", "a.1", "a.2", "b:1", "é *"]


@pytest.fixture
async def client(http: Http, make: MakeClient) -> AsyncIterator[Any]:
    async with make(http.url) as client:
        yield client


@pytest.fixture
def filled(make_bucket) -> Bucket:
    bucket = make_bucket(storage="memory")
    fill(bucket, *reversed(KEYS))
    return bucket


async def test_keys_can_be_listed_by_a_literal_prefix(client: Any, filled: Bucket) -> None:
    bucket = client.kv().bucket(filled.name)
    assert await bucket.keys(prefix="a") == ["a", "a.1", "a.2"]
    assert await bucket.keys(prefix="é *") == ["é *"]
    assert await bucket.keys(prefix="a.*") == []


async def test_pages_have_every_key_once(client: Any, filled: Bucket) -> None:
    pages = [page async for page in client.kv().bucket(filled.name).pages(limit=2)]
    assert [page.keys for page in pages] == [("a", "a.1"), ("a.2", "b:1"), ("é *",)]
    assert [page.next_cursor is None for page in pages] == [False, False, True]


async def test_pages_go_on_after_a_cursor(client: Any, filled: Bucket) -> None:
    bucket = client.kv().bucket(filled.name)
    async for page in bucket.pages(prefix="a", limit=1):
        cursor = page.next_cursor
        break
    rest = [page.keys async for page in bucket.pages(prefix="a", limit=5, cursor=cursor)]
    assert rest == [("a.1", "a.2")]


async def test_pages_of_a_bucket_that_was_created_again_are_expired(
    client: Any, http: Http, new_bucket: str
) -> None:
    bucket = client.kv().bucket(new_bucket)
    for _ in range(2):
        http.delete(f"{BUCKETS}/{new_bucket}")
        assert http.post(BUCKETS, {"name": new_bucket}).status == 201
        fill(Bucket(http, new_bucket), *KEYS)
        pages = bucket.pages(limit=1)
        if _ == 0:
            old = pages
            await anext(old)
    with pytest.raises(errors.CursorExpiredError, match="cursor expired"):
        await anext(old)


async def test_entries_have_the_values_of_all_keys(client: Any, filled: Bucket) -> None:
    filled.put("a.1", '{"x":1}')
    bucket = client.kv().bucket(filled.name, bytes)
    entries = [entry async for entry in bucket.entries()]
    assert entries == [await bucket.get(key) for key in KEYS]
    assert [entry.key async for entry in bucket.entries("a.*")] == ["a.1", "a.2"]
    assert [entry.key async for entry in bucket.entries(prefix="b")] == ["b:1"]


async def test_a_value_that_does_not_fit_hides_no_other_entry(client: Any, bucket: Bucket) -> None:
    bucket.put("bad", "x")
    bucket.put("good", "1")
    found = [entry async for entry in client.kv().bucket(bucket.name, int).entries()]
    with pytest.raises(errors.ValueDecodeError):
        _ = found[0].value
    assert found[1].value == 1


async def test_entries_come_in_more_than_one_page(client: Any, native: Native, make_bucket) -> None:
    bucket = make_bucket(storage="memory")
    keys = [f"k{number:04}" for number in range(1203)]
    await native.fill(bucket.name, keys)
    for values in (True, False):
        found = client.kv().bucket(bucket.name).entries(values=values)
        assert [entry.key async for entry in found] == keys


async def test_entries_without_values_say_how_large_they_are(client: Any, make_bucket) -> None:
    bucket = make_bucket(ttl_seconds=3600)
    bucket.put("k", "four", Content_Type="text/plain")
    (meta,) = [one async for one in client.kv().bucket(bucket.name).entries(values=False)]
    assert isinstance(meta, EntryMeta)
    assert (meta.key, meta.size, meta.revision, meta.content_type) == ("k", 4, 1, "text/plain")
    assert meta.expires_at == meta.created_at + timedelta(hours=1)
    assert abs(datetime.now(UTC) - meta.created_at) < timedelta(minutes=5)


async def test_many_keys_are_deleted(client: Any, filled: Bucket) -> None:
    bucket = client.kv().bucket(filled.name)
    assert await bucket.delete_many(prefix="a", dry_run=True) == Deleted(3, 0, 5)
    assert await bucket.delete_many(prefix="a") == Deleted(3, 3, 8)
    assert await bucket.keys() == ["b:1", "é *"]
    assert await bucket.delete_many(">", purge=True) == Deleted(2, 2, 10)
    assert await bucket.compact(older_than=timedelta(days=1)) == 0
    assert await bucket.compact() == 5


async def test_a_deletion_that_breaks_off_is_of_unknown_outcome(
    client: Any, native: Native, make_bucket
) -> None:
    bucket = make_bucket(storage="memory")
    await native.fill(bucket.name, [f"k{number}" for number in range(20_000)])
    deleting = asyncio.ensure_future(client.kv().bucket(bucket.name).delete_many(">"))

    async def some_are_deleted() -> bool:
        seq: int = (await native.state(bucket.name))["last_seq"]
        return seq > 20_000

    await eventually(some_are_deleted, "some keys are deleted")
    await native.api(f"STREAM.DELETE.KV_{bucket.name}")
    with pytest.raises((errors.OutcomeUnknownError, errors.BucketNotFoundError)):
        await deleting


@pytest.mark.parametrize(
    "options",
    [{}, {"prefix": ""}, {"filter": ""}, {"filter": "a", "prefix": "a"}, {"filter": 1}],
)
async def test_a_deletion_has_to_say_which_keys(
    client: Any, filled: Bucket, options: dict[str, Any]
) -> None:
    with pytest.raises(errors.InvalidArgumentError):
        await client.kv().bucket(filled.name).delete_many(**options)
    assert filled.keys() == KEYS


@pytest.mark.parametrize("limit", [0, -1, 10_001, True, 1.0, "5", None])
async def test_an_invalid_limit_is_refused_before_it_is_sent(
    client: Any, nobody: str, limit: Any
) -> None:
    with pytest.raises(errors.InvalidArgumentError, match="limit must be a whole number"):
        await anext(client.kv().bucket("b").pages(limit=limit))


@pytest.mark.parametrize("older_than", [5, timedelta(seconds=-1), timedelta(milliseconds=1)])
async def test_an_invalid_age_is_refused(client: Any, older_than: Any) -> None:
    with pytest.raises(errors.InvalidArgumentError, match="older_than"):
        await client.kv().bucket("b").compact(older_than=older_than)


async def test_an_unknown_bucket_is_not_found(client: Any, bucket_name: str) -> None:
    bucket = client.kv().bucket(bucket_name)
    with pytest.raises(errors.BucketNotFoundError):
        await anext(bucket.entries())
    with pytest.raises(errors.BucketNotFoundError):
        await bucket.delete_many(">")
    with pytest.raises(errors.BucketNotFoundError):
        await bucket.compact()

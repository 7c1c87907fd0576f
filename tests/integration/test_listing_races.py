"""Pages and JSON lines while others write: every key that is live throughout comes."""

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from random import Random

import pytest

from tests.support.http import Bucket
from tests.support.listing import NDJSON, keys_of, pages
from tests.support.native import Native

STABLE = [f"stable.{number:04}" for number in range(2000)]


@asynccontextmanager
async def written_beside(native: Native, bucket: Bucket) -> AsyncIterator[None]:
    """Write the stable keys again and again, and create and delete others."""
    await native.fill(bucket.name, STABLE)
    random = Random(17)

    async def write() -> None:
        number = 0
        while True:
            number += 1
            writes = [native.publish(f"$KV.{bucket.name}.new.{number}", b"v")]
            for key in [*random.sample(STABLE, 8), STABLE[0]]:
                writes.append(native.publish(f"$KV.{bucket.name}.{key}", b"v"))
            gone = f"$KV.{bucket.name}.new.{number - 50}"
            writes.append(native.publish(gone, KV_Operation="DEL"))
            await asyncio.gather(*writes)

    writer = asyncio.create_task(write())
    before = (await native.state(bucket.name))["last_seq"]
    try:
        yield
    finally:
        writer.cancel()
        await asyncio.gather(writer, return_exceptions=True)
    written = (await native.state(bucket.name))["last_seq"] - before
    assert written > 500, "nobody wrote meanwhile, so nothing was shown"


@pytest.mark.parametrize("history", [1, 5])
@pytest.mark.parametrize("include", ["keys", "meta", "values"])
async def test_pages_have_every_live_key_exactly_once(
    native: Native, make_bucket, include: str, history: int
) -> None:
    bucket = make_bucket(history=history)
    async with written_beside(native, bucket):
        for limit in (100, 700):
            found = await asyncio.to_thread(pages, bucket, f"include={include}&limit={limit}")
            keys = [key for one in found for key in keys_of(one)]
            assert keys == sorted(set(keys))
            assert set(STABLE) <= set(keys)


@pytest.mark.parametrize("history", [1, 5])
@pytest.mark.parametrize("query", ["", "filter=stable.*", "include=values", "include=history"])
async def test_lines_have_every_live_key(
    native: Native, make_bucket, query: str, history: int
) -> None:
    bucket = make_bucket(history=history)
    async with written_beside(native, bucket):
        for _ in range(5):
            answer = await asyncio.to_thread(
                bucket.http.get, f"{bucket.path}/keys?{query}", Accept=NDJSON
            )
            *entries, end = [json.loads(line) for line in answer.body.splitlines()]
            revisions = [entry["revision"] for entry in entries]
            assert revisions == sorted(set(revisions))
            assert set(STABLE) <= Counter(entry["key"] for entry in entries).keys()
            assert end["type"] == "end"
            assert end["count"] == len(entries)
            assert end["revision"] >= revisions[-1]


async def test_lists_that_are_dropped_and_windows_that_are_small_change_no_page(
    native: Native, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    await native.fill(bucket.name, STABLE)
    for window, kept in ((300, 400_000), (300, 350), (100_000, 1)):
        monkeypatch.setattr("jetkv_gateway.jetstream.pages._WINDOW", window)
        monkeypatch.setattr("jetkv_gateway.jetstream.pages._KEPT", kept)
        found = await asyncio.to_thread(pages, bucket, "limit=170")
        assert [key for one in found for key in keys_of(one)] == STABLE

"""Newest values of a bucket with a history: many at a time, and none lost if they are large."""

import asyncio
import base64
import json
from collections import Counter
from typing import Any

import pytest
from nats.aio.msg import Msg

from jetkv_gateway.embedded import NatsServer
from jetkv_gateway.jetstream.latest_batches import LatestBatches
from tests.support.http import Bucket
from tests.support.listing import lines
from tests.support.native import native_client
from tests.support.watching import watching

KEYS = 600
LARGE = {f"k.{n:03}" for n in range(300, 310)}
"""Keys with values of which no two fit into one batch. All other values are small."""


def size_of(key: str) -> int:
    return 900_000 if key in LARGE else 10


@pytest.fixture
def mixed(make_bucket, nats: NatsServer) -> Bucket:
    """A bucket with a history whose values are small on average."""
    bucket: Bucket = make_bucket(history=5)

    async def fill() -> None:
        async with native_client(nats.url) as native:
            for key in (f"k.{n:03}" for n in range(KEYS)):
                await native.publish(f"$KV.{bucket.name}.{key}", b"old")
            # So that the average is small.
            for n in range(3 * KEYS):
                await native.client.publish(f"$KV.{bucket.name}.more.{n}", b"")
            for key in (f"k.{n:03}" for n in range(KEYS)):
                await native.publish(f"$KV.{bucket.name}.{key}", b"v" * size_of(key))

    asyncio.run(fill())
    return bucket


async def snapshot(bucket: Bucket) -> list[dict[str, Any]]:
    """The changes up to the end of a snapshot."""
    found = []
    async with watching(bucket.http, bucket.name, "?snapshot=true&key=k.*") as watcher:
        async with asyncio.timeout(30):
            while (frame := json.loads(await watcher.connection.recv()))["type"] == "kv_update":
                found.append(frame)
    assert frame["type"] == "kv_snapshot_end"
    return found


@pytest.fixture
def exceeded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The buckets whose messages have exceeded a batch."""
    noted: list[str] = []
    note = LatestBatches.note_exceeded

    def spy(self: LatestBatches, bucket: str) -> None:
        noted.append(bucket)
        note(self, bucket)

    monkeypatch.setattr(LatestBatches, "note_exceeded", spy)
    return noted


async def test_a_snapshot_has_every_value_once_where_some_are_far_larger_than_most(
    mixed: Bucket, exceeded: list[str]
) -> None:
    frames = await snapshot(mixed)
    assert [frame["key"] for frame in frames] == [f"k.{n:03}" for n in range(KEYS)]
    sizes = {frame["key"]: len(base64.b64decode(frame["value"])) for frame in frames}
    assert sizes == {key: size_of(key) for key in sizes}
    assert exceeded == [mixed.name]
    # It is remembered, so the next one does not try again.
    assert len(await snapshot(mixed)) == KEYS
    assert exceeded == [mixed.name]


def test_a_listing_has_every_value_once_where_some_are_far_larger_than_most(
    mixed: Bucket, exceeded: list[str]
) -> None:
    *entries, end = lines(mixed, "include=values&filter=k.*")
    assert end["type"] == "end", end
    assert [entry["key"] for entry in entries] == [f"k.{n:03}" for n in range(KEYS)]
    sizes = {entry["key"]: len(base64.b64decode(entry["value"])) for entry in entries}
    assert sizes == {key: size_of(key) for key in sizes}
    assert exceeded == [mixed.name]


async def test_a_snapshot_of_small_values_takes_few_requests(make_bucket, nats: NatsServer) -> None:
    bucket: Bucket = make_bucket(history=5)
    pulls: list[str] = []

    async def note(message: Msg) -> None:
        pulls.append(message.subject)

    async with native_client(nats.url) as native:
        for n in range(KEYS):
            await native.publish(f"$KV.{bucket.name}.k.{n}", b"v")
        await native.client.subscribe(f"$JS.API.CONSUMER.MSG.NEXT.KV_{bucket.name}.*", cb=note)
        await native.settled()
        assert len(await snapshot(bucket)) == KEYS
        await native.settled()
    of_one_consumer = Counter(pulls).most_common(1)[0][1]
    assert of_one_consumer <= KEYS / 64 + 3

"""The traps of NATS KV that concern listings; see `test_traps`."""

import asyncio
from collections import Counter

import pytest

from tests.support.http import Bucket
from tests.support.native import Native
from tests.support.raw import Wire
from tests.support.waiting import eventually

STABLE = [f"stable.{number:04}" for number in range(2000)]


async def _fill(native: Native, bucket: str, keys: list[str]) -> None:
    """Write all keys, many at a time."""
    for start in range(0, len(keys), 500):
        chunk = keys[start : start + 500]
        await asyncio.gather(*(native.publish(f"$KV.{bucket}.{key}", b"v") for key in chunk))


async def _write_without_end(native: Native, bucket: str) -> None:
    """Write new keys, write the stable ones again, delete and purge others; until cancelled."""
    number = 0
    while True:
        number += 1
        writes = [native.publish(f"$KV.{bucket}.new.{number}", b"v")]
        for step in range(8):
            stable = STABLE[(number * 37 + step * 251) % len(STABLE)]
            writes.append(native.publish(f"$KV.{bucket}.{stable}", b"v"))
        gone = f"$KV.{bucket}.new.{number - 50}"
        if number % 2:
            writes.append(native.publish(gone, KV_Operation="DEL"))
        else:
            writes.append(native.publish(gone, KV_Operation="PURGE", Nats_Rollup="sub"))
        await asyncio.gather(*writes)


@pytest.mark.parametrize("history", [1, 5])
async def test_trap_3_listings_are_complete_while_others_write(
    native: Native, make_bucket, history: int
) -> None:
    if history > 1 and native.version < (2, 11):
        pytest.skip("this load can stop JetStream of nats-server 2.10 (docs/nats.md#consumers)")
    bucket = make_bucket(history=history)
    await _fill(native, bucket.name, STABLE)
    writer = asyncio.create_task(_write_without_end(native, bucket.name))
    before = (await native.state(bucket.name))["last_seq"]
    for _ in range(20):
        listed = Counter(await asyncio.to_thread(bucket.keys))
        assert [key for key in STABLE if key not in listed] == []
        assert [key for key, times in listed.items() if times > 1] == []
        assert {key.split(".")[0] for key in listed} <= {"stable", "new"}
    writer.cancel()
    written = (await native.state(bucket.name))["last_seq"] - before
    assert written > 1000, "nobody wrote meanwhile, so nothing was shown"


async def test_trap_3_a_filtered_listing_is_complete_while_others_write(
    native: Native, bucket: Bucket
) -> None:
    await _fill(native, bucket.name, STABLE)
    writer = asyncio.create_task(_write_without_end(native, bucket.name))
    for _ in range(10):
        assert await asyncio.to_thread(bucket.keys, "stable.*") == STABLE
    writer.cancel()


async def test_trap_4_listings_leave_no_consumer_behind(native: Native, bucket: Bucket) -> None:
    bucket.put("k", "v")
    for filter in (None, "k", "x.>", "k*"):
        bucket.keys(filter)
    assert (await native.state(bucket.name))["consumer_count"] == 0


async def test_trap_4_a_listing_whose_client_went_away_leaves_no_consumer_behind(
    native: Native, bucket: Bucket
) -> None:
    await _fill(native, bucket.name, [f"k{number}" for number in range(20_000)])

    async def consumers() -> int:
        count: int = (await native.state(bucket.name))["consumer_count"]
        return count

    async def no_consumers() -> bool:
        return await consumers() == 0

    with Wire(bucket.http) as wire:
        wire.head("GET", f"{bucket.path}/keys")
        await eventually(consumers, "the listing runs", 3)
    await eventually(no_consumers, "its consumer is gone", 5)


async def test_trap_4_a_listing_of_a_deleted_bucket_says_so(native: Native, bucket: Bucket) -> None:
    bucket.put("k", "v")
    await native.api(f"STREAM.DELETE.KV_{bucket.name}")
    assert bucket.http.get(f"{bucket.path}/keys").error == "bucket not found"


@pytest.fixture(scope="module")
def exact_keys() -> list[str]:
    return [
        "user.1",
        "user.1.a",
        "user.2",
        "user-1",
        "user:1",
        "xuser.2",
        "user",
        "user/1",
        "user.",
    ]


@pytest.mark.parametrize(
    ("filter", "expected"),
    [
        ("user.*", ["user.1", "user.2"]),
        ("user.>", ["user.1", "user.1.a", "user.2"]),
        ("user.", ["user.", "user.1", "user.1.a", "user.2"]),
        ("user", ["user"]),
        ("*", ["user", "user-1", "user/1", "user:1"]),
        ("user:*", ["user:1"]),
        ("user-*", ["user-1"]),
        ("*user.2", ["user.2", "xuser.2"]),
        ("*.1", ["user.1"]),
        ("none.*", []),
    ],
)
def test_trap_5_filters_are_exact(
    bucket: Bucket, exact_keys: list[str], filter: str, expected: list[str]
) -> None:
    for key in exact_keys:
        bucket.put(key, "v")
    assert bucket.keys(filter) == expected


def test_trap_5_an_empty_bucket_lists_no_keys(bucket: Bucket) -> None:
    answer = bucket.http.get(f"{bucket.path}/keys")
    assert answer.json == {"keys": [], "count": 0}

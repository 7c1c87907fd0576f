"""Buckets whose stream stores a key under another subject, or holds subjects of another bucket."""

import asyncio
from typing import Any

import pytest

from tests.support.http import BUCKETS, Bucket, Http
from tests.support.native import Native, bucket_stream
from tests.support.waiting import eventually
from tests.support.watching import Frame, watching

KEYS = 150
"""More than a listing asks for at a time."""


@pytest.mark.parametrize(
    "transform",
    [
        {"src": "$KV.{}.>", "dest": "$KV.{}.moved.>"},
        {"src": "$KV.{}.k", "dest": "$KV.{}.l"},
        {"src": "$KV.{}.*", "dest": "elsewhere.{}.{{{{wildcard(1)}}}}"},
        {"src": "$KV.>", "dest": "elsewhere-{}.>"},
        {"src": "", "dest": "elsewhere-{}.>"},
    ],
    ids=str,
)
async def test_a_bucket_that_would_store_a_key_elsewhere_is_refused_with_the_reason(
    http: Http, native: Native, bucket_name: str, transform: dict[str, str]
) -> None:
    transform = {name: text.format(bucket_name) for name, text in transform.items()}
    await native.make_bucket(bucket_name, subject_transform=transform)
    bucket = Bucket(http, bucket_name)
    for answer in (
        bucket.put("k", "v"),
        bucket.put("k", "v", If_None_Match="*"),
        bucket.get("k"),
        bucket.delete("k"),
        http.get(bucket.path),
        http.get(f"{bucket.path}/keys"),
    ):
        assert (answer.status, answer.json["code"]) == (409, "failed_precondition")
        assert "moves keys: its subject_transform" in answer.error
    assert (await native.state(bucket_name))["last_seq"] == 0, "nothing was written"
    assert bucket_name not in [info["name"] for info in http.get(BUCKETS).json["buckets"]]


@pytest.mark.parametrize(
    "transform",
    [
        {"src": "orders-{}.>", "dest": "$KV.{}.>"},
        {"src": "$KV.other-{}.>", "dest": "$KV.{}.>"},
        {"src": "$KV.{}.>", "dest": "$KV.{}.>"},
    ],
    ids=str,
)
async def test_a_transform_that_leaves_its_keys_where_they_are_does_no_harm(
    http: Http, native: Native, bucket_name: str, transform: dict[str, str]
) -> None:
    transform = {name: text.format(bucket_name) for name, text in transform.items()}
    await native.make_bucket(bucket_name, subject_transform=transform)
    bucket = Bucket(http, bucket_name)
    assert bucket.put("k", "v").status == 200
    assert bucket.get("k").value == b"v"
    assert bucket.keys() == ["k"]


async def test_a_transform_that_comes_later_is_seen_within_seconds(
    http: Http, native: Native, bucket_name: str
) -> None:
    await native.make_bucket(bucket_name)
    bucket = Bucket(http, bucket_name)
    assert bucket.put("k", "v").status == 200
    transform = {"src": f"$KV.{bucket_name}.>", "dest": f"$KV.{bucket_name}.moved.>"}
    stream = bucket_stream(bucket_name, subject_transform=transform)
    assert "error" not in await native.api(f"STREAM.UPDATE.KV_{bucket_name}", stream)
    assert http.get(bucket.path).status == 409

    async def refused() -> bool:
        return (await asyncio.to_thread(bucket.put, "k", "w")).status == 409

    await eventually(refused, "what is known of the bucket is read again", 10)


@pytest.fixture
async def sourced(http: Http, native: Native, bucket_name: str) -> Bucket:
    """A bucket that sources another one as it is, so that it holds subjects that are not its own.

    It keeps a history: servers look at filters in another way then.
    """
    origin = bucket_name[:-1]
    await native.make_bucket(origin, max_msgs_per_subject=5)
    sources = [{"name": f"KV_{origin}"}]
    await native.make_bucket(bucket_name, max_msgs_per_subject=5, sources=sources)
    for number in range(KEYS):
        await native.publish(f"$KV.{origin}.alpha{number}", b"other")

    async def arrived() -> bool:
        return (await native.state(bucket_name))["messages"] == KEYS

    await eventually(arrived, "the bucket has what it sources")
    bucket = Bucket(http, bucket_name)
    for number in range(KEYS):
        await native.publish(f"$KV.{bucket_name}.own{number}", b"own")
    return bucket


OWN = sorted(f"own{number}" for number in range(KEYS))


async def test_a_list_has_all_of_a_buckets_own_keys_and_none_of_what_it_sources(
    sourced: Bucket,
) -> None:
    assert sourced.keys() == OWN
    assert sourced.keys("*") == OWN
    assert sourced.keys("own1*") == [key for key in OWN if key.startswith("own1")]
    assert sourced.keys("l*") == sourced.keys("pha1") == []


async def test_a_watch_shows_none_of_what_a_bucket_sources(sourced: Bucket, native: Native) -> None:
    origin = sourced.name[:-1]
    shown: dict[str, list[Frame]] = {}
    for query in ("", "?snapshot=true", "?resume_after=1", "?snapshot=true&key=*"):
        async with watching(sourced.http, sourced.name, query) as watcher:
            await native.publish(f"$KV.{origin}.late", b"other")
            await native.publish(f"$KV.{sourced.name}.last", b"own")
            shown[query] = await watcher.until(lambda frame: frame.get("key") == "last")
    for query, frames in shown.items():
        keys = {frame["key"] for frame in frames if frame["type"] == "kv_update"}
        assert keys <= {*OWN, "last"}, query
        assert keys == {"last"} or keys == {*OWN, "last"}


async def test_a_read_finds_no_key_of_what_a_bucket_sources(sourced: Bucket) -> None:
    for answer in (
        sourced.get("lpha1"),
        sourced.get("lpha1", "?consistency=eventual"),
        sourced.get("lpha1", "?revision=2"),
        sourced.get("alpha1"),
        sourced.get("own1", "?revision=2"),
        sourced.history("lpha1"),
    ):
        assert (answer.status, answer.error) == (404, "key not found")
    assert sourced.get("own1").value == b"own"
    entries: list[dict[str, Any]] = sourced.history("own1").json["entries"]
    assert [entry["key"] for entry in entries] == ["own1"]


async def test_a_bucket_that_sources_another_into_its_own_subjects_has_its_keys(
    http: Http, native: Native, bucket_name: str
) -> None:
    origin = bucket_name[:-1]
    await native.make_bucket(origin)
    transforms = [{"src": f"$KV.{origin}.>", "dest": f"$KV.{bucket_name}.>"}]
    sources = [{"name": f"KV_{origin}", "subject_transforms": transforms}]
    await native.make_bucket(bucket_name, sources=sources)
    await native.publish(f"$KV.{origin}.alpha", b"v")
    bucket = Bucket(http, bucket_name)

    async def arrived() -> bool:
        return (await asyncio.to_thread(bucket.get, "alpha")).status == 200

    await eventually(arrived, "the bucket has what it sources")
    assert bucket.keys() == ["alpha"]
    assert bucket.get("alpha").value == b"v"

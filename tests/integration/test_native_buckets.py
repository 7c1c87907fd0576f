"""Buckets that were made elsewhere: other settings, and streams that are no buckets.

What such a bucket cannot do is answered with the reason, never with a 500.
"""

import asyncio
import json
from typing import Any

import pytest
from nats.js.api import RePublish, StorageType

from tests.support.http import BUCKETS, Answer, Bucket, Http
from tests.support.native import Native
from tests.support.waiting import eventually


def _all_requests(bucket: Bucket) -> dict[str, Answer]:
    """What every request on the bucket and its key `k` answers, but for deleting the bucket."""
    return {
        "get": bucket.get("k"),
        "get eventual": bucket.get("k", "?consistency=eventual"),
        "get revision": bucket.get("k", "?revision=1"),
        "put": bucket.put("k", "v"),
        "create": bucket.put("k", "v", If_None_Match="*"),
        "cas": bucket.put("k", "v", If_Match="1"),
        "delete": bucket.delete("k"),
        "purge": bucket.delete("k", "?purge=true"),
        "history": bucket.history("k"),
        "keys": bucket.http.get(f"{bucket.path}/keys"),
        "info": bucket.http.get(bucket.path),
    }


def _listed(http: Http) -> list[str]:
    return [info["name"] for info in http.get(BUCKETS).json["buckets"]]


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"history": 5},
        {"history": 64},
        {"storage": StorageType.MEMORY},
        {"direct": True},
        {"direct": False},
        {"ttl": 3600},
        {"max_bytes": 1_000_000},
        {"max_value_size": 1000},
    ],
    ids=str,
)
async def test_a_bucket_of_nats_py_works_in_full(
    http: Http, native: Native, bucket_name: str, settings: dict[str, Any]
) -> None:
    kv = await native.make_kv(bucket_name, **settings)
    await kv.put("k", b"native")
    bucket = Bucket(http, bucket_name)
    statuses = {name: answer.status for name, answer in _all_requests(bucket).items()}
    assert statuses == {
        "get": 200,
        "get eventual": 200,
        "get revision": 200,
        "put": 200,
        "create": 412,
        "cas": 412,
        "delete": 204,
        "purge": 204,
        "history": 200,
        "keys": 200,
        "info": 200,
    }
    assert bucket_name in _listed(http)


async def test_without_direct_gets_an_eventual_read_is_the_leaders_and_says_so(
    http: Http, native: Native, bucket_name: str
) -> None:
    kv = await native.make_kv(bucket_name)  # nats-py leaves direct gets off
    await kv.put("k", b"v")
    answer = Bucket(http, bucket_name).get("k", "?consistency=eventual")
    assert (answer.status, answer.value) == (200, b"v")
    assert answer.headers["jetkv-consistency"] == "strong"


async def test_a_memory_bucket_says_that_it_is_one(
    http: Http, native: Native, bucket_name: str
) -> None:
    await native.make_kv(bucket_name, storage=StorageType.MEMORY)
    assert Bucket(http, bucket_name).info()["storage"] == "memory"


async def test_writes_to_a_republishing_bucket_are_republished(
    http: Http, native: Native, bucket_name: str
) -> None:
    republish = RePublish(src=f"$KV.{bucket_name}.>", dest=f"mirror.{bucket_name}.>")
    await native.make_kv(bucket_name, republish=republish)
    subscription = await native.client.subscribe(f"mirror.{bucket_name}.>")
    await native.settled()
    bucket = Bucket(http, bucket_name)
    bucket.put("a.b", "v")
    message = await subscription.next_msg(timeout=5)
    assert (message.subject, message.data) == (f"mirror.{bucket_name}.a.b", b"v")
    assert bucket.get("a.b").value == b"v"


async def test_a_bucket_too_small_for_tombstones_says_so(
    http: Http, native: Native, bucket_name: str
) -> None:
    kv = await native.make_kv(bucket_name, max_value_size=20)
    await kv.put("k", b"native")
    bucket = Bucket(http, bucket_name)
    assert bucket.get("k").value == b"native"
    for answer in (bucket.delete("k"), bucket.delete("k", "?purge=true")):
        assert (answer.status, answer.json["code"]) == (409, "failed_precondition")
        assert answer.error == "the bucket's max_value_size is too small for a tombstone"
    too_large = bucket.put("k", bytes(21))
    assert (too_large.status, too_large.json["details"]) == (413, {"limit_bytes": 20})
    assert bucket.get("k").value == b"native"


# What is no bucket.


async def _make_mirror(native: Native, origin: Bucket) -> str:
    """Mirror a bucket into a stream that is named as a bucket is; its name."""
    name = f"{origin.name}-mirror"
    await native.make_stream(
        {
            "name": f"KV_{name}",
            "mirror": {"name": f"KV_{origin.name}"},
            "max_msgs_per_subject": 1,
            "allow_direct": True,
            "mirror_direct": True,
        }
    )
    return name


@pytest.fixture
async def mirror(native: Native, bucket: Bucket) -> Bucket:
    """A mirror of a bucket with one key `k`."""
    await native.publish(f"$KV.{bucket.name}.k", b"v")
    name = await _make_mirror(native, bucket)

    async def filled() -> bool:
        return (await native.state(name))["messages"] == 1

    await eventually(filled, "the mirror has the key")
    return Bucket(bucket.http, name)


async def test_a_mirror_is_refused_with_the_reason_and_not_listed(mirror: Bucket) -> None:
    for name, answer in _all_requests(mirror).items():
        assert (answer.status, answer.json["code"]) == (409, "failed_precondition"), name
        assert "mirrors KV_" in answer.error, name
    assert mirror.name not in _listed(mirror.http)


async def test_a_mirror_gets_what_http_writes_but_on_2_10(native: Native, bucket: Bucket) -> None:
    await native.publish(f"$KV.{bucket.name}.native", b"v")
    bucket.put("http", "v")
    await native.publish(f"$KV.{bucket.name}.native2", b"v")
    name = await _make_mirror(native, bucket)

    async def stored() -> bool:
        expected = 1 if native.version < (2, 11) else 3
        return (await native.state(name))["messages"] == expected

    # A mirror of 2.10 takes the header Nats-Expected-Stream for a condition of its own, and stops.
    await eventually(stored, "the mirror has what its server can mirror")


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        ({"subjects": ["orders.>"]}, "its subjects are orders."),
        ({"subjects": ["$KV.{}.>", "orders.>"]}, "its subjects are $KV."),
        ({"subjects": ["$KV.{}.>"]}, "its history is not 1 to 64"),
        ({"subjects": ["$KV.{}.>"], "max_msgs_per_subject": 512}, "its history is not 1 to 64"),
    ],
    ids=["other subjects", "more subjects", "unlimited history", "history of 512"],
)
async def test_a_stream_that_is_no_bucket_is_refused_and_stays(
    http: Http, native: Native, bucket_name: str, config: dict[str, Any], reason: str
) -> None:
    # A stream of another bucket's name must not get in the way of the shared server's others.
    subjects = [
        subject.format(bucket_name).replace("orders", f"orders-{bucket_name}")
        for subject in config["subjects"]
    ]
    reason = reason.replace("orders", f"orders-{bucket_name}")
    await native.make_stream({**config, "name": f"KV_{bucket_name}", "subjects": subjects})
    bucket = Bucket(http, bucket_name)
    for name, answer in _all_requests(bucket).items():
        assert (answer.status, answer.json["code"]) == (409, "failed_precondition"), name
        assert "is not a KV bucket" in answer.error
        assert reason in answer.error
    refused = http.delete(bucket.path)
    assert (refused.status, refused.json["code"]) == (409, "failed_precondition")
    assert "error" not in await native.api(f"STREAM.INFO.KV_{bucket_name}"), "it stands"
    assert (await native.state(bucket_name))["messages"] == 0, "nothing was written"
    assert bucket_name not in _listed(http)
    assert http.post(BUCKETS, {"name": bucket_name}).error == "bucket already exists"


async def test_a_stream_that_is_no_bucket_takes_no_write_even_of_a_key_it_has(
    http: Http, native: Native, bucket_name: str
) -> None:
    subjects = [f"$KV.{bucket_name}.>", f"orders-{bucket_name}.>"]
    await native.make_stream({"name": f"KV_{bucket_name}", "subjects": subjects})
    await native.publish(f"$KV.{bucket_name}.k", b"v")
    answers = _all_requests(Bucket(http, bucket_name))
    for name in ("put", "create", "cas", "delete", "purge"):
        assert (answers[name].status, answers[name].json["code"]) == (409, "failed_precondition")
    assert (await native.state(bucket_name))["last_seq"] == 1


async def test_a_bucket_whose_name_http_does_not_allow_is_not_listed(
    http: Http, native: Native
) -> None:
    long = "n" * 230
    await native.make_bucket(long)
    assert long not in _listed(http)
    assert http.get(f"{BUCKETS}/{long}").error == "invalid bucket name"


async def test_many_buckets_are_all_listed(http: Http, native: Native, bucket_name: str) -> None:
    names = [f"{bucket_name}-{number:03}" for number in range(300)]  # a page has 256
    await asyncio.gather(*(native.make_bucket(name, storage="memory") for name in names))
    answer = http.get(BUCKETS)
    listed = [info["name"] for info in answer.json["buckets"]]
    assert [name for name in listed if name in set(names)] == names
    assert listed == sorted(listed)
    assert answer.json["count"] == len(listed)
    assert json.dumps(answer.json).count(f'"name": "{bucket_name}-') == len(names)

"""Both clients, given invalid keys, revisions and settings, or used after their end."""

import asyncio
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from jetkv import (
    AsyncClient,
    BucketNotFoundError,
    ClientClosedError,
    InvalidArgumentError,
    KeyNotFoundError,
    RevisionMismatchError,
    UnavailableError,
)
from tests.sdk.calls import (
    ONCE,
    READS,
    Call,
    every_call,
    first_of,
    refused,
)
from tests.support.http import Bucket, Http

# --- keys and names


BAD_KEYS = {
    "empty": ("", "a key must not be empty"),
    "a number": (5, "a key must be text, not int"),
    "bytes": (b"k", "a key must be text, not bytes"),
    "nothing": (None, "a key must be text, not NoneType"),
    "half a character": ("\ud800", "valid Unicode"),
    "a control character": ("a\nb", "control characters"),
    "a zero byte": ("a\x00b", "control characters"),
    "too long": ("k" * 513, "512"),
}
WITH_A_KEY: dict[str, Callable[[Any, Any], Any]] = {
    "get": lambda bucket, key: bucket.get(key),
    "get_or_none": lambda bucket, key: bucket.get_or_none(key),
    "exists": lambda bucket, key: bucket.exists(key),
    "put": lambda bucket, key: bucket.put(key, 1),
    "create": lambda bucket, key: bucket.create(key, 1),
    "update": lambda bucket, key: bucket.update(key, 1, 1),
    "delete": lambda bucket, key: bucket.delete(key),
    "purge": lambda bucket, key: bucket.purge(key),
    "history": lambda bucket, key: bucket.history(key),
    "modify": lambda bucket, key: bucket.modify(key, lambda value: 1),
    "get_or_compute": lambda bucket, key: bucket.get_or_compute(key, lambda: 1),
}


@pytest.mark.parametrize(("key", "said"), BAD_KEYS.values(), ids=BAD_KEYS)
async def test_a_key_that_cannot_be_one_is_refused_everywhere(
    make, http: Http, bucket: Bucket, key: Any, said: str
) -> None:
    async with make(http.url) as client:
        for call in WITH_A_KEY.values():
            opened = client.kv().bucket(bucket.name)
            await refused(call(opened, key), InvalidArgumentError, said)
    assert bucket.info()["values"] == 0


@pytest.mark.parametrize("filter", [5, b"k", ["a", "b"], "\ud800"], ids=repr)
async def test_a_filter_that_is_no_text_is_refused(make, nobody: str, filter: Any) -> None:
    async with make(nobody, retry=ONCE) as client:
        await refused(client.kv().bucket("b").keys(filter), InvalidArgumentError, "filter")


@pytest.mark.parametrize("filter", [5, b"k", ["a", "b"], "\ud800", ""], ids=repr)
async def test_a_filter_of_a_watch_that_is_no_text_is_refused(
    make, http: Http, bucket: Bucket, filter: Any
) -> None:
    async with make(http.url) as client:
        watch = client.kv().bucket(bucket.name).watch(filter)
        await refused(first_of(watch), InvalidArgumentError, "filter")


@pytest.mark.parametrize("name", ["", 5, None, b"b", "\ud800"], ids=repr)
async def test_a_name_that_cannot_be_a_buckets_is_refused_at_once(
    make, nobody: str, name: Any
) -> None:
    async with make(nobody, retry=ONCE) as client:
        with pytest.raises(InvalidArgumentError, match="bucket"):
            client.kv().bucket(name)
        for call in ("create_bucket", "bucket_info", "delete_bucket"):
            await refused(getattr(client.kv(), call)(name), InvalidArgumentError, "bucket")


# --- revisions


async def test_a_revision_of_another_key_is_said_not_to_be_there(
    make, http: Http, bucket: Bucket
) -> None:
    bucket.put("k", b"1")
    other = bucket.put("other", b"2").json["revision"]
    async with make(http.url) as client:
        opened = client.kv().bucket(bucket.name)
        await refused(opened.get("k", revision=other), KeyNotFoundError, "'k'")
        error = await refused(opened.update("k", 3, other), RevisionMismatchError, "'k'")
    assert error.current_revision == 1


@pytest.mark.parametrize("revision", [0, -1, True, "7", 7.0, b"7"], ids=repr)
@pytest.mark.parametrize("verb", ["get", "update", "delete", "purge"])
async def test_an_invalid_revision_is_refused_before_anything_is_sent(
    make, nobody: str, verb: str, revision: Any
) -> None:
    async with make(nobody, retry=ONCE) as client:
        bucket = client.kv().bucket("b")
        call = getattr(bucket, verb)
        args = ["k", 1] if verb == "update" else ["k"]
        await refused(call(*args, revision=revision), InvalidArgumentError, repr(revision))


async def test_an_update_without_a_revision_writes_nothing(
    make, http: Http, bucket: Bucket
) -> None:
    bucket.put("k", b"1")
    async with make(http.url) as client:
        call = client.kv().bucket(bucket.name).update("k", 2, None)
        await refused(call, InvalidArgumentError, "revision")
    assert bucket.get("k").value == b"1"


@pytest.mark.parametrize("revision", [-1, True, "7", 7.0], ids=repr)
async def test_an_invalid_place_to_resume_is_refused_at_once(
    make, nobody: str, revision: Any
) -> None:
    async with make(nobody) as client:
        with pytest.raises(InvalidArgumentError, match="resume_after"):
            client.kv().bucket("b").watch(resume_after=revision)


async def test_a_watch_begins_in_one_place(make, nobody: str) -> None:
    async with make(nobody) as client:
        with pytest.raises(InvalidArgumentError, match="either snapshot=True or resume_after"):
            client.kv().bucket("b").watch(snapshot=True, resume_after=1)


# --- settings of a bucket


SETTINGS = {
    "seconds for a ttl": ({"ttl": 5}, "timedelta, not int"),
    "half seconds": ({"ttl": timedelta(seconds=1.5)}, "whole seconds"),
    "no ttl": ({"ttl": timedelta(0)}, "1 s or more"),
    "a negative ttl": ({"ttl": timedelta(seconds=-5)}, "1 s or more"),
    "no history": ({"history": 0}, "history"),
    "too much history": ({"history": 65}, "history"),
    "history in words": ({"history": "5"}, "history"),
    "true for a number": ({"history": True}, "history"),
    "an object": ({"history": object()}, "object"),
    "storage on tape": ({"storage": "tape"}, "storage"),
    "no replicas": ({"replicas": 0}, "replicas"),
    "a negative limit": ({"max_bytes": -5}, "max_bytes"),
}


@pytest.mark.parametrize(("options", "said"), SETTINGS.values(), ids=SETTINGS)
async def test_a_setting_that_breaks_a_rule_is_refused_and_makes_no_bucket(
    make, http: Http, bucket_name: str, options: dict[str, Any], said: str
) -> None:
    async with make(http.url) as client:
        call = client.kv().create_bucket(bucket_name, **options)
        await refused(call, InvalidArgumentError, said)
        await refused(client.kv().bucket_info(bucket_name), BucketNotFoundError, bucket_name)


# --- a client that is over, or elsewhere


@every_call
async def test_a_closed_client_says_so(make, nobody: str, call: Call) -> None:
    client = make(nobody)
    async with client:
        pass
    await refused(call(client), ClientClosedError, "the client is closed")


async def test_a_client_that_was_used_says_that_it_is_closed(
    make, http: Http, bucket: Bucket
) -> None:
    async with make(http.url) as client:
        opened = client.kv().bucket(bucket.name)
        await opened.put("k", 1)
    await refused(opened.get("k"), ClientClosedError, "the client is closed")


async def test_closing_twice_is_no_error(make, http: Http) -> None:
    client = make(http.url)
    await client.kv().buckets()
    await client.aclose()
    await client.aclose()


@every_call
def test_an_async_client_in_another_event_loop_says_whose_it_is(nobody: str, call: Call) -> None:
    client = AsyncClient(nobody, retry=ONCE)
    with asyncio.Runner() as first, asyncio.Runner() as second:
        first.run(refused(READS["get"](client), UnavailableError))
        second.run(refused(call(client), InvalidArgumentError, "event loop"))
        first.run(client.aclose())

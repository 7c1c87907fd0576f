"""The cache for Django: what Django's own tests do not ask of it."""

import asyncio
import json
import logging
import pickle
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from asgiref.sync import async_to_sync

from jetkv import (
    AuthenticationError,
    BucketNotFoundError,
    BucketUnsuitableError,
    Client,
    InvalidArgumentError,
    UnavailableError,
)
from jetkv.integrations.django import JetKVCache
from jetkv.testing import LocalNats
from tests.recipes.relay import Relay, relay_to
from tests.support.gateway import running_gateway
from tests.support.http import Bucket, Http
from tests.support.tokens import new_token, token_line
from tests.support.waiting import until

Make = Callable[..., JetKVCache]


@pytest.fixture
def make(http: Http, new_bucket: str) -> Make:
    """Makes caches in one bucket, which the first call creates."""

    def made(url: str = http.url, **params: Any) -> JetKVCache:
        return JetKVCache(f"{url}/{new_bucket}", params)

    return made


@pytest.fixture
def cache(make: Make) -> JetKVCache:
    return make()


@pytest.fixture
def stored(http: Http, new_bucket: str) -> Bucket:
    """The bucket, as other clients see it."""
    return Bucket(http, new_bucket)


def read(bucket: Bucket, key: str) -> tuple[bytes, str]:
    """The bytes and the content type of a key, in the first version."""
    answer = bucket.http.get(f"{bucket.key(f':1:{key}')}?values=raw")
    assert answer.status == 200, answer
    return answer.body, answer.headers["content-type"]


def test_whole_numbers_are_json_for_other_clients_and_other_values_are_pickles(
    cache: JetKVCache, stored: Bucket
) -> None:
    cache.set_many({"visits": 41, "cart": {"book": 2}})
    assert read(stored, "visits") == (b"41", "application/json")
    raw, media = read(stored, "cart")
    assert (pickle.loads(raw), media) == ({"book": 2}, "application/x-python-serialize")
    assert cache.incr("visits") == 42
    assert read(stored, "visits") == (b"42", "application/json")


def test_json_that_another_client_has_stored_is_read(cache: JetKVCache, stored: Bucket) -> None:
    cache.set("mine", True)
    stored.put(":1:theirs", '{"text":"ü"}', Content_Type="application/json")
    assert cache.get_many(["mine", "theirs"]) == {"mine": True, "theirs": {"text": "ü"}}


def test_with_the_serializer_for_json_all_values_are_json(make: Make, stored: Bucket) -> None:
    cache = make(OPTIONS={"SERIALIZER": "jetkv.integrations.django.JSONSerializer"})
    cache.set("cart", {"book": [1, None, True]})
    raw, media = read(stored, "cart")
    assert (json.loads(raw), media) == ({"book": [1, None, True]}, "application/json")
    assert cache.get("cart") == {"book": [1, None, True]}
    with pytest.raises(TypeError):
        cache.set("cart", {1, 2})


class Text:
    def dumps(self, value: Any) -> bytes:
        return f"<{value}>".encode()

    def loads(self, raw: bytes) -> Any:
        return raw.decode()


@pytest.mark.parametrize(
    "serializer", [Text, Text(), f"{__name__}.Text"], ids=["a class", "an object", "a path"]
)
def test_a_serializer_is_a_class_an_object_or_a_path(
    make: Make, stored: Bucket, serializer: Any
) -> None:
    cache = make(OPTIONS={"SERIALIZER": serializer})
    cache.set("a", "b")
    assert cache.get("a") == "<b>"
    assert read(stored, "a") == (b"<b>", "application/octet-stream")


@pytest.mark.parametrize(
    "key",
    ["", "k" * 600, "ü" * 300, "line\nbreak", "\x00", "\ud800", "a/../b", "../%2F?x=1#y", "*", ">"],
    ids=ascii,
)
@pytest.mark.filterwarnings("ignore::django.core.cache.CacheKeyWarning")
def test_any_text_is_a_key(make: Make, key: str) -> None:
    cache = make(KEY_FUNCTION=lambda key, *_: key)
    assert cache.get(key) is None
    assert cache.add(key, 1) is True
    assert cache.incr(key) == 2
    cache.set_many({key: 3, "other": 4})
    assert cache.get_many([key, "other"]) == {key: 3, "other": 4}
    assert cache.touch(key, 100) is True
    cache.delete_many([key])
    assert cache.has_key(key) is False
    assert cache.get("other") == 4


def seconds_left(bucket: Bucket, key: str) -> float | None:
    with Client(bucket.http.url) as client:
        entry = client.kv().bucket(bucket.name, bytes).get(f":1:{key}")
    return None if entry.expires_at is None else entry.expires_at.timestamp() - time.time()


@pytest.mark.parametrize(
    ("timeout", "expected"),
    [(0.01, 1), (1.5, 2), (100, 100), (10**8, 10**8), (None, None), (float("inf"), None)],
)
def test_a_timeout_is_rounded_up_to_seconds(
    cache: JetKVCache, stored: Bucket, timeout: float | None, expected: int | None
) -> None:
    cache.set("a", 1, timeout)
    cache.add("b", 1, timeout)
    cache.set_many({"c": 1, "d": 1}, timeout)
    cache.set("e", 1, 9)
    cache.touch("e", timeout)
    for key in "abcde":
        left = seconds_left(stored, key)
        assert left == expected or abs((left or 0) - (expected or 0)) < 1, key


@pytest.mark.parametrize("timeout", [0, -1, -0.5])
def test_without_time_left_a_value_is_gone_at_once(cache: JetKVCache, timeout: float) -> None:
    cache.set_many({"a": 1, "b": 1, "c": 1})
    cache.set("a", 2, timeout)
    cache.set_many({"b": 2, "new": 2}, timeout)
    assert cache.touch("c", timeout) is True
    assert cache.add("d", 1, timeout) is True
    assert cache.get_many(["a", "b", "c", "d", "new"]) == {}


def test_a_counter_keeps_its_timeout_however_often_it_counts(
    cache: JetKVCache, stored: Bucket
) -> None:
    cache.set("short", 0, 60)
    end = time.time() + (seconds_left(stored, "short") or 0)
    for _ in range(100):
        cache.incr("short")
    assert abs(time.time() + (seconds_left(stored, "short") or 0) - end) < 4
    cache.set("for-ever", 1, None)
    cache.decr("for-ever", 5)
    assert (cache.get("for-ever"), seconds_left(stored, "for-ever")) == (-4, None)


def test_a_counter_that_counts_all_the_time_ends(cache: JetKVCache) -> None:
    cache.set("busy", 0, 3)

    def counts() -> bool:
        try:
            cache.incr("busy")
        except ValueError:
            return False
        return True

    assert counts()
    until(lambda: not counts(), "the counter ends")


def test_every_increment_counts_once(cache: JetKVCache) -> None:
    cache.set("visits", 0)
    with ThreadPoolExecutor(4) as threads:
        totals = list(threads.map(lambda _: cache.incr("visits"), range(40)))
    assert sorted(totals) == list(range(1, 41))


def test_of_several_callers_one_adds_and_one_deletes(cache: JetKVCache) -> None:
    with ThreadPoolExecutor(4) as threads:
        added = list(threads.map(lambda number: cache.add("job", number), range(8)))
        deleted = list(threads.map(lambda _: cache.delete("job"), range(8)))
    assert (sorted(added), sorted(deleted)) == ([False] * 7 + [True], [False] * 7 + [True])


@pytest.fixture
def logs(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> Iterator[pytest.LogCaptureFixture]:
    """What the integrations log. The gateway in this process may send it elsewhere."""
    logger = logging.getLogger("jetkv.integrations")
    monkeypatch.setattr(logger, "propagate", False)
    logger.addHandler(caplog.handler)
    with caplog.at_level(logging.WARNING, logger.name):
        yield caplog
    logger.removeHandler(caplog.handler)


@pytest.fixture
def small(make_bucket: Callable[..., Bucket]) -> JetKVCache:
    bucket = make_bucket(max_value_size=1000)
    return JetKVCache(f"{bucket.http.url}/{bucket.name}", {})


def test_a_value_that_is_too_large_is_not_cached_and_takes_the_old_one_with_it(
    small: JetKVCache, logs: pytest.LogCaptureFixture
) -> None:
    large = "x" * 2000
    assert small.add("a", large) is False
    small.set("a", 1)
    small.set("a", large)
    assert small.get("a", "gone") == "gone"
    small.set("b", 1)
    assert small.set_many({"a": 1, "b": large, "c": 3}) == ["b"]
    assert small.get_many("abc") == {"a": 1, "c": 3}
    assert [record.levelno for record in logs.records] == [logging.WARNING] * 3
    assert "bytes is too large for bucket" in logs.text
    assert ":1:" not in logs.text


def test_more_keys_than_a_request_takes_are_written_read_and_deleted(cache: JetKVCache) -> None:
    data = {f"key-{number}": number for number in range(1100)}
    assert cache.set_many(data) == []
    assert cache.get_many([*data, "missing"]) == data
    cache.delete_many(data)
    assert cache.get_many(data) == {}


def test_clear_leaves_nothing_in_the_bucket(cache: JetKVCache, stored: Bucket) -> None:
    cache.set_many({"a": 1, "b": 2})
    cache.delete("a")
    cache.clear()
    assert stored.http.get(stored.path).json["values"] == 0


def test_a_bucket_that_is_missing_is_created_as_the_options_say(make: Make, stored: Bucket) -> None:
    cache = make(OPTIONS={"BUCKET": {"storage": "memory", "description": "pages"}})
    assert cache.get_many(iter(["a"])) == {}
    found = stored.http.get(stored.path).json
    assert (found["storage"], found["description"]) == ("memory", "pages")
    assert (found["history"], found["key_ttl"], found["expiry_markers"]) == (1, True, False)


@pytest.mark.parametrize("through", ["set", "add", "touch", "set_many"])
def test_a_bucket_whose_values_expire_earlier_is_an_error(
    make_bucket: Callable[..., Bucket], through: str
) -> None:
    bucket = make_bucket(ttl_seconds=60)
    cache = JetKVCache(f"{bucket.http.url}/{bucket.name}", {"TIMEOUT": 60})
    cache.set("a", 1)
    arguments = {"set": ("b", 1, 61), "touch": ("a", 61), "set_many": ({"b": 1, "c": 1}, 61)}
    with pytest.raises(BucketUnsuitableError, match="expire after 0:01:00"):
        getattr(cache, through)(*arguments.get(through, ("b", 1, 61)))
    assert cache.incr("a") == 2
    assert abs((seconds_left(bucket, "a") or 0) - 60) < 4
    cache.set("a", 1, 30)
    cache.touch("a", None)
    cache.set("b", 1, None)
    assert (seconds_left(bucket, "a"), seconds_left(bucket, "b")) == (None, None)


def test_without_a_timeout_a_bucket_needs_no_ttls_of_values(
    make_bucket: Callable[..., Bucket],
) -> None:
    bucket = make_bucket(key_ttl=False, expiry_markers=False)
    cache = JetKVCache(f"{bucket.http.url}/{bucket.name}", {"TIMEOUT": None})
    cache.set_many({"a": 1, "b": 2})
    assert cache.incr("a") == 2
    assert (cache.touch("a"), cache.touch("missing")) == (True, False)
    with pytest.raises(BucketUnsuitableError):
        cache.set("a", 1, 10)


def test_a_bucket_is_not_created_if_the_options_forbid_it(make: Make) -> None:
    cache = make(OPTIONS={"BUCKET": None})
    with pytest.raises(BucketNotFoundError):
        cache.set("a", 1)


def test_a_bucket_that_was_deleted_is_created_again(cache: JetKVCache, stored: Bucket) -> None:
    cache.set("a", 1)
    assert stored.http.delete(stored.path).status == 204
    cache.delete_many(iter(["a"]))
    cache.set("a", 2)
    assert cache.get("a") == 2


async def test_the_async_methods_create_a_bucket_too(cache: JetKVCache) -> None:
    assert await cache.aget_or_set("a", lambda: 5) == 5
    assert await cache.aincr("a") == 6
    assert await cache.adelete("a") is True


async def test_the_async_methods_use_no_thread(
    cache: JetKVCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("asgiref.sync.SyncToAsync.__call__", None)
    await cache.aset("a", 1)
    await cache.aset_many({"b": 2, "c": 3})
    assert await cache.aadd("d", 4) is True
    assert await cache.atouch("d") is True
    assert await cache.aget_many("abcd") == {"a": 1, "b": 2, "c": 3, "d": 4}
    assert await cache.aincr("a") == 2
    assert await cache.aincr_version("a") == 2
    assert await cache.ahas_key("a", version=2) is True
    await cache.adelete_many(["b", "c"])
    assert await cache.aget("b") is None
    await cache.aclear()


def test_each_event_loop_has_a_client_which_ends_with_it(cache: JetKVCache, make: Make) -> None:
    gateway = cache.stepwise.place._gateway
    clients = []

    async def use() -> None:
        await asyncio.gather(*(make().aset(f"{number}", number) for number in range(10)))
        ((client, _),) = [
            found for found in gateway.async_clients.values() if found[0] not in clients
        ]
        clients.append(client)

    asyncio.run(use())
    async_to_sync(use)()
    with ThreadPoolExecutor(2) as threads:
        threads.submit(asyncio.run, use()).result()
    assert len(set(map(id, clients))) == 3
    assert gateway.async_clients == {}
    assert all(client._endpoint.transport._closed for client in clients)
    assert cache.get("9") == 9


def test_a_loop_that_was_closed_at_once_leaves_no_client_behind(cache: JetKVCache) -> None:
    gateway = cache.stepwise.place._gateway
    abandoned = asyncio.new_event_loop()
    abandoned.run_until_complete(cache.aset("a", 1))
    ((client, _),) = gateway.async_clients.values()
    abandoned.run_until_complete(client.aclose())
    abandoned.close()
    assert asyncio.run(cache.aget("a")) == 1
    assert gateway.async_clients == {}


def test_caches_with_the_same_options_share_their_connections(make: Make) -> None:
    one, two, other = make(), make(KEY_PREFIX="x"), make(OPTIONS={"timeout": 3.0})
    gateways = [cache.stepwise.place._gateway for cache in (one, two, other)]
    assert gateways[0] is gateways[1]
    assert gateways[0] is not gateways[2]


@pytest.fixture
def relay(http: Http) -> Iterator[Relay]:
    with relay_to(http) as relay:
        yield relay


def test_an_outage_is_an_error(make: Make, relay: Relay) -> None:
    cache = make(relay.url, OPTIONS={"timeout": 0.5})
    cache.set("a", 1)
    relay.cut()
    with pytest.raises(UnavailableError):
        cache.get("a")
    relay.mend()
    assert cache.get("a") == 1


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """A cool-down that a test can wait for."""
    monkeypatch.setattr("jetkv.recipes._outage.COOL_DOWN_SECONDS", 0.3)


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("through", ["sync", "async"])
def test_an_outage_that_is_ignored_is_an_empty_cache_and_then_over(
    make: Make, relay: Relay, logs: pytest.LogCaptureFixture, through: str
) -> None:
    cache = make(relay.url, OPTIONS={"IGNORE_EXCEPTIONS": True})

    def call(name: str, *args: Any, **kwargs: Any) -> Any:
        if through == "sync":
            return getattr(cache, name)(*args, **kwargs)
        return asyncio.run(getattr(cache, f"a{name}")(*args, **kwargs))

    call("set", "a", 1)
    relay.cut()
    begun = time.monotonic()
    assert call("get", "a") is None
    assert (call("get", "a", "b"), call("get", "a", default="b")) == ("b", "b")
    assert call("get_many", ["a"]) == {}
    assert call("set_many", {"a": 2, "b": 2}) == ["a", "b"]
    assert call("set", "a", 2) is None
    assert call("add", "new", 1) is False
    assert call("touch", "a") is False
    assert call("delete", "a") is False
    assert call("has_key", "a") is False
    assert call("get_or_set", "a", lambda: 7) == 7
    assert (call("delete_many", ["a"]), call("clear")) == (None, None)
    with pytest.raises(ValueError, match="Key 'a' not found"):
        call("incr", "a")
    with pytest.raises(ValueError, match="Key 'a' not found"):
        call("incr_version", key="a")
    assert time.monotonic() - begun < 3
    assert "is not used now: UnavailableError (" in logs.text
    assert ":1:" not in logs.text
    relay.mend()
    time.sleep(0.4)
    assert call("get", "a") == 1


@pytest.mark.usefixtures("quick")
def test_what_is_no_outage_is_raised_and_does_not_stop_the_calls_that_follow(
    make: Make, relay: Relay
) -> None:
    cache = make(relay.url, OPTIONS={"IGNORE_EXCEPTIONS": True})
    relay.cut()
    cache.get("a")
    relay.mend()
    time.sleep(0.4)
    with pytest.raises(ValueError, match="not found"):
        cache.incr("missing")
    assert cache.add("a", 1) is True


def test_a_full_bucket_is_an_error_unless_it_is_ignored(
    make_bucket: Callable[..., Bucket], logs: pytest.LogCaptureFixture
) -> None:
    bucket = make_bucket(max_bytes=2000)
    cache = JetKVCache(f"{bucket.http.url}/{bucket.name}", {"OPTIONS": {"IGNORE_EXCEPTIONS": True}})
    cache.set("small", 1)
    cache.set("large", "x" * 3000)
    assert cache.get_many(["small", "large"]) == {"small": 1}
    assert "is not used now" in logs.text


def test_a_token_is_an_option(nats: LocalNats, tmp_path: Path, bucket: Bucket) -> None:
    token, file = new_token(), tmp_path / "tokens"
    file.write_text(token_line("web", token, f"read,write,delete:{bucket.name}"))
    file.chmod(0o600)
    with running_gateway(nats.url, auth="tokens", auth_tokens=file) as http:
        location = f"{http.url}/{bucket.name}"
        with pytest.raises(AuthenticationError):
            JetKVCache(location, {}).get("a")
        cache = JetKVCache(location, {"OPTIONS": {"token": token}})
        cache.set("a", 1)
        assert cache.incr("a") == 2
        cache.clear()
        assert cache.get("a") is None


@pytest.mark.parametrize(
    ("location", "options", "words"),
    [
        ("", {}, "the name of a bucket"),
        ("http://localhost:9123", {}, "the name of a bucket"),
        (["http://localhost:9123/a"], {}, "the name of a bucket"),
        ("ftp://localhost/a", {}, "not an http"),
        ("http://localhost:9123/a", {"CLIENT_CLASS": "x"}, "CLIENT_CLASS"),
        ("http://localhost:9123/a", {"db": 1}, "db"),
        ("http://localhost:9123/a", {"timeout": []}, "option"),
    ],
)
def test_a_setting_that_is_wrong_is_an_error_at_the_start(
    location: Any, options: dict[str, Any], words: str
) -> None:
    with pytest.raises(InvalidArgumentError, match=words):
        JetKVCache(location, {"OPTIONS": options})


def test_the_limits_of_other_caches_are_no_error() -> None:
    JetKVCache("http://localhost:9123/a", {"OPTIONS": {"MAX_ENTRIES": 30, "CULL_FREQUENCY": 0}})

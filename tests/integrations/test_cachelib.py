"""What the cache for cachelib does beyond cachelib's own tests."""

import pickle
import time
from datetime import timedelta
from typing import Any

import pytest
from cachelib.serializers import JSONSerializer

from jetkv import (
    BucketUnsuitableError,
    Client,
    InvalidArgumentError,
    UnavailableError,
    ValueTooLargeError,
)
from jetkv.integrations.cachelib import JetKVCache
from tests.integrations.conftest import Said
from tests.support.http import Http
from tests.support.ports import free_port
from tests.support.waiting import until


@pytest.fixture
def cache(client: Client, new_bucket: str) -> JetKVCache:
    return JetKVCache(client, new_bucket)


JSON_VALUES = ["text", "1", 7, -(2**70), 1.5, True, None, [1, [2]], {"a": {"b": [None]}}, "ä\n😀"]
PICKLED = [(1, 2), b"raw", {1: "a"}, {"a": (1,)}, float("inf"), {1, 2}, "\ud800", timedelta(1)]


@pytest.mark.parametrize("value", JSON_VALUES, ids=repr)
def test_plain_values_are_json_for_everybody(
    client: Client, cache: JetKVCache, new_bucket: str, value: Any
) -> None:
    assert cache.set("k", value)
    assert client.kv().bucket(new_bucket).get("k").value == value
    found = cache.get("k")
    assert (found, type(found)) == (value, type(value))
    (meta,) = client.kv().bucket(new_bucket).entries(values=False)
    assert meta.content_type == "application/json"


@pytest.mark.parametrize("value", PICKLED, ids=ascii)
def test_other_values_come_back_as_they_were_and_are_marked_as_pickles(
    client: Client, cache: JetKVCache, new_bucket: str, value: Any
) -> None:
    assert cache.set("k", value)
    found = cache.get("k")
    assert (found, type(found)) == (value, type(value))
    (meta,) = client.kv().bucket(new_bucket).entries(values=False)
    assert meta.content_type == "application/x-python-serialize"


def test_a_list_that_holds_itself_comes_back(cache: JetKVCache) -> None:
    knot: list[Any] = []
    knot.append(knot)
    cache.set("k", knot)
    found = cache.get("k")
    assert found[0] is found


def test_a_value_that_cannot_be_pickled_is_an_error(cache: JetKVCache) -> None:
    with pytest.raises((pickle.PicklingError, AttributeError)):
        cache.set("k", lambda: None)
    assert not cache.has("k")


UNREADABLE = [b"", b"no JSON", b"\x80no pickle", b"\x80\x04cno_module\nC\n.", b"\xff"]


@pytest.mark.parametrize("raw", UNREADABLE, ids=repr)
def test_what_is_not_readable_is_not_there(
    client: Client, cache: JetKVCache, new_bucket: str, raw: bytes
) -> None:
    cache.set("k", 1)
    client.kv().bucket(new_bucket, bytes).put("k", raw)
    assert cache.get("k") is None
    assert cache.get_many("k") == [None]


def test_with_the_serializer_for_json_no_pickle_is_read(
    client: Client, cache: JetKVCache, new_bucket: str
) -> None:
    cache.serializer = JSONSerializer()
    cache.set("k", [1])
    client.kv().bucket(new_bucket, bytes).put("evil", pickle.dumps(print))
    assert cache.get_many("k", "evil") == [[1], None]
    assert cache.set("k", {1, 2}) is False


KEYS = [
    "a b",
    "ü/ö",
    "a..b",
    ".",
    ">",
    "*",
    "%2F",
    "",
    "\n",
    "x" * 513,
    "ä" * 300,
    "\ud800",
    "a" * 512,
]


@pytest.mark.parametrize("prefix", ["", "shop:", "p" * 400], ids=len)
def test_any_text_is_a_key(client: Client, new_bucket: str, prefix: str) -> None:
    cache = JetKVCache(client, new_bucket, key_prefix=prefix)
    stored = [*KEYS, "sha256:" + "0" * 64]
    numbers = {key: number for number, key in enumerate(stored)}
    assert cache.set_many(numbers) == stored
    assert cache.get_dict(*stored) == numbers
    for key, number in numbers.items():
        assert cache.get(key) == number
        assert cache.inc(key) == number + 1
        assert cache.add(key, 0) is False
        assert cache.delete(key)
        assert not cache.has(key)


def test_a_prefix_that_no_key_can_begin_with_is_an_error(client: Client) -> None:
    for prefix in ("p" * 401, "a\n"):
        with pytest.raises(InvalidArgumentError, match="prefix of keys"):
            JetKVCache(client, key_prefix=prefix)


def test_clear_leaves_the_keys_of_other_prefixes(client: Client, new_bucket: str) -> None:
    one, other = (JetKVCache(client, new_bucket, key_prefix=prefix) for prefix in ("a.*", "a.b"))
    assert one.set("k", 1)
    assert other.set("k", 2)
    assert one.clear()
    assert (one.get("k"), other.get("k")) == (None, 2)
    assert JetKVCache(client, new_bucket).clear()
    assert other.get("k") is None


def test_a_prefix_may_be_a_function(client: Client, new_bucket: str) -> None:
    tenants = ["a"]
    cache = JetKVCache(client, new_bucket, key_prefix=lambda: tenants[-1])
    cache.set("k", 1)
    tenants.append("b")
    assert cache.get("k") is None


def seconds_of(client: Client, bucket: str, key: str) -> float | None:
    entry = client.kv().bucket(bucket).get(key)
    if entry.expires_at is None:
        return None
    return (entry.expires_at - entry.created_at).total_seconds()


def test_timeouts_become_ttls_of_the_values(client: Client, new_bucket: str) -> None:
    cache = JetKVCache(client, new_bucket, default_timeout=timedelta(minutes=2))
    cache.set("default", 1)
    cache.set("never", 1, timeout=0)
    cache.set_many({"many": 1}, timeout=timedelta(seconds=90))
    cache.add("added", 1, timeout=10)
    cache.inc("counted")
    keys = client.kv().bucket(new_bucket).keys(">")
    found = {key: seconds_of(client, new_bucket, key) for key in keys}
    assert found == {"default": 120, "never": None, "many": 90, "added": 10, "counted": 120}


def test_a_counter_keeps_the_time_it_has_left(
    client: Client, cache: JetKVCache, new_bucket: str
) -> None:
    cache.set("window", 0, timeout=60)
    cache.set("total", 0, timeout=0)
    ends = client.kv().bucket(new_bucket).get("window").expires_at
    assert ends is not None
    for _ in range(3):
        cache.inc("window")
        cache.dec("total")
    assert (cache.get("window"), cache.get("total")) == (3, -3)
    end = client.kv().bucket(new_bucket).get("window").expires_at
    assert end is not None
    assert abs((end - ends).total_seconds()) < 4
    assert seconds_of(client, new_bucket, "total") is None


def test_a_counter_that_never_rests_ends(cache: JetKVCache) -> None:
    cache.set("window", 1_000, timeout=3)
    until(lambda: (cache.inc("window") or 0) < 1_000, "the counter begins again", seconds=30)


def test_a_text_is_not_counted(cache: JetKVCache) -> None:
    for value in ("1", 1.5, True, [1]):
        cache.set("k", value)
        with pytest.raises(InvalidArgumentError, match="no whole number"):
            cache.inc("k")
        assert cache.get("k") == value


def test_a_bucket_that_ends_values_too_early_is_an_error(client: Client, new_bucket: str) -> None:
    client.kv().create_bucket(new_bucket, ttl=timedelta(seconds=60))
    cache = JetKVCache(client, new_bucket)
    with pytest.raises(BucketUnsuitableError, match="cannot live 300 s"):
        cache.set("k", 1)
    assert cache.set("same", 1, timeout=60)
    assert cache.set("shorter", 1, timeout=30)
    assert cache.set("never", 1, timeout=0)
    assert seconds_of(client, new_bucket, "never") is None


def test_a_bucket_with_a_history_is_an_error_that_says_so(client: Client, new_bucket: str) -> None:
    client.kv().create_bucket(new_bucket, history=5)
    with pytest.raises(BucketUnsuitableError, match="history of 5"):
        JetKVCache(client, new_bucket).set("k", 1)


def test_the_bucket_is_made_again_when_it_is_gone(
    client: Client, cache: JetKVCache, new_bucket: str
) -> None:
    calls = [
        lambda: cache.get("k") is None,
        lambda: cache.set("k", 1),
        lambda: cache.get_many("k") == [None],
        lambda: cache.set_many({"k": 1}) == ["k"],
        lambda: cache.delete("k") is False,
        lambda: cache.inc("k") == 1,
        lambda: cache.add("k", 1),
        lambda: cache.clear(),
        lambda: cache.has("k") is False,
    ]
    for call in calls:
        assert call()
        client.kv().delete_bucket(new_bucket)
    assert cache.set("k", 1)


def test_more_keys_than_one_request_takes(cache: JetKVCache) -> None:
    values = {f"k{number}": number for number in range(2_100)}
    assert cache.set_many(values) == list(values)
    assert cache.get_dict(*values) == values
    assert cache.delete_many(*values) == list(values)
    assert not any(cache.get_many(*values))


def test_more_bytes_than_one_request_takes(cache: JetKVCache) -> None:
    values = {f"k{number}": "x" * 900_000 for number in range(12)}
    assert cache.set_many(values) == list(values)
    assert cache.get_dict(*values) == values


def test_one_value_that_is_too_large_leaves_the_others(cache: JetKVCache) -> None:
    huge = "x" * 2_000_000
    with pytest.raises(ValueTooLargeError):
        cache.set("k", huge)
    assert cache.set_many({"a": 1, "huge": huge, "b": 2}) == ["a", "b"]


@pytest.fixture
def nowhere() -> str:
    return f"http://127.0.0.1:{free_port()}"


def test_an_outage_is_an_error(nowhere: str) -> None:
    cache = JetKVCache(nowhere, "c")
    with pytest.raises(UnavailableError):
        cache.get("k")
    cache.close()


def test_with_miss_an_outage_is_an_empty_cache_that_nobody_waits_for(
    nowhere: str, said: Said
) -> None:
    cache = JetKVCache(nowhere, "c", on_error="miss", ignore_delete_many_errors=False)
    assert cache.get("k") is None
    begun = time.monotonic()
    assert cache.get_many("k", "l") == [None, None]
    assert cache.set("k", 1) is False
    assert cache.add("k", 1) is False
    assert cache.set_many({"k": 1}) == []
    assert cache.inc("k") is None
    assert cache.has("k") is False
    assert cache.delete("k") is False
    assert cache.clear() is False
    with pytest.raises(RuntimeError, match="Failed to delete keys"):
        cache.delete_many("k")
    assert time.monotonic() - begun < 1
    assert [level for level, _ in said.lines] == ["WARNING"]
    cache.close()


def test_with_miss_a_value_that_is_too_large_is_a_warning(
    client: Client, new_bucket: str, said: Said
) -> None:
    cache = JetKVCache(client, new_bucket, on_error="miss")
    assert cache.set("k", "x" * 2_000_000) is False
    assert "did not store a value" in said.lines[-1][1]
    assert cache.set("k", 1)
    assert cache.get("k") == 1


def test_wrong_arguments_are_named(client: Client) -> None:
    with pytest.raises(InvalidArgumentError, match="on_error"):
        JetKVCache(client, on_error="ignore")  # type: ignore[arg-type]  # what is tested
    with pytest.raises(InvalidArgumentError, match="token"):
        JetKVCache(client, token="t")


def test_flask_caching_takes_the_cache_of_cachelib_as_it_is(http: Http, new_bucket: str) -> None:
    from flask import Flask
    from flask_caching import Cache

    app = Flask(__name__)
    app.config["CACHE_TYPE"] = "jetkv.integrations.cachelib.JetKVCache"
    app.config["CACHE_ARGS"] = [http.url, new_bucket]
    app.config["CACHE_OPTIONS"] = {"key_prefix": "mine:"}
    cache = Cache(app)
    with app.app_context():
        assert cache.set("k", (1, 2))
        assert cache.get("k") == (1, 2)
        backend = cache.cache
    assert isinstance(backend, JetKVCache)
    assert backend.key_prefix == "mine:"
    backend.close()

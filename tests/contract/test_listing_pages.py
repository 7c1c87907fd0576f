"""Pages of a listing (docs/http-api.md#pages)."""

import random
from itertools import chain

import pytest

from jetkv_gateway.kv.cursors import Cursor, CursorScope, read_cursor, write_cursor
from tests.support.gateway import running_gateway
from tests.support.http import BUCKETS, Bucket
from tests.support.listing import fill, keys_of, page, pages

KEYS = sorted(["a", "a.b", "a:1", "b", "b c", "café", "z", "z.1", "🔑"], key=str.encode)


@pytest.fixture
def filled(make_bucket) -> Bucket:
    bucket = make_bucket(storage="memory")
    fill(bucket, *random.sample(KEYS, len(KEYS)))
    return bucket


@pytest.mark.parametrize("limit", [1, 2, 4, 8, 9, 10, 10_000])
@pytest.mark.parametrize("include", ["keys", "meta"])
def test_pages_have_every_key_once_and_sorted(filled: Bucket, include: str, limit: int) -> None:
    found = pages(filled, f"include={include}&limit={limit}")
    assert list(chain.from_iterable(map(keys_of, found))) == KEYS
    assert [one["count"] for one in found] == [len(keys_of(one)) for one in found]
    assert all(one["count"] == limit for one in found[:-1])


@pytest.mark.parametrize("limit", [1, 4, 1000])
def test_pages_of_values_have_every_value_once(filled: Bucket, limit: int) -> None:
    found = pages(filled, f"include=values&limit={limit}")
    entries = list(chain.from_iterable(one["entries"] for one in found))
    assert entries == [filled.get(key).json for key in KEYS]


def test_a_page_can_be_of_a_filter_or_a_prefix(filled: Bucket) -> None:
    assert [keys_of(one) for one in pages(filled, "limit=1&filter=z.*")] == [["z.1"]]
    assert [keys_of(one) for one in pages(filled, "limit=1&prefix=z")] == [["z"], ["z.1"]]


def test_a_page_of_an_empty_bucket_is_empty(bucket: Bucket) -> None:
    assert page(bucket, "limit=5").json == {"keys": [], "count": 0}
    assert page(bucket, "limit=5&include=meta").json == {"entries": [], "count": 0}


def test_meta_is_all_but_the_value(bucket: Bucket) -> None:
    bucket.put("k", "four", Content_Type="text/plain")
    bucket.put("raw", b"\0" * 9)
    entry, other = page(bucket, "include=meta").json["entries"]
    shown = bucket.get("k").json
    del shown["value"]
    assert entry == {**shown, "size": 4, "content_type": "text/plain"}
    assert (other["size"], "content_type" in other) == (9, False)


def test_meta_says_when_a_value_expires(make_bucket) -> None:
    bucket = make_bucket(ttl_seconds=3600)
    fill(bucket, "k")
    (entry,) = page(bucket, "include=meta&limit=5").json["entries"]
    assert entry["created_at"][:13] != entry["expires_at"][:13]
    assert entry["created_at"][13:] == entry["expires_at"][13:]


def test_values_can_be_shown_as_json(bucket: Bucket) -> None:
    bucket.put("k", '{"a":1}', Content_Type="application/json")
    (entry,) = page(bucket, "include=values&limit=1&values=json").json["entries"]
    assert (entry["value"], entry["encoding"]) == ({"a": 1}, "json")
    (entry,) = bucket.http.get(f"/json{bucket.path}/keys?include=values&limit=1").json["entries"]
    assert entry["value"] == {"a": 1}


def test_a_page_of_large_values_ends_early(make_bucket) -> None:
    bucket = make_bucket(storage="memory")
    for number in range(20):
        assert bucket.put(f"k{number:02}", b"x" * 1_000_000).status == 200
    found = pages(bucket, "include=values&limit=1000")
    assert [keys_of(one) for one in found] == [
        [f"k{number:02}" for number in some] for some in (range(8), range(8, 16), range(16, 20))
    ]


# --- while others write


@pytest.mark.parametrize("include", ["keys", "meta", "values"])
def test_a_key_that_was_deleted_since_is_in_no_later_page(filled: Bucket, include: str) -> None:
    first = page(filled, f"limit=2&include={include}").json
    filled.delete(KEYS[3])
    filled.delete(KEYS[5], "?purge=true")
    rest = pages(filled, f"limit=100&include={include}", first["next_cursor"])
    assert list(chain.from_iterable(map(keys_of, rest))) == [*KEYS[2:3], KEYS[4], *KEYS[6:]]


def test_a_key_that_was_deleted_and_created_again_is_in_its_page(filled: Bucket) -> None:
    first = page(filled, "limit=2&include=meta").json
    filled.delete(KEYS[3])
    middle = page(filled, f"limit=1&include=meta&cursor={first['next_cursor']}").json
    fill(filled, KEYS[3])
    after = page(filled, f"limit=1&include=meta&cursor={middle['next_cursor']}").json
    assert keys_of(middle) == [KEYS[2]]
    assert keys_of(after) == [KEYS[3]]
    assert after["entries"][0]["revision"] == filled.get(KEYS[3]).json["revision"]


def test_a_new_first_page_has_a_key_that_was_created_after_an_earlier_one(filled: Bucket) -> None:
    page(filled, "limit=2")
    fill(filled, "aa")
    found = pages(filled, "limit=2")
    assert "aa" in list(chain.from_iterable(map(keys_of, found)))


def test_another_gateway_goes_on_from_a_cursor(nats, filled: Bucket) -> None:
    first = page(filled, "limit=4").json
    with running_gateway(nats.url) as http:
        rest = pages(Bucket(http, filled.name), "limit=4", first["next_cursor"])
    assert keys_of(first) + list(chain.from_iterable(map(keys_of, rest))) == KEYS


def test_a_page_may_have_another_limit_than_the_one_before(filled: Bucket) -> None:
    first = page(filled, "limit=1").json
    rest = page(filled, f"limit=100&cursor={first['next_cursor']}").json
    assert keys_of(first) + keys_of(rest) == KEYS
    assert "next_cursor" not in rest


# --- cursors


def test_a_cursor_of_another_bucket_filter_or_include_is_400(filled: Bucket, make_bucket) -> None:
    cursor = page(filled, "limit=2").json["next_cursor"]
    other = make_bucket()
    for bucket, query in [
        (other, "limit=2"),
        (filled, "limit=2&filter=a*"),
        (filled, "limit=2&prefix=a"),
        (filled, "limit=2&include=meta"),
        (filled, "limit=2&include=values"),
    ]:
        answer = page(bucket, f"{query}&cursor={cursor}")
        assert answer.status == 400, query
        assert answer.error.startswith("invalid cursor: it belongs to another")


@pytest.mark.parametrize("again", [False, True])
@pytest.mark.parametrize("include", ["keys", "values"])
def test_a_cursor_of_a_bucket_that_was_deleted_or_created_again_is_410(
    http, bucket_name: str, include: str, again: bool
) -> None:
    assert http.post(BUCKETS, {"name": bucket_name}).status == 201
    bucket = Bucket(http, bucket_name)
    fill(bucket, *KEYS)
    cursor = page(bucket, f"limit=2&include={include}").json["next_cursor"]
    http.delete(bucket.path)
    if again:
        assert http.post(BUCKETS, {"name": bucket_name}).status == 201
        fill(bucket, *KEYS)
    answer = page(bucket, f"limit=2&include={include}&cursor={cursor}")
    assert (answer.status, answer.error) == (410, "cursor expired")
    assert answer.json["code"] == "failed_precondition"
    http.delete(bucket.path)


def test_a_cursor_names_no_more_than_where_the_page_begins(filled: Bucket) -> None:
    scope = CursorScope(filled.name, "", "keys")
    cursor = read_cursor(page(filled, "limit=2").json["next_cursor"], scope)
    assert cursor == Cursor(filled.info()["created_at"], len(KEYS), KEYS[1])
    forged = write_cursor(cursor._replace(after="b c"), scope)
    assert keys_of(page(filled, f"limit=2&cursor={forged}").json) == ["café", "z"]

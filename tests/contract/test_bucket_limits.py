"""What a bucket and the server take at most (docs/http-api.md#buckets): to the byte."""

import pytest

from tests.support.http import BUCKETS, Answer, Bucket, Http

SERVER_LIMIT = 1024 * 1024 - 1024
"""nats-server's default max_payload without what the gateway keeps of it for headers."""


@pytest.mark.parametrize("limit", [1, 100, 5000])
def test_a_value_may_be_as_large_as_the_bucket_allows_and_not_a_byte_more(
    make_bucket, limit: int
) -> None:
    bucket = make_bucket(max_value_size=limit)
    assert bucket.put("k", b"v" * limit).status == 200
    answer = bucket.put("k", b"v" * (limit + 1))
    assert (answer.status, answer.error) == (413, "value too large")
    assert answer.json["details"] == {"limit_bytes": limit}
    assert (answer.json["code"], answer.json["retryable"]) == ("invalid_argument", False)
    assert bucket.get("k").value == b"v" * limit


def test_the_limit_of_a_bucket_is_the_same_however_long_the_headers_are(http: Http) -> None:
    bucket = Bucket(http, "long-" + "x" * 195)
    http.delete(bucket.path)
    assert http.post(BUCKETS, {"name": bucket.name, "max_value_size": 100}).status == 201
    long_type = "text/plain; x=" + "x" * 241
    longest = {"Content_Type": long_type, "Content_Encoding": "x" * 64, "Idempotency_Key": "1"}
    assert bucket.put("k", b"v" * 100, If_None_Match="*", **longest).status == 200
    http.delete(bucket.path)


def test_the_smallest_bucket_takes_tombstones(make_bucket) -> None:
    bucket = make_bucket(max_value_size=1)
    for key, query in (("deleted", ""), ("purged", "?purge=true")):
        bucket.put(key, "v")
        assert bucket.delete(key, query, If_Match=bucket.get(key).headers["etag"]).status == 204


def test_a_value_may_be_as_large_as_the_server_allows_and_not_a_byte_more(bucket: Bucket) -> None:
    assert bucket.put("k", b"v" * SERVER_LIMIT).status == 200
    for size in (SERVER_LIMIT + 1, 1024 * 1024):
        answer = bucket.put("k", b"w" * size)
        assert (answer.status, answer.error) == (413, "value too large")
        assert answer.json["details"] == {"limit_bytes": SERVER_LIMIT}
    assert bucket.get("k", "?values=raw").body == b"v" * SERVER_LIMIT


def fill_up(bucket: Bucket) -> Answer:
    """Put new keys until there is no room for the smallest one, and return the refusal."""
    for number in range(100):
        answer = bucket.put(f"k{number}", "v" * 100)
        if answer.status != 200:
            break
    for number in range(100):
        answer = bucket.put(f"s{number}")
        if answer.status != 200:
            return answer
    raise AssertionError("the bucket was never full")


def test_a_full_bucket_is_507_and_keeps_what_it_has(make_bucket) -> None:
    bucket = make_bucket(max_bytes=2000)
    answer = fill_up(bucket)
    assert (answer.status, answer.error) == (507, "bucket is full")
    assert (answer.json["code"], answer.json["retryable"]) == ("failed_precondition", False)
    assert bucket.get("k0").value == b"v" * 100


@pytest.mark.parametrize("query", ["", "?purge=true"])
def test_a_delete_makes_room_in_a_full_bucket(make_bucket, query: str) -> None:
    bucket = make_bucket(max_bytes=2000)
    fill_up(bucket)
    for key in ("k0", "k1", "k2"):  # a tombstone takes room, too
        assert bucket.delete(key, query).status == 204
    assert bucket.put("new", "v").status == 200


@pytest.mark.parametrize("query", ["", "?purge=true"])
def test_a_full_bucket_with_history_has_no_room_for_a_tombstone_and_says_so(
    make_bucket, query: str
) -> None:
    bucket = make_bucket(max_bytes=2000, history=10)
    fill_up(bucket)
    answer = bucket.delete("k0", query)
    assert (answer.status, answer.error) == (507, "bucket is full")
    assert bucket.get("k0").status == 200

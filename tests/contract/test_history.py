"""The stored revisions of one key (docs/http-api.md#histories)."""

import re

import pytest

from tests.support.http import BUCKETS, Bucket, Http


@pytest.fixture
def bucket(make_bucket) -> Bucket:
    """A bucket that keeps three revisions of a key."""
    return make_bucket(history=3)


def story(bucket: Bucket, key: str) -> list[tuple[int, str, str]]:
    """(revision, operation, base64 value) of each entry."""
    answer = bucket.history(key)
    assert answer.status == 200, answer
    return [(e["revision"], e["operation"], e["value"]) for e in answer.json["entries"]]


def test_revisions_come_oldest_first(bucket: Bucket) -> None:
    for value in ("one", "two"):
        bucket.put("k", value)
    assert story(bucket, "k") == [(1, "put", "b25l"), (2, "put", "dHdv")]


def test_an_entry_of_a_history_has_the_fields_of_an_entry(bucket: Bucket) -> None:
    bucket.put("a/b c", "v")
    answer = bucket.history("a/b c")
    assert answer.json == {"entries": [bucket.get("a/b c").json]}
    created_at = answer.json["entries"][0]["created_at"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", created_at)


def test_a_history_is_as_long_as_the_bucket_keeps_it(bucket: Bucket) -> None:
    for value in "abcde":
        bucket.put("k", value)
    assert [revision for revision, _, _ in story(bucket, "k")] == [3, 4, 5]


def test_the_longest_history_comes_whole(make_bucket) -> None:
    bucket = make_bucket(history=64)
    for number in range(70):
        bucket.put("k", str(number))
    assert [revision for revision, _, _ in story(bucket, "k")] == list(range(7, 71))


def test_a_bucket_of_history_1_has_the_newest_entry_alone(make_bucket) -> None:
    bucket = make_bucket()
    bucket.put("k", "a")
    bucket.put("k", "b")
    assert story(bucket, "k") == [(2, "put", "Yg==")]


def test_other_keys_are_not_in_a_history(bucket: Bucket) -> None:
    for key in ("k", "k.x", "k/x", "kk", "k"):
        bucket.put(key, "v")
    assert [revision for revision, _, _ in story(bucket, "k")] == [1, 5]


def test_a_deletion_is_an_entry_with_an_empty_value(bucket: Bucket) -> None:
    bucket.put("k", "v")
    bucket.delete("k")
    assert story(bucket, "k") == [(1, "put", "dg=="), (2, "delete", "")]


def test_a_purge_is_the_one_entry_that_it_leaves(bucket: Bucket) -> None:
    bucket.put("k", "a")
    bucket.put("k", "b")
    bucket.delete("k", "?purge=true")
    assert story(bucket, "k") == [(3, "purge", "")]


def test_a_purge_after_a_deletion_leaves_the_deletion(bucket: Bucket) -> None:
    bucket.put("k", "v")
    bucket.delete("k")
    bucket.delete("k", "?purge=true")
    assert story(bucket, "k") == [(2, "delete", "")]


def test_what_follows_a_tombstone_is_in_the_history(bucket: Bucket) -> None:
    bucket.put("k", "a")
    bucket.delete("k")
    bucket.put("k", "b", If_None_Match="*")
    assert [operation for _, operation, _ in story(bucket, "k")] == ["put", "delete", "put"]


def test_every_revision_of_a_history_can_be_read_by_its_number(bucket: Bucket) -> None:
    for value in "abc":
        bucket.put("k", value)
    for entry in bucket.history("k").json["entries"]:
        assert bucket.get("k", f"?revision={entry['revision']}").json == entry


def test_values_can_be_shown_ready_to_use(bucket: Bucket) -> None:
    bucket.put("k", '{"role":"admin"}', Content_Type="application/json")
    bucket.put("k", b"\xff", Content_Type="application/octet-stream")
    bucket.delete("k")
    entries = bucket.http.get(f"{bucket.path}/history/k?values=json").json["entries"]
    assert [(e["encoding"], e["value"]) for e in entries] == [
        ("json", {"role": "admin"}),
        ("base64", "/w=="),
        ("text", ""),
    ]


@pytest.mark.parametrize("values", ["raw", "text", ""])
def test_values_are_shown_in_no_other_way(bucket: Bucket, values: str) -> None:
    bucket.put("k", "v")
    answer = bucket.http.get(f"{bucket.path}/history/k?values={values}")
    assert answer.status == 400
    assert "'values'" in answer.error


def test_a_key_that_never_was_is_404(bucket: Bucket) -> None:
    answer = bucket.history("k")
    assert (answer.status, answer.error) == (404, "key not found")


def test_the_history_in_an_unknown_bucket_is_404(http: Http, bucket_name: str) -> None:
    answer = http.get(f"{BUCKETS}/{bucket_name}/history/k")
    assert (answer.status, answer.error) == (404, "bucket not found")


@pytest.mark.parametrize("path", ["a/b", "a%2Fb"])
def test_a_slash_in_the_key_is_the_same_encoded_or_not(bucket: Bucket, path: str) -> None:
    bucket.put("a/b", "v")
    entries = bucket.http.get(f"{bucket.path}/history/{path}").json["entries"]
    assert [entry["key"] for entry in entries] == ["a/b"]


@pytest.mark.parametrize("key", ["a b", "user:1", "..", "//", "50%", "a=20b", "é", "*", ">"])
def test_any_key_has_a_history(bucket: Bucket, key: str) -> None:
    bucket.put("other", "v")
    bucket.put(key, "a")
    bucket.put(key, "b")
    assert [entry["key"] for entry in bucket.history(key).json["entries"]] == [key, key]


@pytest.mark.parametrize(
    ("path", "error"),
    [
        ("", "invalid key: empty"),
        ("%00", "invalid key: control characters are not allowed"),
        ("%FF", "invalid key: not valid UTF-8"),
        ("k" * 513, "invalid key: 513 bytes, the limit is 512"),
    ],
)
def test_a_bad_key_is_400_naming_the_rule(bucket: Bucket, path: str, error: str) -> None:
    answer = bucket.http.get(f"{bucket.path}/history/{path}")
    assert (answer.status, answer.error) == (400, error)


@pytest.mark.parametrize("query", ["?", "?x", "?revision=1", "?values=json&values=json"])
def test_a_query_that_a_history_does_not_know_is_400(bucket: Bucket, query: str) -> None:
    bucket.put("k", "v")
    assert bucket.http.get(f"{bucket.path}/history/k{query}").status == 400


@pytest.mark.parametrize("method", ["PUT", "POST", "DELETE"])
def test_a_history_cannot_be_written(bucket: Bucket, method: str) -> None:
    answer = bucket.http.request(method, f"{bucket.path}/history/k")
    assert (answer.status, answer.headers["allow"]) == (405, "GET, HEAD, OPTIONS")

"""One key: PUT, GET, DELETE, purge, create, compare-and-set (docs/http-api.md#conditions)."""

import re

import pytest

from tests.support.http import BUCKETS, Answer, Bucket, Http
from tests.support.raw import Wire


def outcome(answer: Answer) -> tuple[int, str]:
    return answer.status, answer.error


def revision_of(answer: Answer) -> int:
    assert answer.status == 200, answer
    revision: int = answer.json["revision"]
    return revision


# --- values


def test_a_put_answers_with_the_revision_alone(bucket: Bucket) -> None:
    answer = bucket.put("k", "v")
    assert answer.status == 200
    assert answer.body == b'{"revision":1}'
    assert answer.headers["content-type"] == "application/json"


def test_revisions_count_over_the_whole_bucket(bucket: Bucket) -> None:
    assert [revision_of(bucket.put(key, "v")) for key in ("a", "b", "a")] == [1, 2, 3]


def test_an_entry_has_exactly_the_fields_that_the_clients_decode(bucket: Bucket) -> None:
    bucket.put("user:1", "hello")
    entry = bucket.get("user:1").json
    created_at = entry.pop("created_at")
    assert entry == {"key": "user:1", "value": "aGVsbG8=", "revision": 1, "operation": "put"}
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", created_at)


@pytest.mark.parametrize(
    ("value", "base64"),
    [
        (b"", ""),
        (b"a", "YQ=="),
        (b"ab", "YWI="),
        (b"abc", "YWJj"),
        (b"\x00\xff\xfe", "AP/+"),
        (b'{"a": 1.0,\n "b": 1e400}', "eyJhIjogMS4wLAogImIiOiAxZTQwMH0="),
        (b" padded \r\n", "IHBhZGRlZCANCg=="),
    ],
)
@pytest.mark.parametrize("content_type", [None, "application/json", "application/octet-stream"])
def test_bytes_come_back_as_padded_base64_whatever_their_type(
    bucket: Bucket, value: bytes, base64: str, content_type: str | None
) -> None:
    headers = {} if content_type is None else {"Content_Type": content_type}
    bucket.put("k", value, **headers)
    assert bucket.get("k").json["value"] == base64


def test_a_put_without_any_body_stores_the_empty_value(bucket: Bucket) -> None:
    assert bucket.http.request("PUT", bucket.key("k")).status == 200
    entry = bucket.get("k")
    assert (entry.status, entry.json["value"], entry.json["operation"]) == (200, "", "put")


def test_a_chunked_body_is_stored_whole(bucket: Bucket) -> None:
    with Wire(bucket.http) as wire:
        wire.head("PUT", bucket.key("k"), "Transfer-Encoding: chunked")
        for part in (b"one ", b"two ", b"three", b""):
            wire.chunk(part)
        assert wire.answer().status == 200
    assert bucket.get("k").value == b"one two three"


def test_a_get_with_a_json_content_type_and_no_body_is_normal(bucket: Bucket) -> None:
    bucket.put("k", "v")
    assert bucket.get("k", Content_Type="application/json").status == 200
    assert bucket.delete("k", Content_Type="application/json").status == 204


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE"])
def test_a_key_of_an_unknown_bucket_is_404(http: Http, bucket_name: str, method: str) -> None:
    answer = http.request(method, f"{BUCKETS}/{bucket_name}/keys/k")
    assert answer.status == 404
    if method != "HEAD":
        assert answer.error == "bucket not found"


def test_an_unknown_key_is_404(bucket: Bucket) -> None:
    assert outcome(bucket.get("k")) == (404, "key not found")


# --- create


def test_a_create_stores_a_new_key(bucket: Bucket) -> None:
    assert bucket.put("k", "v", If_None_Match="*").json == {"revision": 1}
    assert bucket.get("k").value == b"v"


def test_a_create_on_a_live_key_changes_nothing(bucket: Bucket) -> None:
    bucket.put("k", "first")
    answer = bucket.put("k", "second", If_None_Match="*")
    assert outcome(answer) == (412, "key already exists")
    assert answer.json["code"] == "failed_precondition"
    assert bucket.get("k").value == b"first"


@pytest.mark.parametrize("query", ["", "?purge=true"])
def test_a_create_over_a_tombstone_succeeds(bucket: Bucket, query: str) -> None:
    bucket.put("k", "first")
    bucket.delete("k", query)
    assert bucket.put("k", "second", If_None_Match="*").json == {"revision": 3}
    assert bucket.get("k").value == b"second"


def test_a_create_of_an_empty_value_makes_the_key_live(bucket: Bucket) -> None:
    bucket.put("k", b"", If_None_Match="*")
    assert bucket.put("k", b"", If_None_Match="*").error == "key already exists"


# --- compare-and-set


@pytest.mark.parametrize("form", ["{}", '"{}"', "  {} ", ' "{}"'])
def test_a_compare_and_set_takes_the_revision_bare_or_quoted(bucket: Bucket, form: str) -> None:
    revision = revision_of(bucket.put("k", "a"))
    assert bucket.put("k", "b", If_Match=form.format(revision)).json == {"revision": 2}


def test_a_stale_compare_and_set_names_the_revision_that_stands(bucket: Bucket) -> None:
    bucket.put("k", "a")
    bucket.put("k", "b")
    answer = bucket.put("k", "c", If_Match="1")
    assert outcome(answer) == (412, "revision mismatch")
    assert answer.json["details"] == {"current_revision": 2}
    assert answer.json["retryable"] is False
    assert bucket.get("k").value == b"b"


@pytest.mark.parametrize("revision", ["1", "7", "9223372036854775807", "9999999999999999999"])
def test_a_compare_and_set_on_an_absent_key_is_a_mismatch(bucket: Bucket, revision: str) -> None:
    answer = bucket.put("k", "v", If_Match=revision)
    assert outcome(answer) == (412, "revision mismatch")
    assert "details" not in answer.json
    assert bucket.get("k").status == 404


def test_a_compare_and_set_with_another_keys_revision_is_a_mismatch(bucket: Bucket) -> None:
    bucket.put("a", "v")
    bucket.put("b", "v")
    assert outcome(bucket.put("a", "w", If_Match="2")) == (412, "revision mismatch")


def test_a_compare_and_set_on_a_tombstones_revision_succeeds(bucket: Bucket) -> None:
    bucket.put("k", "a")
    bucket.delete("k")
    assert bucket.put("k", "b", If_Match="2").json == {"revision": 3}


def test_a_compare_and_set_on_the_value_before_a_tombstone_is_a_mismatch(bucket: Bucket) -> None:
    bucket.put("k", "a")
    bucket.delete("k")
    answer = bucket.put("k", "b", If_Match="1")
    assert outcome(answer) == (412, "revision mismatch")
    assert answer.json["details"] == {"current_revision": 2}


# --- delete and purge


@pytest.mark.parametrize("query", ["", "?purge=true", "?purge=false"])
def test_a_delete_answers_204_without_a_body_and_the_key_is_gone(
    bucket: Bucket, query: str
) -> None:
    bucket.put("k", "v")
    answer = bucket.delete("k", query)
    assert (answer.status, answer.body) == (204, b"")
    assert outcome(bucket.get("k")) == (404, "key not found")


@pytest.mark.parametrize("query", ["", "?purge=true"])
def test_a_delete_of_an_absent_key_is_204_and_writes_nothing(bucket: Bucket, query: str) -> None:
    bucket.put("other", "v")
    assert bucket.delete("k", query).status == 204
    assert bucket.info()["values"] == 1
    assert bucket.put("other", "v").json == {"revision": 2}


def test_a_second_delete_is_204_and_writes_nothing(make_bucket) -> None:
    bucket = make_bucket(history=5)
    bucket.put("k", "v")
    bucket.delete("k")
    assert bucket.delete("k").status == 204
    assert bucket.info()["values"] == 2


def test_a_delete_keeps_the_history_and_a_purge_drops_it(make_bucket) -> None:
    bucket = make_bucket(history=5)
    for key in ("deleted", "purged"):
        bucket.put(key, "a")
        bucket.put(key, "b")
    bucket.delete("deleted")
    bucket.delete("purged", "?purge=true")
    assert [entry["operation"] for entry in bucket.history("deleted").json["entries"]] == [
        "put",
        "put",
        "delete",
    ]
    assert [entry["operation"] for entry in bucket.history("purged").json["entries"]] == ["purge"]


def test_a_purge_of_a_deleted_key_drops_its_history(make_bucket) -> None:
    bucket = make_bucket(history=5)
    bucket.put("k", "secret")
    bucket.put("other", "stays")
    bucket.delete("k")
    assert bucket.delete("k", "?purge=true").status == 204
    assert [entry["operation"] for entry in bucket.history("k").json["entries"]] == ["delete"]
    assert bucket.get("k", "?revision=1").status == 404
    assert bucket.get("other").value == b"stays"


@pytest.mark.parametrize("query", ["", "?purge=true"])
@pytest.mark.parametrize("form", ["1", '"1"'])
def test_a_conditional_delete_takes_the_revision_that_stands(
    bucket: Bucket, query: str, form: str
) -> None:
    bucket.put("k", "v")
    assert bucket.delete("k", query, If_Match=form).status == 204
    assert bucket.get("k").status == 404


@pytest.mark.parametrize("query", ["", "?purge=true"])
def test_a_stale_conditional_delete_deletes_nothing(bucket: Bucket, query: str) -> None:
    bucket.put("k", "a")
    bucket.put("k", "b")
    answer = bucket.delete("k", query, If_Match="1")
    assert outcome(answer) == (412, "revision mismatch")
    assert answer.json["details"] == {"current_revision": 2}
    assert bucket.get("k").value == b"b"


@pytest.mark.parametrize("query", ["", "?purge=true"])
def test_a_conditional_delete_of_an_absent_key_is_a_mismatch(bucket: Bucket, query: str) -> None:
    assert outcome(bucket.delete("k", query, If_Match="1")) == (412, "revision mismatch")


@pytest.mark.parametrize("query", ["", "?purge=true"])
@pytest.mark.parametrize("revision", ["1", "2"])
def test_a_conditional_delete_of_a_dead_key_is_a_mismatch_even_with_its_tombstones_revision(
    bucket: Bucket, query: str, revision: str
) -> None:
    bucket.put("k", "v")
    bucket.delete("k")
    answer = bucket.delete("k", query, If_Match=revision)
    assert outcome(answer) == (412, "revision mismatch")
    assert answer.json["details"] == {"current_revision": 2}

"""What a read of one key says beside the value: validators, consistency, revisions.

See docs/http-api.md#conditions and docs/http-api.md#consistency.
"""

from datetime import datetime
from email.utils import parsedate_to_datetime

import pytest

from tests.support.http import Answer, Bucket
from tests.support.raw import Wire


def outcome_of(answer: Answer) -> tuple[int, str]:
    return answer.status, answer.error


# --- validators


def test_the_etag_of_a_read_and_of_its_put_is_the_quoted_revision(bucket: Bucket) -> None:
    assert bucket.put("k", "v").headers["etag"] == '"1"'
    assert bucket.get("k").headers["etag"] == '"1"'
    assert bucket.put("k", "w", If_Match=bucket.get("k").headers["etag"]).status == 200


def test_last_modified_is_the_time_of_the_entry(bucket: Bucket) -> None:
    bucket.put("k", "v")
    answer = bucket.get("k")
    stored = datetime.fromisoformat(answer.json["created_at"][:19] + "+00:00")
    assert parsedate_to_datetime(answer.headers["last-modified"]) == stored
    assert answer.headers["last-modified"].endswith(" GMT")


def test_a_browser_must_ask_again_before_it_reuses_an_entry(bucket: Bucket) -> None:
    bucket.put("k", "v")
    assert bucket.get("k").headers["cache-control"] == "no-cache"


def test_a_value_that_is_read_again_is_shown_as_at_first_whoever_asks_how(bucket: Bucket) -> None:
    asked: list[tuple[str, dict[str, str]]] = [
        ("", {}),
        ("?values=json", {}),
        ("?values=raw", {}),
        ("?consistency=eventual", {}),
        ("", {"If_None_Match": '"7"'}),
        ("", {"Accept": "application/octet-stream"}),
    ]

    def read() -> list[tuple[object, ...]]:
        answers = [bucket.get("k", query, **headers) for query, headers in asked]
        names = ("content-type", "etag", "last-modified", "jetkv-consistency", "cache-control")
        return [(a.status, a.body, *(a.headers.get(name) for name in names)) for a in answers]

    bucket.put("k", '{"a": 1}', Content_Type="application/json")
    first = read()
    assert len(set(first)) == 4, "base64, json, raw, and of any server"
    assert [read() for _ in range(3)] == [first] * 3
    bucket.put("k", '{"a": 2}', Content_Type="application/json")
    second = read()
    assert not set(first) & set(second)
    assert [read() for _ in range(3)] == [second] * 3


def test_head_has_the_headers_of_get_and_no_body(bucket: Bucket) -> None:
    bucket.put("k", "some value")
    get = bucket.get("k")
    with Wire(bucket.http) as wire:
        head = wire.request("HEAD", bucket.key("k"))
        assert wire.request("GET", bucket.key("k")).body == get.body, "nothing was left over"
    assert head.status == 200
    unique = ("date", "x-request-id")
    assert {k: v for k, v in head.headers.items() if k not in unique} == {
        k: v for k, v in get.headers.items() if k not in unique
    }


def test_head_of_an_absent_key_is_404_without_a_body(bucket: Bucket) -> None:
    answer = bucket.http.request("HEAD", bucket.key("k"))
    assert (answer.status, answer.body) == (404, b"")


@pytest.mark.parametrize("tags", ['"1"', 'W/"1"', '"7", "1"', "*"])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_a_read_of_a_known_revision_is_304(bucket: Bucket, tags: str, method: str) -> None:
    bucket.put("k", "v")
    answer = bucket.http.request(method, bucket.key("k"), If_None_Match=tags)
    assert (answer.status, answer.body) == (304, b"")
    assert answer.headers["etag"] == '"1"'
    assert "content-length" not in answer.headers


@pytest.mark.parametrize("tags", ['"2"', '"11"', 'W/"7", "8"'])
def test_a_read_of_another_revision_answers_with_the_entry(bucket: Bucket, tags: str) -> None:
    bucket.put("k", "v")
    assert bucket.get("k", If_None_Match=tags).value == b"v"


def test_an_absent_key_is_404_even_with_if_none_match(bucket: Bucket) -> None:
    assert bucket.get("k", If_None_Match="*").status == 404


def test_a_read_with_if_match_wants_that_revision(bucket: Bucket) -> None:
    bucket.put("k", "v")
    assert bucket.get("k", If_Match='"1"').status == 200
    assert outcome_of(bucket.get("k", If_Match="2")) == (412, "revision mismatch")


# --- consistency and old revisions


@pytest.mark.parametrize(
    ("query", "consistency"),
    [("", "strong"), ("?consistency=strong", "strong"), ("?consistency=eventual", "eventual")],
)
def test_a_read_says_how_consistent_it_is(bucket: Bucket, query: str, consistency: str) -> None:
    bucket.put("k", b"\x00v")
    answer = bucket.get("k", query)
    assert answer.headers["jetkv-consistency"] == consistency
    assert answer.value == b"\x00v"


def test_both_consistencies_show_the_same_entry(bucket: Bucket) -> None:
    bucket.put("k", "v", Content_Type="text/plain")
    assert bucket.get("k", "?consistency=eventual").json == bucket.get("k").json
    raw = "?values=raw&consistency="
    assert bucket.get("k", raw + "eventual").headers["content-type"] == "text/plain"


@pytest.mark.parametrize("consistency", ["strong", "eventual"])
def test_what_is_not_there_is_404_for_both_consistencies(bucket: Bucket, consistency: str) -> None:
    bucket.put("deleted", "v")
    bucket.delete("deleted")
    for key in ("absent", "deleted"):
        assert outcome_of(bucket.get(key, f"?consistency={consistency}")) == (404, "key not found")


@pytest.mark.parametrize("consistency", ["strong", "eventual"])
def test_an_old_revision_can_be_read(make_bucket, consistency: str) -> None:
    bucket = make_bucket(history=3)
    bucket.put("k", "old")
    bucket.put("k", "new")
    answer = bucket.get("k", f"?revision=1&consistency={consistency}")
    assert (answer.value, answer.json["revision"], answer.headers["etag"]) == (b"old", 1, '"1"')


@pytest.mark.parametrize("consistency", ["strong", "eventual"])
@pytest.mark.parametrize(
    "revision",
    [
        pytest.param(2, id="a tombstone"),
        pytest.param(3, id="of another key"),
        pytest.param(4, id="not written yet"),
        pytest.param(9999999999999999999, id="beyond 63 bits"),
    ],
)
def test_a_revision_that_is_no_value_of_the_key_is_404(
    make_bucket, revision: int, consistency: str
) -> None:
    bucket = make_bucket(history=3)
    bucket.put("k", "v")
    bucket.delete("k")
    bucket.put("other", "v")
    answer = bucket.get("k", f"?revision={revision}&consistency={consistency}")
    assert outcome_of(answer) == (404, "key not found")


def test_the_last_value_of_a_deleted_key_can_be_read_by_its_revision(make_bucket) -> None:
    bucket = make_bucket(history=3)
    bucket.put("k", "v")
    bucket.delete("k")
    assert bucket.get("k", "?revision=1").value == b"v"


def test_a_revision_that_history_has_dropped_is_404(bucket: Bucket) -> None:
    bucket.put("k", "old")
    bucket.put("k", "new")
    assert bucket.get("k", "?revision=1").status == 404

"""A batch whose ops stand each for itself."""

from typing import Any

from tests.support.gateway import running_gateway
from tests.support.http import Answer, Bucket, Http
from tests.support.scopes import ScopesAreTokens


def each(bucket: Bucket, *ops: dict[str, Any], **headers: str) -> Answer:
    return bucket.http.post(f"{bucket.path}/batch", {"ops": ops, "atomic": False}, **headers)


def put(key: str, text: str = "v") -> dict[str, Any]:
    return {"op": "put", "key": key, "text": text}


def test_each_op_has_its_own_result_in_their_order(bucket: Bucket) -> None:
    bucket.put("a", "1")
    answer = each(
        bucket,
        {"op": "create", "key": "a", "text": "x"},
        {"op": "update", "key": "a", "text": "2", "revision": 1},
        {"op": "update", "key": "b", "text": "2", "revision": 9},
        {"op": "delete", "key": "c"},
        {"op": "delete", "key": "d", "revision": 4},
    )
    assert answer.status == 200
    results = answer.json["results"]
    assert [one["status"] for one in results] == [412, 200, 412, 200, 412]
    assert results[0] == {
        "status": 412,
        "error": "key already exists",
        "code": "failed_precondition",
        "details": {"current_revision": 1},
    }
    assert results[1] == {"status": 200, "revision": 2}
    assert results[3] == {"status": 200, "revision": 0}
    assert bucket.get("a").value == b"2"


def test_ops_of_one_key_are_applied_in_their_order(bucket: Bucket) -> None:
    ops = [put(f"k{n % 7}", str(n)) for n in range(350)]
    results = each(bucket, *ops).json["results"]
    for key in range(7):
        mine = [one["revision"] for one in results[key::7]]
        assert mine == sorted(mine)
        assert bucket.get(f"k{key}").value == str(343 + key).encode()


def test_deletes_answer_the_revision_of_the_tombstone(bucket: Bucket) -> None:
    bucket.put("a")
    bucket.put("b")
    results = each(
        bucket, {"op": "delete", "key": "a"}, {"op": "purge", "key": "b", "revision": 2}
    ).json["results"]
    assert sorted(one["revision"] for one in results) == [3, 4]
    assert bucket.get("a").status == bucket.get("b").status == 404


def test_a_value_that_is_too_large_keeps_no_other_from_being_stored(make_bucket: Any) -> None:
    bucket = make_bucket(max_value_size=10)
    results = each(bucket, put("a", "x" * 11), put("b")).json["results"]
    assert [one["status"] for one in results] == [413, 200]
    assert results[0]["details"] == {"limit_bytes": 10}


def test_a_retry_by_the_same_idempotency_key_gets_the_first_results(bucket: Bucket) -> None:
    ops = [put("a"), put("a", "w"), {"op": "create", "key": "b", "text": "x"}]
    first = each(bucket, *ops, Idempotency_Key="one")
    bucket.put("a", "newer")
    again = each(bucket, *ops, Idempotency_Key="one")
    assert again.json == first.json
    assert bucket.get("a").value == b"newer"


def test_an_unknown_bucket_is_404_for_the_whole(http: Http) -> None:
    answer = each(Bucket(http, "nowhere"), put("a"))
    assert (answer.status, answer.error) == (404, "bucket not found")


def test_what_breaks_a_rule_applies_nothing(bucket: Bucket) -> None:
    assert each(bucket, put("a"), {"op": "put", "key": "b"}).status == 400
    assert bucket.keys() == []


def test_what_a_caller_may_not_is_refused_item_by_item(nats: Any, bucket: Bucket) -> None:
    with running_gateway(nats.url, authenticator=ScopesAreTokens("write:*/mine")) as http:
        answer = each(Bucket(http, bucket.name), put("theirs"), put("mine"))
        assert [one["status"] for one in answer.json["results"]] == [403, 200]
    assert bucket.keys() == ["mine"]

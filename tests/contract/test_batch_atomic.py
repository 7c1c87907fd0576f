"""Atomic batches: all or nothing, under conditions."""

import base64
from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.support.http import Answer, Bucket, Http
from tests.support.native import Native


@pytest.fixture
async def atomic(native: Native, http: Http, bucket_name: str) -> AsyncIterator[Bucket]:
    """A bucket of history 5 that takes atomic batches."""
    if native.version < (2, 12):
        pytest.skip("this server has no atomic batches")
    await native.make_bucket(bucket_name, max_msgs_per_subject=5, allow_atomic=True)
    yield Bucket(http, bucket_name)
    http.delete(f"/api/v1/kv/buckets/{bucket_name}")


@pytest.fixture
async def guarded(atomic: Bucket, http: Http, native: Native) -> Bucket:
    """The same on a server that takes the condition of a key that a batch does not write."""
    answer = batch(atomic, check("x", 0), put("probe"))
    if answer.status == 409:
        assert "2.12.14" in answer.error
        pytest.skip("this server takes no condition of another key")
    atomic.delete("probe")
    return atomic


def batch(bucket: Bucket, *ops: dict[str, Any], **headers: str) -> Answer:
    return bucket.http.post(f"{bucket.path}/batch", {"ops": ops}, **headers)


def put(key: str, text: str = "v") -> dict[str, Any]:
    return {"op": "put", "key": key, "text": text}


def create(key: str, text: str = "v") -> dict[str, Any]:
    return {"op": "create", "key": key, "text": text}


def update(key: str, revision: int, text: str = "v") -> dict[str, Any]:
    return {"op": "update", "key": key, "text": text, "revision": revision}


def delete(key: str, **more: int) -> dict[str, Any]:
    return {"op": "delete", "key": key, **more}


def purge(key: str, **more: int) -> dict[str, Any]:
    return {"op": "purge", "key": key, **more}


def check(key: str, revision: int) -> dict[str, Any]:
    return {"op": "check", "key": key, "revision": revision}


def applied(answer: Answer) -> list[int]:
    assert answer.status == 200, answer
    revisions = [one["revision"] for one in answer.json["results"]]
    return [*revisions, answer.json["revision"]]


def refused(answer: Answer) -> list[tuple[int, str, int]]:
    assert answer.status == 412, answer
    assert answer.json["code"] == "failed_precondition"
    return [
        (one["index"], one["key"], one["current_revision"])
        for one in answer.json["details"]["failed"]
    ]


def test_all_ops_are_applied_and_each_has_its_revision(atomic: Bucket) -> None:
    atomic.put("a")
    atomic.put("b")
    atomic.put("c")
    answer = batch(atomic, put("n:1", "x"), update("a", 1), delete("b"), purge("c"), create("d"))
    assert applied(answer) == [4, 5, 6, 7, 8, 8]
    assert atomic.get("n:1").value == b"x"
    assert sorted(atomic.keys()) == ["a", "d", "n:1"]
    assert [one["operation"] for one in atomic.history("c").json["entries"]] == ["purge"]
    assert [one["operation"] for one in atomic.history("b").json["entries"]] == ["put", "delete"]


def test_values_are_stored_with_their_types(atomic: Bucket) -> None:
    ops = [
        {"op": "put", "key": "v", "value": base64.b64encode(b"\x00\xff").decode()},
        {"op": "put", "key": "t", "text": "ä"},
        {"op": "put", "key": "j", "json": {"n": 12345678901234567890123}},
        {"op": "put", "key": "m", "json": 1, "content_type": "application/hal+json"},
    ]
    assert batch(atomic, *ops).status == 200
    raw = {key: atomic.get(key, "?values=raw") for key in "vtjm"}
    assert {key: (one.body, one.headers["content-type"]) for key, one in raw.items()} == {
        "v": (b"\x00\xff", "application/octet-stream"),
        "t": ("ä".encode(), "text/plain; charset=utf-8"),
        "j": (b'{"n": 12345678901234567890123}', "application/json"),
        "m": (b"1", "application/hal+json"),
    }


@pytest.mark.parametrize(
    ("op", "failed"),
    [
        (create("a"), (1, "a", 1)),
        (update("a", 2), (1, "a", 1)),
        (update("none", 2), (1, "none", 0)),
        (delete("a", revision=2), (1, "a", 1)),
        (delete("none", revision=1), (1, "none", 0)),
        (purge("gone", revision=3), (1, "gone", 3)),
    ],
    ids=str,
)
def test_one_condition_that_fails_keeps_all_from_being_applied(
    atomic: Bucket, op: dict[str, Any], failed: tuple[int, str, int]
) -> None:
    atomic.put("a")
    atomic.put("gone")
    atomic.delete("gone")
    assert refused(batch(atomic, put("new"), op)) == [failed]
    assert atomic.keys() == ["a"]


def test_every_condition_that_fails_is_named(atomic: Bucket) -> None:
    atomic.put("a")
    atomic.put("b")
    answer = batch(atomic, create("a"), put("c"), update("b", 1), create("d"))
    assert refused(answer) == [(0, "a", 1), (2, "b", 2)]
    assert answer.error == "conditions do not hold"


def test_a_create_takes_the_place_of_a_tombstone(atomic: Bucket) -> None:
    atomic.put("a")
    atomic.delete("a")
    assert applied(batch(atomic, create("a"), put("b"))) == [3, 4, 4]


def test_the_revision_of_a_tombstone_is_a_revision(atomic: Bucket) -> None:
    atomic.put("a")
    atomic.delete("a")
    assert applied(batch(atomic, update("a", 2))) == [3, 3]


def test_a_delete_of_what_is_not_there_writes_nothing(atomic: Bucket) -> None:
    atomic.put("gone")
    atomic.delete("gone")
    assert applied(batch(atomic, delete("none"), put("a"), purge("gone"))) == [0, 3, 0, 3]
    assert applied(batch(atomic, delete("none"), delete("gone"))) == [0, 0, 3]


def test_a_check_holds_a_batch_to_a_key_that_it_does_not_write(guarded: Bucket) -> None:
    revision = guarded.put("a").json["revision"]
    written = applied(batch(guarded, check("a", revision), check("none", 0), put("b"), put("c")))
    assert written == [revision, 0, revision + 1, revision + 2, revision + 2]
    answer = batch(guarded, check("a", revision - 1), put("b"), check("b", 0))
    assert answer.status == 400
    answer = batch(guarded, check("a", revision - 1), check("c", 0), put("d"))
    assert refused(answer) == [(0, "a", revision), (1, "c", revision + 2)]
    assert guarded.get("d").status == 404


def test_more_conditions_than_writes_are_held_too(guarded: Bucket) -> None:
    revisions = [guarded.put(key).json["revision"] for key in ("a", "b", "c")]
    checks = [check(key, revision) for key, revision in zip("abc", revisions, strict=True)]
    assert applied(batch(guarded, *checks, check("none", 0), create("d")))[-1] == revisions[-1] + 1
    guarded.put("b")
    assert refused(batch(guarded, *checks, create("e"))) == [(1, "b", revisions[-1] + 2)]


def test_more_conditions_than_writes_are_held_where_the_newest_message_is_gone(
    guarded: Bucket,
) -> None:
    revision = guarded.put("a").json["revision"]
    guarded.put("b")
    guarded.http.delete(guarded.key("b") + "?purge=true")
    assert applied(batch(guarded, check("a", revision), delete("none"), create("d")))[0] == revision


def test_checks_alone_compare_and_write_nothing(bucket: Bucket) -> None:
    bucket.put("a")
    bucket.put("b")
    assert applied(batch(bucket, check("a", 1), check("none", 0), check("b", 2))) == [1, 0, 2, 2]
    assert refused(batch(bucket, check("a", 2), check("b", 0))) == [(0, "a", 1), (1, "b", 2)]
    assert bucket.info()["values"] == 2


def test_a_thousand_writes_are_one_batch(atomic: Bucket) -> None:
    answer = batch(atomic, *(create(f"k{n}", str(n)) for n in range(1000)))
    assert applied(answer) == [*range(1, 1001), 1000]
    assert len(atomic.keys()) == 1000


def test_a_batch_of_nearly_8_mib_is_stored(atomic: Bucket) -> None:
    ops = [put(f"k{n}", "x" * 1_000_000) for n in range(8)]
    assert batch(atomic, *ops).status == 200
    assert len(atomic.keys()) == 8


def test_a_body_that_was_cut_off_is_400_and_applies_nothing(atomic: Bucket) -> None:
    body = '{"ops":[{"op":"put","key":"a","text":"v"},{"op":"pu'
    assert atomic.http.request("POST", f"{atomic.path}/batch", body).status == 400
    assert atomic.keys() == []


async def test_a_value_that_is_too_large_is_named_and_nothing_is_applied(
    atomic: Bucket, native: Native, bucket_name: str
) -> None:
    too_large = batch(atomic, put("a"), put("b", "x" * 1_100_000))
    assert (too_large.status, too_large.error) == (413, "value too large")
    assert too_large.json["details"]["index"] == 1
    assert atomic.keys() == []
    config = (await native.api(f"STREAM.INFO.KV_{bucket_name}"))["config"]
    await native.api(f"STREAM.UPDATE.KV_{bucket_name}", {**config, "max_msg_size": 300})
    too_large = batch(atomic, put("a"), put("b", "x" * 299))
    assert (too_large.status, too_large.json["details"]["index"]) == (413, 1)
    assert atomic.keys() == []


async def test_a_bucket_without_room_for_all_of_it_stores_nothing(
    native: Native, http: Http, bucket_name: str
) -> None:
    if native.version < (2, 12):
        pytest.skip("this server has no atomic batches")
    await native.make_bucket(bucket_name, allow_atomic=True, max_bytes=5000)
    bucket = Bucket(http, bucket_name)
    answer = batch(bucket, *(put(f"k{n}", "x" * 1000) for n in range(9)))
    assert (answer.status, answer.error) == (507, "bucket is full")
    assert bucket.keys() == []


async def test_a_bucket_that_takes_no_batches_says_so(
    native: Native, http: Http, bucket_name: str
) -> None:
    await native.make_bucket(bucket_name)
    answer = batch(Bucket(http, bucket_name), put("a"))
    assert answer.status == 409
    assert answer.json["code"] == "failed_precondition"
    wanted = "batches is false" if native.version >= (2, 12) else "need nats-server 2.12 or newer"
    assert wanted in answer.error


def test_an_unknown_bucket_is_404(http: Http) -> None:
    answer = batch(Bucket(http, "nowhere"), put("a"))
    assert (answer.status, answer.error) == (404, "bucket not found")


def test_watchers_of_other_clients_see_plain_entries(atomic: Bucket, native: Native) -> None:
    batch(atomic, put("a", "1"), put("b", "2"))
    assert atomic.get("b").json["revision"] == 2


RETRIED = {
    "puts": [put("a"), put("b")],
    "creates": [create("a"), create("b")],
    "updates": [update("old", 1), put("b")],
    "deletes": [delete("old"), delete("none"), put("a"), delete("other")],
    "deletes alone": [delete("none"), delete("old"), delete("none2"), delete("other")],
}


@pytest.mark.parametrize("kind", RETRIED)
def test_a_retry_gets_the_first_answer_and_changes_nothing(atomic: Bucket, kind: str) -> None:
    atomic.put("old")
    atomic.put("other")
    first = batch(atomic, *RETRIED[kind], Idempotency_Key="one")
    assert first.status == 200
    values = atomic.info()["values"]
    again = batch(atomic, *RETRIED[kind], Idempotency_Key="one")
    assert (again.status, again.json) == (200, first.json)
    assert atomic.info()["values"] == values


def test_a_retry_does_not_undo_what_was_written_since(atomic: Bucket) -> None:
    first = batch(atomic, create("a"), put("b"), Idempotency_Key="one")
    for _ in range(6):
        atomic.put("a", "newer")
    assert batch(atomic, create("a"), put("b"), Idempotency_Key="one").json == first.json
    assert atomic.get("a").value == b"newer"


def write_over(bucket: Bucket, key: str) -> None:
    """Replace all that the history has of a key."""
    for _ in range(6):
        bucket.put(key, "newer")


@pytest.mark.parametrize("others", [[delete("none")], [delete("none"), put("b"), delete("old")]])
def test_a_retry_after_the_first_write_was_written_over_gets_the_first_answer(
    atomic: Bucket, others: list[dict]
) -> None:
    atomic.put("old")
    first = batch(atomic, put("a"), *others, Idempotency_Key="one")
    write_over(atomic, "a")
    assert batch(atomic, put("a"), *others, Idempotency_Key="one").json == first.json


def test_a_retry_whose_first_answer_is_not_known_any_more_says_that_it_was_applied(
    atomic: Bucket,
) -> None:
    atomic.put("old")
    ops = [delete("old"), delete("none")]
    batch(atomic, *ops, Idempotency_Key="one")
    write_over(atomic, "old")
    answer = batch(atomic, *ops, Idempotency_Key="one")
    assert (answer.status, answer.json["retryable"]) == (504, False)
    assert answer.json["details"] == {"outcome": "applied"}
    assert "was applied" in answer.error
    assert atomic.get("old").value == b"newer"


def test_another_batch_by_the_same_idempotency_key_is_409(atomic: Bucket) -> None:
    batch(atomic, put("a"), put("b"), Idempotency_Key="one")
    answer = batch(atomic, put("a"), put("c"), Idempotency_Key="one")
    assert answer.status == 409
    assert "Idempotency-Key" in answer.error
    assert atomic.get("c").status == 404


def test_a_refusal_does_not_use_up_an_idempotency_key(atomic: Bucket) -> None:
    atomic.put("a")
    ops = [put("b"), create("a")]
    assert batch(atomic, *ops, Idempotency_Key="one").status == 412
    atomic.delete("a")
    assert applied(batch(atomic, *ops, Idempotency_Key="one")) == [3, 4, 4]

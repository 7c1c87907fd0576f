"""TTLs of single keys in batches (docs/http-api.md#batches)."""

import time
from datetime import datetime
from typing import Any

import pytest

from tests.support.http import Answer, Bucket
from tests.support.native import Native


@pytest.fixture(autouse=True)
async def _a_server_with_ttls_and_batches(native: Native) -> None:
    if native.version < (2, 12):
        pytest.skip("nats-server has atomic batches from 2.12 on: test_ttl.py has single writes")


def batch(bucket: Bucket, *ops: dict[str, Any], atomic: bool = True, **headers: str) -> Answer:
    return bucket.http.post(f"{bucket.path}/batch", {"ops": ops, "atomic": atomic}, **headers)


def put(key: str, **more: object) -> dict[str, Any]:
    return {"op": "put", "key": key, "text": "v", **more}


def expires_in(document: dict[str, Any]) -> float:
    return datetime.fromisoformat(document["expires_at"]).timestamp() - time.time()


@pytest.mark.parametrize("atomic", [True, False])
def test_each_item_has_its_own_ttl(make_bucket, atomic: bool) -> None:
    bucket = make_bucket(ttl_seconds=1000)
    ops = [put("a", ttl_seconds=60), put("b", ttl_seconds="never"), put("c")]
    assert batch(bucket, *ops, atomic=atomic).status == 200
    found = bucket.http.post(f"{bucket.path}/batch", {"get": ["a", "b", "c"]}).json["entries"]
    assert 50 < expires_in(found[0]) <= 61
    assert "expires_at" not in found[1]
    assert 950 < expires_in(found[2]) <= 1001


def test_one_ttl_that_the_bucket_cannot_store_refuses_the_whole_batch(make_bucket) -> None:
    bucket = make_bucket(history=5)
    answer = batch(bucket, put("a"), put("b", ttl_seconds=60))
    assert answer.status == 409
    assert answer.error.startswith("ops[1].ttl_seconds: ")
    assert bucket.keys() == []


def test_apart_from_each_other_only_that_item_fails(make_bucket) -> None:
    bucket = make_bucket(history=5)
    results = batch(bucket, put("a"), put("b", ttl_seconds=60), atomic=False).json["results"]
    assert [one["status"] for one in results] == [200, 409]


def test_a_create_with_a_ttl_drops_what_was_stored(make_bucket) -> None:
    bucket = make_bucket(history=5)
    bucket.put("k", "old")
    bucket.delete("k")
    op = {"op": "create", "key": "k", "text": "v", "ttl_seconds": 60}
    assert batch(bucket, op, put("other")).status == 200
    assert [one["operation"] for one in bucket.history("k").json["entries"]] == ["put"]


def test_a_retry_with_another_ttl_is_another_batch(bucket: Bucket) -> None:
    first = batch(bucket, put("a", ttl_seconds=60), Idempotency_Key="once")
    assert batch(bucket, put("a", ttl_seconds=60), Idempotency_Key="once").json == first.json
    assert batch(bucket, put("a", ttl_seconds=61), Idempotency_Key="once").status == 409

"""Several keys at once, by both clients: snapshots, transactions and `modify_many`."""

import inspect
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from jetkv import (
    BucketNotFoundError,
    BucketUnsuitableError,
    Client,
    ConditionsFailedError,
    InvalidArgumentError,
    ValueDecodeError,
)
from tests.support.clients import MakeClient
from tests.support.http import Bucket, Http
from tests.support.native import Native


async def done(result: Any) -> Any:
    """What a method returned, awaited where it has to be."""
    return await result if inspect.isawaitable(result) else result


async def apply(bucket: Any, *changes: tuple[Any, ...], error: Exception | None = None) -> Any:
    """Apply changes as one, such as `("put", "k", 1)`; with `error`, end the block by it."""
    async with bucket.transaction() as transaction:
        for name, *arguments in changes:
            await done(getattr(transaction, name)(*arguments))
        if error is not None:
            raise error
    return transaction


@pytest.fixture
async def bucket(make: MakeClient, http: Http, make_bucket: Any) -> AsyncIterator[Any]:
    async with make(http.url) as client:
        yield client.kv().bucket(make_bucket().name)


@pytest.fixture
def atomic(bucket: Any, native: Native) -> Any:
    """A bucket on a server that has atomic batches."""
    if native.version < (2, 12):
        pytest.skip("this server has no atomic batches")
    return bucket


async def test_get_many_is_a_mapping_as_of_one_revision(bucket: Any) -> None:
    await bucket.put("a", {"n": 1})
    await bucket.put("b:2", [2])
    snapshot = await bucket.get_many(["b:2", "none", "a", "a"])
    assert list(snapshot) == ["b:2", "a"]
    assert {key: entry.value for key, entry in snapshot.items()} == {"b:2": [2], "a": {"n": 1}}
    assert (snapshot["a"].revision, snapshot.revision) == (1, 2)
    assert "none" not in snapshot
    assert snapshot.get("none") is None
    assert "2 keys at revision 2" in repr(snapshot)


async def test_get_many_of_nothing_found_is_empty(bucket: Any) -> None:
    snapshot = await bucket.get_many(["a"])
    assert (dict(snapshot), snapshot.revision) == ({}, 0)


@pytest.mark.parametrize(
    "keys", [[], [""], [1], ["a\n"], "abc", ["x"] + [str(n) for n in range(1000)]]
)
async def test_get_many_refuses_what_are_no_keys(bucket: Any, keys: Any) -> None:
    with pytest.raises(InvalidArgumentError):
        await bucket.get_many(keys)


async def test_a_value_that_does_not_fit_hides_no_other(bucket: Any, http: Http) -> None:
    await bucket.put("a", 1)
    Bucket(http, bucket.name).put("b", b"\xff")
    snapshot = await bucket.get_many(["a", "b"])
    assert snapshot["a"].value == 1
    with pytest.raises(ValueDecodeError):
        _ = snapshot["b"].value


async def test_a_transaction_applies_all_of_its_changes(atomic: Any) -> None:
    await atomic.put("a", 1)
    await atomic.put("b", 1)
    async with atomic.transaction() as changes:
        await done(changes.update("a", 2, 1))
        await done(changes.delete("b", revision=2))
        await done(changes.create("c", 3))
        await done(changes.put("d", 4))
        await done(changes.delete("none"))
    assert await done(changes.revision) == 6
    assert changes.revisions == {"a": 3, "b": 4, "c": 5, "d": 6, "none": 0}
    found = await atomic.get_many("abcd"[place] for place in range(4))
    assert {key: entry.value for key, entry in found.items()} == {"a": 2, "c": 3, "d": 4}


async def test_a_transaction_whose_condition_fails_applies_nothing(atomic: Any) -> None:
    await atomic.put("a", 1)
    with pytest.raises(ConditionsFailedError) as failed:
        await apply(atomic, ("put", "b", 1), ("create", "a", 2), ("update", "c", 2, 7))
    assert failed.value.failed == {"a": 1, "c": 0}
    assert await atomic.keys() == ["a"]


async def test_a_transaction_that_ends_by_an_error_sends_nothing(atomic: Any) -> None:
    with pytest.raises(ZeroDivisionError):
        await apply(atomic, ("put", "a", 1), error=ZeroDivisionError())
    assert await atomic.keys() == []


async def test_a_transaction_without_changes_sends_nothing(make: MakeClient, nobody: str) -> None:
    async with make(nobody) as client:
        assert (await apply(client.kv().bucket("b"))).revision == 0


async def test_a_key_has_one_change_in_a_transaction(atomic: Any) -> None:
    with pytest.raises(InvalidArgumentError, match="each key may have one"):
        await apply(atomic, ("put", "a", 1), ("check", "a", 0))
    assert await atomic.keys() == []


@pytest.mark.parametrize("revision", [0, -1, True, 1.5, "1"])
async def test_an_invalid_revision_of_an_update_is_refused_before_anything_is_sent(
    make: MakeClient, nobody: str, revision: Any
) -> None:
    async with make(nobody) as client:
        with pytest.raises(InvalidArgumentError):
            await apply(client.kv().bucket("b"), ("update", "a", 1, revision))


async def test_a_check_holds_a_transaction_to_a_key_that_it_leaves(atomic: Any) -> None:
    revision = await atomic.put("a", 1)
    try:
        await apply(atomic, ("check", "a", revision), ("check", "none", 0), ("put", "b", 1))
    except BucketUnsuitableError:
        pytest.skip("this server takes no condition of another key")
    with pytest.raises(ConditionsFailedError) as failed:
        await apply(atomic, ("check", "none", 3), ("put", "c", 1))
    assert failed.value.failed == {"none": 0}


async def test_a_bucket_that_takes_no_transactions_says_so(
    make: MakeClient, http: Http, native: Native, bucket_name: str
) -> None:
    await native.make_bucket(bucket_name)
    async with make(http.url) as client:
        with pytest.raises(BucketUnsuitableError):
            await apply(client.kv().bucket(bucket_name), ("put", "a", 1))


async def test_an_unknown_bucket_is_an_error(make: MakeClient, http: Http) -> None:
    async with make(http.url) as client:
        with pytest.raises(BucketNotFoundError):
            await client.kv().bucket("nowhere").get_many(["a"])


async def test_modify_many_returns_the_keys_as_they_are_now(atomic: Any) -> None:
    await atomic.put("a", 10)
    await atomic.put("b", 1)

    def change(values: dict[str, int | None]) -> dict[str, int | None]:
        assert values == {"a": 10, "b": 1, "c": None}
        return {"a": 7, "b": None, "c": 3}

    snapshot = await atomic.modify_many(["a", "b", "c"], change)
    assert {key: entry.value for key, entry in snapshot.items()} == {"a": 7, "c": 3}
    found = await atomic.get_many(["a", "b", "c"])
    assert {key: entry.revision for key, entry in found.items()} == {
        key: entry.revision for key, entry in snapshot.items()
    }
    assert snapshot.revision == found.revision


async def test_modify_many_that_changes_nothing_writes_nothing(atomic: Any) -> None:
    await atomic.put("a", 10)
    snapshot = await atomic.modify_many(["a"], lambda _values: {})
    assert snapshot["a"].value == 10
    assert (await atomic.info()).values == 1


@pytest.mark.parametrize("result", [None, 3, {"other": 1}])
async def test_modify_many_refuses_what_is_no_change(atomic: Any, result: Any) -> None:
    with pytest.raises(InvalidArgumentError, match="modify_many"):
        await atomic.modify_many(["a"], lambda _values: result)


async def test_transfers_at_once_are_all_counted(atomic: Any, http: Http) -> None:
    await atomic.put("a", 100)
    await atomic.put("b", 100)

    def transfer(values: dict[str, int | None]) -> dict[str, int | None]:
        return {"a": (values["a"] or 0) - 1, "b": (values["b"] or 0) + 1}

    def transfers(_: int) -> None:
        with Client(http.url) as client:
            bucket = client.kv().bucket(atomic.name)
            for _ in range(5):
                bucket.modify_many(["a", "b"], transfer)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(transfers, range(4)))
    found = await atomic.get_many(["a", "b"])
    assert (found["a"].value, found["b"].value) == (80, 120)

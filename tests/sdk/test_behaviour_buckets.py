"""What holds for buckets, whichever way one comes in: raw HTTP, `Client` or `AsyncClient`."""

import pytest

from tests.sdk.ways import Kind, Way, refused


@pytest.fixture
def bucket(make_bucket) -> str:
    """A bucket that keeps ten revisions of each key."""
    name: str = make_bucket(history=10, storage="memory").name
    return name


async def test_a_new_bucket_is_as_it_was_asked_for(way: Way, new_bucket: str) -> None:
    made = await way.create_bucket(
        new_bucket, ttl=60, history=5, description="of a test", storage="memory"
    )
    assert (made.name, made.values, made.ttl, made.history) == (new_bucket, 0, 60, 5)
    assert (made.description, made.storage) == ("of a test", "memory")
    assert await way.bucket_info(new_bucket) == made


async def test_a_bucket_without_a_ttl_keeps_its_keys(way: Way, new_bucket: str) -> None:
    assert (await way.create_bucket(new_bucket)).ttl is None


async def test_a_bucket_counts_what_it_stores(way: Way, bucket: str) -> None:
    await way.put(bucket, "k", b"1")
    await way.put(bucket, "k", b"2")
    await way.delete(bucket, "k")
    assert (await way.bucket_info(bucket)).values == 3


async def test_buckets_are_listed_by_name(way: Way, make_bucket) -> None:
    made = {make_bucket().name for _ in range(3)}
    listed = [found.name for found in await way.buckets()]
    assert listed == sorted(listed)
    assert made <= set(listed)


async def test_a_bucket_that_exists_is_not_created_again(way: Way, bucket: str) -> None:
    failed = await refused(way.create_bucket(bucket, history=10))
    assert (failed.kind, failed.status) == (Kind.BUCKET_EXISTS, 409)


async def test_a_deleted_bucket_is_gone_with_all_it_held(way: Way, new_bucket: str) -> None:
    await way.create_bucket(new_bucket)
    await way.put(new_bucket, "k", b"v")
    await way.delete_bucket(new_bucket)
    assert (await refused(way.bucket_info(new_bucket))).kind is Kind.BUCKET_NOT_FOUND
    await way.create_bucket(new_bucket)
    assert await way.keys(new_bucket) == []


@pytest.mark.parametrize("name", ["a.b", "ä", "a b", "a/b", "n" * 201])
async def test_a_name_that_breaks_a_rule_makes_no_bucket(way: Way, name: str) -> None:
    assert (await refused(way.create_bucket(name))).kind is Kind.INVALID


@pytest.mark.parametrize("history", [0, 65])
async def test_a_history_out_of_bounds_makes_no_bucket(
    way: Way, new_bucket: str, history: int
) -> None:
    assert (await refused(way.create_bucket(new_bucket, history=history))).kind is Kind.INVALID
    assert (await refused(way.bucket_info(new_bucket))).kind is Kind.BUCKET_NOT_FOUND


IN_A_BUCKET = {
    "bucket_info": lambda way, name: way.bucket_info(name),
    "delete_bucket": lambda way, name: way.delete_bucket(name),
    "get": lambda way, name: way.get(name, "k"),
    "get of a revision": lambda way, name: way.get(name, "k", revision=1),
    "eventual get": lambda way, name: way.get(name, "k", consistency="eventual"),
    "put": lambda way, name: way.put(name, "k", b"v"),
    "create": lambda way, name: way.create(name, "k", b"v"),
    "update": lambda way, name: way.update(name, "k", b"v", 1),
    "delete": lambda way, name: way.delete(name, "k"),
    "purge": lambda way, name: way.purge(name, "k"),
    "keys": lambda way, name: way.keys(name),
    "history": lambda way, name: way.history(name, "k"),
}


@pytest.mark.parametrize("call", IN_A_BUCKET.values(), ids=IN_A_BUCKET)
async def test_a_bucket_that_does_not_exist_is_said_to(way: Way, bucket_name: str, call) -> None:
    failed = await refused(call(way, bucket_name))
    assert (failed.kind, failed.status) == (Kind.BUCKET_NOT_FOUND, 404)


async def test_a_put_makes_no_bucket(way: Way, bucket_name: str) -> None:
    await refused(way.put(bucket_name, "k", b"v"))
    assert bucket_name not in [found.name for found in await way.buckets()]

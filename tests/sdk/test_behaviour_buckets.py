"""Calls of buckets behave the same by raw HTTP, `Client` and `AsyncClient`."""

from typing import Any

import pytest

from tests.sdk.api import Api, Kind, refused


@pytest.fixture
def bucket(make_bucket) -> str:
    """A bucket that keeps ten revisions of each key."""
    name: str = make_bucket(history=10, storage="memory").name
    return name


async def test_a_new_bucket_is_as_it_was_asked_for(api: Api, new_bucket: str) -> None:
    made = await api.create_bucket(
        new_bucket, ttl=60, history=5, description="of a test", storage="memory"
    )
    assert (made.name, made.values, made.ttl, made.history) == (new_bucket, 0, 60, 5)
    assert (made.description, made.storage) == ("of a test", "memory")
    assert await api.bucket_info(new_bucket) == made


async def test_a_bucket_without_a_ttl_keeps_its_keys(api: Api, new_bucket: str) -> None:
    assert (await api.create_bucket(new_bucket)).ttl is None


async def test_a_bucket_counts_what_it_stores(api: Api, bucket: str) -> None:
    await api.put(bucket, "k", b"1")
    await api.put(bucket, "k", b"2")
    await api.delete(bucket, "k")
    assert (await api.bucket_info(bucket)).values == 3


async def test_buckets_are_listed_by_name(api: Api, make_bucket) -> None:
    made = {make_bucket().name for _ in range(3)}
    listed = [found.name for found in await api.buckets()]
    assert listed == sorted(listed)
    assert made <= set(listed)


async def test_a_bucket_that_exists_is_not_created_again(api: Api, bucket: str) -> None:
    failed = await refused(api.create_bucket(bucket, history=10))
    assert (failed.kind, failed.status) == (Kind.BUCKET_EXISTS, 409)


async def test_a_deleted_bucket_is_gone_with_all_it_held(api: Api, new_bucket: str) -> None:
    await api.create_bucket(new_bucket)
    await api.put(new_bucket, "k", b"v")
    await api.delete_bucket(new_bucket)
    assert (await refused(api.bucket_info(new_bucket))).kind is Kind.BUCKET_NOT_FOUND
    await api.create_bucket(new_bucket)
    assert await api.keys(new_bucket) == []


@pytest.mark.parametrize("name", ["a.b", "ä", "a b", "a/b", "n" * 201])
async def test_a_name_that_breaks_a_rule_makes_no_bucket(api: Api, name: str) -> None:
    assert (await refused(api.create_bucket(name))).kind is Kind.INVALID


@pytest.mark.parametrize("history", [0, 65])
async def test_a_history_out_of_bounds_makes_no_bucket(
    api: Api, new_bucket: str, history: int
) -> None:
    assert (await refused(api.create_bucket(new_bucket, history=history))).kind is Kind.INVALID
    assert (await refused(api.bucket_info(new_bucket))).kind is Kind.BUCKET_NOT_FOUND


# --- changes


async def test_what_is_ensured_is_created_once_and_then_left_alone(
    api: Api, new_bucket: str
) -> None:
    wanted: dict[str, Any] = {"ttl": 60, "history": 5, "metadata": {"team": "web"}}
    made = await api.ensure_bucket(new_bucket, **wanted)
    assert (made.created, made.changed) == (True, ["ttl", "history", "metadata"])
    assert (made.about.ttl, made.about.history) == (60, 5)
    again = await api.ensure_bucket(new_bucket, **wanted)
    assert (again.created, again.changed) == (False, [])
    assert again.about == await api.bucket_info(new_bucket) == made.about


async def test_a_bucket_that_differs_is_changed_in_what_is_named(api: Api, bucket: str) -> None:
    changed = await api.ensure_bucket(bucket, description="d", history=20)
    assert (changed.created, changed.changed) == (False, ["description", "history"])
    about = await api.bucket_info(bucket)
    assert (about.description, about.history, about.storage) == ("d", 20, "memory")


async def test_a_ttl_is_taken_away_again(api: Api, new_bucket: str) -> None:
    await api.ensure_bucket(new_bucket, ttl=60)
    assert (await api.ensure_bucket(new_bucket, ttl=0)).changed == ["ttl"]
    assert (await api.bucket_info(new_bucket)).ttl is None


async def test_a_plan_says_what_would_be_done_and_does_nothing(
    api: Api, bucket: str, new_bucket: str
) -> None:
    planned = await api.plan_bucket(bucket, history=20)
    assert (planned.created, planned.changed) == (False, ["history"])
    assert (planned.about.history, (await api.bucket_info(bucket)).history) == (20, 10)
    planned = await api.plan_bucket(new_bucket, history=20)
    assert (planned.created, planned.changed) == (True, ["history"])
    assert (await refused(api.bucket_info(new_bucket))).kind is Kind.BUCKET_NOT_FOUND


async def test_data_is_lost_only_where_that_is_allowed(api: Api, bucket: str) -> None:
    for value in (b"1", b"2", b"3"):
        await api.put(bucket, "k", value)
    for change in (api.ensure_bucket, api.plan_bucket):
        failed = await refused(change(bucket, history=2))
        assert (failed.kind, failed.status) == (Kind.WOULD_LOSE_DATA, 409)
        assert failed.details == {"history": {"current": 10, "wanted": 2}}
    assert len(await api.history(bucket, "k")) == 3
    assert (await api.ensure_bucket(bucket, history=2, allow_data_loss=True)).changed
    assert len(await api.history(bucket, "k")) == 2


async def test_what_cannot_be_changed_is_refused_as_a_whole(api: Api, bucket: str) -> None:
    failed = await refused(api.ensure_bucket(bucket, storage="file", history=20))
    assert (failed.kind, failed.status) == (Kind.CANNOT_BE_CHANGED, 409)
    assert failed.details == {"storage": {"current": "memory", "wanted": "file"}}
    assert (await api.bucket_info(bucket)).history == 10


async def test_a_protected_bucket_stays_until_it_is_not(api: Api, new_bucket: str) -> None:
    await api.ensure_bucket(new_bucket, protected=True)
    failed = await refused(api.delete_bucket(new_bucket))
    assert (failed.kind, failed.status) == (Kind.PROTECTED, 409)
    await api.ensure_bucket(new_bucket, protected=False)
    await api.delete_bucket(new_bucket)


@pytest.mark.parametrize("change", ["ensure_bucket", "plan_bucket"])
@pytest.mark.parametrize(
    "settings",
    [
        {"history": 0},
        {"history": True},
        {"replicas": 6},
        {"ttl": -1},
        {"compression": "zip"},
        {"metadata": {"jetkv.x": "y"}},
        {"metadata": {"a": 1}},
        {"key_ttl": False, "expiry_markers": True},
    ],
    ids=str,
)
async def test_a_setting_that_breaks_a_rule_changes_nothing(
    api: Api, bucket: str, change: str, settings: dict[str, Any]
) -> None:
    before = await api.bucket_info(bucket)
    failed = await refused(getattr(api, change)(bucket, **settings))
    assert failed.kind is Kind.INVALID
    assert await api.bucket_info(bucket) == before


IN_A_BUCKET = {
    "bucket_info": lambda api, name: api.bucket_info(name),
    "delete_bucket": lambda api, name: api.delete_bucket(name),
    "get": lambda api, name: api.get(name, "k"),
    "get of a revision": lambda api, name: api.get(name, "k", revision=1),
    "eventual get": lambda api, name: api.get(name, "k", consistency="eventual"),
    "put": lambda api, name: api.put(name, "k", b"v"),
    "create": lambda api, name: api.create(name, "k", b"v"),
    "update": lambda api, name: api.update(name, "k", b"v", 1),
    "delete": lambda api, name: api.delete(name, "k"),
    "purge": lambda api, name: api.purge(name, "k"),
    "keys": lambda api, name: api.keys(name),
    "history": lambda api, name: api.history(name, "k"),
}


@pytest.mark.parametrize("call", IN_A_BUCKET.values(), ids=IN_A_BUCKET)
async def test_a_bucket_that_does_not_exist_is_said_to(api: Api, bucket_name: str, call) -> None:
    failed = await refused(call(api, bucket_name))
    assert (failed.kind, failed.status) == (Kind.BUCKET_NOT_FOUND, 404)


async def test_a_put_makes_no_bucket(api: Api, bucket_name: str) -> None:
    await refused(api.put(bucket_name, "k", b"v"))
    assert bucket_name not in [found.name for found in await api.buckets()]

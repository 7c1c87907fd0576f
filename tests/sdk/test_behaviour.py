"""Reads and writes behave the same by raw HTTP, `Client` and `AsyncClient`."""

from contextlib import AsyncExitStack

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tests.sdk.api import ODD_KEYS, Api, Kind, refused
from tests.sdk.apis import APIS, open_api
from tests.support.http import Http
from tests.support.waiting import eventually

VALUES = {
    "empty": b"",
    "every byte": bytes(range(256)),
    "JSON with its spaces": b' {"n": 1.0}\r\n',
    "broken UTF-8": b"\xff\xfe\x00",
    "half a megabyte": b"\x00\r\n" * 170_000,
}

CONTROLS = [chr(code) for code in (*range(32), 127)]

any_key = st.text(
    st.one_of(
        st.sampled_from(".:/*>%=?#+& ~é🔑aZ0-_"),
        st.characters(exclude_categories=["Cs"], exclude_characters=CONTROLS),
    ),
    min_size=1,
    max_size=40,
).filter(lambda key: len(key.encode()) <= 512)


@pytest.fixture
def bucket(make_bucket) -> str:
    """A bucket that keeps ten revisions of each key."""
    name: str = make_bucket(history=10, storage="memory").name
    return name


# --- get and put


@pytest.mark.parametrize("value", VALUES.values(), ids=VALUES)
async def test_a_value_comes_back_byte_for_byte(api: Api, bucket: str, value: bytes) -> None:
    await api.put(bucket, "k", value)
    assert (await api.get(bucket, "k")).value == value


async def test_a_put_returns_the_revision_that_a_get_shows(api: Api, bucket: str) -> None:
    revision = await api.put(bucket, "k", b"v")
    assert (await api.get(bucket, "k")).revision == revision


async def test_revisions_count_the_writes_of_a_whole_bucket(api: Api, bucket: str) -> None:
    assert [await api.put(bucket, key, b"v") for key in ("a", "b", "a")] == [1, 2, 3]


async def test_a_put_writes_over_what_is_there(api: Api, bucket: str) -> None:
    await api.put(bucket, "k", b"old")
    await api.put(bucket, "k", b"new")
    assert (await api.get(bucket, "k")).value == b"new"


async def test_a_key_that_was_never_written_is_not_found(api: Api, bucket: str) -> None:
    failed = await refused(api.get(bucket, "k"))
    assert (failed.kind, failed.status) == (Kind.KEY_NOT_FOUND, 404)


async def test_an_eventual_read_finds_what_is_there(api: Api, bucket: str) -> None:
    revision = await api.put(bucket, "k", b"v")

    async def seen() -> bool:
        return (await api.get(bucket, "k", consistency="eventual")).revision == revision

    await eventually(seen, "an eventual read sees the write")


async def test_an_eventual_read_of_a_missing_key_is_not_found(api: Api, bucket: str) -> None:
    failed = await refused(api.get(bucket, "k", consistency="eventual"))
    assert failed.kind is Kind.KEY_NOT_FOUND


async def test_a_consistency_that_does_not_exist_is_refused(api: Api, bucket: str) -> None:
    await api.put(bucket, "k", b"v")
    failed = await refused(api.get(bucket, "k", consistency="sometimes"))
    assert failed.kind is Kind.INVALID


async def test_a_value_over_the_limit_is_refused_and_says_the_limit(api: Api, make_bucket) -> None:
    bucket = make_bucket(max_value_size=100).name
    failed = await refused(api.put(bucket, "k", b"x" * 101))
    assert (failed.kind, failed.details) == (Kind.TOO_LARGE, {"limit_bytes": 100})


async def test_a_refused_value_leaves_what_was_there(api: Api, make_bucket) -> None:
    bucket = make_bucket(max_value_size=100).name
    await api.put(bucket, "k", b"old")
    await refused(api.put(bucket, "k", b"x" * 101))
    assert (await api.get(bucket, "k")).value == b"old"


# --- values written by one API are read by the others


@pytest.mark.parametrize("reader", APIS)
@pytest.mark.parametrize("writer", APIS)
async def test_a_value_written_by_one_api_is_read_by_all(
    writer: str, reader: str, http: Http, bucket: str
) -> None:
    async with AsyncExitStack() as stack:
        write = await open_api(stack, writer, http)
        read = await open_api(stack, reader, http)
        revision = await write.put(bucket, "é/ü", b"\x00\xff")
        found = await read.get(bucket, "é/ü")
    assert (found.key, found.value, found.revision) == ("é/ü", b"\x00\xff", revision)


async def test_all_apis_see_the_same_entry(http: Http, bucket: str) -> None:
    async with AsyncExitStack() as stack:
        apis = [await open_api(stack, name, http) for name in APIS]
        await apis[0].put(bucket, "k", b"v")
        seen = [await api.get(bucket, "k") for api in apis]
    assert seen[0].created_at.utcoffset() is not None
    assert seen[1:] == seen[:1] * 2


async def test_all_apis_see_the_same_bucket(http: Http, bucket: str) -> None:
    async with AsyncExitStack() as stack:
        apis = [await open_api(stack, name, http) for name in APIS]
        seen = [await api.bucket_info(bucket) for api in apis]
    assert seen[1:] == seen[:1] * 2


# --- create


async def test_a_create_stores_where_there_is_nothing(api: Api, bucket: str) -> None:
    revision = await api.create(bucket, "k", b"v")
    found = await api.get(bucket, "k")
    assert (found.value, found.revision) == (b"v", revision)


async def test_a_create_on_a_live_value_fails_and_says_its_revision(api: Api, bucket: str) -> None:
    revision = await api.put(bucket, "k", b"v")
    failed = await refused(api.create(bucket, "k", b"w"))
    assert (failed.kind, failed.status) == (Kind.KEY_EXISTS, 412)
    assert failed.details == {"current_revision": revision}


async def test_a_create_that_fails_changes_nothing(api: Api, bucket: str) -> None:
    await api.put(bucket, "k", b"v")
    await refused(api.create(bucket, "k", b"w"))
    assert [entry.value for entry in await api.history(bucket, "k")] == [b"v"]


@pytest.mark.parametrize("end", ["delete", "purge"])
async def test_a_create_stores_where_a_value_was(api: Api, bucket: str, end: str) -> None:
    await api.put(bucket, "k", b"old")
    await getattr(api, end)(bucket, "k")
    await api.create(bucket, "k", b"new")
    assert (await api.get(bucket, "k")).value == b"new"


# --- update


async def test_an_update_at_the_current_revision_is_written(api: Api, bucket: str) -> None:
    revision = await api.put(bucket, "k", b"old")
    newer = await api.update(bucket, "k", b"new", revision)
    found = await api.get(bucket, "k")
    assert (found.value, found.revision) == (b"new", newer)


async def test_an_update_at_an_older_revision_fails_and_says_the_newer(
    api: Api, bucket: str
) -> None:
    older = await api.put(bucket, "k", b"1")
    newer = await api.put(bucket, "k", b"2")
    failed = await refused(api.update(bucket, "k", b"3", older))
    assert (failed.kind, failed.status) == (Kind.REVISION_MISMATCH, 412)
    assert failed.details == {"current_revision": newer}


async def test_an_update_that_fails_changes_nothing(api: Api, bucket: str) -> None:
    older = await api.put(bucket, "k", b"1")
    await api.put(bucket, "k", b"2")
    await refused(api.update(bucket, "k", b"3", older))
    assert [entry.value for entry in await api.history(bucket, "k")] == [b"1", b"2"]


async def test_an_update_at_the_revision_of_another_key_fails(api: Api, bucket: str) -> None:
    await api.put(bucket, "k", b"v")
    other = await api.put(bucket, "other", b"v")
    failed = await refused(api.update(bucket, "k", b"w", other))
    assert failed.kind is Kind.REVISION_MISMATCH


async def test_an_update_of_a_missing_key_fails(api: Api, bucket: str) -> None:
    failed = await refused(api.update(bucket, "k", b"v", 1))
    assert failed.kind is Kind.REVISION_MISMATCH


async def test_the_revision_of_a_tombstone_is_one_to_update_at(api: Api, bucket: str) -> None:
    await api.put(bucket, "k", b"v")
    await api.delete(bucket, "k")
    tombstone = (await api.history(bucket, "k"))[-1].revision
    await api.update(bucket, "k", b"again", tombstone)
    assert (await api.get(bucket, "k")).value == b"again"


# --- delete and purge


@pytest.mark.parametrize("end", ["delete", "purge"])
async def test_a_key_that_was_taken_away_is_not_found(api: Api, bucket: str, end: str) -> None:
    await api.put(bucket, "k", b"v")
    await getattr(api, end)(bucket, "k")
    assert (await refused(api.get(bucket, "k"))).kind is Kind.KEY_NOT_FOUND


@pytest.mark.parametrize("end", ["delete", "purge"])
async def test_taking_away_what_is_not_there_writes_nothing(
    api: Api, bucket: str, end: str
) -> None:
    await getattr(api, end)(bucket, "k")
    assert (await api.bucket_info(bucket)).values == 0


@pytest.mark.parametrize("end", ["delete", "purge"])
async def test_a_key_is_taken_away_at_its_revision(api: Api, bucket: str, end: str) -> None:
    revision = await api.put(bucket, "k", b"v")
    await getattr(api, end)(bucket, "k", revision=revision)
    assert await api.keys(bucket) == []


@pytest.mark.parametrize("end", ["delete", "purge"])
async def test_a_key_is_not_taken_away_at_another_revision(api: Api, bucket: str, end: str) -> None:
    older = await api.put(bucket, "k", b"1")
    newer = await api.put(bucket, "k", b"2")
    failed = await refused(getattr(api, end)(bucket, "k", revision=older))
    assert (failed.kind, failed.details) == (Kind.REVISION_MISMATCH, {"current_revision": newer})
    assert (await api.get(bucket, "k")).value == b"2"


async def test_a_delete_keeps_the_history(api: Api, bucket: str) -> None:
    await api.put(bucket, "k", b"v")
    await api.delete(bucket, "k")
    told = [(entry.operation, entry.value) for entry in await api.history(bucket, "k")]
    assert told == [("put", b"v"), ("delete", b"")]


async def test_a_purge_drops_the_history(api: Api, bucket: str) -> None:
    await api.put(bucket, "k", b"v")
    await api.purge(bucket, "k")
    told = [(entry.operation, entry.value) for entry in await api.history(bucket, "k")]
    assert told == [("purge", b"")]


# --- history and revisions


async def test_a_history_is_told_oldest_first(api: Api, bucket: str) -> None:
    revisions = [await api.put(bucket, "k", value) for value in (b"1", b"2", b"3")]
    told = [(entry.value, entry.revision) for entry in await api.history(bucket, "k")]
    assert told == list(zip((b"1", b"2", b"3"), revisions, strict=True))


async def test_a_history_holds_as_many_revisions_as_the_bucket_keeps(api: Api, make_bucket) -> None:
    bucket = make_bucket(history=2).name
    for value in (b"1", b"2", b"3"):
        await api.put(bucket, "k", value)
    assert [entry.value for entry in await api.history(bucket, "k")] == [b"2", b"3"]


async def test_a_key_without_a_history_is_not_found(api: Api, bucket: str) -> None:
    assert (await refused(api.history(bucket, "k"))).kind is Kind.KEY_NOT_FOUND


async def test_an_older_revision_can_be_read(api: Api, bucket: str) -> None:
    older = await api.put(bucket, "k", b"old")
    await api.put(bucket, "k", b"new")
    found = await api.get(bucket, "k", revision=older)
    assert (found.value, found.revision) == (b"old", older)


async def test_an_older_revision_can_be_read_after_a_delete(api: Api, bucket: str) -> None:
    older = await api.put(bucket, "k", b"old")
    await api.delete(bucket, "k")
    assert (await api.get(bucket, "k", revision=older)).value == b"old"


async def test_a_revision_of_another_key_is_not_found(api: Api, bucket: str) -> None:
    await api.put(bucket, "k", b"v")
    other = await api.put(bucket, "other", b"v")
    assert (await refused(api.get(bucket, "k", revision=other))).kind is Kind.KEY_NOT_FOUND


async def test_the_revision_of_a_tombstone_has_no_value(api: Api, bucket: str) -> None:
    await api.put(bucket, "k", b"v")
    await api.delete(bucket, "k")
    tombstone = (await api.history(bucket, "k"))[-1].revision
    assert (await refused(api.get(bucket, "k", revision=tombstone))).kind is Kind.KEY_NOT_FOUND


async def test_a_revision_that_is_not_there_yet_is_not_found(api: Api, bucket: str) -> None:
    revision = await api.put(bucket, "k", b"v")
    failed = await refused(api.get(bucket, "k", revision=revision + 1))
    assert failed.kind is Kind.KEY_NOT_FOUND


# --- keys


async def test_an_empty_bucket_has_no_keys(api: Api, bucket: str) -> None:
    assert await api.keys(bucket) == []


async def test_keys_are_sorted_by_their_bytes(api: Api, bucket: str) -> None:
    for key in ("b", "é", "Z", "a", "\uffee", "🔑"):
        await api.put(bucket, key, b"v")
    assert await api.keys(bucket) == ["Z", "a", "b", "é", "\uffee", "🔑"]


async def test_only_live_keys_are_listed(api: Api, bucket: str) -> None:
    for key in ("live", "deleted", "purged"):
        await api.put(bucket, key, b"v")
    await api.delete(bucket, "deleted")
    await api.purge(bucket, "purged")
    assert await api.keys(bucket) == ["live"]


@pytest.mark.parametrize(
    ("filter", "expected"),
    [
        ("user.*", ["user.a"]),
        ("user.>", ["user.a", "user.a.b"]),
        ("user:*", ["user:1", "user:2"]),
        ("user:", ["user:1", "user:2"]),
        ("*.a", ["user.a"]),
        ("user:1", ["user:1"]),
        ("nothing", []),
        (">", ["user.a", "user.a.b", "user:1", "user:2", "x y"]),
        ("x y", ["x y"]),
    ],
)
async def test_a_filter_chooses_keys(
    api: Api, bucket: str, filter: str, expected: list[str]
) -> None:
    for key in ("user.a", "user.a.b", "user:1", "user:2", "x y"):
        await api.put(bucket, key, b"v")
    assert await api.keys(bucket, filter) == expected


@pytest.mark.parametrize("filter", ["a.>.b", "a\nb", "f" * 513])
async def test_a_filter_that_breaks_a_rule_is_refused(api: Api, bucket: str, filter: str) -> None:
    assert (await refused(api.keys(bucket, filter))).kind is Kind.INVALID


async def test_odd_keys_are_keys_like_any_others(api: Api, bucket: str) -> None:
    for key in ODD_KEYS:
        revision = await api.create(bucket, key, b"1")
        revision = await api.update(bucket, key, key.encode(), revision)
        found = await api.get(bucket, key)
        assert (found.key, found.value, found.revision) == (key, key.encode(), revision)
        told = [(entry.key, entry.value) for entry in await api.history(bucket, key)]
        assert told == [(key, b"1"), (key, key.encode())]


async def test_odd_keys_are_listed_as_they_were_written(api: Api, bucket: str) -> None:
    for key in ODD_KEYS:
        await api.put(bucket, key, b"v")
    assert await api.keys(bucket) == sorted(ODD_KEYS, key=str.encode)


async def test_deleting_an_odd_key_deletes_no_other(api: Api, bucket: str) -> None:
    for key in ODD_KEYS:
        await api.put(bucket, key, b"v")
    left = sorted(ODD_KEYS, key=str.encode)
    for key in ODD_KEYS:
        await api.delete(bucket, key)
        left.remove(key)
        assert await api.keys(bucket) == left


@settings(
    max_examples=30,
    deadline=None,
    # The bucket stays the same: each example has a key of its own in it.
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(key=any_key, value=st.binary(max_size=64))
@example(key="." * 512, value=b"")
@example(key="=3A" * 170 + "==", value=b"")
@example(key="🔑" * 128, value=b"")
async def test_any_text_is_a_key(api: Api, bucket: str, key: str, value: bytes) -> None:
    revision = await api.put(bucket, key, value)
    found = await api.get(bucket, key)
    assert (found.key, found.value, found.revision) == (key, value, revision)
    assert key in await api.keys(bucket)


@pytest.mark.parametrize("key", ["a\x00b", "a\nb", "\x7f", "k" * 513], ids=repr)
async def test_a_key_that_breaks_a_rule_is_refused(api: Api, bucket: str, key: str) -> None:
    assert (await refused(api.put(bucket, key, b"v"))).kind is Kind.INVALID
    assert (await refused(api.get(bucket, key))).kind is Kind.INVALID

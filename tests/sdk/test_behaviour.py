"""What holds for a caller, whichever way he comes in: raw HTTP, `Client` or `AsyncClient`."""

from contextlib import AsyncExitStack

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tests.sdk.ways import ODD_KEYS, Kind, Way, refused
from tests.sdk.ways_in import WAYS, enter
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
async def test_a_value_comes_back_byte_for_byte(way: Way, bucket: str, value: bytes) -> None:
    await way.put(bucket, "k", value)
    assert (await way.get(bucket, "k")).value == value


async def test_a_put_returns_the_revision_that_a_get_shows(way: Way, bucket: str) -> None:
    revision = await way.put(bucket, "k", b"v")
    assert (await way.get(bucket, "k")).revision == revision


async def test_revisions_count_the_writes_of_a_whole_bucket(way: Way, bucket: str) -> None:
    assert [await way.put(bucket, key, b"v") for key in ("a", "b", "a")] == [1, 2, 3]


async def test_a_put_writes_over_what_is_there(way: Way, bucket: str) -> None:
    await way.put(bucket, "k", b"old")
    await way.put(bucket, "k", b"new")
    assert (await way.get(bucket, "k")).value == b"new"


async def test_a_key_that_was_never_written_is_not_found(way: Way, bucket: str) -> None:
    failed = await refused(way.get(bucket, "k"))
    assert (failed.kind, failed.status) == (Kind.KEY_NOT_FOUND, 404)


async def test_an_eventual_read_finds_what_is_there(way: Way, bucket: str) -> None:
    revision = await way.put(bucket, "k", b"v")

    async def seen() -> bool:
        return (await way.get(bucket, "k", consistency="eventual")).revision == revision

    await eventually(seen, "an eventual read sees the write")


async def test_an_eventual_read_of_a_missing_key_is_not_found(way: Way, bucket: str) -> None:
    failed = await refused(way.get(bucket, "k", consistency="eventual"))
    assert failed.kind is Kind.KEY_NOT_FOUND


async def test_a_consistency_that_does_not_exist_is_refused(way: Way, bucket: str) -> None:
    await way.put(bucket, "k", b"v")
    failed = await refused(way.get(bucket, "k", consistency="sometimes"))
    assert failed.kind is Kind.INVALID


async def test_a_value_over_the_limit_is_refused_and_says_the_limit(way: Way, make_bucket) -> None:
    bucket = make_bucket(max_value_size=100).name
    failed = await refused(way.put(bucket, "k", b"x" * 101))
    assert (failed.kind, failed.facts) == (Kind.TOO_LARGE, {"limit_bytes": 100})


async def test_a_refused_value_leaves_what_was_there(way: Way, make_bucket) -> None:
    bucket = make_bucket(max_value_size=100).name
    await way.put(bucket, "k", b"old")
    await refused(way.put(bucket, "k", b"x" * 101))
    assert (await way.get(bucket, "k")).value == b"old"


# --- what one way writes, the others read


@pytest.mark.parametrize("reader", WAYS)
@pytest.mark.parametrize("writer", WAYS)
async def test_what_one_way_writes_every_way_reads(
    writer: str, reader: str, http: Http, bucket: str
) -> None:
    async with AsyncExitStack() as stack:
        write = await enter(stack, writer, http)
        read = await enter(stack, reader, http)
        revision = await write.put(bucket, "é/ü", b"\x00\xff")
        found = await read.get(bucket, "é/ü")
    assert (found.key, found.value, found.revision) == ("é/ü", b"\x00\xff", revision)


async def test_all_ways_see_the_same_entry(http: Http, bucket: str) -> None:
    async with AsyncExitStack() as stack:
        ways = [await enter(stack, name, http) for name in WAYS]
        await ways[0].put(bucket, "k", b"v")
        seen = [await way.get(bucket, "k") for way in ways]
    assert seen[0].created_at.utcoffset() is not None
    assert seen[1:] == seen[:1] * 2


async def test_all_ways_see_the_same_bucket(http: Http, bucket: str) -> None:
    async with AsyncExitStack() as stack:
        ways = [await enter(stack, name, http) for name in WAYS]
        seen = [await way.bucket_info(bucket) for way in ways]
    assert seen[1:] == seen[:1] * 2


# --- create


async def test_a_create_stores_where_there_is_nothing(way: Way, bucket: str) -> None:
    revision = await way.create(bucket, "k", b"v")
    found = await way.get(bucket, "k")
    assert (found.value, found.revision) == (b"v", revision)


async def test_a_create_on_a_live_value_fails_and_says_its_revision(way: Way, bucket: str) -> None:
    revision = await way.put(bucket, "k", b"v")
    failed = await refused(way.create(bucket, "k", b"w"))
    assert (failed.kind, failed.status) == (Kind.KEY_EXISTS, 412)
    assert failed.facts == {"current_revision": revision}


async def test_a_create_that_fails_changes_nothing(way: Way, bucket: str) -> None:
    await way.put(bucket, "k", b"v")
    await refused(way.create(bucket, "k", b"w"))
    assert [entry.value for entry in await way.history(bucket, "k")] == [b"v"]


@pytest.mark.parametrize("end", ["delete", "purge"])
async def test_a_create_stores_where_a_value_was(way: Way, bucket: str, end: str) -> None:
    await way.put(bucket, "k", b"old")
    await getattr(way, end)(bucket, "k")
    await way.create(bucket, "k", b"new")
    assert (await way.get(bucket, "k")).value == b"new"


# --- update


async def test_an_update_at_the_current_revision_is_written(way: Way, bucket: str) -> None:
    revision = await way.put(bucket, "k", b"old")
    newer = await way.update(bucket, "k", b"new", revision)
    found = await way.get(bucket, "k")
    assert (found.value, found.revision) == (b"new", newer)


async def test_an_update_at_an_older_revision_fails_and_says_the_newer(
    way: Way, bucket: str
) -> None:
    older = await way.put(bucket, "k", b"1")
    newer = await way.put(bucket, "k", b"2")
    failed = await refused(way.update(bucket, "k", b"3", older))
    assert (failed.kind, failed.status) == (Kind.REVISION_MISMATCH, 412)
    assert failed.facts == {"current_revision": newer}


async def test_an_update_that_fails_changes_nothing(way: Way, bucket: str) -> None:
    older = await way.put(bucket, "k", b"1")
    await way.put(bucket, "k", b"2")
    await refused(way.update(bucket, "k", b"3", older))
    assert [entry.value for entry in await way.history(bucket, "k")] == [b"1", b"2"]


async def test_an_update_at_the_revision_of_another_key_fails(way: Way, bucket: str) -> None:
    await way.put(bucket, "k", b"v")
    other = await way.put(bucket, "other", b"v")
    failed = await refused(way.update(bucket, "k", b"w", other))
    assert failed.kind is Kind.REVISION_MISMATCH


async def test_an_update_of_a_missing_key_fails(way: Way, bucket: str) -> None:
    failed = await refused(way.update(bucket, "k", b"v", 1))
    assert failed.kind is Kind.REVISION_MISMATCH


async def test_the_revision_of_a_tombstone_is_one_to_update_at(way: Way, bucket: str) -> None:
    await way.put(bucket, "k", b"v")
    await way.delete(bucket, "k")
    tombstone = (await way.history(bucket, "k"))[-1].revision
    await way.update(bucket, "k", b"again", tombstone)
    assert (await way.get(bucket, "k")).value == b"again"


# --- delete and purge


@pytest.mark.parametrize("end", ["delete", "purge"])
async def test_a_key_that_was_taken_away_is_not_found(way: Way, bucket: str, end: str) -> None:
    await way.put(bucket, "k", b"v")
    await getattr(way, end)(bucket, "k")
    assert (await refused(way.get(bucket, "k"))).kind is Kind.KEY_NOT_FOUND


@pytest.mark.parametrize("end", ["delete", "purge"])
async def test_taking_away_what_is_not_there_writes_nothing(
    way: Way, bucket: str, end: str
) -> None:
    await getattr(way, end)(bucket, "k")
    assert (await way.bucket_info(bucket)).values == 0


@pytest.mark.parametrize("end", ["delete", "purge"])
async def test_a_key_is_taken_away_at_its_revision(way: Way, bucket: str, end: str) -> None:
    revision = await way.put(bucket, "k", b"v")
    await getattr(way, end)(bucket, "k", revision=revision)
    assert await way.keys(bucket) == []


@pytest.mark.parametrize("end", ["delete", "purge"])
async def test_a_key_is_not_taken_away_at_another_revision(way: Way, bucket: str, end: str) -> None:
    older = await way.put(bucket, "k", b"1")
    newer = await way.put(bucket, "k", b"2")
    failed = await refused(getattr(way, end)(bucket, "k", revision=older))
    assert (failed.kind, failed.facts) == (Kind.REVISION_MISMATCH, {"current_revision": newer})
    assert (await way.get(bucket, "k")).value == b"2"


async def test_a_delete_keeps_the_history(way: Way, bucket: str) -> None:
    await way.put(bucket, "k", b"v")
    await way.delete(bucket, "k")
    told = [(entry.operation, entry.value) for entry in await way.history(bucket, "k")]
    assert told == [("put", b"v"), ("delete", b"")]


async def test_a_purge_drops_the_history(way: Way, bucket: str) -> None:
    await way.put(bucket, "k", b"v")
    await way.purge(bucket, "k")
    told = [(entry.operation, entry.value) for entry in await way.history(bucket, "k")]
    assert told == [("purge", b"")]


# --- history and revisions


async def test_a_history_is_told_oldest_first(way: Way, bucket: str) -> None:
    revisions = [await way.put(bucket, "k", value) for value in (b"1", b"2", b"3")]
    told = [(entry.value, entry.revision) for entry in await way.history(bucket, "k")]
    assert told == list(zip((b"1", b"2", b"3"), revisions, strict=True))


async def test_a_history_holds_as_many_revisions_as_the_bucket_keeps(way: Way, make_bucket) -> None:
    bucket = make_bucket(history=2).name
    for value in (b"1", b"2", b"3"):
        await way.put(bucket, "k", value)
    assert [entry.value for entry in await way.history(bucket, "k")] == [b"2", b"3"]


async def test_a_key_without_a_history_is_not_found(way: Way, bucket: str) -> None:
    assert (await refused(way.history(bucket, "k"))).kind is Kind.KEY_NOT_FOUND


async def test_an_older_revision_can_be_read(way: Way, bucket: str) -> None:
    older = await way.put(bucket, "k", b"old")
    await way.put(bucket, "k", b"new")
    found = await way.get(bucket, "k", revision=older)
    assert (found.value, found.revision) == (b"old", older)


async def test_an_older_revision_can_be_read_after_a_delete(way: Way, bucket: str) -> None:
    older = await way.put(bucket, "k", b"old")
    await way.delete(bucket, "k")
    assert (await way.get(bucket, "k", revision=older)).value == b"old"


async def test_a_revision_of_another_key_is_not_found(way: Way, bucket: str) -> None:
    await way.put(bucket, "k", b"v")
    other = await way.put(bucket, "other", b"v")
    assert (await refused(way.get(bucket, "k", revision=other))).kind is Kind.KEY_NOT_FOUND


async def test_the_revision_of_a_tombstone_has_no_value(way: Way, bucket: str) -> None:
    await way.put(bucket, "k", b"v")
    await way.delete(bucket, "k")
    tombstone = (await way.history(bucket, "k"))[-1].revision
    assert (await refused(way.get(bucket, "k", revision=tombstone))).kind is Kind.KEY_NOT_FOUND


async def test_a_revision_that_is_not_there_yet_is_not_found(way: Way, bucket: str) -> None:
    revision = await way.put(bucket, "k", b"v")
    failed = await refused(way.get(bucket, "k", revision=revision + 1))
    assert failed.kind is Kind.KEY_NOT_FOUND


# --- keys


async def test_an_empty_bucket_has_no_keys(way: Way, bucket: str) -> None:
    assert await way.keys(bucket) == []


async def test_keys_are_sorted_by_their_bytes(way: Way, bucket: str) -> None:
    for key in ("b", "é", "Z", "a", "\uffee", "🔑"):
        await way.put(bucket, key, b"v")
    assert await way.keys(bucket) == ["Z", "a", "b", "é", "\uffee", "🔑"]


async def test_only_live_keys_are_listed(way: Way, bucket: str) -> None:
    for key in ("live", "deleted", "purged"):
        await way.put(bucket, key, b"v")
    await way.delete(bucket, "deleted")
    await way.purge(bucket, "purged")
    assert await way.keys(bucket) == ["live"]


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
    way: Way, bucket: str, filter: str, expected: list[str]
) -> None:
    for key in ("user.a", "user.a.b", "user:1", "user:2", "x y"):
        await way.put(bucket, key, b"v")
    assert await way.keys(bucket, filter) == expected


@pytest.mark.parametrize("filter", ["a.>.b", "a\nb", "f" * 513])
async def test_a_filter_that_breaks_a_rule_is_refused(way: Way, bucket: str, filter: str) -> None:
    assert (await refused(way.keys(bucket, filter))).kind is Kind.INVALID


async def test_odd_keys_are_keys_like_any_others(way: Way, bucket: str) -> None:
    for key in ODD_KEYS:
        revision = await way.create(bucket, key, b"1")
        revision = await way.update(bucket, key, key.encode(), revision)
        found = await way.get(bucket, key)
        assert (found.key, found.value, found.revision) == (key, key.encode(), revision)
        told = [(entry.key, entry.value) for entry in await way.history(bucket, key)]
        assert told == [(key, b"1"), (key, key.encode())]


async def test_odd_keys_are_listed_as_they_were_written(way: Way, bucket: str) -> None:
    for key in ODD_KEYS:
        await way.put(bucket, key, b"v")
    assert await way.keys(bucket) == sorted(ODD_KEYS, key=str.encode)


async def test_deleting_an_odd_key_deletes_no_other(way: Way, bucket: str) -> None:
    for key in ODD_KEYS:
        await way.put(bucket, key, b"v")
    left = sorted(ODD_KEYS, key=str.encode)
    for key in ODD_KEYS:
        await way.delete(bucket, key)
        left.remove(key)
        assert await way.keys(bucket) == left


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
async def test_any_text_is_a_key(way: Way, bucket: str, key: str, value: bytes) -> None:
    revision = await way.put(bucket, key, value)
    found = await way.get(bucket, key)
    assert (found.key, found.value, found.revision) == (key, value, revision)
    assert key in await way.keys(bucket)


@pytest.mark.parametrize("key", ["a\x00b", "a\nb", "\x7f", "k" * 513], ids=repr)
async def test_a_key_that_breaks_a_rule_is_refused(way: Way, bucket: str, key: str) -> None:
    assert (await refused(way.put(bucket, key, b"v"))).kind is Kind.INVALID
    assert (await refused(way.get(bucket, key))).kind is Kind.INVALID

"""Bookmarks of watches over several buckets."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jetkv_gateway.kv.errors import InvalidArgument
from jetkv_gateway.kv.model import MAX_REVISION
from jetkv_gateway.kv.timestamps import rfc3339
from jetkv_gateway.watch.bookmarks import Bookmark, Place, read_bookmark

names = st.text("abcXYZ019_-", min_size=1, max_size=20)
moments = st.integers(0, 4 * 10**18).map(rfc3339)
places = st.builds(Place, st.integers(0, MAX_REVISION), st.none() | moments, st.booleans())


def bookmark(given: dict[str, Place]) -> str:
    made = Bookmark(list(given))
    for number, place in enumerate(given.values()):
        made.move(number, place)
    return made.text


@given(st.dictionaries(names, places, min_size=1, max_size=8))
def test_a_bookmark_gives_back_each_place(given: dict[str, Place]) -> None:
    assert read_bookmark(bookmark(given), given, "resume") == given


@given(st.dictionaries(names, places, min_size=2, max_size=6))
def test_the_order_of_the_buckets_does_not_matter(given: dict[str, Place]) -> None:
    turned = dict(reversed(given.items()))
    assert bookmark(turned) == bookmark(given)


@given(st.dictionaries(names, places, min_size=1, max_size=6))
def test_a_bookmark_needs_no_escapes_in_a_url(given: dict[str, Place]) -> None:
    assert set(bookmark(given)) <= set("abcdefghijklmnopqrstuvwxyzS0123456789.-")


def test_the_largest_bookmark_can_be_read() -> None:
    largest = Place(MAX_REVISION, "2262-04-11T23:47:16.854775807Z", in_snapshot=True)
    given = {f"{number:0200}": largest for number in range(64)}
    assert read_bookmark(bookmark(given), given, "resume") == given


@given(st.dictionaries(names, places, min_size=1, max_size=4), names)
def test_a_bookmark_of_other_buckets_is_refused(given: dict[str, Place], other: str) -> None:
    asked = set(given) ^ {other} or {other + "x"}
    with pytest.raises(InvalidArgument, match="other buckets"):
        read_bookmark(bookmark(given), asked, "resume")


@given(st.text(max_size=60) | st.from_regex(r"1-[0-9a-f]{8}(-S?[0-9a-z.]{0,15}){0,3}"))
def test_any_other_text_is_refused(text: str) -> None:
    with pytest.raises(InvalidArgument, match=r"^resume is"):
        read_bookmark(text, ["a", "b"], "resume")


def test_a_moment_that_nats_does_not_write_is_left_out() -> None:
    assert read_bookmark(bookmark({"a": Place(7, "yesterday")}), ["a"], "resume") == {
        "a": Place(7, None)
    }


def test_a_place_that_moves_changes_the_text() -> None:
    made = Bookmark(["a", "b"])
    before = made.text
    made.move(1, Place(1))
    assert made.text != before

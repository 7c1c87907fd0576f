"""Cursors (docs/http-api.md#pages): what they carry, and which texts are not cursors."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jetkv_gateway.kv.cursors import Cursor, CursorScope, read_cursor, write_cursor
from jetkv_gateway.kv.errors import InvalidArgument
from jetkv_gateway.kv.model import MAX_REVISION

_texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
cursors = st.builds(
    Cursor,
    created_at=st.from_regex(r"20[0-9]{2}-01-02T03:04:05\.[0-9]{1,9}Z", fullmatch=True),
    as_of=st.integers(0, MAX_REVISION),
    after=_texts,
)
scopes = st.builds(CursorScope, _texts, _texts, st.sampled_from(["keys", "meta", "values"]))

CURSOR = Cursor("2026-01-02T03:04:05.678Z", 7, "user.42")
SCOPE = CursorScope("b", "user.*", "keys")
TEXT = write_cursor(CURSOR, SCOPE)


@given(cursors, scopes)
def test_a_cursor_is_read_as_it_was_written(cursor: Cursor, scope: CursorScope) -> None:
    assert read_cursor(write_cursor(cursor, scope), scope) == cursor


@given(cursors, scopes)
def test_a_cursor_needs_no_escaping_in_a_url(cursor: Cursor, scope: CursorScope) -> None:
    assert re.fullmatch(r"[A-Za-z0-9_-]+", write_cursor(cursor, scope))


@given(cursors, scopes, scopes)
def test_a_cursor_of_another_scope_is_refused(
    cursor: Cursor, scope: CursorScope, other: CursorScope
) -> None:
    if scope != other:
        with pytest.raises(InvalidArgument, match="belongs to another"):
            read_cursor(write_cursor(cursor, scope), other)


@pytest.mark.parametrize(
    "scope",
    [
        CursorScope("c", "user.*", "keys"),
        CursorScope("b", "\0user.*", "keys"),
        CursorScope("b", "user.*", "meta"),
        CursorScope("b", "", "keys"),
    ],
)
def test_bucket_filter_prefix_and_include_are_parts_of_the_scope(scope: CursorScope) -> None:
    with pytest.raises(InvalidArgument, match="belongs to another"):
        read_cursor(TEXT, scope)


@pytest.mark.parametrize("length", range(len(TEXT)))
def test_a_cursor_that_was_cut_is_refused(length: int) -> None:
    with pytest.raises(InvalidArgument, match="invalid cursor"):
        read_cursor(TEXT[:length], SCOPE)


@given(st.integers(0, len(TEXT) - 1), st.characters(codec="ascii"))
def test_a_cursor_with_another_character_is_refused(place: int, character: str) -> None:
    changed = TEXT[:place] + character + TEXT[place + 1 :]
    if changed != TEXT:
        with pytest.raises(InvalidArgument, match="invalid cursor"):
            read_cursor(changed, SCOPE)


@given(st.text(max_size=80))
def test_a_text_that_no_page_has_returned_is_refused(text: str) -> None:
    with pytest.raises(InvalidArgument, match="invalid cursor"):
        read_cursor(text, SCOPE)

"""Literal prefixes (docs/http-api.md#filters): the keys they keep, what the server gets."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from jetkv_gateway.kv.errors import InvalidArgument
from jetkv_gateway.kv.filters import (
    EVERYTHING,
    compile_filter,
    compile_prefix,
    covers,
    overlap,
)
from jetkv_gateway.kv.keys import encode

keys = st.text("ab.:=/-é *>3A", min_size=1, max_size=12)


@given(keys, keys)
@example("a.", "b")
@example("a..", "..")
@example(".", "a")
@example("=3A.", "b")
@example("a.*", ".b")
def test_the_server_passes_every_key_that_a_prefix_accepts(prefix: str, rest: str) -> None:
    subjects = compile_prefix(prefix).subjects
    for key in (prefix, prefix + rest):
        assert any(covers(subject, encode(key)) for subject in subjects)


@given(keys, keys)
def test_a_prefix_accepts_the_keys_that_start_with_it(prefix: str, key: str) -> None:
    assert compile_prefix(prefix).matches(key) == key.startswith(prefix)


@given(keys)
def test_the_server_is_never_asked_for_a_key_twice(prefix: str) -> None:
    subjects = compile_prefix(prefix).subjects
    pairs = [(one, other) for one in subjects for other in subjects if one != other]
    assert not [pair for pair in pairs if overlap(*pair)]


@pytest.mark.parametrize(
    ("prefix", "subjects"),
    [
        ("user.", ("user.>", "user=2E")),
        ("user.1", ("user.>",)),
        ("us", (">",)),
        ("a.b.c.", ("a.b.c.>", "a.b.c=2E")),
        ("a.*.", ("a.=2A.>", "a.=2A=2E")),
        (">", (">",)),
    ],
)
def test_the_server_filters_by_the_tokens_that_are_complete(
    prefix: str, subjects: tuple[str, ...]
) -> None:
    assert compile_prefix(prefix).subjects == subjects


def test_an_empty_prefix_accepts_every_key() -> None:
    assert compile_prefix("") is EVERYTHING


@given(keys)
def test_a_prefix_is_not_taken_for_the_filter_of_the_same_text(prefix: str) -> None:
    try:
        other = compile_filter(prefix)
    except InvalidArgument:
        return
    assert compile_prefix(prefix).text != other.text


@pytest.mark.parametrize("prefix", ["a\x00", "\n", "x" * 513, "\x7f"])
def test_a_prefix_that_breaks_a_rule_is_refused(prefix: str) -> None:
    with pytest.raises(InvalidArgument, match="invalid prefix"):
        compile_prefix(prefix)

"""`If-Match` and `If-None-Match` (docs/http-api.md#conditions)."""

import pytest

from jetkv_gateway.http.preconditions import (
    expected_revision,
    if_match,
    not_modified,
    parse_revision,
)
from jetkv_gateway.kv.errors import InvalidArgument
from jetkv_gateway.kv.model import MUST_NOT_EXIST

NO_REVISION = [
    b"",
    b" ",
    b"0",
    b'"0"',
    b"-1",
    b"+1",
    b"07",
    b"7.0",
    b"1e3",
    b"1_000",
    b"0x7",
    b"7 8",
    b"*",
    b'"*"',
    b'W/"7"',
    b"W/7",
    b'"7',
    b'7"',
    b"'7'",
    b'""7""',
    b'""',
    b'" 7"',
    b"7, 8",
    b'"7", "7"',
    b"7,",
    b"abc",
    b"\xd9\xa1",
    b"12345678901234567890",
]


# --- If-Match


def test_without_if_match_any_revision_will_do() -> None:
    assert if_match({}) is None


@pytest.mark.parametrize(
    ("value", "revision"),
    [
        (b"7", 7),
        (b'"7"', 7),
        (b" 7 ", 7),
        (b'\t"7"', 7),
        (b"1", 1),
        (b"10", 10),
        (b"9007199254740993", 9007199254740993),
        (b"9223372036854775807", 2**63 - 1),
    ],
)
def test_if_match_is_one_revision_bare_or_quoted(value: bytes, revision: int) -> None:
    assert if_match({b"if-match": value}) == revision


@pytest.mark.parametrize("value", NO_REVISION)
def test_if_match_of_anything_else_is_refused(value: bytes) -> None:
    with pytest.raises(InvalidArgument) as refused:
        if_match({b"if-match": value})
    assert (
        refused.value.message
        == "invalid If-Match: must be one decimal revision of at most 19 digits, from 1"
    )


# --- what a PUT expects


def test_a_put_without_conditions_expects_nothing() -> None:
    assert expected_revision({b"content-type": b"text/plain"}) is None


def test_a_put_with_if_match_expects_that_revision() -> None:
    assert expected_revision({b"if-match": b"7"}) == 7


@pytest.mark.parametrize("value", [b"*", b" * "])
def test_a_put_with_if_none_match_star_is_a_create(value: bytes) -> None:
    assert expected_revision({b"if-none-match": value}) == MUST_NOT_EXIST


@pytest.mark.parametrize("value", [b"", b'"*"', b"7", b'"7"', b"*, *", b"**", b'*, "7"', b'W/"7"'])
def test_a_put_with_any_other_if_none_match_is_refused(value: bytes) -> None:
    with pytest.raises(InvalidArgument) as refused:
        expected_revision({b"if-none-match": value})
    assert refused.value.message == "invalid If-None-Match: must be * on PUT"


@pytest.mark.parametrize("create", [b"*", b'"7"', b""])
def test_a_put_with_both_conditions_is_refused(create: bytes) -> None:
    with pytest.raises(InvalidArgument) as refused:
        expected_revision({b"if-match": b"7", b"if-none-match": create})
    assert refused.value.message == "If-Match and If-None-Match exclude each other"


@pytest.mark.parametrize("value", NO_REVISION)
def test_a_put_with_a_bad_if_match_is_refused(value: bytes) -> None:
    with pytest.raises(InvalidArgument, match=r"^invalid If-Match: "):
        expected_revision({b"if-match": value})


# --- what a GET has already


@pytest.mark.parametrize(
    ("value", "answer"),
    [
        pytest.param(b'"7"', True, id="this revision"),
        pytest.param(b'W/"7"', True, id="weakened by a proxy"),
        pytest.param(b"*", True, id="any"),
        pytest.param(b' "7" ', True, id="with spaces"),
        pytest.param(b'"6", "7"', True, id="second of a list"),
        pytest.param(b'"6",W/"7","8"', True, id="amid a list"),
        pytest.param(b'"6"', False, id="another revision"),
        pytest.param(b'"77"', False, id="one that starts alike"),
        pytest.param(b'"07"', False, id="the same number written otherwise"),
        pytest.param(b'"7-gzip"', False, id="a proxy's own"),
        pytest.param(b'""', False, id="an empty tag"),
        pytest.param(b'"x", "y"', False, id="somebody else's"),
    ],
)
def test_a_get_is_not_modified_if_its_tags_name_the_revision(value: bytes, answer: bool) -> None:
    assert not_modified({b"if-none-match": value}, 7) is answer


def test_a_get_without_tags_is_always_answered_in_full() -> None:
    assert not_modified({}, 7) is False


@pytest.mark.parametrize("value", [b"", b"7", b"'7'", b'"7', b'"7" "8"', b'w/"7"', b'*, "7"'])
def test_a_get_with_what_is_no_list_of_tags_is_refused(value: bytes) -> None:
    with pytest.raises(InvalidArgument) as refused:
        not_modified({b"if-none-match": value}, 7)
    assert refused.value.message == 'invalid If-None-Match: must be a list of tags like "7"'


# --- a revision in a query


@pytest.mark.parametrize(
    ("text", "revision"), [("1", 1), ("42", 42), ("9223372036854775807", 2**63 - 1)]
)
def test_a_revision_is_a_decimal_number(text: str, revision: int) -> None:
    assert parse_revision(text, "revision") == revision


@pytest.mark.parametrize(
    "text",
    ["", "0", "-1", "+1", "01", "1.0", " 1", "1 ", "1\n", '"1"', "1e3", "x", "١", "1_0", "1" * 20],
)
def test_a_revision_of_anything_else_is_refused_by_the_name_of_its_part(text: str) -> None:
    with pytest.raises(InvalidArgument) as refused:
        parse_revision(text, "revision")
    assert (
        refused.value.message
        == "invalid revision: must be one decimal revision of at most 19 digits, from 1"
    )


def test_a_list_of_known_revisions_may_have_empty_elements_and_commas_in_tags() -> None:
    assert not_modified({b"if-none-match": b'"a,b",, W/"7"'}, 7)
    assert not not_modified({b"if-none-match": b'"7,8"'}, 7)

"""Filters (docs/http-api.md#filters): which keys they keep, what the server is asked for."""

import itertools
import re
import sys
from collections.abc import Callable, Sequence
from random import Random
from types import FrameType

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from jetkv_gateway.kv.errors import InvalidArgument
from jetkv_gateway.kv.filters import EVERYTHING, compile_filter, covers, disjoint
from jetkv_gateway.kv.keys import encode

# --- a naive reference: tokens, and characters of a token, one after another


def keeps(filter: str, key: str) -> bool:
    if not filter:
        return True
    if "*" in filter or filter == ">" or filter.endswith(".>"):
        return tokens_keep(filter.split("."), key.split("."))
    return key.startswith(filter) if filter[-1] in ".:/-" else key == filter


def tokens_keep(filter: Sequence[str], key: Sequence[str]) -> bool:
    if filter == [">"]:
        return len(key) > 1 or (len(key) == 1 and key[0] != "")
    if not filter or not key:
        return not filter and not key
    return token_keeps(filter[0], key[0]) and tokens_keep(filter[1:], key[1:])


def token_keeps(pattern: str, token: str) -> bool:
    if pattern and set(pattern) == {"*"}:
        return token != ""
    return glob(pattern, token)


def glob(pattern: str, text: str) -> bool:
    if not pattern:
        return not text
    if pattern[0] == "*":
        return glob(pattern[1:], text) or (text != "" and glob(pattern, text[1:]))
    return text != "" and text[0] == pattern[0] and glob(pattern[1:], text[1:])


def passes(subject_filter: Sequence[str], subject: Sequence[str]) -> bool:
    """Whether a NATS server lets a subject through, both as tokens."""
    if not subject_filter or not subject:
        return not subject_filter and not subject
    head = subject_filter[0]
    if head == ">":
        return True
    return head in ("*", subject[0]) and passes(subject_filter[1:], subject[1:])


def overlap(one: Sequence[str], other: Sequence[str]) -> bool:
    """Whether some subject is let through by both."""
    if not one or not other:
        return not one and not other
    if ">" in (one[0], other[0]):
        return True
    alike = one[0] == other[0] or "*" in (one[0], other[0])
    return alike and overlap(one[1:], other[1:])


# --- keys and filters that often meet

_ALPHABET = "ab:=/-é "
_texts = st.text(_ALPHABET, max_size=4)
_tokens = st.sampled_from(["", "a", "b", "=3A", "=3D3A", "a:", "é", "*", ">"]) | _texts
_for_a_star = st.text("ab:=", max_size=3)
_yes_no = st.booleans()
keys = st.lists(_tokens, min_size=1, max_size=4).map(".".join).filter(bool)
_filter_tokens = st.one_of(
    st.just("*"),
    st.sampled_from(["", "a", "b", "=3A", "é", "**", "a*", "*a", "*b*", "a*b", "*:*", "a*a*"]),
    st.text(_ALPHABET + "**", max_size=4),
)
_ends = st.sampled_from(["", "", "", ".>", ".", ":", "/", "-", "*"])
filters = st.builds(
    lambda parts, end: ".".join(parts) + end,
    st.lists(_filter_tokens, min_size=1, max_size=4),
    _ends,
)


@st.composite
def filters_with_a_key(draw: st.DrawFn) -> tuple[str, str]:
    """A filter, and a key that it was made to keep, or nearly."""
    filter = draw(filters)
    stem = filter.removesuffix(">")
    key = "".join(draw(_for_a_star) if char == "*" else char for char in stem)
    if stem != filter or draw(_yes_no):
        key += draw(keys)
    return filter, key or "a"


either = st.one_of(filters_with_a_key(), st.tuples(filters, keys))


@settings(max_examples=1000)
@given(either)
@example(("a.*.", "a.b."))
@example(("*.", "a."))
@example(("a.**", "a."))
@example(("a.>", "a."))
@example(("a.>", "a.."))
def test_a_filter_keeps_what_the_reference_keeps(pair: tuple[str, str]) -> None:
    filter, key = pair
    assert compile_filter(filter).matches(key) == keeps(filter, key)


@settings(max_examples=1000)
@given(either)
@example(("a.*.", "a.b."))
@example(("*.", "a."))
@example(("a.**", "a."))
@example(("a..*", "a..b"))
@example(("a.*..>", "a.b..c"))
@example(("a.", "a."))
@example(("..", ".."))
def test_the_server_lets_through_every_key_that_a_filter_keeps(pair: tuple[str, str]) -> None:
    compiled = compile_filter(pair[0])
    if compiled.matches(pair[1]):
        subject = encode(pair[1]).split(".")
        assert any(passes(asked.split("."), subject) for asked in compiled.subjects), compiled


@settings(max_examples=300)
@given(filters)
def test_no_two_subjects_of_a_filter_overlap(filter: str) -> None:
    subjects = [subject.split(".") for subject in compile_filter(filter).subjects]
    for number, one in enumerate(subjects):
        assert not any(overlap(one, other) for other in subjects[number + 1 :]), subjects


@settings(max_examples=300)
@given(filters)
def test_the_server_gets_whole_tokens_and_wildcards_alone(filter: str) -> None:
    for subject in compile_filter(filter).subjects:
        *head, last = subject.split(".")
        assert all(re.fullmatch(r"\*|[-/_=A-Za-z0-9]+", token) for token in head), subject
        assert re.fullmatch(r"\*|>|[-/_=A-Za-z0-9]+", last), subject


@settings(max_examples=300)
@given(keys, keys)
def test_the_exact_filter_of_a_key_finds_no_other_key(one: str, other: str) -> None:
    if ">" in one or "*" in one or one[-1] in ".:/-":
        return
    exact = compile_filter(one)
    assert exact.subjects == (encode(one),)
    assert exact.matches(other) == (one == other)
    assert passes(encode(one).split("."), encode(other).split(".")) == (one == other)


# --- what the server is asked


@pytest.mark.parametrize(
    ("filter", "subjects"),
    [
        # wildcards of whole tokens are the server's
        (">", (">",)),
        ("*", ("*",)),
        ("user.*", ("user.*",)),
        ("*.name", ("*.name",)),
        ("a.*.c", ("a.*.c",)),
        ("session.>", ("session.>",)),
        ("*.>", ("*.>",)),
        ("a.**", ("a.*",)),
        # literal tokens are escaped as the keys are
        ("a:b.*", ("a=3Ab.*",)),
        ("é.>", ("=C3=A9.>",)),
        ("=20.*", ("=3D20.*",)),
        # partial wildcards are not
        ("user-*", (">",)),
        ("user:*", (">",)),
        ("user.1*", ("user.>",)),
        ("a.b*.c", ("a.>",)),
        ("a.*.b*.c.*", ("a.*.>",)),
        # one key
        ("user", ("user",)),
        ("user:123", ("user=3A123",)),
        ("a..b", ("a.=2Eb",)),
        ("=3A", ("=3D3A",)),
        # prefixes
        ("user:", (">",)),
        ("a.user:", ("a.>",)),
        ("a.b-", ("a.>",)),
        ("a.", ("a.>", "a=2E")),
        ("a.b.", ("a.b.>", "a.b=2E")),
        ("a:.", ("a=3A.>", "a=3A=2E")),
        (".", (">",)),
        ("a..", ("a.>",)),
        # an empty token is escaped: the server cannot be asked for it
        ("a..*", ("a.>",)),
        (".*", (">",)),
        ("a.*.", ("a.>",)),
        ("*.", (">",)),
        ("*..", ("*.>",)),
        ("a..>", ("a.>",)),
    ],
)
def test_the_server_is_asked_for_as_little_as_it_can_tell_apart(
    filter: str, subjects: tuple[str, ...]
) -> None:
    assert compile_filter(filter).subjects == subjects


@pytest.mark.parametrize("text", [None, "", ">"])
def test_no_filter_and_the_bare_rest_are_everything(text: str | None) -> None:
    assert compile_filter(text) is EVERYTHING
    assert EVERYTHING.subjects == (">",)
    assert EVERYTHING.matches("any.key:at all")


# --- what is kept


@pytest.mark.parametrize(
    ("filter", "kept", "dropped"),
    [
        ("user.*", ["user.1", "user.a:b"], ["user", "user.1.x", "user.", "user..", "Xuser.1"]),
        ("*.1", ["a.1", "é.1"], [".1", "1", "a.b.1", "a.11"]),
        ("session.>", ["session.a", "session.a.b", "session..a"], ["session", "sessions.a"]),
        ("user-*", ["user-", "user-1", "user-a:b"], ["user-1.x", "user", "Xuser-1"]),
        ("user:*", ["user:", "user:1", "user:1:x"], ["user:1.x", "user.1"]),
        ("user:*.name", ["user:1.name", "user:.name"], ["user:1.2.name", "user:1.names"]),
        ("a*b*a", ["aba", "abba", "aXbXa"], ["aa", "ab", "aba.a"]),
        ("a*a", ["aa", "aaa"], ["a"]),
        ("**", ["a", "a:b"], ["a.b", "."]),
        ("user:", ["user:", "user:1", "user:1.x.y"], ["user", "user.1", "a.user:1"]),
        ("a.", ["a.", "a.b", "a..b", "a.b.c"], ["a", "ab", "b.a."]),
        ("a/b/", ["a/b/", "a/b/c.d"], ["a/b", "a/bc"]),
        ("a-", ["a-", "a-b"], ["a"]),
        ("user:1", ["user:1"], ["user:12", "user:1.x", "user=3A1"]),
        ("(a|b)+.*", ["(a|b)+.x"], ["a.x", "b.x"]),
        ("a.b?", ["a.b?"], ["a.b", "a.bc"]),
    ],
)
def test_a_filter_keeps_these_and_drops_those(
    filter: str, kept: list[str], dropped: list[str]
) -> None:
    matches = compile_filter(filter).matches
    assert [key for key in kept + dropped if matches(key)] == kept


@pytest.mark.timeout(10)
@pytest.mark.parametrize(
    ("filter", "key"),
    [
        pytest.param("*a" * 255 + "b", "a" * 511, id="many stars, one token"),
        pytest.param("*" * 511 + "b", "a" * 511, id="a run of stars"),
        pytest.param("*a*a*a.*a*a*a.*a*b", ("a" * 160 + ".") * 3, id="many stars, many tokens"),
        pytest.param("*." * 255 + "b", "a." * 255 + "a", id="many tokens"),
        pytest.param("*a*a*a*a.>", "a" * 500, id="a rest that is not there"),
    ],
)
def test_no_filter_takes_long_over_a_key_that_it_drops(filter: str, key: str) -> None:
    matches = compile_filter(filter).matches
    assert not any(matches(key) for _ in range(20))


def table_keeps(pattern: str, token: str) -> bool:
    """A glob on a token, by a table: for many stars, where the reference above takes hours."""
    row = [True] + [False] * len(token)
    for sign in pattern:
        if sign == "*":
            for place in range(1, len(row)):
                row[place] = row[place] or row[place - 1]
        else:
            row = [False] + [row[i] and token[i] == sign for i in range(len(token))]
    return row[-1]


@settings(max_examples=1000)
@given(
    st.lists(st.text("ab", max_size=3), min_size=2, max_size=40).map("*".join),
    st.text("ab", min_size=1, max_size=120),
)
def test_many_stars_keep_what_a_table_keeps(pattern: str, key: str) -> None:
    whole = set(pattern) == {"*"}
    assert compile_filter(pattern).matches(key) == (whole or table_keeps(pattern, key))
    assert compile_filter(f"x.{pattern}.>").matches(f"x.{key}.y.z") == (
        whole or table_keeps(pattern, key)
    )


def calls_of(work: Callable[[], object]) -> int:
    """How many functions, those of C included, are called."""
    calls = 0

    def count(_frame: FrameType, event: str, _argument: object) -> None:
        nonlocal calls
        calls += event in ("call", "c_call")

    before = sys.getprofile()
    sys.setprofile(count)
    try:
        work()
    finally:
        sys.setprofile(before)
    return calls


@pytest.mark.parametrize(
    "shape", ["a*", "*.", "ab.", "é*.", "a*.b", ":*"], ids=["stars", "tokens", "a prefix", *"012"]
)
def test_a_filter_costs_no_more_than_to_read_it_once(shape: str) -> None:
    length = 490 // len(shape.encode())
    calls = calls_of(lambda: compile_filter(shape * length))
    # By a regular expression, thousands. Of a subject, sixteen tokens take a few each.
    assert calls < 300, calls


def test_a_key_costs_no_filter_more_than_to_read_both_once() -> None:
    matches = compile_filter("*a" * 255 + "b").matches
    calls = calls_of(lambda: matches("a" * 511))
    assert calls < 300, calls


def test_many_long_filters_are_told_apart_in_one_pass_over_each_pair() -> None:
    asked = [f"{'a.' * 13}{number}.*.*.>" for number in range(64)]
    calls = calls_of(lambda: disjoint(asked))
    assert calls < 64 * 64 * 2, calls


@pytest.mark.parametrize(
    ("filter", "subject"),
    [
        ("a." * 40 + "*", "a." * 16 + ">"),
        ("a." * 40 + ">", "a." * 16 + ">"),
        ("*." * 40 + "b", "*." * 16 + ">"),
        ("a." * 40 + "b:", "a." * 16 + ">"),
        ("a." * 40, "a." * 16 + ">"),
        ("a." * 15 + "*", "a." * 15 + "*"),
        ("a." * 40 + "b", "a." * 40 + "b"),
    ],
)
def test_the_server_is_asked_for_sixteen_tokens_and_the_rest(filter: str, subject: str) -> None:
    assert compile_filter(filter).subjects == (subject,)


def test_a_filter_says_what_a_decision_may_cost() -> None:
    assert [compile_filter(text).cost for text in ("k", "user:", "user:*", ">")] == [1, 1, 1, 1]
    assert compile_filter("a*" * 245).cost > 60
    assert compile_filter("*." * 245).cost > 100


# --- what is no filter


@pytest.mark.parametrize(
    ("filter", "text"),
    [
        ("a.>.b", "invalid filter: > is allowed only as the last token"),
        ("a>", "invalid filter: > is allowed only as the last token"),
        (">a", "invalid filter: > is allowed only as the last token"),
        (">.>", "invalid filter: > is allowed only as the last token"),
        (">>", "invalid filter: > is allowed only as the last token"),
        ("*>", "invalid filter: > is allowed only as the last token"),
        ("a.>.", "invalid filter: > is allowed only as the last token"),
        ("a>:", "invalid filter: > is allowed only as the last token"),
        ("a\x00", "invalid filter: control characters are not allowed"),
        ("a.*\n", "invalid filter: control characters are not allowed"),
        ("\x7f*", "invalid filter: control characters are not allowed"),
        ("\ud800*", "invalid filter: not valid UTF-8"),
        ("*" * 513, "invalid filter: 513 bytes, the limit is 512"),
        ("é" * 257, "invalid filter: 514 bytes, the limit is 512"),
    ],
)
def test_a_bad_filter_is_refused_by_the_name_of_its_rule(filter: str, text: str) -> None:
    with pytest.raises(InvalidArgument) as refused:
        compile_filter(filter)
    assert refused.value.message == text


@pytest.mark.parametrize("filter", ["k" * 512, "*" * 512, "a*" * 256, "a:" * 256, "*." * 255 + ">"])
def test_a_filter_of_512_bytes_is_one(filter: str) -> None:
    assert compile_filter(filter).text == filter


# --- subject filters side by side

_subject_tokens = st.sampled_from(["a", "b", "c"])
subjects = st.lists(_subject_tokens, min_size=1, max_size=4)


_of_each_length = [
    [".".join(parts) for parts in itertools.product(*["abc*"] * (size - 1), "abc*>")]
    for size in range(1, 5)
]
# Short ones more often than they are many, since they meet more often.
_subject_filters = st.one_of(*map(st.sampled_from, _of_each_length))


@st.composite
def made_to_pass(draw: st.DrawFn, subject_filter: str) -> list[str]:
    """A subject that a filter lets through."""
    subject: list[str] = []
    for part in subject_filter.split("."):
        if part == ">":
            subject += draw(subjects)
        else:
            subject.append(draw(_subject_tokens) if part == "*" else part)
    return subject


@settings(max_examples=300)
@given(st.data(), st.lists(_subject_filters, min_size=1, max_size=5))
def test_disjoint_filters_let_through_all_that_was_asked_for(
    data: st.DataObject, asked: list[str]
) -> None:
    subject = data.draw(made_to_pass(data.draw(st.sampled_from(asked))))
    assert any(passes(given.split("."), subject) for given in disjoint(asked))


@settings(max_examples=300)
@given(st.lists(_subject_filters, max_size=6))
@example(["a.*", "*.b"])
@example(["a.>", "a.b.c", "a"])
@example([">", "*", "a"])
@example(["*.b.>", "a.*"])
@example(["a.>", "*.b"])
def test_no_subject_passes_two_disjoint_filters(asked: list[str]) -> None:
    given = [subject_filter.split(".") for subject_filter in disjoint(asked)]
    for number, one in enumerate(given):
        assert not any(overlap(one, other) for other in given[number + 1 :]), given


@given(st.lists(_subject_filters, max_size=6))
def test_filters_that_do_not_overlap_stay_as_they_are(asked: list[str]) -> None:
    parts = [subject_filter.split(".") for subject_filter in asked]
    if not any(
        overlap(one, other) for number, one in enumerate(parts) for other in parts[number + 1 :]
    ):
        assert sorted(disjoint(asked)) == sorted(asked)


@given(st.lists(_subject_filters, max_size=6), st.randoms(use_true_random=False))
def test_the_order_of_filters_does_not_matter(asked: list[str], random: Random) -> None:
    shuffled = random.sample(asked, len(asked))
    assert disjoint(shuffled) == disjoint(asked)


@pytest.mark.parametrize(
    ("asked", "given"),
    [
        ([], ()),
        (["a"], ("a",)),
        (["a", "a"], ("a",)),
        (["a", "b.c", "b.d"], ("a", "b.c", "b.d")),
        (["a.b", "a.*"], ("a.*",)),
        (["a.b.c", "a.>", "b"], ("b", "a.>")),
        (["a.1", "a.>"], ("a.>",)),
        (["a.*", "a.>"], ("a.>",)),
        (["a.b.*", "a.c.>", "a.>"], ("a.>",)),
        (["a.>", "a"], ("a", "a.>")),
        (["a.*", "*.b"], (">",)),
        (["a.*", "*.b", "c"], (">",)),
        ([">", "a.b"], (">",)),
    ],
)
def test_overlapping_filters_are_joined(asked: list[str], given: tuple[str, ...]) -> None:
    assert disjoint(asked) == given


SHORT = [
    ".".join(parts)
    for size, tokens in ((1, "ab*"), (2, "ab*"), (3, "ab*"), (4, "a*"))
    for head in itertools.product(tokens, repeat=size - 1)
    for parts in itertools.product(*([part] for part in head), [*tokens, ">"])
]
"""All subject filters of up to three tokens, and some of four."""


def let_through(subject_filter: str) -> list[list[str]]:
    """Subjects that a filter lets through. No filter names `x`, so it stands for all others."""
    choices = {"*": [["a"], ["b"], ["x"]], ">": [["a"], ["x"], ["a", "b"], ["x"] * 5]}
    parts = (choices.get(part, [[part]]) for part in subject_filter.split("."))
    return [list(itertools.chain(*chosen)) for chosen in itertools.product(*parts)]


def test_a_filter_covers_exactly_those_whose_every_subject_it_lets_through() -> None:
    assert len(SHORT) == len(set(SHORT)) == 76
    for other in SHORT:
        subjects = let_through(other)
        for pattern in SHORT:
            whole = all(passes(pattern.split("."), subject) for subject in subjects)
            assert covers(pattern, other) is whole, (pattern, other)


@given(_subject_filters, subjects)
def test_a_filter_covers_a_subject_that_it_lets_through(pattern: str, subject: list[str]) -> None:
    assert covers(pattern, ".".join(subject)) == passes(pattern.split("."), subject)


def test_watches_that_want_the_same_share_its_filter() -> None:
    assert compile_filter("orders.*.new") is compile_filter("orders.*.new")

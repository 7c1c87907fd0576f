"""Scopes (docs/http-api.md#scopes): parsing, decisions, and what is left of a filter."""

from collections.abc import Sequence

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from jetkv_gateway.kv.errors import InvalidArgument
from jetkv_gateway.kv.filter_sets import any_of
from jetkv_gateway.kv.filters import EVERYTHING, compile_filter, compile_prefix
from jetkv_gateway.kv.keys import encode
from jetkv_gateway.kv.scopes import (
    FULL,
    MAX_SCOPES,
    NOBODY,
    Grants,
    ScopeVerb,
    parse_scope,
    parse_scopes,
)
from tests.unit.test_filters import glob, keeps, overlap, passes

READ, WRITE, DELETE = ScopeVerb.READ, ScopeVerb.WRITE, ScopeVerb.DELETE
ADMIN, METRICS = ScopeVerb.ADMIN, ScopeVerb.METRICS

# --- a naive reference: each scope is taken apart and compared, one after another


def decide(scopes: Sequence[str], verb: str, bucket: str, key: str) -> bool:
    for scope in scopes:
        verbs, rest = scope.split(":", 1)
        pattern, slash, keys = rest.partition("/")
        keyed = ("read", "write", "delete")
        words = verbs.split(",") if verbs != "*" else keyed if slash else (*keyed, "admin")
        if verb in words and glob(pattern, bucket) and keeps(keys, key):
            return True
    return False


tokens = st.sampled_from(["a", "b", "ab", "a-", "", "a:b", "ü", "-"])
keys = st.lists(tokens, min_size=1, max_size=4).map(".".join).filter(bool)
parts = st.sampled_from(["a", "b", "*", "a*", "*b", "a*b", "ab", "", "a-", "**", "ü"])
texts = st.builds(
    lambda parts, end: ".".join(parts) + end,
    st.lists(parts, max_size=4),
    st.sampled_from(["", ".>", ".", "-", ":", "/"]),
).map(lambda text: {".>": ">"}.get(text, text))
buckets = st.sampled_from(["b", "bb", "b-1", "c"])
patterns = st.sampled_from(["b", "*", "b*", "*1", "b*1", "*b*", "c", "**"])
verbs = st.sampled_from(["read", "write", "read,delete", "*", "delete,read,write"])


@st.composite
def scope_texts(draw: st.DrawFn) -> str:
    keys = draw(texts)
    return f"{draw(verbs)}:{draw(patterns)}" + (f"/{keys}" if keys else "")


scope_lists = st.lists(scope_texts(), min_size=1, max_size=4)


@given(scope_lists, st.sampled_from([READ, WRITE, DELETE, ADMIN]), buckets, keys)
def test_a_decision_on_a_key_is_that_of_the_reference(
    scopes: list[str], verb: ScopeVerb, bucket: str, key: str
) -> None:
    grants = parse_scopes(scopes)
    if verb is not ADMIN:
        assert grants.allows(verb, bucket, key) == decide(scopes, verb, bucket, key)
    found = grants.scope_for(verb, bucket, key)
    assert (found is not None) == grants.allows(verb, bucket, key)
    if grants.covers(verb, bucket):
        assert grants.allows(verb, bucket, key)
    if grants.allows(verb, bucket, key):
        assert grants.touches(verb, bucket)


@given(scope_lists, buckets, st.lists(texts, min_size=1, max_size=3), st.lists(keys, max_size=8))
@example(["read:b/*", "read:b/a.b"], "b", ["a*"], ["a", "ab", "a.b"])
@example(["read:b/a-"], "b", ["a."], ["a.", "a-", "a.b"])
@example(["read:b/a.*"], "b", ["*.b"], ["a.b", "a.a", "b.b"])
@example(["read:b/*.>"], "b", ["*."], ["a.", "a.b"])
@example(["read:b/*"], "b", [">"], ["a", "a.", "."])
def test_what_is_left_of_a_filter_accepts_the_keys_that_are_wanted_and_allowed(
    scopes: list[str], bucket: str, wanted: list[str], some: list[str]
) -> None:
    grants = parse_scopes(scopes)
    filters = tuple(compile_filter(text) for text in wanted)
    left = grants.narrow(READ, bucket, filters)
    one = grants.narrow_one(READ, bucket, any_of(filters)) if len(filters) == 1 else None
    for key in some:
        expected = any(keeps(text, key) for text in wanted) and decide(scopes, READ, bucket, key)
        assert any(keep.matches(key) for keep in left or ()) == expected
        for keep in (*(left or ()), *([one] if one else [])):
            if keep.matches(key):
                assert expected
                subject = encode(key).split(".")
                assert any(passes(each.split("."), subject) for each in keep.subjects)
    if left is None:
        assert not grants.touches(READ, bucket)
    for keep in left or ():
        subjects = [each.split(".") for each in keep.subjects]
        for number, each in enumerate(subjects):
            assert not any(overlap(each, other) for other in subjects[number + 1 :])


@given(scope_lists, buckets, texts, st.lists(keys, max_size=12))
def test_a_filter_that_is_allowed_as_a_whole_stays_as_it_is(
    scopes: list[str], bucket: str, text: str, some: list[str]
) -> None:
    wanted = (compile_filter(text),)
    left = parse_scopes(scopes).narrow(READ, bucket, wanted)
    if left is wanted:
        assert all(decide(scopes, READ, bucket, key) for key in some if keeps(text, key))


@pytest.mark.parametrize(
    ("allowed", "wanted"),
    [
        (">", ""),
        ("", "a.>"),
        ("a.>", "a.b"),
        ("a.>", "a.b.>"),
        ("a.>", "a.*"),
        ("*.>", "a.b.>"),
        ("*", "a*"),
        ("a*", "ab*"),
        ("a*c", "ab*bc"),
        ("user-", "user-1"),
        ("user-", "user-*"),
        ("a.", "a.b."),
        ("a.*.c", "a.b.c"),
        ("*.b", "a*.b"),
    ],
)
def test_a_filter_within_a_scope_is_seen_to_be_within_it(allowed: str, wanted: str) -> None:
    grants = parse_scopes([f"read:b/{allowed}" if allowed else "read:b"])
    filters = (compile_filter(wanted),)
    assert grants.narrow(READ, "b", filters) is filters


@pytest.mark.parametrize(
    ("allowed", "wanted"),
    [("a.*", "a.>"), ("a.*.>", "a.>"), ("ab*", "a*"), ("a", ""), ("a.>", "a."), ("*.>", ".>")],
)
def test_a_filter_that_goes_beyond_a_scope_is_narrowed(allowed: str, wanted: str) -> None:
    filters = (compile_filter(wanted),)
    left = parse_scopes([f"read:b/{allowed}"]).narrow(READ, "b", filters)
    assert left is not None
    assert left != filters


def test_a_literal_prefix_is_narrowed_like_a_filter() -> None:
    grants = parse_scopes(["read:b/user.*"])
    narrowed = grants.narrow_one(READ, "b", compile_prefix("user.a*"))
    assert narrowed is not None
    assert [key for key in ("user.a*1", "user.a1", "user.a*.b") if narrowed.matches(key)] == [
        "user.a*1"
    ]


def test_a_filter_wholly_outside_leaves_nothing_and_no_read_leaves_none() -> None:
    grants = parse_scopes(["read:b/user.*", "write:c"])
    assert grants.narrow(READ, "b", (compile_filter("admin.>"),)) == ()
    nothing = grants.narrow_one(READ, "b", compile_filter("admin.>"))
    assert nothing is not None
    assert not nothing.matches("admin.x")
    assert grants.narrow(READ, "c", (EVERYTHING,)) is None
    assert NOBODY.narrow(READ, "b", (EVERYTHING,)) is None


def test_what_is_left_has_the_same_text_whatever_the_order_of_the_scopes() -> None:
    """Lists are shared, and cursors are bound, by this text, in every gateway."""
    scopes = ["read:b/x.*", "read:b/y-", "read:b/z"]
    found = {
        parse_scopes(order).narrow_one(READ, "b", EVERYTHING) for order in (scopes, scopes[::-1])
    }
    assert len({keep.text for keep in found if keep is not None}) == 1


@given(scope_lists, scope_lists, texts, keys)
def test_different_keys_are_left_under_different_texts(
    mine: list[str], theirs: list[str], text: str, key: str
) -> None:
    wanted = compile_filter(text)
    left = parse_scopes(mine).narrow_one(READ, "b", wanted)
    other = parse_scopes(theirs).narrow_one(READ, "b", wanted)
    if left is not None and other is not None and left.matches(key) != other.matches(key):
        assert left.text != other.text


def test_many_filters_of_many_scopes_stay_few() -> None:
    grants = parse_scopes(f"read:b/{number}.*.a*" for number in range(MAX_SCOPES))
    wanted = tuple(compile_filter(f"*.{number}.*b") for number in range(64))
    left = grants.narrow(READ, "b", wanted)
    assert left is not None
    assert len(left) == 64
    assert sum(len(keep.subjects) for keep in left) <= 256


# --- what was allowed before, under other scopes


@given(
    scope_lists,
    scope_lists,
    st.lists(texts, min_size=1, max_size=2),
    st.lists(keys, max_size=12),
)
@example(["read:b/x.y", "read:b/z"], ["read:b/*.*"], [""], ["x.y", "z"])
def test_what_was_left_is_still_covered_only_if_every_key_of_it_is_allowed(
    before: list[str], after: list[str], wanted: list[str], some: list[str]
) -> None:
    filters = tuple(compile_filter(text) for text in wanted)
    old, new = parse_scopes(before), parse_scopes(after)
    many, one = old.narrow(READ, "b", filters), old.narrow_one(READ, "b", any_of(filters))
    for left in (many or (), (one,) if one is not None else ()):
        assert old.cover(READ, "b", left)
        if new.cover(READ, "b", left):
            shown = [key for key in some if any(keep.matches(key) for keep in left)]
            assert all(decide(after, READ, "b", key) for key in shown)


def test_what_was_left_is_covered_as_long_as_scopes_are_only_added() -> None:
    old = ["read:b/a.*", "read:b/x*y.>", "read:b/k"]
    for wanted in ("", "*.1", "a.>", "x*"):
        left = parse_scopes(old).narrow_one(READ, "b", compile_filter(wanted))
        assert left is not None
        assert parse_scopes([*old, "write:b", "read:b/more"]).cover(READ, "b", [left])
        assert not parse_scopes(["read:b/k", "write:b"]).cover(READ, "b", [left])
        assert not NOBODY.cover(READ, "b", [left])


# --- the language


def test_verbs_add_up_over_scopes() -> None:
    grants = parse_scopes(["read:b", "write:b/x", "delete:*/tmp."])
    assert grants.allows(READ, "b", "x")
    assert grants.allows(WRITE, "b", "x")
    assert not grants.allows(WRITE, "b", "y")
    assert grants.allows(DELETE, "anything", "tmp.1")
    assert not grants.allows(ADMIN, "b")


def test_a_star_for_verbs_with_keys_means_those_that_are_about_keys() -> None:
    grants = parse_scopes(["*:b/k"])
    assert all(grants.allows(verb, "b", "k") for verb in (READ, WRITE, DELETE))
    assert not grants.touches(ADMIN, "b")
    assert not grants.anywhere(METRICS)


def test_a_star_for_verbs_of_one_bucket_does_not_open_the_metrics() -> None:
    grants = parse_scopes(["*:b"])
    assert grants.covers(ADMIN, "b")
    assert not grants.anywhere(METRICS)
    assert parse_scopes(["metrics:*"]).anywhere(METRICS)


@pytest.mark.parametrize("text", ["*:*", "*:**", "metrics,read,write,delete,admin:*"])
def test_whatever_means_everything_is_full(text: str) -> None:
    assert parse_scopes(["read:b", text]) is FULL


@pytest.mark.parametrize("text", ["*:b", "*:*/>", "read:*", "*:*/k", "read,write,delete,admin:*"])
def test_less_than_everything_is_not_full(text: str) -> None:
    assert parse_scopes([text]) is not FULL


def test_everywhere_is_all_keys_of_all_buckets() -> None:
    assert parse_scopes(["read:*"]).everywhere(READ)
    assert not parse_scopes(["read:b*", "read:*/user.*"]).everywhere(READ)


def test_the_star_of_a_bucket_stands_for_any_characters() -> None:
    grants = parse_scopes(["read:team-*-prod"])
    names = ["team-a-prod", "team--prod", "team-a-b-prod", "team-prod", "team-a-prod2"]
    assert [grants.covers(READ, name) for name in names] == [True, True, True, False, False]


def test_keys_may_have_colons_slashes_and_spaces() -> None:
    grants = parse_scopes(["read:b/user:1/a b"])
    assert grants.allows(READ, "b", "user:1/a b")


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("", "no colon"),
        ("read", "no colon"),
        (":b", "unknown verb ''"),
        ("read,:b", "unknown verb ''"),
        ("Read:b", "unknown verb 'Read'"),
        ("read, write:b", "unknown verb ' write'"),
        ("*,read:b", "unknown verb '*'"),
        ("list:b", "unknown verb 'list'"),
        ("read:", "the bucket must consist of"),
        ("read:b b", "the bucket must consist of"),
        ("read:b.c", "the bucket must consist of"),
        ("read:?", "the bucket must consist of"),
        ("read:" + "b" * 201, "no bucket has over 200 characters"),
        ("read:b/", "no keys after the slash"),
        ("read:b/>.a", "> is allowed only as the last token"),
        ("read:b/a\n", "control characters"),
        ("read:b/" + "k" * 513, "the limit is 512"),
        ("admin:b/k", "admin and metrics are not about keys"),
        ("read,admin:b/k", "admin and metrics are not about keys"),
        ("metrics:*/k", "admin and metrics are not about keys"),
        ("metrics:b", "metrics are not about one bucket"),
        ("read,metrics:b*", "metrics are not about one bucket"),
        ("read:" + "*" * 2000, "over 1024 characters"),
    ],
)
def test_a_scope_that_breaks_a_rule_or_allows_nothing_is_refused(text: str, rule: str) -> None:
    with pytest.raises(InvalidArgument) as refused:
        parse_scope(text)
    assert rule in refused.value.message
    assert refused.value.message.startswith("invalid scope ")


@given(st.text(max_size=60))
def test_any_text_is_a_scope_or_is_refused_by_a_rule(text: str) -> None:
    try:
        scope = parse_scope(text)
    except InvalidArgument:
        return
    assert Grants.of([scope]).texts in ((text,), ("*:*",))


def test_a_caller_has_at_least_one_scope_and_at_most_a_hundred() -> None:
    with pytest.raises(InvalidArgument, match="no scope"):
        parse_scopes([])
    with pytest.raises(InvalidArgument, match="over 100 scopes"):
        parse_scopes(f"read:b{number}" for number in range(MAX_SCOPES + 1))


def test_the_buckets_that_a_caller_names_are_not_remembered_without_a_limit() -> None:
    grants = parse_scopes(["read:a*/k"])
    for number in range(5000):
        assert grants.allows(READ, f"a{number}", "k")
    assert len(grants._known[READ]) <= 64

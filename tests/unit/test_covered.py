"""Whether a call's answer is still one that its caller may see, when the caller's scopes change."""

import pytest

from jetkv_gateway.http.call import Call
from jetkv_gateway.kv.access import Principal, Verb
from jetkv_gateway.kv.filters import EVERYTHING, compile_filter
from tests.support.dead_request import DeadRequest
from tests.support.scopes import grants


def watch(scopes: list[str], *wanted: str) -> Call:
    """A watch of the bucket `b` by a caller with these scopes."""
    call = Call(DeadRequest())
    call.principal = Principal("app", "token", grants(*scopes))
    call.narrow(Verb.WATCH, "b", tuple(map(compile_filter, wanted)) or (EVERYTHING,))
    return call


@pytest.mark.parametrize(
    ("before", "wanted", "after"),
    [
        (["read:b"], [], ["read:b"]),
        (["read:b"], [], ["*:*"]),
        (["*:*"], [], ["read:b"]),
        (["read:b/user.*"], ["user.1"], ["read:b"]),
        (["read:b/user.*", "read:other"], [], ["read:b/user.*"]),
        (["read:b"], ["user.1"], ["read:b/user.*"]),
        (["read:b/x"], ["y"], ["read:b/z"]),
    ],
)
def test_an_answer_that_the_new_scopes_cover_goes_on(
    before: list[str], wanted: list[str], after: list[str]
) -> None:
    assert watch(before, *wanted).covered_by(grants(*after))


@pytest.mark.parametrize(
    ("before", "wanted", "after"),
    [
        (["read:b"], [], ["read:other"]),
        (["*:*"], [], ["read:other"]),
        (["read:b"], [], ["write:b"]),
        (["read:b"], [], ["read:b/user.*"]),
        (["read:b/user.*"], ["user.*"], ["read:b/user.1"]),
        (["read:b/x", "read:b/y"], [], ["read:b/x"]),
        (["read:b"], [], []),
    ],
)
def test_an_answer_that_the_new_scopes_do_not_cover_ends(
    before: list[str], wanted: list[str], after: list[str]
) -> None:
    assert not watch(before, *wanted).covered_by(grants(*after))


def test_of_a_call_about_two_buckets_both_must_be_covered() -> None:
    call = watch(["read:*"])
    call.narrow(Verb.WATCH, "other", (EVERYTHING,))
    assert call.covered_by(grants("read:b", "read:other"))
    assert not call.covered_by(grants("read:b"))

"""TTLs of single keys: what is one, and which buckets can store it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jetkv_gateway.kv.errors import BucketUnsuitable, InvalidArgument
from jetkv_gateway.kv.ttl import MAX_TTL_SECONDS, NEVER, TtlRules, read_ttl, written_ttl


@given(st.integers(1, MAX_TTL_SECONDS))
def test_whole_seconds_are_a_ttl(seconds: int) -> None:
    assert read_ttl(str(seconds), "it") == seconds
    assert written_ttl(seconds) == str(seconds)


def test_never_is_a_ttl() -> None:
    assert read_ttl("never", "it") == NEVER
    assert written_ttl(NEVER) == "never"


@pytest.mark.parametrize(
    "text",
    [
        *["", "0", "-1", "+1", "1.5", "1e3", "1_000", "01", " 1", "1 ", "1s", "²", "NEVER", "none"],
        *[str(MAX_TTL_SECONDS + 1), str(2**63), "true", "1\n"],
    ],
)
def test_any_other_text_is_refused(text: str) -> None:
    with pytest.raises(InvalidArgument, match="it must be whole seconds"):
        read_ttl(text, "it")


@given(st.integers(1, MAX_TTL_SECONDS) | st.just(NEVER), st.booleans())
def test_a_bucket_of_one_revision_takes_any_ttl(ttl: int, drops_history: bool) -> None:
    TtlRules(history=1, shortest=1).check(ttl, drops_history=drops_history)


def test_a_bucket_with_a_history_takes_a_ttl_only_where_the_history_goes() -> None:
    rules = TtlRules(history=5, shortest=1)
    rules.check(9, drops_history=True)
    with pytest.raises(BucketUnsuitable, match="older value again"):
        rules.check(9, drops_history=False)


def test_a_ttl_that_nats_would_lengthen_is_refused_with_the_shortest_that_works() -> None:
    rules = TtlRules(history=5, shortest=60)
    rules.check(60, drops_history=True)
    rules.check(NEVER, drops_history=True)
    with pytest.raises(BucketUnsuitable) as refused:
        rules.check(59, drops_history=True)
    assert refused.value.details == {"shortest_ttl_seconds": 60}


@given(st.integers(2, 64), st.booleans())
def test_a_value_outlives_its_bucket_only_where_no_later_revision_can_expire_above_it(
    history: int, drops_history: bool
) -> None:
    with pytest.raises(BucketUnsuitable, match="again"):
        TtlRules(history, shortest=1, expires=True).check(NEVER, drops_history=drops_history)
    TtlRules(history, shortest=1, expires=True).check(9, drops_history=True)
    TtlRules(history, shortest=1).check(NEVER, drops_history=True)
    TtlRules(history=1, shortest=1, expires=True).check(NEVER, drops_history=drops_history)


def test_a_bucket_without_ttls_names_the_setting() -> None:
    with pytest.raises(BucketUnsuitable, match="does not allow") as refused:
        TtlRules(history=1, shortest=None).check(9, drops_history=False)
    assert "key_ttl" in (refused.value.hint or "")


def test_a_server_without_ttls_names_the_version() -> None:
    with pytest.raises(BucketUnsuitable, match=r"needs nats-server 2\.11"):
        TtlRules(history=1, shortest=None, since="2.11").check(9, drops_history=False)

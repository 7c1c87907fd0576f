"""What one caller may take of a whole."""

import gc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jetkv_gateway.serving.shares import Account, Accounts, Share

TOTALS = st.integers(0, 300)
PARTS = st.floats(0.01, 1)


def take_all(share: Share, taken: int = 0) -> int:
    """Take one after the other as one caller, and return how many it got."""
    got = 0
    while share.allows(taken + got, got):
        got += 1
    return got


def test_a_caller_that_is_alone_has_all_but_what_is_left_to_others() -> None:
    assert take_all(Share.of(128, 0.25)) == 112


@given(st.integers(2, 300), st.floats(0.01, 0.5))
def test_however_much_one_caller_takes_another_finds_room(total: int, part: float) -> None:
    share = Share.of(total, part)
    first = take_all(share)
    assert 0 < first < total
    assert take_all(share, first) > 0


@given(TOTALS, PARTS, st.integers(0, 300))
def test_a_caller_has_its_share_while_there_is_room(total: int, part: float, taken: int) -> None:
    share = Share.of(total, part)
    assert take_all(share, taken) >= min(share.own, total - taken)
    assert take_all(share, taken) <= max(0, total - taken)


@pytest.mark.parametrize("total", [1, 2, 128])
def test_a_share_of_one_is_no_share(total: int) -> None:
    assert take_all(Share.of(total, 1)) == total


def test_several_are_taken_at_once_or_not_at_all() -> None:
    share = Share.of(800, 0.25)
    assert share.allows(0, 0, 700)
    assert not share.allows(0, 0, 701)
    assert share.allows(600, 0, 200)
    assert not share.allows(600, 1, 200)
    assert not share.allows(601, 0, 200)


def test_an_account_is_the_same_while_somebody_has_it_and_gone_after_that() -> None:
    accounts = Accounts()
    first: Account | None = accounts.of_address("192.0.2.1")
    assert accounts.of_address("192.0.2.1") is first
    assert accounts.of_address("192.0.2.2") is not first
    assert accounts.of_token("192.0.2.1") is not first
    assert first is not None
    first.places = 1
    gc.disable()
    try:
        first = None
        assert len(accounts) == 0
    finally:
        gc.enable()
    assert accounts.of_address("192.0.2.1").places == 0

"""How many requests a second a caller may send: a burst, a rate, and debts of batches."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jetkv_gateway.http import rates as module
from jetkv_gateway.http.rates import Rate, Rates
from jetkv_gateway.kv.errors import TooManyRequests


def allowed(rate: Rate, count: int, now: float) -> bool:
    try:
        rate.take(count, now)
    except TooManyRequests:
        return False
    return True


def test_a_burst_is_one_second_worth() -> None:
    rate = Rate("", 10)
    assert [allowed(rate, 1, 100.0) for _ in range(12)] == [True] * 10 + [False] * 2


def test_a_caller_at_its_rate_is_never_refused() -> None:
    rate = Rate("", 10)
    assert all(allowed(rate, 1, 100 + number / 10) for number in range(1000))


def test_a_batch_passes_on_a_full_burst_and_leaves_a_debt() -> None:
    rate = Rate("", 10)
    assert allowed(rate, 100, 100.0)
    assert not allowed(rate, 1, 109.0)
    assert allowed(rate, 1, 109.2)


def test_a_batch_that_is_larger_than_the_burst_waits_until_it_is_full() -> None:
    rate = Rate("", 10)
    rate.take(1, 100.0)
    assert not allowed(rate, 100, 100.05)
    assert allowed(rate, 100, 100.11)


def test_a_refusal_takes_nothing() -> None:
    rate = Rate("", 1)
    rate.take(1, 100.0)
    for _ in range(100):
        assert not allowed(rate, 1, 100.5)
    assert allowed(rate, 1, 101.0)


def test_a_refusal_says_when_to_come_back() -> None:
    rate = Rate("with this token", 10)
    rate.take(50, 100.0)
    with pytest.raises(TooManyRequests, match="too many requests with this token") as refused:
        rate.take(1, 100.0)
    assert refused.value.retry_after == 5
    assert allowed(rate, 1, 105.0)


@given(
    per_second=st.integers(1, 1000),
    asked=st.lists(st.tuples(st.integers(1, 50), st.floats(0, 0.5)), max_size=60),
)
def test_no_caller_gets_more_than_its_burst_and_its_rate(per_second, asked) -> None:
    rate, now, taken, largest = Rate("", per_second), 1000.0, 0, 0
    for count, pause in asked:
        now += pause
        if allowed(rate, count, now):
            taken += count
            largest = max(largest, count)
    # A batch on a full burst may be larger than the burst.
    assert taken <= per_second * (now - 1000.0) + max(per_second, largest) + 0.001


@given(per_second=st.integers(1, 100), count=st.integers(1, 200), first=st.integers(1, 200))
def test_who_waits_as_long_as_it_is_told_is_let_in(per_second, count, first) -> None:
    rate = Rate("", per_second)
    rate.take(first, 1000.0)
    assert allowed(rate, count, 1000.0 + rate.wait(count, 1000.0) + 1e-6)


def test_callers_with_a_whole_burst_are_forgotten() -> None:
    rates = Rates("")
    for number in range(20_000):
        rates.of(number, 10, number / 100).take(1, number / 100)
    assert len(rates) <= 2048


def test_many_callers_at_the_same_time_have_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_MOST", 2000)
    rates = Rates("")
    for number in range(10_000):
        rates.of(number, 10, 1.0).take(1, 1.0)
    assert len(rates) <= 2000


def test_a_new_rate_of_a_token_counts_at_once() -> None:
    rates = Rates("")
    rates.of("t", 1, 100.0).take(1, 100.0)
    assert not allowed(rates.of("t", 1, 100.5), 1, 100.5)
    assert allowed(rates.of("t", 100, 100.5), 1, 100.5)

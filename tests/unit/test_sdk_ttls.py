"""TTLs of single values, as the SDK sends them and reads them back."""

import pickle
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jetkv import NEVER, BucketUnsuitableError, InvalidArgumentError
from jetkv._core import fields
from jetkv._core.answers import expiry_of
from jetkv._core.ttls import MAX_SECONDS, ttl_headers, ttl_seconds
from jetkv_gateway.kv import ttl as of_the_gateway

SECONDS = st.integers(1, MAX_SECONDS)


@given(SECONDS)
def test_seconds_and_a_timedelta_mean_the_same(seconds: int) -> None:
    assert ttl_seconds(seconds) == ttl_seconds(timedelta(seconds=seconds)) == seconds


@given(st.one_of(SECONDS, st.just(NEVER)))
def test_the_gateway_takes_what_the_sdk_sends(ttl: Any) -> None:
    (text,) = ttl_headers(ttl).values()
    taken = of_the_gateway.read_ttl(text, "header JetKV-TTL-Seconds")
    assert taken == (of_the_gateway.NEVER if ttl is NEVER else ttl)


@given(
    st.one_of(
        st.integers(max_value=0),
        st.integers(min_value=MAX_SECONDS + 1),
        st.floats(),
        st.booleans(),
        st.text(),
        st.timedeltas(max_value=timedelta(0)),
        st.timedeltas(min_value=timedelta(seconds=MAX_SECONDS + 1)),
        st.builds(
            lambda seconds, rest: timedelta(seconds=seconds, microseconds=rest),
            st.integers(0, MAX_SECONDS),
            st.integers(1, 999_999),
        ),
    )
)
def test_everything_else_is_refused(ttl: Any) -> None:
    with pytest.raises(InvalidArgumentError, match="a ttl must be"):
        ttl_seconds(ttl)


def test_no_ttl_sends_no_header() -> None:
    assert ttl_headers(None) == {}


def test_never_is_one_value_in_every_process() -> None:
    assert pickle.loads(pickle.dumps(NEVER)) is NEVER
    assert repr(NEVER) == "jetkv.NEVER"


def test_what_expires_says_when_and_the_rest_does_not() -> None:
    assert expiry_of({}) is None
    found = expiry_of({"expires_at": "2026-11-25T11:00:00.123456789+01:00"})
    assert found == datetime(2026, 11, 25, 10, 0, 0, 123456, tzinfo=UTC)


@pytest.mark.parametrize("at", [None, "", 7, "soon", "2026-11-25"])
def test_what_is_no_time_is_no_answer_of_a_gateway(at: Any) -> None:
    with pytest.raises((ValueError, fields.FieldError)):
        expiry_of({"expires_at": at})


@pytest.mark.parametrize(
    ("details", "shortest"),
    [
        ({"shortest_ttl_seconds": 30}, timedelta(seconds=30)),
        ({}, None),
        *(({"shortest_ttl_seconds": other}, None) for other in (True, "30", 0, -1, 1.5, 2**80)),
    ],
)
def test_an_error_names_the_shortest_ttl_if_the_gateway_did(
    details: dict[str, Any], shortest: timedelta | None
) -> None:
    assert BucketUnsuitableError("x", details=details).shortest_ttl == shortest

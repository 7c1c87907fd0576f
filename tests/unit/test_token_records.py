"""Records of tokens that no gateway has written are refused, and disturb nothing else."""

import json

import pytest

from jetkv_gateway.auth.token_records import read_record
from jetkv_gateway.kv.errors import InvalidArgument

GOOD = {"name": "app", "sha256": "00" * 32, "scopes": ["read:b"]}


@pytest.mark.parametrize(
    "changes",
    [
        {"expires_at": 10**400},
        {"expires_at": float("nan")},
        {"expires_at": float("inf")},
        {"expires_at": 1e300},
        {"expires_at": "soon"},
        {"requests_per_second": float("inf")},
        {"max_buckets": float("inf")},
        {"created_at": 7},
        {"created_at": "yesterday"},
        {"scopes": []},
        {"scopes": 7},
        {"sha256": "00"},
    ],
)
def test_a_record_with_an_impossible_value_is_damaged(changes: dict[str, object]) -> None:
    assert read_record("token.app", json.dumps(GOOD).encode()).name == "app"
    with pytest.raises(InvalidArgument):
        read_record("token.app", json.dumps({**GOOD, **changes}).encode())


@pytest.mark.parametrize("value", [b"[" * 100_000, b"null", b"\xff", b"", b"[]"])
def test_a_record_that_is_no_object_is_damaged(value: bytes) -> None:
    with pytest.raises(InvalidArgument):
        read_record("token.app", value)

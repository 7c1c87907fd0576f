"""What makes two requests with an idempotency key the same write."""

from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from jetkv_gateway.http.preconditions import idempotency_key
from jetkv_gateway.kv.errors import InvalidArgument
from jetkv_gateway.kv.idempotency import Idempotency

WRITE: dict[str, Any] = {
    "bucket": "b",
    "key": "k",
    "operation": "put",
    "value": b"v",
    "content_type": "text/plain",
    "content_encoding": None,
    "expected": 7,
}

names = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=255)
texts = st.text(max_size=20)


@given(names, texts, texts, st.binary(max_size=50), st.none() | st.integers(0))
def test_a_retry_is_the_same_write(
    name: str, bucket: str, key: str, value: bytes, expected: int | None
) -> None:
    write = {**WRITE, "bucket": bucket, "key": key, "value": value, "expected": expected}
    assert Idempotency.of(name, **write) == Idempotency.of(name, **write)


@given(st.tuples(names, texts, texts, texts), st.tuples(names, texts, texts, texts))
def test_another_name_bucket_key_or_operation_is_another_scope(
    one: tuple[str, ...], other: tuple[str, ...]
) -> None:
    assume(one != other)
    first, second = (
        Idempotency.of(name, bucket=bucket, key=key, operation=operation)
        for name, bucket, key, operation in (one, other)
    )
    assert first.scope != second.scope


@pytest.mark.parametrize(
    "other",
    [
        {"value": b"w"},
        {"value": b""},
        {"content_type": None},
        {"content_type": "text/html"},
        {"content_encoding": "gzip"},
        {"expected": 8},
        {"expected": 0},
        {"expected": None},
    ],
)
def test_what_is_asked_for_is_the_content_and_no_part_of_the_scope(other: dict[str, Any]) -> None:
    one, another = Idempotency.of("n", **WRITE), Idempotency.of("n", **{**WRITE, **other})
    assert one.scope == another.scope
    assert one.content != another.content


def test_no_value_can_pass_for_a_content_type() -> None:
    one = Idempotency.of("n", **{**WRITE, "content_type": "a", "value": b"b", "expected": None})
    another = Idempotency.of("n", **{**WRITE, "content_type": "ab", "value": b"", "expected": None})
    assert one.content != another.content


def test_the_scope_fits_into_the_room_for_headers_and_has_no_dot() -> None:
    identity = Idempotency.of("x" * 255, **{**WRITE, "key": "k" * 512})
    assert identity.scope.isalnum()
    assert len(identity.scope) == len(identity.content) == 24


@given(names)
def test_a_name_is_read_as_it_was_sent(name: str) -> None:
    assume('"' not in name)
    assert idempotency_key({b"idempotency-key": name.encode()}) == name
    if "\\" not in name:  # which escapes in a quoted string (RFC 8941 §3.3.3)
        assert idempotency_key({b"idempotency-key": f'"{name}"'.encode()}) == name


@given(st.binary(max_size=20))
def test_whatever_comes_is_a_name_or_an_invalid_argument(header: bytes) -> None:
    try:
        name = idempotency_key({b"idempotency-key": header})
    except InvalidArgument:
        return
    assert name is not None
    assert 1 <= len(name) <= 255
    assert all("!" <= character <= "~" for character in name)


@pytest.mark.parametrize(
    ("encoding", "content"),
    [(None, "b14231b9db1fdb6dace93fb2"), ("gzip", "2a4fdaad6307cb253173903e")],
)
def test_gateways_of_all_versions_know_a_retry_of_each_others_writes(
    encoding: str | None, content: str
) -> None:
    write = Idempotency.of("5f1c", **{**WRITE, "content_encoding": encoding})
    assert (write.scope, write.content) == ("31a90d433c8035d902e422fc", content)

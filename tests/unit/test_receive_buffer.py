"""Heads as they arrive, part by part."""

import re

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from jetkv_gateway.kv.errors import GatewayError, HeadTooLarge, InvalidArgument, UrlTooLong
from jetkv_gateway.serving.receive_buffer import ReceiveBuffer

LINE = b"GET / HTTP/1.1\r\n"


def refusal(sent: bytes, size: int) -> type[GatewayError] | None:
    """Return how what is sent in parts of one size is refused, None where it is not."""
    incoming = ReceiveBuffer()
    for at in range(0, len(sent), size):
        incoming += sent[at : at + size]
        try:
            if incoming.take_head() is not None:
                return None
        except GatewayError as error:
            return type(error)
    return None


@given(
    st.lists(st.sampled_from([b"a:b", b"\r", b"\n", b"\r\n"]), max_size=30).map(b"".join),
    st.integers(1, 40),
)
def test_an_empty_line_behind_one_without_cr_is_refused_as_soon_as_it_is_there(
    rest: bytes, size: int
) -> None:
    sent = LINE + rest
    assume(b"\r\n\r\n" not in sent)
    broken = re.search(rb"\n\r?\n", sent) is not None
    assert (refusal(sent, size) is InvalidArgument) == broken


@pytest.mark.parametrize("size", [1000, 64 * 1024, 256 * 1024])
@pytest.mark.parametrize(
    ("sent", "error"),
    [
        (LINE + b"a:b\r\n" * 50_000, HeadTooLarge),
        (LINE + b"a:" + b"v" * 250_000, HeadTooLarge),
        (b"GET /" + b"v" * 250_000, UrlTooLong),
        (LINE + b"a:b\n\n" + b"a:b\r\n" * 50_000, InvalidArgument),
        (LINE + b"a:b\r\n" * 20_000 + b"\n\n", HeadTooLarge),
    ],
)
def test_a_head_that_is_too_large_is_refused_for_the_same_reason_in_whatever_parts_it_comes(
    sent: bytes, error: type[GatewayError], size: int
) -> None:
    assert refusal(sent, size) is error

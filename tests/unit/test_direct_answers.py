"""What a direct get answers is read in two ways, which never differ."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jetkv_gateway.jetstream.headers import read_direct, read_direct_of

STREAM, SUBJECT = b"KV_b", b"$KV.b.k"
LINES = [
    b"Nats-Stream: KV_b",
    b"Nats-Stream: KV_other",
    b"Nats-Subject: $KV.b.k",
    b"Nats-Subject: $KV.b.kk",
    b"Nats-Sequence: 7",
    b"Nats-Sequence: 7 ",
    b"Nats-Sequence: -7",
    b"Nats-Sequence:",
    b"Nats-Time-Stamp: 2026-01-01T00:00:00Z",
    b"Nats-Time-Stamp: ",
    b"Nats-Num-Pending: 0",
    b"X: y",
    b"\n",
    b"",
]
THEIRS = b"\r\n".join(LINES[place] for place in (0, 2, 4, 8))


@given(
    st.lists(st.sampled_from(LINES), max_size=12),
    st.sampled_from([THEIRS, b"", THEIRS[:-30]]),
    st.sampled_from([b"\r\n\r\n", b"\r\n", b"\r\n\r\n\r\n", b"\n\n"]),
)
def test_the_fast_way_reads_what_the_other_one_reads_or_leaves_it_to_that(
    stored: list[bytes], theirs: bytes, end: bytes
) -> None:
    block = b"\r\n".join([b"NATS/1.0", *stored, theirs]) + end
    found = read_direct_of(block, STREAM, SUBJECT)
    assert found is None or found == read_direct(block, STREAM)


@pytest.mark.parametrize("forged", [b"", THEIRS.replace(b"7", b"9") + b"\r\n", b"X: y\r\n"])
def test_the_fast_way_reads_what_a_server_answers(forged: bytes) -> None:
    block = b"NATS/1.0\r\n" + forged + THEIRS + b"\r\n\r\n"
    found = read_direct_of(block, STREAM, SUBJECT)
    assert found == read_direct(block, STREAM)
    assert found is not None
    assert found[2] == 7

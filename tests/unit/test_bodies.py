"""A body as it arrives: what is kept of it, and in how many pieces."""

import tracemalloc

import pytest

from jetkv_gateway.serving.bodies import Body
from jetkv_gateway.serving.heads import CHUNKED

VALUE = bytes(range(256)) * 256


def chunks(size: int) -> bytes:
    """`VALUE` in chunks of so many bytes, without its end."""
    pieces = (VALUE[at : at + size] for at in range(0, len(VALUE), size))
    return b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces)


@pytest.mark.parametrize("at_once", [1, 7, 4095, 4096, 5000, len(VALUE)])
@pytest.mark.parametrize("length", [len(VALUE), CHUNKED])
def test_a_body_is_what_was_sent_in_whatever_parts_it_arrives(at_once: int, length: int) -> None:
    sent = VALUE if length != CHUNKED else chunks(700) + b"0\r\n\r\n"
    body = Body(length)
    body.limit = len(VALUE)
    for at in range(0, len(sent), at_once):
        assert not body.done
        assert body.feed(sent[at : at + at_once]) == b""
    assert body.done
    assert body.kept == len(VALUE)
    assert body.take() == VALUE
    assert body.kept == 0


@pytest.mark.parametrize("length", [len(VALUE) + 1, CHUNKED])
def test_a_body_in_very_small_parts_takes_no_more_memory_than_its_bytes(length: int) -> None:
    sent = VALUE if length != CHUNKED else chunks(3)
    step = 2 if length != CHUNKED else 4096
    body = Body(length)
    body.limit = 2 * len(VALUE)
    tracemalloc.start()
    try:
        for at in range(0, len(sent), step):
            body.feed(sent[at : at + step])
        taken, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert body.kept == len(VALUE)
    # A buffer that grows has some room to spare.
    assert taken < 1.5 * len(VALUE)

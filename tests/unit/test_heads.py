"""Heads on one connection: what is kept of one changes nothing of what the next one is."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jetkv_gateway.kv.errors import GatewayError
from jetkv_gateway.serving.heads import CHUNKED, Head, HeadReader

FIRST_LINES = [
    b"GET /a HTTP/1.1",
    b"GET /a HTTP/1.0",
    b"GET /b?x=1 HTTP/1.1",
    b"GET /b? HTTP/1.1",
    b"PUT /a HTTP/1.1",
    b"POST / HTTP/1.1",
    b"OPTIONS * HTTP/1.1",
    b"PROPFIND /a HTTP/1.1",
    b"CONNECT /a HTTP/1.1",
    b"BREW /a HTTP/1.1",
    b"GET http://other/a HTTP/1.1",
    b"GET /a#b HTTP/1.1",
    b"GET  /a HTTP/1.1",
    b"GET /a\r\nX: HTTP/1.1",
    b"GET /a HTTP/1.1 HTTP/1.1",
    b" HTTP/1.1",
    b"GET /" + b"a" * 1100 + b" HTTP/1.1",
]
LINES = [
    b"Host: localhost",
    b"Host: localhost",
    b"Host: a b",
    b"Accept: */*",
    b"X-A: 1",
    b"X-A: 2",
    b"X-Long: " + b"v" * 1100,
    b"Content-Length: 3",
    b"Content-Length: 0",
    b"Content-Length: 03",
    b"Content-Length: x",
    b"Transfer-Encoding: chunked",
    b"Transfer-Encoding: gzip",
    b"Connection: close",
    b"Connection: keep-alive",
    b"Connection: Upgrade",
    b"Upgrade: websocket",
    b"Expect: 100-continue",
    b"Expect: more",
    b"No colon",
    b" folded",
]
SECTIONS = st.lists(st.sampled_from(LINES), max_size=4).map(
    lambda some: b"".join(line + b"\r\n" for line in some)
)


def read(reader: HeadReader, raw: bytes) -> Head | tuple[str, str]:
    """Return what a head is, or how it is refused; its body is handed over as a connection does."""
    try:
        head = reader.read(raw)
    except GatewayError as error:
        return type(error).__name__, error.message
    if head.length != CHUNKED:
        for _ in range(head.length):
            reader.skip(b"v")
    return head


@st.composite
def conversations(draw: st.DrawFn) -> list[bytes]:
    """Heads of one connection, of which many have the same headers."""
    sections = draw(st.lists(SECTIONS, min_size=1, max_size=3))
    with_host = [b"Host: localhost\r\n" + section for section in sections]
    heads = st.tuples(
        st.sampled_from(FIRST_LINES[:6]) | st.sampled_from(FIRST_LINES),
        st.sampled_from(with_host) | st.sampled_from(sections),
    )
    return [b"%s\r\n%s\r\n" % head for head in draw(st.lists(heads, min_size=2, max_size=8))]


@given(conversations())
def test_a_head_is_read_the_same_whatever_came_before_it(heads: list[bytes]) -> None:
    reader = HeadReader()
    for raw in heads:
        known = read(reader, raw)
        assert known == read(HeadReader(), raw)
        if not isinstance(known, Head) or not known.keep_alive:
            break  # the connection ends with it


@pytest.mark.parametrize("line", [b"Content-Length: 3", b"X-A: 1", b"Connection: keep-alive"])
def test_a_head_that_says_the_same_again_is_not_parsed_again(line: bytes) -> None:
    reader = HeadReader()
    section = b" HTTP/1.1\r\nHost: localhost\r\n%s\r\n\r\n" % line
    first, again = read(reader, b"GET /a" + section), read(reader, b"PUT /b?c" + section)
    assert isinstance(first, Head)
    assert isinstance(again, Head)
    assert again.headers is first.headers
    assert (again.method, again.path, again.query) == ("PUT", b"/b", b"c")


def test_a_large_head_is_not_kept() -> None:
    reader = HeadReader()
    raw = b"GET /a HTTP/1.1\r\nHost: localhost\r\nX: %s\r\n\r\n" % (b"v" * 1024)
    first, again = read(reader, raw), read(reader, raw)
    assert first == again
    assert isinstance(first, Head)
    assert isinstance(again, Head)
    assert again.headers is not first.headers

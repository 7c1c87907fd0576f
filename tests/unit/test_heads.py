"""Heads on one connection: what is kept of one changes nothing of what the next one is."""

import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jetkv_gateway.http.router import Target
from jetkv_gateway.kv.errors import GatewayError
from jetkv_gateway.serving.heads import CHUNKED, Head, HeadFields, HeadReader

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
    length = head[2].length
    if length != CHUNKED:
        for _ in range(length):
            reader.skip(b"v")
    return head


def accepted(head: Head | tuple[str, str]) -> tuple[Target, dict[bytes, bytes], HeadFields]:
    assert len(head) == 3, head
    return head


IDS = [
    b"Idempotency-Key: one",
    b"Idempotency-Key: two",
    b"idempotency-key: three",
    b"Idempotency-Key: o n e",
    b"Idempotency-Key:one",
    b"Idempotency-Key: ",
    b"Idempotency-Key: \xff",
    b"Idempotency-Key: " + b"i" * 300,
    b"Idempotency-Key: one\r\nX-B: 1",
    b"Traceparent: 00-1",
    b"Traceparent: 00-2",
    b"X-Request-Id: r1",
    b"X-Request-Id: r2",
]


@st.composite
def conversations(draw: st.DrawFn) -> list[bytes]:
    """Heads of one connection, of which many have the same headers."""
    sections = draw(st.lists(SECTIONS, min_size=1, max_size=3))
    with_host = [b"Host: localhost\r\n" + section for section in sections]
    ids = st.lists(st.sampled_from(IDS), max_size=3).map(
        lambda some: b"".join(line + b"\r\n" for line in some)
    )
    heads = st.tuples(
        st.sampled_from(FIRST_LINES[:6]) | st.sampled_from(FIRST_LINES),
        st.just(b"") | ids,
        st.sampled_from(with_host) | st.sampled_from(sections),
        st.just(b"") | ids,
    )
    return [b"%s\r\n%s%s%s\r\n" % head for head in draw(st.lists(heads, min_size=2, max_size=8))]


@given(conversations())
def test_a_head_is_read_the_same_whatever_came_before_it(heads: list[bytes]) -> None:
    reader = HeadReader()
    for raw in heads:
        known = read(reader, raw)
        assert known == read(HeadReader(), raw)
        if len(known) == 2 or not known[2].keep_alive:
            break  # the connection ends with it


@pytest.mark.parametrize("line", [b"Content-Length: 3", b"X-A: 1", b"Connection: keep-alive"])
def test_a_head_that_says_the_same_again_is_not_parsed_again(line: bytes) -> None:
    reader = HeadReader()
    section = b" HTTP/1.1\r\nHost: localhost\r\n%s\r\n\r\n" % line
    _, headers, fields = accepted(read(reader, b"GET /a" + section))
    target, again, fields_again = accepted(read(reader, b"PUT /b?c" + section))
    assert again is headers
    assert fields_again.findings is fields.findings
    assert (target.method, target.path, target.query) == ("PUT", b"/b", b"c")


def counted(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """Return the heads that are parsed from now on."""
    parsed: list[bytes] = []
    parse = HeadReader._parse

    def count(reader: HeadReader, raw: bytes) -> Head:
        parsed.append(raw)
        return parse(reader, raw)

    monkeypatch.setattr(HeadReader, "_parse", count)
    return parsed


WITH_IDS = (
    b"PUT /a HTTP/1.1\r\nHost: localhost\r\nIdempotency-Key: %b\r\nContent-Length: 3\r\n"
    b"X-Request-Id: %b\r\n\r\n"
)


def test_a_head_with_other_ids_is_not_parsed_again(monkeypatch: pytest.MonkeyPatch) -> None:
    parsed, reader = counted(monkeypatch), HeadReader()
    for ids in ((b"one", b"r1"), (b"another", b"r2"), (b"x" * 300, b"r")):
        _, headers, fields = accepted(read(reader, WITH_IDS % ids))
        assert (headers[b"idempotency-key"], headers[b"x-request-id"]) == ids
        assert fields.length == 3
    assert len(parsed) == 1


@pytest.mark.parametrize("unusual", [b"o n e", b"", b"\xff", b"1\r\nX-B: 1", b"1\n", b"x" * 2000])
def test_a_head_with_an_unusual_id_is_parsed(
    monkeypatch: pytest.MonkeyPatch, unusual: bytes
) -> None:
    parsed, reader = counted(monkeypatch), HeadReader()
    read(reader, WITH_IDS % (b"one", b"r1"))
    read(reader, WITH_IDS % (unusual, b"r2"))
    assert len(parsed) == 2


def test_a_part_of_a_head_is_no_known_head() -> None:
    reader = HeadReader()
    read(reader, WITH_IDS % (b"one", b"r1"))
    head = WITH_IDS % (b"another", b"r2")
    assert all(reader.known(head[:size]) is None for size in range(len(head)))
    assert reader.known(head) is not None


@pytest.mark.parametrize("before", [b"", b"Transfer-Encoding: chunked\r\n", b"X-A: 1\r\n"])
@pytest.mark.parametrize("rest", [b" \r\n\r\n", b"\r\n\r\n", b"", b"\0", b" HTTP/1.1\r\n\r\n"])
def test_a_path_without_its_head_is_no_known_head(before: bytes, rest: bytes) -> None:
    reader = HeadReader()
    assert reader.known(b"GET /a" + rest) is None
    accepted(read(reader, b"PUT /a HTTP/1.1\r\nHost: localhost\r\n%s\r\n" % before))
    assert reader.known(b"GET /a" + rest) is None


def test_a_large_head_is_not_kept() -> None:
    reader = HeadReader()
    raw = b"GET /a HTTP/1.1\r\nHost: localhost\r\nX: %s\r\n\r\n" % (b"v" * 1024)
    first, again = accepted(read(reader, raw)), accepted(read(reader, raw))
    assert first == again
    assert again[1] is not first[1]
    assert again[2].findings is not first[2].findings


@pytest.mark.parametrize(
    "raw",
    [
        b"GET /a HTTP/1.1\r\nHost: localhost\r\nX: %s\r\n\r\n" % (b"v" * 60_000),
        b"GET /%s HTTP/1.1\r\nHost: localhost\r\n\r\n" % (b"a" * 60_000),
    ],
)
def test_a_connection_holds_nothing_of_a_large_head(raw: bytes) -> None:
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        reader = HeadReader()
        assert reader.read(raw)[0].method == "GET"
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert after - before < 10_000

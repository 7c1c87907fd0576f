"""The PROXY protocol, byte by byte."""

import struct
from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jetkv_gateway.serving.proxy_protocol import MOST_BYTES, Broken, Told, proxy_header

SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
REQUEST = b"GET / HTTP/1.1\r\n"


def second(command: int, family: int, payload: bytes = b"", length: int | None = None) -> bytes:
    length = len(payload) if length is None else length
    return SIGNATURE + struct.pack("!BBH", command, family, length) + payload


def addresses(source: str, destination: str = "", extra: bytes = b"") -> bytes:
    first, last = ip_address(source), ip_address(destination or source)
    return first.packed + last.packed + struct.pack("!HH", 4711, 9123) + extra


WHOLE = [
    (b"PROXY TCP4 203.0.113.7 10.0.0.1 4711 9123\r\n", "203.0.113.7"),
    (b"PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n", "255.255.255.255"),
    (b"PROXY TCP6 2001:db8::7 2001:db8::1 4711 9123\r\n", "2001:db8::7"),
    (b"PROXY TCP6 %s %s 65535 65535\r\n" % ((b"ffff:" * 8)[:-1], (b"ffff:" * 8)[:-1]), "f" * 4),
    (b"PROXY UNKNOWN\r\n", None),
    (b"PROXY UNKNOWN ffff::1 ffff::2 65535 65535\r\n", None),
    (second(0x21, 0x11, addresses("203.0.113.7")), "203.0.113.7"),
    (second(0x21, 0x21, addresses("2001:db8::7")), "2001:db8::7"),
    (second(0x21, 0x12, addresses("203.0.113.7")), "203.0.113.7"),
    (second(0x21, 0x11, addresses("203.0.113.7", extra=b"\x04\0\x01x")), "203.0.113.7"),
    (second(0x21, 0x31, bytes(216)), None),
    (second(0x21, 0x00), None),
    (second(0x21, 0x00, b"anything"), None),
    (second(0x20, 0x00), None),
    (second(0x20, 0x11, addresses("203.0.113.7")), None),
    (second(0x21, 0x00, bytes(MOST_BYTES - 16)), None),
]


@pytest.mark.parametrize(("header", "address"), WHOLE)
def test_a_header_tells_who_connects_and_where_the_client_begins(
    header: bytes, address: str | None
) -> None:
    told = proxy_header(header + REQUEST)
    assert isinstance(told, Told)
    assert told.size == len(header)
    if address is None:
        assert told.address is None
    else:
        assert told.address is not None
        assert told.address.startswith(address)


@pytest.mark.parametrize(
    ("data", "rule"),
    [
        (REQUEST, "must begin with a PROXY header"),
        (b"\r\n\r\nGET", "must begin with a PROXY header"),
        (b"proxy TCP4 ", "must begin with a PROXY header"),
        (b"\x16\x03\x01", "must begin with a PROXY header"),
        (b"PROXY TCP4 203.0.113.7 10.0.0.1 4711\r\n", "two addresses and two ports"),
        (b"PROXY TCP4 203.0.113.7 10.0.0.1 4711 9123 \r\n", "two addresses and two ports"),
        (b"PROXY UDP4 203.0.113.7 10.0.0.1 4711 9123\r\n", "TCP4 or TCP6"),
        (b"PROXY \r\n", "TCP4 or TCP6"),
        (b"PROXY TCP4 2001:db8::7 2001:db8::1 4711 9123\r\n", "does not belong to its family"),
        (b"PROXY TCP4 203.0.113.07 10.0.0.1 4711 9123\r\n", "does not belong to its family"),
        (b"PROXY TCP4 \xff 10.0.0.1 4711 9123\r\n", "does not belong to its family"),
        (b"PROXY TCP4 203.0.113.7 10.0.0.1 4711 65536\r\n", "no number up to 65535"),
        (b"PROXY TCP4 203.0.113.7 10.0.0.1 4711 -1\r\n", "no number up to 65535"),
        (b"PROXY UNKNOWN " + b"x" * 93, "at most 107 bytes"),
        (second(0x11, 0x11, addresses("203.0.113.7")), "version 1 or 2"),
        (second(0x22, 0x11, addresses("203.0.113.7")), "LOCAL or PROXY"),
        (second(0x21, 0x11, b"short"), "too short"),
        (second(0x21, 0x21, addresses("203.0.113.7")), "too short"),
        (second(0x21, 0x31, bytes(215)), "too short"),
        (second(0x21, 0x11, length=65535), "at most 4112 bytes"),
    ],
)
def test_what_is_no_header_is_broken_and_says_why(data: bytes, rule: str) -> None:
    broken = proxy_header(data)
    assert isinstance(broken, Broken)
    assert rule in broken.rule


STREAMS = st.sampled_from([header for header, _ in WHOLE]) | st.binary(max_size=40).map(
    lambda noise: SIGNATURE + noise
)


@given(STREAMS | st.binary(max_size=40), st.binary(max_size=20))
def test_in_pieces_a_header_says_the_same_as_whole(header: bytes, rest: bytes) -> None:
    whole = proxy_header(header + rest)
    for end in range(len(header + rest)):
        # Nothing, until it is decided; and what is decided stays.
        assert proxy_header((header + rest)[:end]) in (None, whole)


@given(st.binary(min_size=MOST_BYTES, max_size=MOST_BYTES + 8))
def test_it_is_decided_within_its_bound(data: bytes) -> None:
    assert proxy_header(data) is not None
    assert proxy_header(SIGNATURE + data) is not None
    assert proxy_header(b"PROXY " + data) is not None

"""Which address a call comes from: what proxies say of it, and which of them is believed."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jetkv_gateway.serving.addresses import (
    Caller,
    TrustedProxies,
    block_of,
    find_caller,
    is_loopback,
)

PROXIES = TrustedProxies.parse(["10.0.0.0/8", "2001:db8:1::/48"])
PROXY = "10.0.0.1"
STRANGER = "192.0.2.9"


def told(peer: str = PROXY, **headers: str) -> Caller:
    lines = {name.replace("_", "-").encode(): value.encode() for name, value in headers.items()}
    return find_caller(peer, lines, PROXIES)


# --- the setting


@pytest.mark.parametrize(
    ("entries", "peer", "trusted"),
    [
        ([], "127.0.0.1", False),
        ([], "", False),
        (["10.0.0.1"], "10.0.0.1", True),
        (["10.0.0.1"], "10.0.0.2", False),
        (["10.0.0.0/8"], "10.255.0.1", True),
        (["10.0.0.0/8"], "::ffff:10.0.0.1", True),
        (["fd00::/8"], "fd00::1", True),
        (["fe80::/10"], "fe80::1%eth0", True),
        (["fd00::/8"], "10.0.0.1", False),
        (["0.0.0.0/0"], "not an address", False),
        (["0.0.0.0/0", "::/0"], "", False),
    ],
)
def test_a_proxy_is_trusted_by_address_or_network(
    entries: list[str], peer: str, trusted: bool
) -> None:
    assert TrustedProxies.parse(entries).trusts(peer) is trusted


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ("proxy.example", "must be an IP address or a network such as 10.0.0.0/8"),
        ("10.0.0.1/8", "write 10.0.0.0/8 for the network"),
        ("*", "must be an IP address"),
        ("10.0.0.0/33", "must be an IP address"),
    ],
)
def test_an_entry_that_is_no_address_is_refused_with_a_remedy(entry: str, words: str) -> None:
    with pytest.raises(ValueError, match="must be") as refused:
        TrustedProxies.parse([entry])
    assert entry in str(refused.value)
    assert words in str(refused.value)


# --- whose word counts


@pytest.mark.parametrize(
    "headers",
    [
        {"x_forwarded_for": "203.0.113.7", "x_forwarded_proto": "https"},
        {"forwarded": "for=203.0.113.7;proto=https"},
    ],
)
def test_a_stranger_says_nothing_of_its_address(headers: dict[str, str]) -> None:
    assert told(STRANGER, **headers) == (STRANGER, "http")


def test_without_a_header_the_caller_is_the_peer() -> None:
    assert told() == (PROXY, "http")
    assert told("::ffff:192.0.2.1") == ("192.0.2.1", "http")
    assert told("") == ("", "http")


@pytest.mark.parametrize(
    ("value", "address"),
    [
        ("203.0.113.7", "203.0.113.7"),
        (" 203.0.113.7 ", "203.0.113.7"),
        ("203.0.113.7:4711", "203.0.113.7"),
        ("2001:db8::7", "2001:db8::7"),
        ("2001:0DB8:0::7", "2001:db8::7"),
        ("[2001:db8::7]", "2001:db8::7"),
        ("[2001:db8::7]:4711", "2001:db8::7"),
        ("::ffff:203.0.113.7", "203.0.113.7"),
        # The rightmost one that is no trusted proxy's: before it a caller writes what it likes.
        ("198.51.100.1, 203.0.113.7", "203.0.113.7"),
        ("198.51.100.1, 203.0.113.7, 10.0.0.9, 2001:db8:1::5", "203.0.113.7"),
        ("nonsense, 203.0.113.7", "203.0.113.7"),
        # From a trusted machine itself.
        ("10.0.0.8, 10.0.0.9", "10.0.0.8"),
        # The proxy that wrote nonsense is the last one that is known.
        ("203.0.113.7, nonsense", PROXY),
        ("203.0.113.7, nonsense, 10.0.0.9", "10.0.0.9"),
        ("203.0.113.7,", PROXY),
        ("", PROXY),
        ("unknown", PROXY),
        ("203.0.113.256", PROXY),
        ("203.0.113.07", PROXY),
        (",".join(["203.0.113.7"] + ["10.0.0.9"] * 10_000), "10.0.0.9"),
    ],
)
def test_x_forwarded_for_is_read_from_its_end(value: str, address: str) -> None:
    assert told(x_forwarded_for=value).address == address


@pytest.mark.parametrize(
    ("value", "address"),
    [
        ("for=203.0.113.7", "203.0.113.7"),
        ("For=203.0.113.7", "203.0.113.7"),
        ('for="203.0.113.7:4711"', "203.0.113.7"),
        ('for="203.0.113.7:_port"', "203.0.113.7"),
        ('for="[2001:db8::7]"', "2001:db8::7"),
        ('for="[2001:db8::7]:4711"', "2001:db8::7"),
        (r'for="\[2001:db8::7\]"', "2001:db8::7"),
        ("by=10.0.0.1;for=203.0.113.7;host=x;proto=http", "203.0.113.7"),
        ('host="a,b;c=\\"d";for=203.0.113.7', "203.0.113.7"),
        ("for=198.51.100.1, for=203.0.113.7 , for=10.0.0.9", "203.0.113.7"),
        ("for=198.51.100.1,for=203.0.113.7,,", "203.0.113.7"),
        # A name of the proxy's own, or none: the proxy is the last one that is known.
        ("for=unknown", PROXY),
        ("for=_hidden", PROXY),
        ("for=203.0.113.7, for=_hidden, for=10.0.0.9", "10.0.0.9"),
        ("proto=https", PROXY),
        # Malformed.
        ("for=2001:db8::7", PROXY),
        ('for="2001:db8::7"', PROXY),
        ("for=", PROXY),
        ("for", PROXY),
        ('for="203.0.113.7', PROXY),
        ('for="203.0.113.7\\', PROXY),
        ("for=203.0.113.7;for=203.0.113.8", PROXY),
        ("for=203.0.113.7 x", PROXY),
        ('for="', PROXY),
        ("", PROXY),
        ("for=203.0.113.7;" * 5_000, PROXY),
    ],
)
def test_forwarded_is_read_as_rfc_7239_writes_it(value: str, address: str) -> None:
    assert told(forwarded=value).address == address


@pytest.mark.parametrize(
    ("headers", "scheme"),
    [
        ({"x_forwarded_proto": "https"}, "https"),
        ({"x_forwarded_proto": "HTTPS"}, "https"),
        ({"x_forwarded_proto": "wss"}, "https"),
        ({"x_forwarded_proto": "gopher"}, "http"),
        ({"x_forwarded_proto": ""}, "http"),
        ({"x_forwarded_for": "203.0.113.7", "x_forwarded_proto": "https"}, "https"),
        # One for each hop: that of the caller's own counts.
        ({"x_forwarded_for": "203.0.113.7, 10.0.0.9", "x_forwarded_proto": "https, http"}, "https"),
        ({"x_forwarded_for": "203.0.113.7", "x_forwarded_proto": "https, http"}, "http"),
        ({"forwarded": "for=203.0.113.7;proto=https, for=10.0.0.9;proto=http"}, "https"),
        ({"forwarded": "for=203.0.113.7;proto=http, for=10.0.0.9;proto=https"}, "http"),
        ({"forwarded": "for=203.0.113.7;proto=https", "x_forwarded_proto": "https"}, "https"),
        ({"forwarded": "for=_x;proto=https"}, "http"),
    ],
)
def test_the_scheme_is_the_one_that_the_caller_used(headers: dict[str, str], scheme: str) -> None:
    assert told(**headers).scheme == scheme


def test_both_headers_count_where_they_name_the_same_caller() -> None:
    both = told(forwarded='for="[2001:db8::7]"', x_forwarded_for="2001:db8::7")
    assert both.address == "2001:db8::7"


@pytest.mark.parametrize(
    ("forwarded", "listed"),
    [("for=198.51.100.1", "203.0.113.7"), ("for=unknown", "203.0.113.7"), ("x", "203.0.113.7")],
)
def test_a_caller_cannot_choose_its_address_by_the_header_that_its_proxy_does_not_set(
    forwarded: str, listed: str
) -> None:
    assert told(forwarded=forwarded, x_forwarded_for=listed) == (PROXY, "http")


HEADERS = st.dictionaries(
    st.sampled_from([b"forwarded", b"x-forwarded-for", b"x-forwarded-proto"]),
    st.binary(max_size=80)
    | st.text('for=;,". []:\\1023abcdef_unknownproto', max_size=80).map(str.encode),
)


@given(st.sampled_from([PROXY, STRANGER, "", "nonsense", "fe80::1%eth0"]), HEADERS)
def test_whatever_the_headers_are_there_is_a_caller(peer: str, headers: dict[bytes, bytes]) -> None:
    address, scheme = find_caller(peer, headers, PROXIES)
    assert scheme in ("http", "https")
    if not PROXIES.trusts(peer):
        assert (address, scheme) == find_caller(peer, {}, PROXIES)


@given(st.lists(st.ip_addresses(), max_size=8), st.ip_addresses(v=4))
def test_what_a_caller_sends_does_not_change_what_its_proxy_adds(
    sent: list[object], real: object
) -> None:
    listed = ", ".join(map(str, [*sent, real]))
    if not PROXIES.trusts(str(real)):
        assert told(x_forwarded_for=listed).address == str(real)
        elements = ", ".join([*(f'for="[{one}]"' for one in sent), f"for={real}"])
        assert told(forwarded=elements).address == str(real)


# --- what counts as one caller


@pytest.mark.parametrize(
    ("address", "block"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.1", "::ffff:192.0.2.1"),
        ("2001:db8:0:1::1", "2001:db8:0:1::/64"),
        ("2001:db8:0:1:ffff::2", "2001:db8:0:1::/64"),
        ("", ""),
    ],
)
def test_the_addresses_of_one_ipv6_network_are_one_caller(address: str, block: str) -> None:
    assert block_of(address) == block


@pytest.mark.parametrize(
    ("address", "local"),
    [("127.0.0.1", True), ("127.9.9.9", True), ("::1", True), ("", True), ("192.0.2.1", False)],
)
def test_loopback_is_this_machine(address: str, local: bool) -> None:
    assert is_loopback(address) is local

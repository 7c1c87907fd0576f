"""Who calls, where proxies stand in front: the caller's address and scheme of a request.

What a proxy says of its caller counts only where the connection comes from a proxy that the setting
`trusted_proxies` names, since everybody else can write the same headers. A list of hops is read
from its end: each trusted proxy has added the address that it saw, and what stands before the first
address that is not a trusted proxy's is the caller's own invention.

A proxy sets `Forwarded` (RFC 7239) or `X-Forwarded-For`, and passes the other one on as its caller
sent it. Which of both that is, nobody here can tell. So where both are there they must name the
same caller. Where they do not, neither counts, and the caller has the address of the proxy: a
caller cannot choose an address by sending the header that its proxy does not set.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import NamedTuple

__all__ = ["Caller", "TrustedProxies", "block_of", "find_caller", "is_loopback"]

_Address = IPv4Address | IPv6Address

_MAX_HOPS = 32
_MAX_FORWARDED_BYTES = 4096
"""Of `Forwarded`, which has to be read from its beginning."""

_MAX_ADDRESS_LENGTH = 64

_NODE = re.compile(
    r"(?:(\d{1,3}(?:\.\d{1,3}){3})|\[([0-9A-Fa-f:.]{2,45})\])"
    r"(?::(?:\d{1,5}|_[A-Za-z0-9._-]+))?"
)
_NAME = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_PAIR = re.compile(rf'[ \t]*(?:({_NAME})=({_NAME}|"(?:[^"\\]|\\.)*"))?[ \t]*(;|,|\Z)', re.DOTALL)
_ESCAPED = re.compile(r"\\(.)", re.DOTALL)
_SCHEMES = {"http": "http", "https": "https", "ws": "http", "wss": "https"}

_FORWARDED = b"forwarded"
_FORWARDED_FOR = b"x-forwarded-for"
_FORWARDED_PROTO = b"x-forwarded-proto"


class Caller(NamedTuple):
    """Who calls.

    Attributes:
        address: in its shortest form, IPv4 where it is mapped into IPv6; empty for a Unix socket.
        scheme: `http` or `https`, as the caller used it.
    """

    address: str
    scheme: str


@dataclass(frozen=True, slots=True)
class TrustedProxies:
    """Whose word on the caller counts.

    Attributes:
        networks: that they are in.
    """

    networks: tuple[IPv4Network | IPv6Network, ...] = ()

    @classmethod
    def parse(cls, texts: Iterable[str]) -> "TrustedProxies":
        """Read IP addresses, and networks such as `10.0.0.0/8`.

        Raises:
            ValueError: the text names the entry that is none of them, and what to write.
        """
        networks = []
        for text in texts:
            try:
                networks.append(ip_network(text))
            except ValueError as error:
                raise ValueError(
                    f"{text!r} must be an IP address or a network such as 10.0.0.0/8{_remedy(text)}"
                ) from error
        return cls(tuple(networks))

    def __bool__(self) -> bool:
        return bool(self.networks)

    def trusts(self, peer: str) -> bool:
        """Return whether a connection from `peer`, an IP address, is a trusted proxy's."""
        return bool(self.networks) and self._contains(_parse(peer))

    def _contains(self, address: _Address | None) -> bool:
        return address is not None and any(address in network for network in self.networks)


def _remedy(text: str) -> str:
    try:
        return f": write {ip_network(text, strict=False)} for the network"
    except ValueError:
        return ""


def _parse(text: str) -> _Address | None:
    # What is longer is none, and would stay in the cache.
    return _parse_cached(text) if len(text) <= _MAX_ADDRESS_LENGTH else None


@lru_cache(maxsize=1024)
def _parse_cached(text: str) -> _Address | None:
    try:
        address = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address


def find_caller(
    peer: str, headers: Mapping[bytes, bytes], proxies: TrustedProxies, scheme: str = "http"
) -> Caller:
    """Return who calls, by the peer's address and by what a trusted proxy says. It never raises.

    Args:
        peer: the other end of the connection, empty for a Unix socket. Where the PROXY protocol
            told another one, that one.
        headers: lower-case names; repeated lines are joined by a comma.
        scheme: of the connection.
    """
    address = _parse(peer)
    direct = Caller(peer if address is None else str(address), scheme)
    forwarded, listed = headers.get(_FORWARDED), headers.get(_FORWARDED_FOR)
    proto = headers.get(_FORWARDED_PROTO)
    if (forwarded is None and listed is None and proto is None) or not proxies.trusts(peer):
        return direct
    claims: list[Caller] = []
    if forwarded is not None:
        claims.append(_by_forwarded(forwarded.decode("latin-1"), direct, proxies))
    if listed is not None or (proto is not None and forwarded is None):
        lines = "" if listed is None else listed.decode("latin-1")
        claims.append(
            _by_lists(lines, "" if proto is None else proto.decode("latin-1"), direct, proxies)
        )
    first, last = claims[0], claims[-1]
    if first.address != last.address:
        return direct
    return Caller(first.address, first.scheme if first.scheme == last.scheme else scheme)


def _by_forwarded(value: str, direct: Caller, proxies: TrustedProxies) -> Caller:
    elements = _elements(value) if len(value) <= _MAX_FORWARDED_BYTES else None
    if not elements:
        return direct
    elements.reverse()
    address, passed = _walk_hops(
        (_node(one.get("for", "")) for one in elements), direct.address, proxies
    )
    scheme = elements[passed - 1].get("proto", "") if passed else ""
    return Caller(address, _SCHEMES.get(scheme.lower(), direct.scheme))


def _by_lists(listed: str, proto: str, direct: Caller, proxies: TrustedProxies) -> Caller:
    address, passed = _walk_hops(
        (_node(text) or _parse(text) for text in _from_the_right(listed)), direct.address, proxies
    )
    schemes = [text.strip(" \t").lower() for text in proto.split(",", _MAX_HOPS)]
    # One for each hop, or one alone: of the one hop that sets it.
    place = 1
    if len(schemes) > 1:
        place = passed if passed and len(schemes) == listed.count(",") + 1 else 0
    return Caller(address, _SCHEMES.get(schemes[-place] if place else "", direct.scheme))


def _walk_hops(
    hops: Iterable[_Address | None], address: str, proxies: TrustedProxies
) -> tuple[str, int]:
    """Return the caller's address, and how many hops from the end it stands; 0: it is not there.

    A hop that tells no address (`unknown`, a name of its own, or nonsense) ends the way: the caller
    is whoever wrote it, the last one that is known.
    """
    passed = 0
    for hop in hops:
        if hop is None or passed == _MAX_HOPS:
            break
        address = str(hop)
        passed += 1
        if not proxies._contains(hop):
            break
    return address, passed


def _from_the_right(listed: str) -> Iterator[str]:
    rest = listed
    while rest:
        rest, _, text = rest.rpartition(",")
        yield text.strip(" \t")


def _node(text: str) -> _Address | None:
    """Return the address of a node as RFC 7239 §6 writes it, None where it names none."""
    found = _NODE.fullmatch(text)
    return None if found is None else _parse(found[1] or found[2])


def _elements(value: str) -> list[dict[str, str]] | None:
    """Return the elements of `Forwarded`, their names in lower case; None where it is malformed."""
    elements: list[dict[str, str]] = []
    element: dict[str, str] = {}
    at, end = 0, ""
    while at < len(value) or end:
        found = _PAIR.match(value, at)
        if found is None:
            return None
        name, text, end = found.groups()
        if name is not None:
            if text[0] == '"':
                text = _ESCAPED.sub(r"\1", text[1:-1])
            if name.lower() in element:
                return None
            element[name.lower()] = text
        if end != ";" and element:
            elements.append(element)
            element = {}
        at = found.end()
    return elements


def is_loopback(address: str) -> bool:
    """Return whether an address is this machine's own; a Unix socket, which has none, is, too."""
    parsed = _parse(address)
    return not address if parsed is None else parsed.is_loopback


def block_of(address: str) -> str:
    """Return what counts as one caller: an IPv4 address, or the /64 network of an IPv6 address.

    A single customer has a whole /64 at the least, and all of its addresses.
    """
    parsed = _parse(address)
    if not isinstance(parsed, IPv6Address):
        return address
    return f"{IPv6Address(int(parsed) >> 64 << 64)}/64"

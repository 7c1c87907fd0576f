"""Finds the caller's address and scheme behind proxies.

A proxy's headers count only on connections from the setting `trusted_proxies`, since every other
client can send the same headers. A list of hops is read from its end. Each trusted proxy has
appended the address that it saw. Entries before the first address that is not a trusted proxy's may
be forged.

A proxy sets `Forwarded` (RFC 7239) or `X-Forwarded-For`, and passes the other one on unchanged. The
gateway cannot know which one the proxy sets. So if both are present, they must name the same
caller. Otherwise neither counts, and the proxy's address is used. So a caller cannot choose an
address by sending the header that its proxy does not set.
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
"""The longest `Forwarded`, since it must be parsed from its start."""

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
    """The caller of a request.

    Attributes:
        address: in its shortest form. An IPv4-mapped IPv6 address becomes IPv4. Empty for a Unix
            socket.
        scheme: `http` or `https`, as the caller used it.
    """

    address: str
    scheme: str


@dataclass(frozen=True, slots=True)
class TrustedProxies:
    """The proxies whose headers count.

    Attributes:
        networks: the networks of the proxies.
    """

    networks: tuple[IPv4Network | IPv6Network, ...] = ()

    @classmethod
    def parse(cls, texts: Iterable[str]) -> "TrustedProxies":
        """Read IP addresses, and networks such as `10.0.0.0/8`.

        Raises:
            ValueError: an entry is invalid. The text names it and the correct form.
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
    # Longer texts cannot be addresses, and would fill the cache.
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
    """Return the caller, by the peer's address and a trusted proxy's headers. It never raises.

    Args:
        peer: address of the other end of the connection, or the one in the PROXY protocol header.
            Empty for a Unix socket.
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
    # There is one scheme for each hop, or a single one from the hop that sets it.
    place = 1
    if len(schemes) > 1:
        place = passed if passed and len(schemes) == listed.count(",") + 1 else 0
    return Caller(address, _SCHEMES.get(schemes[-place] if place else "", direct.scheme))


def _walk_hops(
    hops: Iterable[_Address | None], address: str, proxies: TrustedProxies
) -> tuple[str, int]:
    """Return the caller's address and its position from the end; 0 if it is not in the list.

    A hop without an address (`unknown`, an obfuscated name, or a malformed text) ends the walk. The
    caller is then the last known address, whose owner wrote that hop.
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
    """Return the address of a node as in RFC 7239 §6, None without one."""
    found = _NODE.fullmatch(text)
    return None if found is None else _parse(found[1] or found[2])


def _elements(value: str) -> list[dict[str, str]] | None:
    """Return the elements of `Forwarded` with lower-case names, None if it is malformed."""
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
    """Return whether an address is loopback. The empty address of a Unix socket is, too."""
    parsed = _parse(address)
    return not address if parsed is None else parsed.is_loopback


def block_of(address: str) -> str:
    """Return the block that counts as one caller: an IPv4 address, or an IPv6 /64 network.

    A single customer has at least a /64 with all its addresses.
    """
    parsed = _parse(address)
    if not isinstance(parsed, IPv6Address):
        return address
    return f"{IPv6Address(int(parsed) >> 64 << 64)}/64"

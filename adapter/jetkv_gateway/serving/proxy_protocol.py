"""The PROXY protocol, versions 1 and 2, as HAProxy specifies it: who connects, ahead of all else.

A proxy that passes on bytes, such as one for TCP alone, can add no header to a request. It says
whom it passes on in the first bytes of the connection instead. A receiver must not guess whether
they are there: the setting `proxy_protocol` says so, and then for trusted proxies alone.
"""

import struct
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address

__all__ = ["MOST_BYTES", "Broken", "Told", "proxy_header"]

MOST_BYTES = 16 + 4096
"""Of a header. Version 1 has at most 107 bytes; what version 2 adds to addresses is seldom long."""

_FIRST = b"PROXY "
_FIRST_MOST = 107
_SECOND = b"\r\n\r\n\x00\r\nQUIT\n"
_HEAD = len(_SECOND) + 4
_LOCAL, _PROXY = 0x20, 0x21
_FAMILIES = {1: (IPv4Address, 4), 2: (IPv6Address, 16)}
_UNIX, _UNIX_BYTES = 3, 216
_TOO_SHORT = "the PROXY header is too short for its addresses"
_MOST_PORT = 65535


@dataclass(frozen=True, slots=True)
class Told:
    """A whole header.

    Attributes:
        address: of who connects; None where the connection is the proxy's own, or its source is
            not known: the peer's address counts then.
        size: bytes that the header has; the rest is the client's.
    """

    address: str | None
    size: int


@dataclass(frozen=True, slots=True)
class Broken:
    """No such header.

    Attributes:
        rule: what it breaks, as a sentence without its end.
    """

    rule: str


def proxy_header(data: bytes) -> Told | Broken | None:
    """Read the header at the beginning of a connection; None: more bytes are needed to tell.

    Args:
        data: all that has come so far. What comes behind the header does not change the result.
    """
    if data[:1] == _SECOND[:1]:
        return _second(data)
    return _first(data)


def _first(data: bytes) -> Told | Broken | None:
    if data[: len(_FIRST)] != _FIRST[: len(data)]:
        return Broken("the connection of a trusted proxy must begin with a PROXY header")
    end = data.find(b"\r\n", 0, _FIRST_MOST)
    if end < 0:
        if len(data) < _FIRST_MOST:
            return None
        return Broken("a PROXY header of version 1 has at most 107 bytes")
    size = end + 2
    family, *rest = data[len(_FIRST) : end].split(b" ")
    if family == b"UNKNOWN":
        return Told(None, size)
    known = {b"TCP4": IPv4Address, b"TCP6": IPv6Address}.get(family)
    if known is None or len(rest) != 4:
        return Broken("a PROXY header of version 1 names TCP4 or TCP6, two addresses and two ports")
    try:
        source, _ = (known(text.decode("ascii")) for text in rest[:2])
    except ValueError:
        return Broken("an address of the PROXY header does not belong to its family")
    if not all(port.isdigit() and len(port) <= 5 and int(port) <= _MOST_PORT for port in rest[2:]):
        return Broken("a port of the PROXY header is no number up to 65535")
    return Told(str(source), size)


def _second(data: bytes) -> Told | Broken | None:
    if data[: len(_SECOND)] != _SECOND[: len(data)]:
        return Broken("the connection of a trusted proxy must begin with a PROXY header")
    if len(data) < _HEAD:
        return None
    command, family, length = struct.unpack_from("!BBH", data, len(_SECOND))
    if command not in (_LOCAL, _PROXY):
        return Broken("a PROXY header is of version 1 or 2, and its command LOCAL or PROXY")
    size = _HEAD + length
    if size > MOST_BYTES:
        return Broken(f"a PROXY header has at most {MOST_BYTES} bytes")
    if len(data) < size:
        return None
    if command == _LOCAL:
        return Told(None, size)
    kind = family >> 4
    if kind not in _FAMILIES:
        # Of no family, or of one that has no addresses that would tell anybody apart.
        if kind == _UNIX and length < _UNIX_BYTES:
            return Broken(_TOO_SHORT)
        return Told(None, size)
    known, width = _FAMILIES[kind]
    if length < 2 * width + 4:
        return Broken(_TOO_SHORT)
    return Told(str(known(data[_HEAD : _HEAD + width])), size)

"""Parses headers of the PROXY protocol, versions 1 and 2, as HAProxy specifies it.

A TCP proxy cannot add an HTTP header. Instead, it sends the client's address at the start of a
connection.
"""

import struct
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address

__all__ = ["MOST_BYTES", "Broken", "Told", "proxy_header"]

MOST_BYTES = 16 + 4096
"""The longest header. Version 1 has at most 107 bytes. Version 2 may add more, but rarely does."""

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
    """A complete header.

    Attributes:
        address: of the client. None if the proxy connects for itself or the source is unknown; the
            peer's address then counts.
        size: bytes of the header. The bytes after it are the client's.
    """

    address: str | None
    size: int


@dataclass(frozen=True, slots=True)
class Broken:
    """A malformed header.

    Attributes:
        rule: the broken rule, as a sentence without a full stop.
    """

    rule: str


def proxy_header(data: bytes) -> Told | Broken | None:
    """Parse the header at the start of a connection. None means that more bytes are needed.

    Args:
        data: all bytes so far. Bytes after the header do not change the result.
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
        # The header has no family, or one without useful addresses.
        if kind == _UNIX and length < _UNIX_BYTES:
            return Broken(_TOO_SHORT)
        return Told(None, size)
    known, width = _FAMILIES[kind]
    if length < 2 * width + 4:
        return Broken(_TOO_SHORT)
    return Told(str(known(data[_HEAD : _HEAD + width])), size)

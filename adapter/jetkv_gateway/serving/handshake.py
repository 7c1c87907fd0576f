"""The opening handshake of a WebSocket (RFC 6455 §4.2): its rules, and the 101 that answers it.

No I/O. A connection checks the handshake before the request is admitted, and writes the 101 after
that.
"""

import re
from base64 import b64encode
from collections.abc import Mapping
from hashlib import sha1

from jetkv_gateway.kv.errors import InvalidHandshake

__all__ = ["check_handshake", "offers_websocket", "switching_protocols"]

_MAX_LINE = 8000
_MAX_LINES = 100
# RFC 6455 §1.3: the GUID proves that the server understands WebSockets.
_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_KEY = re.compile(rb"[A-Za-z0-9+/]{22}==")
_TOKEN = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")


def offers_websocket(method: str, headers: Mapping[bytes, bytes]) -> bool:
    """Return whether a head asks for a WebSocket. Other offers to upgrade are ignored."""
    return (
        method == "GET"
        and b"upgrade" in headers
        and b"websocket" in _tokens(headers[b"upgrade"])
        and b"upgrade" in _tokens(headers.get(b"connection", b""))
    )


def check_handshake(version: str, target: bytes, headers: Mapping[bytes, bytes]) -> bytes:
    """Check a handshake, and return the value of `Sec-WebSocket-Accept`.

    Args:
        version: of HTTP, `1.1`.
        target: path and query as sent.
        headers: of a head that `offers_websocket`, by lower-case name; repeated lines are joined by
            a comma.

    Raises:
        InvalidHandshake: it breaks a rule; the text names it.
    """
    if version != "1.1":
        raise InvalidHandshake("send it by HTTP/1.1")
    if len(target) > _MAX_LINE:
        raise InvalidHandshake("the URL of a WebSocket has at most 8,000 bytes")
    if len(headers) > _MAX_LINES:
        raise InvalidHandshake("it has at most 100 headers")
    for name, value in headers.items():
        # Browsers send the cookies of all ports of a host, and the gateway ignores cookies.
        if len(name) + len(value) > _MAX_LINE and name != b"cookie":
            raise InvalidHandshake("a header has at most 8,000 bytes")
    if b"transfer-encoding" in headers or headers.get(b"content-length", b"0") != b"0":
        raise InvalidHandshake("it must not have a body")
    key = headers.get(b"sec-websocket-key", b"")
    if _KEY.fullmatch(key) is None:
        raise InvalidHandshake("Sec-WebSocket-Key must occur once, with 16 bytes in Base64")
    if headers.get(b"sec-websocket-version") != b"13":
        raise InvalidHandshake("Sec-WebSocket-Version must be 13")
    offered = headers.get(b"sec-websocket-protocol")
    if offered is not None and not _are_tokens(offered):
        raise InvalidHandshake("Sec-WebSocket-Protocol must be a list of tokens")
    return b64encode(sha1(key + _GUID, usedforsecurity=False).digest())


def switching_protocols(accept: bytes, subprotocol: str | None, lines: bytes) -> bytes:
    """Return the head of the answer that opens a WebSocket.

    Args:
        accept: as `check_handshake` returns it.
        subprotocol: one of those that the client offered, or None.
        lines: additional header lines, each ended by CRLF.
    """
    selected = b""
    if subprotocol is not None:
        selected = b"sec-websocket-protocol: %s\r\n" % subprotocol.encode("ascii")
    return (
        b"HTTP/1.1 101 Switching Protocols\r\n"
        b"upgrade: websocket\r\n"
        b"connection: upgrade\r\n"
        b"sec-websocket-accept: %s\r\n%s%s\r\n" % (accept, selected, lines)
    )


def _are_tokens(value: bytes) -> bool:
    # Empty elements are ignored, but one element is required (RFC 9110 §5.6.1.2).
    given = [one for part in value.split(b",") if (one := part.strip(b" \t"))]
    return bool(given) and all(_TOKEN.fullmatch(one) for one in given)


def _tokens(value: bytes) -> list[bytes]:
    return [token.strip().lower() for token in value.split(b",")]

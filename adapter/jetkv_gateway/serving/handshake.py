"""The opening handshake of a WebSocket (RFC 6455 §4.2): its rules, and the 101 that answers it.

Nothing here does I/O: a connection asks whether a head offers a WebSocket and breaks no rule before
anything is done for it, and writes the 101 once the request was admitted.
"""

from collections.abc import Mapping

from websockets.datastructures import Headers
from websockets.http11 import Request
from websockets.server import ServerProtocol

from jetkv_gateway.kv.errors import InvalidHandshake

__all__ = ["check_handshake", "offers_websocket", "switching_protocols"]

_MAX_LINE = 8000
_MAX_LINES = 100
_UPGRADE = (("Connection", "Upgrade"), ("Upgrade", "websocket"))
_CHECKED = ("Sec-WebSocket-Key", "Sec-WebSocket-Version", "Sec-WebSocket-Protocol", "Origin")


def offers_websocket(method: str, headers: Mapping[bytes, bytes]) -> bool:
    """Return whether a head asks for a WebSocket; any other offer to upgrade is ignored."""
    return (
        method == "GET"
        and b"upgrade" in headers
        and b"websocket" in _tokens(headers[b"upgrade"])
        and b"upgrade" in _tokens(headers.get(b"connection", b""))
    )


def check_handshake(version: str, target: bytes, headers: Mapping[bytes, bytes]) -> bytes:
    """Return what proves that the handshake was understood: `Sec-WebSocket-Accept`.

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
        # Cookies of all ports of a host come along, and nobody here eats any.
        if len(name) + len(value) > _MAX_LINE and name != b"cookie":
            raise InvalidHandshake("a header has at most 8,000 bytes")
    if b"transfer-encoding" in headers or headers.get(b"content-length", b"0") != b"0":
        raise InvalidHandshake("it has no body")
    given = [(name, headers.get(name.lower().encode())) for name in _CHECKED]
    lines = [(name, value.decode("latin-1")) for name, value in given if value is not None]
    protocol = ServerProtocol()
    answer = protocol.accept(Request("/", Headers([*_UPGRADE, *lines])))
    if protocol.handshake_exc is not None:
        raise InvalidHandshake(str(protocol.handshake_exc))
    return answer.headers["Sec-WebSocket-Accept"].encode()


def switching_protocols(accept: bytes, subprotocol: str | None, lines: bytes) -> bytes:
    """Return the head of the answer that opens a WebSocket.

    Args:
        accept: as `check_handshake` returns it.
        subprotocol: the one selected of those offered, None for none.
        lines: more header lines, each ended by CRLF.
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


def _tokens(value: bytes) -> list[bytes]:
    return [token.strip().lower() for token in value.split(b",")]

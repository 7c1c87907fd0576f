"""The credential of a request."""

from base64 import b64decode
from collections.abc import Iterable

__all__ = ["socket_credential"]

_SUBPROTOCOL = "ironflow.auth.bearer."


def socket_credential(authorization: bytes | None, subprotocols: Iterable[str]) -> bytes | None:
    """Return the credential of a WebSocket handshake as an `Authorization` header.

    A browser cannot send this header with a handshake, so its clients offer the token as a
    subprotocol (docs/watch.md#websockets). If there is a header, it takes precedence.
    """
    if authorization is not None:
        return authorization
    for offered in subprotocols:
        encoded = offered.removeprefix(_SUBPROTOCOL)
        if encoded != offered:
            try:
                padding = "=" * (-len(encoded) % 4)
                token = b64decode(encoded + padding, altchars=b"-_", validate=True)
            except ValueError:
                token = b""
            return b"Bearer " + token
    return None

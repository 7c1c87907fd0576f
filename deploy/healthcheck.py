"""Exit 0 when the gateway of this container answers 200 on the given path, else 1 with its answer.

By a plain socket: an HTTP client takes longer to import than to use, once every few seconds.
"""

import os
import socket
import ssl
import sys

_SECONDS = 4
_MOST = 64 * 1024  # of an answer, which is some hundred bytes


def answer(port: int, path: str) -> bytes:
    """Return the whole answer of the gateway to a GET."""
    with socket.create_connection(("127.0.0.1", port), timeout=_SECONDS) as connection:
        if not os.environ.get("JETKV_TLS_CERT"):
            return _get(connection, path)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        # The certificate is not for this address, and nothing secret is sent.
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        with context.wrap_socket(connection) as encrypted:
            if os.environ.get("JETKV_TLS_CLIENT_CA"):
                # The gateway has done its part of the handshake, and wants a certificate now.
                return b"HTTP/1.1 200 OK\r\n\r\nit shakes hands, and wants a certificate"
            return _get(encrypted, path)


def _get(connection: socket.socket, path: str) -> bytes:
    request = f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    connection.sendall(request.encode())
    received = b""
    while len(received) < _MOST and (part := connection.recv(_MOST)):
        received += part
    return received


def main() -> int:
    path = sys.argv[1] if len(sys.argv) > 1 else "/health"
    try:
        received = answer(int(os.environ.get("JETKV_PORT") or "9123"), path)
    except (OSError, ValueError) as error:
        print(f"{path}: {error}")
        return 1
    head, _, body = received.partition(b"\r\n\r\n")
    print(body.decode(errors="replace"))
    return 0 if head.startswith(b"HTTP/1.1 200 ") else 1


if __name__ == "__main__":
    sys.exit(main())

"""Gateways that speak TLS, and their clients."""

import socket
import ssl
from pathlib import Path
from typing import Self

from tests.support.http import Http
from tests.support.tls import Certificates


def client_context(trusted: Certificates, login: tuple[Path, Path] | None = None) -> ssl.SSLContext:
    """The TLS of a client that trusts a CA, with a certificate of its own if one is given."""
    context = ssl.create_default_context(cafile=str(trusted.ca))
    if login is not None:
        context.load_cert_chain(*login)
    return context


class Connection:
    """One TLS connection to a gateway that stays open; answers are small."""

    def __init__(self, http: Http, context: ssl.SSLContext | None = None) -> None:
        tls = context or http.tls
        assert tls is not None
        plain = socket.create_connection((http.host, http.port), timeout=10)
        try:
            self.socket = tls.wrap_socket(plain, server_hostname=http.host)
        except BaseException:
            plain.close()
            raise
        self._host = f"{http.host}:{http.port}"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    @property
    def serial(self) -> str:
        """The serial number of the gateway's certificate."""
        shown = self.socket.getpeercert()
        assert shown is not None
        return str(shown["serialNumber"])

    def get(self, path: str) -> int:
        """Send a GET, and return the status of its answer."""
        self.socket.sendall(f"GET {path} HTTP/1.1\r\nHost: {self._host}\r\n\r\n".encode())
        received = b""
        while b"\r\n\r\n" not in received:
            part = self.socket.recv(65536)
            if not part:
                raise ConnectionResetError
            received += part
        return int(received.split()[1])

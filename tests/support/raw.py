"""A bare TCP connection to a gateway, for what no HTTP client would send."""

import socket
from typing import Self

from tests.support.http import Answer, Http


class Wire:
    """One connection; bytes go out as they are, answers are read one at a time.

    Of a repeated answer header the values are joined by a comma. `source` is an address of
    127.0.0.0/8 that it comes from.
    """

    def __init__(self, http: Http, *, timeout: float = 10.0, source: str = "127.0.0.1") -> None:
        self._socket = socket.create_connection(
            (http.host, http.port), timeout=timeout, source_address=(source, 0)
        )
        # Pieces go out as they are sent, however small.
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._reader = self._socket.makefile("rb")
        self._host = f"{http.host}:{http.port}"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._reader.close()
        self._socket.close()

    def send(self, data: bytes) -> None:
        self._socket.sendall(data)

    def head(self, method: str, path: str, *lines: str) -> None:
        """Send a request's first line and headers; `Host` is there, all else is in `lines`."""
        start = [f"{method} {path} HTTP/1.1", f"Host: {self._host}", *lines, "", ""]
        self.send("\r\n".join(start).encode("latin-1"))

    def request(self, method: str, path: str, *lines: str) -> Answer:
        """Send a request without a body and return its answer."""
        self.head(method, path, *lines)
        return self.answer(with_body=method != "HEAD")

    def chunk(self, data: bytes) -> None:
        """Send one chunk of a chunked body; an empty one ends it."""
        self.send(b"%x\r\n%s\r\n" % (len(data), data))

    def end_of_sending(self) -> None:
        """Tell the gateway that nothing more comes, and keep reading."""
        self._socket.shutdown(socket.SHUT_WR)

    def answer(self, *, with_body: bool = True) -> Answer:
        """Read one answer."""
        status = int(self._reader.readline().split()[1])
        headers: dict[str, str] = {}
        for line in iter(self._reader.readline, b"\r\n"):
            name, _, value = line.decode("latin-1").strip().partition(":")
            name, value = name.lower(), value.strip()
            headers[name] = f"{headers[name]}, {value}" if name in headers else value
        length = int(headers.get("content-length", "0")) if with_body else 0
        return Answer(status, headers, self._reader.read(length))

    def line(self) -> bytes:
        """Read one line of what comes behind the head of an answer."""
        return self._reader.readline()

    def read(self, size: int) -> bytes:
        """Read bytes that come behind the head of an answer."""
        return self._reader.read(size)

    def read_chunked(self) -> bytes:
        """Read a chunked body to its end."""
        parts = []
        while size := int(self._reader.readline(), 16):
            parts.append(self._reader.read(size))
            self._reader.readline()
        return b"".join(parts)

    def rest(self) -> bytes:
        """Read until the gateway closes the connection."""
        return self._reader.read()

    def is_closed(self) -> bool:
        """Return whether the gateway closes the connection; a reset is an error."""
        return self._reader.read() == b""

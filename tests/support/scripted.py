"""A server on loopback that does to each request what a test says, as no gateway would."""

import select
import socket
import ssl
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field

from tests.support.ports import free_port


@dataclass(frozen=True)
class Asked:
    """A request as it came."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes


Step = bytes | None | Callable[[socket.socket], None]
"""What is done to a request: these bytes go out, or the connection is closed, or what it says."""


def http(status: int, body: bytes | str, *headers: str, kind: str = "application/json") -> bytes:
    """Return an answer; the connection stays open."""
    data = body.encode() if isinstance(body, str) else body
    lines = [
        f"HTTP/1.1 {status} Said",
        f"Content-Type: {kind}",
        f"Content-Length: {len(data)}",
        *headers,
    ]
    return "\r\n".join([*lines, "", ""]).encode() + data


@dataclass
class Scripted:
    """The server: what it was asked, and what it will do, one step for each request."""

    url: str
    steps: deque[Step]
    asked: list[Asked] = field(default_factory=list)
    connections: int = 0

    @property
    def calls(self) -> list[str]:
        return [f"{asked.method} {asked.target}" for asked in self.asked]


@contextmanager
def scripted(*steps: Step, tls: ssl.SSLContext | None = None) -> Iterator[Scripted]:
    """Serve until the steps are used up; what comes after them finds its connection closed."""
    listener = socket.create_server(("127.0.0.1", 0))
    scheme = "http" if tls is None else "https"
    server = Scripted(f"{scheme}://127.0.0.1:{listener.getsockname()[1]}", deque(steps))
    connections: list[socket.socket] = []
    threads: list[threading.Thread] = []

    def accept() -> None:
        with suppress(OSError):
            while True:
                connection, _ = listener.accept()
                connections.append(connection)
                server.connections += 1
                thread = threading.Thread(
                    target=_serve, args=(server, connection, tls), daemon=True
                )
                threads.append(thread)
                thread.start()

    accepting = threading.Thread(target=accept, daemon=True)
    accepting.start()
    try:
        yield server
    finally:
        with suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        for connection in connections:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
            connection.close()
        for thread in (accepting, *threads):
            thread.join(5)
            assert not thread.is_alive()


def _serve(server: Scripted, connection: socket.socket, tls: ssl.SSLContext | None) -> None:
    with suppress(OSError, ValueError):
        if tls is not None:
            connection = tls.wrap_socket(connection, server_side=True)
        reader = connection.makefile("rb")
        while (asked := _read(reader)) is not None:
            server.asked.append(asked)
            step = server.steps.popleft() if server.steps else None
            if step is None:
                connection.shutdown(socket.SHUT_RDWR)
                return
            if callable(step):
                step(connection)
            else:
                connection.sendall(step)


def _read(reader) -> Asked | None:
    line = reader.readline()
    if not line:
        return None
    method, target, _ = line.decode("latin-1").split(" ", 2)
    headers = {}
    for line in iter(reader.readline, b"\r\n"):
        if not line:
            return None
        name, _, value = line.decode("latin-1").partition(":")
        headers[name.lower()] = value.strip()
    body = reader.read(int(headers.get("content-length", "0")))
    return Asked(method, target, headers, body)


def tunnel(tls: ssl.SSLContext, *steps: Step) -> tuple[Step, Scripted]:
    """Return a proxy's step that makes a tunnel of CONNECT, and the server at its other end."""
    server = Scripted("", deque(steps))

    def connect(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 200 Established\r\n\r\n")
        _serve(server, connection, tls)

    return connect, server


def silent(connection: socket.socket) -> None:
    """Say nothing, until the connection is closed."""
    connection.recv(1)


def after(beginning: bytes) -> Step:
    """Return a step that says this, and then nothing more."""

    def begin(connection: socket.socket) -> None:
        connection.sendall(beginning)
        silent(connection)

    return begin


def trickling(beginning: bytes, drop: bytes) -> Step:
    """Return a step that goes on without an end, a drop at a time, until nobody listens."""

    def trickle(connection: socket.socket) -> None:
        connection.sendall(beginning)
        while True:
            time.sleep(0.02)
            connection.sendall(drop)

    return trickle


@contextmanager
def deaf(host: str = "127.0.0.1", port: int = 0) -> Iterator[int]:
    """A port on which connections are made, and nobody ever answers."""
    with socket.create_server((host, port), backlog=64) as listener:
        yield listener.getsockname()[1]


@contextmanager
def unreachable(host: str = "127.0.0.1", port: int = 0) -> Iterator[int]:
    """A port on which connections are neither made nor refused: its queue is full."""
    with ExitStack() as sockets:
        listener = sockets.enter_context(socket.socket())
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port or free_port()))
        listener.listen(0)
        for _ in range(4):
            waiting = sockets.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(listener.getsockname())
        assert select.select([listener], [], [], 10)[0], "one of them fills the queue"
        yield listener.getsockname()[1]

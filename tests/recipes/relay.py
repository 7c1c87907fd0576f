"""A relay to the gateway that loses what it is told to lose, and is cut when it is told so."""

import socket
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from enum import Enum
from typing import BinaryIO

from tests.support.http import Http


class Loss(Enum):
    ANSWER = "the request arrives, its answer does not"
    REQUEST = "the request never arrives"
    LATE = "the request arrives when it is let through, its answer does not"
    SILENCE = "the request never arrives, and nobody says so until the relay is cut"


@dataclass
class Letter:
    """A request on its way."""

    method: str
    data: bytes


class Relay:
    """A relay on loopback; the clients connect to `url`."""

    def __init__(self, gateway: Http, url: str) -> None:
        self.url = url
        self.lost: list[str] = []
        self.served: list[str] = []
        self.refused: list[str] = []
        self._gateway = (gateway.host, gateway.port)
        self._guard = threading.Lock()
        self._losses: list[tuple[str, Loss]] = []
        self._late: list[Letter] = []
        self._open: set[socket.socket] = set()
        self._cut = False
        self._silence = threading.Event()

    def lose(self, method: str, *losses: Loss) -> None:
        """Lose the next requests of a method on keys, one after the other."""
        self._losses.extend((method, loss) for loss in losses)

    def let_through(self) -> None:
        """Hand over the requests that are late."""
        with self._guard:
            letters, self._late = self._late, []
        for letter in letters:
            with socket.create_connection(self._gateway, timeout=10) as gateway:
                gateway.sendall(letter.data)
                gateway.recv(65536)

    def cut(self) -> None:
        """Break all connections, and every later one, until `mend`."""
        self._silence.set()
        with self._guard:
            self._cut = True
            connections = list(self._open)
        for connection in connections:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def mend(self) -> None:
        self._cut = False

    def serve(self, client: socket.socket) -> None:
        """Relay what comes on one connection."""
        with self._guard:
            if self._cut:
                self.refused.append("connection")
                return
            self._open.add(client)
        try:
            with suppress(OSError, ValueError), client.makefile("rb") as reader:
                while (letter := _read(reader)) is not None and self._pass_on(letter, client):
                    pass
        finally:
            with self._guard:
                self._open.discard(client)

    def _pass_on(self, letter: Letter, client: socket.socket) -> bool:
        """Relay a request and its answer; return whether the connection goes on."""
        self.served.append(letter.method)
        # A gateway that does not say that it honours idempotency keys gets no write twice, so that
        # what these tests lose stays lost.
        asked = letter.data.partition(b"\r\n")[0]
        if b"/capabilities " in asked:
            return False
        of_a_key = b"/keys/" in asked or b"/touch/" in asked
        loss = self._loss(letter.method) if of_a_key else None
        if loss is Loss.REQUEST:
            return False
        if loss is Loss.SILENCE:
            self._silence.wait(60)
            return False
        if loss is Loss.LATE:
            with self._guard:
                self._late.append(letter)
            return False
        with socket.create_connection(self._gateway, timeout=60) as gateway:
            with self._guard:
                self._open.add(gateway)
            try:
                gateway.sendall(letter.data)
                with gateway.makefile("rb") as reader:
                    return _answer(reader, None if loss is Loss.ANSWER else client)
            finally:
                with self._guard:
                    self._open.discard(gateway)

    def _loss(self, method: str) -> Loss | None:
        with self._guard:
            for place, (name, loss) in enumerate(self._losses):
                if name == method:
                    del self._losses[place]
                    self.lost.append(f"{loss.name} of {method}")
                    return loss
        return None


def _head(reader: BinaryIO) -> tuple[bytes, int | None]:
    """Read first line and headers; return them, and the length of what follows if it is said."""
    lines = [reader.readline()]
    while lines[-1] not in (b"\r\n", b""):
        lines.append(reader.readline())
    length = None
    for line in lines:
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            length = int(value)
    return b"".join(lines), length


def _read(reader: BinaryIO) -> Letter | None:
    head, length = _head(reader)
    if not head:
        return None
    return Letter(head.split()[0].decode(), head + reader.read(length or 0))


def _answer(reader: BinaryIO, client: socket.socket | None) -> bool:
    head, length = _head(reader)
    empty = head.split()[1] in (b"204", b"304")
    body = b"" if empty else reader.read(length or 0)
    if client is None:
        return False
    client.sendall(head + body)
    if empty or length is not None:
        return True
    while chunk := reader.read1(65536):
        client.sendall(chunk)
    return False


@contextmanager
def relay_to(gateway: Http) -> Iterator[Relay]:
    relay: Relay

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            relay.serve(self.request)

    class Server(socketserver.ThreadingTCPServer):
        daemon_threads = True
        block_on_close = False

    with Server(("127.0.0.1", 0), Handler) as server:
        relay = Relay(gateway, f"http://127.0.0.1:{server.server_address[1]}")
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        try:
            yield relay
        finally:
            relay.cut()
            server.shutdown()
            thread.join(5)

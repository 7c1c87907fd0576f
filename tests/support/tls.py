"""Certificates of our own, servers that use them, and somebody who takes TLS out of an offer."""

import asyncio
import re
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import trustme

from jetkv.testing import LocalNats


class Certificates:
    """A CA, and files of certificates that it has issued."""

    def __init__(self, folder: Path, name: str = "ca") -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._ca = trustme.CA()
        self.ca = folder / f"{name}.pem"
        self._ca.cert_pem.write_to_path(self.ca)

    def issue(self, *names: str, file: str = "server") -> tuple[Path, Path]:
        """Write a certificate for DNS names or addresses, and return it and its key."""
        issued = self._ca.issue_cert(*names)
        cert, key = self._folder / f"{file}.pem", self._folder / f"{file}.key"
        cert.write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
        issued.private_key_pem.write_to_path(key)
        return cert, key

    def server_config(self, *names: str, more: str = "") -> str:
        """The `tls` block of a nats-server with a certificate for `names`, `localhost` if none."""
        cert, key = self.issue(*(names or ("localhost",)), file="-".join(names) or "server")
        return f'tls {{ cert_file: "{cert}", key_file: "{key}", timeout: 5\n{more} }}'


def secure_url(server: LocalNats, scheme: str = "tls", host: str = "localhost") -> str:
    return f"{scheme}://{host}:{server.port}"


class TlsFirstNats(LocalNats):
    """A nats-server that says nothing before TLS, so that it is up when it takes connections."""

    def _listening(self, ports: Path) -> bool:
        found = re.search(r"127\.0\.0\.1:(\d+)", ports.read_text() if ports.exists() else "")
        if found is None:
            return False
        self._port = int(found[1])
        with socket.create_connection(("127.0.0.1", self._port), timeout=1):
            return True


class Stripper:
    """Stands between a client and its server, and takes TLS out of what the server offers.

    Attributes:
        heard: all that clients have sent.
        calls: how many connections there were.
    """

    def __init__(self, target: int) -> None:
        self._target = target
        self.heard = b""
        self.calls = 0
        self.port = 0

    async def take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.calls += 1
        server_reader, server = await asyncio.open_connection("127.0.0.1", self._target)
        try:
            offer = await server_reader.readline()
            for word in (b"tls_required", b"tls_available"):
                offer = offer.replace(b'"%s":true' % word, b'"%s":false' % word)
            writer.write(offer)
            async with asyncio.TaskGroup() as both:
                both.create_task(self._carry(reader, server, keep=True))
                both.create_task(self._carry(server_reader, writer))
        except (OSError, asyncio.CancelledError, ExceptionGroup):
            pass
        finally:
            writer.close()
            server.close()

    async def _carry(
        self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, *, keep: bool = False
    ) -> None:
        while piece := await source.read(65536):
            if keep:
                self.heard += piece
            sink.write(piece)
            await sink.drain()
        raise ConnectionResetError


@contextmanager
def stripped(target: int) -> Iterator[Stripper]:
    """Run a `Stripper` in front of a port, in a thread of its own."""
    stripper = Stripper(target)
    up = threading.Event()
    loop = asyncio.new_event_loop()

    async def serve() -> None:
        server = await asyncio.start_server(stripper.take, "127.0.0.1", 0)
        stripper.port = server.sockets[0].getsockname()[1]
        up.set()
        async with server:
            await asyncio.Event().wait()

    serving = loop.create_task(serve())

    def run() -> None:
        try:
            loop.run_until_complete(serving)
        except asyncio.CancelledError:
            for task in asyncio.all_tasks(loop):
                task.cancel()
            loop.run_until_complete(asyncio.sleep(0.01))
        loop.close()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    assert up.wait(5)
    try:
        yield stripper
    finally:
        loop.call_soon_threadsafe(serving.cancel)
        thread.join(5)

"""TLS for the connections of clients: certificate, key and client CAs, read again when they change.

The files are read into memory at once, so a certificate and its key cannot be of two generations.
Each change makes a new context for the next connections. Open connections keep theirs. If a file
cannot be used, the last good content stays in use, also for a worker that starts meanwhile.
"""

import logging
import os
import ssl
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jetkv_gateway.serving.options import CannotStart

__all__ = ["ListenerFiles", "ServerTls"]

_log = logging.getLogger("jetkv")

# Forward secrecy and authenticated encryption only. TLS 1.3 has its own list, which is all of it.
_CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20"
_MAX_FILE_BYTES = 1024 * 1024


@dataclass(frozen=True, slots=True)
class ListenerFiles:
    """PEM files.

    Attributes:
        cert: the certificate chain of the server.
        key: its private key. None if `cert` contains it.
        client_ca: CAs of client certificates. With them, every client needs a certificate.
    """

    cert: Path
    key: Path | None = None
    client_ca: Path | None = None

    def __iter__(self) -> Iterator[Path | None]:
        return iter((self.cert, self.key, self.client_ca))


_Content = tuple[bytes, bytes | None, bytes | None]


class ServerTls:
    """The TLS context of a listener.

    It is pickled for each worker with its last good content, so a worker can start while the files
    are broken.

    Raises:
        CannotStart: the files cannot be used. The text is one line for the operator.
    """

    def __init__(self, files: ListenerFiles) -> None:
        self._files = files
        self._content: _Content | None = None
        # The state of the files when they were read, and at the last look.
        self._read = self._seen = [_state(file) for file in files]
        try:
            self._content = _read(files)
            self._context = _context(self._content)
        except (OSError, ValueError) as error:
            raise CannotStart(_reason(error)) from error

    @property
    def context(self) -> ssl.SSLContext:
        """The context for the next connection."""
        return self._context

    def refresh(self, *, force: bool = False, quiet: bool = False) -> None:
        """Read the files again if they have changed, and are complete.

        Changed files are read when two looks in a row find them the same, since a certificate and
        its key may be written one after the other. Call it about once a second, in one thread.

        Args:
            force: read them in any case, and log the result.
            quiet: do not log.
        """
        seen, self._seen = self._seen, [_state(file) for file in self._files]
        if not force and (self._seen == self._read or self._seen != seen):
            return
        self._read = self._seen
        try:
            content = _read(self._files)
            changed = content != self._content
            if changed:
                self._context = _context(content)
                self._content = content
        except (OSError, ValueError) as error:
            if not quiet:
                _log.error("%s; the last good certificate stays in use", _reason(error))
            return
        if (changed or force) and not quiet:
            what = "a new certificate" if changed else "the same certificate"
            _log.info("new connections use %s: %s", what, self._files.cert)

    def __getstate__(self) -> dict[str, Any]:
        return {"files": self._files, "content": self._content, "read": self._read}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self._files, self._content = state["files"], state["content"]
        self._read = self._seen = state["read"]
        self._context = _context(state["content"])


def _state(file: Path | None) -> tuple[int, ...]:
    if file is not None:
        with suppress(OSError):
            stat = file.stat()
            return stat.st_mtime_ns, stat.st_size, stat.st_ino
    return ()


def _read(files: ListenerFiles) -> _Content:
    cert, key, client_ca = (None if file is None else _read_file(file) for file in files)
    assert cert is not None, "its file is required"
    return cert, key, client_ca


def _read_file(file: Path) -> bytes:
    # Reading a pipe would block.
    if not file.is_file():
        raise ValueError(f"no such file: {file}")
    with file.open("rb") as opened:
        content = opened.read(_MAX_FILE_BYTES)
    if b"-----BEGIN " not in content:
        raise ValueError(f"{file} has no PEM block")
    return content


def _reason(error: OSError | ValueError) -> str:
    if isinstance(error, ssl.SSLError):
        text = error.reason or str(error)
    elif isinstance(error, OSError):
        text = f"{error.filename or ''}: {error.strerror or error}"
    else:
        text = str(error)
    return f"cannot use the files of tls_cert, tls_key and tls_client_ca: {text}"


def _context(content: _Content) -> ssl.SSLContext:
    cert, key, client_ca = content
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION
    context.set_ciphers(_CIPHERS)
    context.set_alpn_protocols(["http/1.1"])
    with _as_file(cert) as cert_file, _as_file(key or cert) as key_file:
        # Without a password callback, OpenSSL would ask on the terminal and wait.
        context.load_cert_chain(cert_file, key_file, password=_no_password)
    if client_ca is not None:
        context.load_verify_locations(cadata=client_ca.decode("ascii", errors="replace"))
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def _no_password() -> str:
    raise ValueError("the private key is encrypted: decrypt it")


@contextmanager
def _as_file(content: bytes) -> Iterator[str]:
    """Yield the path of a file with this content. The `ssl` module reads keys from files only."""
    create = getattr(os, "memfd_create", None)
    if create is None:  # pragma: no cover - only Linux has it
        with tempfile.NamedTemporaryFile() as file:
            file.write(content)
            file.flush()
            yield file.name
        return
    descriptor = create("jetkv-tls")
    try:
        with open(descriptor, "wb", closefd=False) as file:
            file.write(content)
        yield f"/proc/self/fd/{descriptor}"
    finally:
        os.close(descriptor)

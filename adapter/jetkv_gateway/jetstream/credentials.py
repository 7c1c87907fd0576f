"""The credentials for NATS and the TLS files, read again when the files change.

The files are checked before each connection. If a file is invalid or half written at that moment,
the last valid one stays in use.
"""

import contextlib
import logging
import re
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

import nkeys  # type: ignore[import-untyped] # it ships no types

__all__ = [
    "Renewed",
    "SecretError",
    "TlsFiles",
    "expecting",
    "read_credentials",
    "read_nkey",
    "read_secret",
]

_log = logging.getLogger("jetkv.nats")

_JWT = re.compile(r"-{3,}BEGIN NATS USER JWT-{3,}\s+(\S+)\s+-{3,}END")
_DECORATED_SEED = re.compile(r"-{3,}BEGIN USER NKEY SEED-{3,}\s+(\S+)\s+-{3,}END")
_SEED = re.compile(r"^\s*(S[A-Z2-7]+)\s*$", re.MULTILINE)

_MAX_SECRET_BYTES = 64 * 1024

T = TypeVar("T")


class SecretError(Exception):
    """Raised for an unusable file. The text contains neither its path nor its content."""


class Renewed(Generic[T]):
    """The content of files, read again when they change.

    Args:
        what: a name of the files, for messages.
        files: the files whose changes count.
        load: reads them; raises `SecretError`, OSError or ssl.SSLError.

    Attributes:
        problem: why the newest content cannot be used, without its details, or None.
    """

    def __init__(self, what: str, files: tuple[Path, ...], load: Callable[[], T]) -> None:
        self._what = what
        self._files = files
        self._load = load
        self._seen: list[tuple[int, ...]] | None = None
        self._good: T | None = None
        self.problem: str | None = None

    def get(self) -> T:
        """Return the current content, or the last valid one.

        Raises:
            SecretError: the files have never been valid.
        """
        state = [_state(file) for file in self._files]
        if self._good is not None and state == self._seen:
            return self._good
        try:
            if not all(file.is_file() for file in self._files):
                raise SecretError("no such file")  # noqa: TRY301 - one place says what follows
            good = self._load()
        except (SecretError, OSError, ssl.SSLError) as error:
            reason = error.strerror or str(error) if isinstance(error, OSError) else str(error)
            text = f"cannot use {self._what}: {reason}"
            if self._good is None:
                raise SecretError(text) from error
            if state != self._seen:
                _log.warning("%s; the last valid content stays in use", text)
            good = self._good
            self.problem = f"cannot use {self._what}; the last valid content stays in use"
        else:
            self.problem = None
        self._seen = state
        self._good = good
        return good


def _state(file: Path) -> tuple[int, ...]:
    with contextlib.suppress(OSError):
        stat = file.stat()
        return stat.st_mtime_ns, stat.st_size, stat.st_ino
    return ()


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """PEM files: CAs that replace the system's, and a client certificate with its key."""

    ca: Path | None = None
    cert: Path | None = None
    key: Path | None = None

    def renewed(self) -> Renewed[ssl.SSLContext]:
        """Return the TLS context of these files."""
        files = [file for file in (self.ca, self.cert, self.key) if file is not None]
        if self.ca is None and (system := ssl.get_default_verify_paths().cafile) is not None:
            files.append(Path(system))
        return Renewed("the TLS files for NATS", tuple(files), self._context)

    def _context(self) -> ssl.SSLContext:
        context = ssl.create_default_context(cafile=self.ca)
        if self.cert is not None:
            # Without a password callback, OpenSSL would ask on the terminal and wait.
            context.load_cert_chain(self.cert, self.key, password=_no_password)
        return context


def _no_password() -> str:
    raise SecretError("the key of the client certificate is encrypted: decrypt it")


def expecting(context: ssl.SSLContext, name: str) -> ssl.SSLContext:
    """Make a context expect `name` in certificates, whatever host the connection goes to.

    nats-py passes a host name only for plain connections, not for WebSockets.
    """
    wrap = ssl.SSLContext.wrap_bio

    def wrap_bio(*args: Any, **kwargs: Any) -> ssl.SSLObject:
        kwargs["server_hostname"] = name
        return wrap(context, *args[:3], **kwargs)

    context.wrap_bio = wrap_bio  # type: ignore[method-assign] # asyncio and uvloop both call it
    return context


def read_credentials(file: Path) -> str:
    """Return a credentials file (JWT and seed) in a form that nats-py can read.

    nats-py treats Windows line ends as a part of the secret, and loops forever if the JWT is
    missing.

    Raises:
        OSError: the file cannot be read.
        SecretError: the file is not complete.
    """
    text = _text(file)
    jwt, seed = _JWT.search(text), _DECORATED_SEED.search(text)
    if jwt is None or seed is None:
        missing = "user JWT" if jwt is None else "user seed"
        raise SecretError(f"it has no {missing}: are the credentials complete?")
    _check_seed(seed[1])
    return (
        f"-----BEGIN NATS USER JWT-----\n{jwt[1]}\n------END NATS USER JWT------\n"
        f"-----BEGIN USER NKEY SEED-----\n{seed[1]}\n------END USER NKEY SEED------\n"
    )


def read_secret(file: Path) -> str:
    """Return the password or token in a file, without the end of its only line.

    Raises:
        OSError: the file cannot be read.
        SecretError: it is empty, too large, or no text.
    """
    # Reading a pipe would block.
    if not file.is_file():
        raise SecretError("no such file")
    with file.open("rb") as opened:
        content = opened.read(_MAX_SECRET_BYTES + 1)
    if len(content) > _MAX_SECRET_BYTES:
        raise SecretError(f"it has more than {_MAX_SECRET_BYTES} bytes")
    try:
        text = content.decode()
    except UnicodeDecodeError as error:
        raise SecretError("it is not UTF-8") from error
    # An editor ends the last line; a secret that ends so is not known.
    text = text.removesuffix("\n").removesuffix("\r")
    if not text:
        raise SecretError("it is empty")
    return text


def read_nkey(file: Path) -> str:
    """Return the seed in a file; other lines, such as comments, are ignored.

    Raises:
        OSError: the file cannot be read.
        SecretError: there is no seed, or only a part of one.
    """
    seed = _SEED.search(_text(file))
    if seed is None:
        raise SecretError("it has no seed: are the credentials complete?")
    _check_seed(seed[1])
    return seed[1]


def _text(file: Path) -> str:
    return file.read_bytes().decode("utf-8-sig", errors="replace")


def _check_seed(seed: str) -> None:
    try:
        prefix, raw = nkeys.decode_seed(bytearray(seed.encode()))
        if nkeys.encode_seed(raw, prefix).decode() != seed:
            raise SecretError("its checksum is wrong")  # noqa: TRY301 - nkeys does not look at it
    except Exception as error:  # depending on what is wrong it raises anything
        raise SecretError("invalid seed: are the credentials complete?") from error

"""What the gateway shows to NATS, and what it checks NATS by: files that are renewed meanwhile.

They are looked at before each connection. A file that is broken at that moment, or half written,
leaves the last good one in force.
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

__all__ = ["Renewed", "SecretError", "TlsFiles", "expecting", "read_credentials", "read_nkey"]

_log = logging.getLogger("jetkv.nats")

_JWT = re.compile(r"-{3,}BEGIN NATS USER JWT-{3,}\s+(\S+)\s+-{3,}END")
_DECORATED_SEED = re.compile(r"-{3,}BEGIN USER NKEY SEED-{3,}\s+(\S+)\s+-{3,}END")
_SEED = re.compile(r"^\s*(S[A-Z2-7]+)\s*$", re.MULTILINE)

T = TypeVar("T")


class SecretError(Exception):
    """Raised for a file that cannot be used. The text names neither its path nor what is in it."""


class Renewed(Generic[T]):
    """What files hold, read again once they change.

    Args:
        what: the files, in words.
        files: whose change counts.
        load: reads them; raises `SecretError`, OSError or ssl.SSLError.
    """

    def __init__(self, what: str, files: tuple[Path, ...], load: Callable[[], T]) -> None:
        self._what = what
        self._files = files
        self._load = load
        self._seen: list[tuple[int, ...]] | None = None
        self._good: T | None = None

    def get(self) -> T:
        """Return what the files hold now, or held when they were last good.

        Raises:
            SecretError: they have never been good.
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
                _log.warning("%s; those read before stay in force", text)
            good = self._good
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
    """Files of PEM: CAs to trust instead of the system's, and a client certificate with its key."""

    ca: Path | None = None
    cert: Path | None = None
    key: Path | None = None

    def renewed(self) -> Renewed[ssl.SSLContext]:
        """Return the context made of them."""
        files = [file for file in (self.ca, self.cert, self.key) if file is not None]
        if self.ca is None and (system := ssl.get_default_verify_paths().cafile) is not None:
            files.append(Path(system))
        return Renewed("the TLS files for NATS", tuple(files), self._context)

    def _context(self) -> ssl.SSLContext:
        context = ssl.create_default_context(cafile=self.ca)
        if self.cert is not None:
            # Without a password of its own, OpenSSL would ask for one on the terminal, and wait.
            context.load_cert_chain(self.cert, self.key, password=_no_password)
        return context


def _no_password() -> str:
    raise SecretError("the key of the client certificate is encrypted: decrypt it")


def expecting(context: ssl.SSLContext, name: str) -> ssl.SSLContext:
    """Have a context expect `name` in certificates, whatever its user connects to.

    nats-py names a host of its own to plain connections only, not to WebSockets.
    """
    wrap = ssl.SSLContext.wrap_bio

    def wrap_bio(*args: Any, **kwargs: Any) -> ssl.SSLObject:
        kwargs["server_hostname"] = name
        return wrap(context, *args[:3], **kwargs)

    context.wrap_bio = wrap_bio  # type: ignore[method-assign] # asyncio and uvloop both call it
    return context


def read_credentials(file: Path) -> str:
    """Return a credentials file (JWT and seed) in the form that nats-py can read.

    nats-py takes line ends of Windows for a part of the secret, and looks for ever for a JWT that
    is not there.

    Raises:
        OSError: it cannot be read.
        SecretError: it is not whole.
    """
    text = _text(file)
    jwt, seed = _JWT.search(text), _DECORATED_SEED.search(text)
    if jwt is None or seed is None:
        missing = "user JWT" if jwt is None else "user seed"
        raise SecretError(f"it has no {missing}: are the credentials whole?")
    _check_seed(seed[1])
    return (
        f"-----BEGIN NATS USER JWT-----\n{jwt[1]}\n------END NATS USER JWT------\n"
        f"-----BEGIN USER NKEY SEED-----\n{seed[1]}\n------END USER NKEY SEED------\n"
    )


def read_nkey(file: Path) -> str:
    """Return the seed in a file; other lines, such as comments, are ignored.

    Raises:
        OSError: it cannot be read.
        SecretError: it holds no seed, or not all of it.
    """
    seed = _SEED.search(_text(file))
    if seed is None:
        raise SecretError("it has no seed: are the credentials whole?")
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
        raise SecretError("invalid seed: are the credentials whole?") from error

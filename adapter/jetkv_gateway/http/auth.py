"""Bearer tokens from a file of `name:sha256` lines.

The file holds hashes, so reading it lets nobody in. It is read again when it changes; one that
cannot be read then, or breaks the form, leaves the last good one in force and is reported on
`/ready`, in a word that may be shown to everybody, and in full in the log.
"""

import hashlib
import hmac
import logging
import os
import re
import secrets
import stat
from base64 import b64decode
from collections.abc import Iterable
from pathlib import Path
from typing import Protocol

from jetkv_gateway.kv.access import ANONYMOUS, Principal
from jetkv_gateway.kv.errors import Unauthenticated

__all__ = [
    "Authenticator",
    "NoAuth",
    "TokenFile",
    "TokenFileError",
    "new_token",
    "socket_credential",
    "token_line",
]

_log = logging.getLogger("jetkv.auth")

_SUBPROTOCOL = "ironflow.auth.bearer."
_NAME = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_LINE = re.compile(r"([A-Za-z0-9_.-]{1,64}):([0-9a-f]{64})")
_MOST_BYTES = 1024 * 1024
_PROBLEM = "the token file cannot be used; the tokens read before are in force; see the log"


class Authenticator(Protocol):
    """Tells who is calling."""

    @property
    def required(self) -> bool:
        """Whether a credential is needed at all."""
        ...

    @property
    def problem(self) -> str | None:
        """What is wrong, in words that may be shown to everybody, or None."""
        ...

    def refresh(self, *, force: bool = False, quiet: bool = False) -> None:
        """Read again what is kept in files where it has changed. It blocks: not for an event loop.

        Args:
            force: read it in any case, and say so in the log.
            quiet: say so at the level of debugging only: others say it, too.
        """
        ...

    def authenticate(self, authorization: bytes | None) -> Principal:
        """Return the caller of an `Authorization` header.

        Raises:
            Unauthenticated
        """
        ...


class NoAuth:
    """Everybody is welcome; a credential is ignored (docs/http-api.md#authentication)."""

    required = False
    problem = None

    def refresh(self, *, force: bool = False, quiet: bool = False) -> None: ...

    def authenticate(self, _authorization: bytes | None) -> Principal:
        return ANONYMOUS


def socket_credential(authorization: bytes | None, subprotocols: Iterable[str]) -> bytes | None:
    """Return the credential of a WebSocket handshake as an `Authorization` header has it.

    A browser cannot send a header there, so its clients offer the token as a subprotocol
    (docs/watch.md#websockets). If there is a header, it decides.
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


class TokenFileError(Exception):
    """Raised at start when the token file cannot be used; the text says why."""


class TokenFile:
    """Tokens of a file, as they were when `look` was called last.

    Raises:
        TokenFileError: the file cannot be read, or a line is not `name:sha256`.
    """

    required = True

    def __init__(self, path: Path) -> None:
        self._path = path
        self._stamp = self._stat()
        self._tokens = _parse(path)
        self._trouble: str | None = None

    @property
    def problem(self) -> str | None:
        return _PROBLEM if self._trouble else None

    def authenticate(self, authorization: bytes | None) -> Principal:
        scheme, _, token = (authorization or b"").partition(b" ")
        token = token.strip()
        if scheme.lower() != b"bearer" or not token:
            raise Unauthenticated(hint="send Authorization: Bearer <token>")
        digest = hashlib.sha256(token).hexdigest()
        found: str | None = None
        # Every line is compared, so that the time taken tells nothing of which one matched.
        for name, known in self._tokens:
            if hmac.compare_digest(known, digest):
                found = name
        if found is None:
            raise Unauthenticated(hint="this token is not known here")
        return Principal(found, "token")

    def refresh(self, *, force: bool = False, quiet: bool = False) -> None:
        stamp = self._stat()
        # What could not be read is tried again even so: it may have been for want of a descriptor.
        if stamp == self._stamp and self._trouble is None and not force:
            return
        self._stamp = stamp
        before = self._trouble
        try:
            self._tokens = _parse(self._path)
        except TokenFileError as error:
            self._trouble = f"{error}; the tokens read before are still in force"
            if force or self._trouble != before:
                _log.log(logging.DEBUG if quiet else logging.ERROR, "%s", self._trouble)
        else:
            self._trouble = None
            level = logging.DEBUG if quiet else logging.INFO
            _log.log(level, "read %d tokens from %s", len(self._tokens), self._path)

    def _stat(self) -> tuple[int, ...] | None:
        try:
            status = self._path.stat()
        except OSError:
            return None
        # The time of the last change of rights, too: they may be what it cannot be read for.
        return status.st_mtime_ns, status.st_ctime_ns, status.st_size, status.st_ino


def _parse(path: Path) -> list[tuple[str, str]]:
    tokens = []
    for number, text in enumerate(_read(path).splitlines(), start=1):
        line = text.strip()
        if not line or line.startswith("#"):
            continue
        match = _LINE.fullmatch(line)
        if match is None:
            raise TokenFileError(
                f"{path}, line {number}: must be name:sha256, as `jetkv token new NAME` prints it"
            )
        tokens.append((match[1], match[2]))
    return tokens


def _read(path: Path) -> str:
    """Return the text of a file, and never wait for a writer, as a pipe would have it."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            regular = stat.S_ISREG(os.fstat(descriptor).st_mode)
            content = os.read(descriptor, _MOST_BYTES + 1) if regular else b""
        finally:
            os.close(descriptor)
        text = content.decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise TokenFileError(f"cannot read the token file {path}: {error}") from error
    if not regular:
        raise TokenFileError(f"cannot read the token file {path}: it is no regular file")
    if len(content) > _MOST_BYTES:
        raise TokenFileError(f"cannot read the token file {path}: it is over {_MOST_BYTES} bytes")
    return text


def new_token() -> str:
    """Return a random token, 256 bits."""
    return "jetkv_" + secrets.token_urlsafe(32)


def token_line(name: str, token: str) -> str:
    """Return the line of a token file.

    Raises:
        ValueError: the name is not 1 to 64 of A-Z a-z 0-9 _ . -
    """
    if _NAME.fullmatch(name) is None:
        raise ValueError("a token's name is 1 to 64 characters of A-Z a-z 0-9 _ . -")
    return f"{name}:{hashlib.sha256(token.encode()).hexdigest()}"

"""Bearer tokens from a file of `name:sha256` lines.

The file holds hashes, so reading it gives nobody access. The gateway reads the file again when it
changes. If the file is then unreadable or malformed, the tokens read before stay in force. `/ready`
reports the problem in a text that everybody may see; the log has the details.
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
_PROBLEM = "the token file cannot be used; the tokens read before stay in force; see the log"


class Authenticator(Protocol):
    """Identifies the caller of a request."""

    @property
    def required(self) -> bool:
        """Whether callers need a credential."""
        ...

    @property
    def problem(self) -> str | None:
        """The current problem in a text that everybody may see, or None."""
        ...

    def refresh(self, *, force: bool = False, quiet: bool = False) -> None:
        """Read files again if they have changed. It blocks, so do not call it in an event loop.

        Args:
            force: read them even if they have not changed, and log the result.
            quiet: log at the debug level only, because another process logs the same.
        """
        ...

    def authenticate(self, authorization: bytes | None) -> Principal:
        """Return the caller that an `Authorization` header identifies.

        Raises:
            Unauthenticated
        """
        ...


class NoAuth:
    """Lets everybody in. A credential is ignored (docs/http-api.md#authentication)."""

    required = False
    problem = None

    def refresh(self, *, force: bool = False, quiet: bool = False) -> None: ...

    def authenticate(self, _authorization: bytes | None) -> Principal:
        return ANONYMOUS


def socket_credential(authorization: bytes | None, subprotocols: Iterable[str]) -> bytes | None:
    """Return the credential of a WebSocket handshake as an `Authorization` header.

    A browser cannot send this header with a handshake, so its clients offer the token as a
    subprotocol (docs/watch.md#websockets). If there is a header, it takes precedence.
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
    """Raised at start if the token file cannot be used. The text says why."""


class TokenFile:
    """The tokens of a file, as the last call of `refresh` read them.

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
        # Every line is compared, so that the time taken does not show which one matched.
        for name, known in self._tokens:
            if hmac.compare_digest(known, digest):
                found = name
        if found is None:
            raise Unauthenticated(hint="this token is unknown")
        return Principal(found, "token")

    def refresh(self, *, force: bool = False, quiet: bool = False) -> None:
        stamp = self._stat()
        # A failed read is repeated, since its cause may have been a lack of file descriptors.
        if stamp == self._stamp and self._trouble is None and not force:
            return
        self._stamp = stamp
        before = self._trouble
        try:
            self._tokens = _parse(self._path)
        except TokenFileError as error:
            self._trouble = f"{error}; the tokens read before stay in force"
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
        # `st_ctime_ns` also changes with the permissions, which may be why a read failed.
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
    """Return the text of a file. Never wait for a writer, as reading a pipe would."""
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
        raise TokenFileError(f"cannot read the token file {path}: it is not a regular file")
    if len(content) > _MOST_BYTES:
        raise TokenFileError(f"cannot read the token file {path}: it has over {_MOST_BYTES} bytes")
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

"""Tokens of a file: `name:sha256 SCOPE… [expires=RFC 3339] [rate=N] [buckets=N] [bytes=N]` a line.

The file holds hashes, so reading it gives nobody access.
"""

import os
import re
import stat
from pathlib import Path

from jetkv_gateway.auth.kept_file import FileError, KeptFile
from jetkv_gateway.auth.token_table import TokenTable
from jetkv_gateway.auth.tokens import Token, check_limits, grants_of, quota_of, read_time
from jetkv_gateway.kv.errors import InvalidArgument

__all__ = ["TokenFile", "TokenFileError"]

_HEAD = re.compile(r"([A-Za-z0-9_.-]{1,64}):([0-9a-f]{64})")
_EXPIRES = "expires="
_NUMBERS = ("rate", "buckets", "bytes")
_NUMBER = re.compile(r"(rate|buckets|bytes)=([0-9]{1,16})")
_MOST_BYTES = 16 * 1024 * 1024
_PROBLEM = "the token file cannot be used; the tokens read before stay in force; see the log"


class TokenFileError(FileError):
    """Raised at start if the token file cannot be used. The text says why."""


class TokenFile:
    """The tokens of a file, as the last call of `refresh` read them. A source of tokens.

    Raises:
        TokenFileError: the file cannot be read, or a line breaks a rule.
    """

    def __init__(self, path: Path) -> None:
        self._file = KeptFile(path, _parse, "tokens")

    @property
    def version(self) -> int:
        return self._file.version

    @property
    def problem(self) -> str | None:
        return _PROBLEM if self._file.failed else None

    def find(self, digest: bytes) -> Token | None:
        return self._file.content.find(digest)

    def named(self, name: str) -> list[Token]:
        """Return the tokens that have this name. There may be two while they are changed."""
        return self._file.content.named(name)

    def tokens(self) -> list[Token]:
        """Return all tokens of the file."""
        return self._file.content.tokens()

    def refresh(self, *, force: bool = False, quiet: bool = False) -> None:
        self._file.refresh(force=force, quiet=quiet)


def _parse(path: Path) -> TokenTable:
    tokens = []
    for number, text in enumerate(_read(path).splitlines(), start=1):
        line = text.strip()
        if not line or line.startswith("#"):
            continue
        try:
            tokens.append(_token(line))
        except (ValueError, InvalidArgument) as error:
            raise TokenFileError(f"{path}, line {number}: {error}") from error
    return TokenTable(tokens)


def _token(line: str) -> Token:
    """Read a line.

    Raises:
        ValueError, InvalidArgument: it breaks a rule. The text never repeats what could be a token.
    """
    head, *words = line.split()
    match = _HEAD.fullmatch(head)
    if match is None:
        raise ValueError("must be name:sha256 SCOPE…, as `jetkv token new NAME` prints it")
    options = tuple(f"{name}=" for name in _NUMBERS)
    numbers = _numbers([word for word in words if word.startswith(options)])
    words = [word for word in words if not word.startswith(options)]
    scopes = [word for word in words if not word.startswith(_EXPIRES)]
    expiries = [word for word in words if word.startswith(_EXPIRES)]
    if len(expiries) > 1:
        raise ValueError("expires= is given twice")
    expires_at = read_time(expiries[0].removeprefix(_EXPIRES)) if expiries else None
    if not scopes:
        full = " ".join([head, "*:*", *expiries])
        raise ValueError(
            f"{match[1]} has no scopes; to let it do everything, as before, write: {full}"
        )
    grants_of(tuple(scopes))
    quota = quota_of(numbers.get("buckets"), numbers.get("bytes"))
    check_limits(None, numbers.get("rate"), quota)
    digest = bytes.fromhex(match[2])
    return Token(match[1], digest, tuple(scopes), expires_at, numbers.get("rate"), quota)


def _numbers(words: list[str]) -> dict[str, int]:
    """Read `rate=`, `buckets=` and `bytes=`.

    Raises:
        ValueError: one is not a number, or is given twice.
    """
    found: dict[str, int] = {}
    for word in words:
        match = _NUMBER.fullmatch(word)
        if match is None or match[1] in found:
            name = word.partition("=")[0]
            raise ValueError(f"{name}= must be one number")
        found[match[1]] = int(match[2])
    return found


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

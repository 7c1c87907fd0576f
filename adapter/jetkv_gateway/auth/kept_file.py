"""A file of credentials that is read again when it changes.

If it is then unreadable or malformed, what was read before stays in force. `/ready` reports the
problem in a text that everybody may see; the log has the details.
"""

import logging
from collections.abc import Callable, Sized
from pathlib import Path
from typing import Generic, TypeVar

__all__ = ["FileError", "KeptFile"]

_log = logging.getLogger("jetkv.auth")

T = TypeVar("T", bound=Sized)


class FileError(Exception):
    """Raised if a file cannot be used. The text says why."""


class KeptFile(Generic[T]):
    """What a file holds, as it was read last without an error.

    Args:
        read: reads the file, or raises FileError.
        what: it holds, in words for the log, such as "tokens".

    Attributes:
        content: what `read` returned.
        version: grows with each reading.

    Raises:
        FileError: as `read` does.
    """

    def __init__(self, path: Path, read: Callable[[Path], T], what: str) -> None:
        self._path = path
        self._read = read
        self._what = what
        self._stamp = self._stat()
        self._trouble: str | None = None
        self.version = 0
        self.content = read(path)

    @property
    def failed(self) -> bool:
        """Whether the file cannot be used as it is now."""
        return self._trouble is not None

    def refresh(self, *, force: bool = False, quiet: bool = False) -> None:
        """Read the file again if it has changed; see `auth.authenticator.Link`."""
        stamp = self._stat()
        # A failed read is repeated, since its cause may have been a lack of file descriptors.
        if stamp == self._stamp and self._trouble is None and not force:
            return
        self._stamp = stamp
        before = self._trouble
        try:
            self.content = self._read(self._path)
        except FileError as error:
            self._trouble = f"{error}; the {self._what} read before stay in force"
            if force or self._trouble != before:
                _log.log(logging.DEBUG if quiet else logging.ERROR, "%s", self._trouble)
        else:
            self._trouble = None
            self.version += 1
            level = logging.DEBUG if quiet else logging.INFO
            _log.log(level, "read %d %s from %s", len(self.content), self._what, self._path)

    def _stat(self) -> tuple[int, ...] | None:
        try:
            status = self._path.stat()
        except OSError:
            return None
        # `st_ctime_ns` also changes with the permissions, which may be why a read failed.
        return status.st_mtime_ns, status.st_ctime_ns, status.st_size, status.st_ino

"""Writes lines to a file in a thread of its own, whatever state the disk is in.

The file is opened for appending, and each write has whole lines, so several workers can write to
the same file. If the disk is full, the writer tries again, and the queue in front of it fills. What
does not fit is dropped and counted.
"""

import errno
import logging
import os
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Generic, TypeVar

from jetkv_gateway.telemetry.events import EVENTS

__all__ = ["AuditWriter"]

_log = logging.getLogger("jetkv")

_STDOUT = "-"
_MOST_BYTES = 64 * 1024
_MOST_BYTES_STDOUT = 4096
"""A pipe takes this many bytes in one piece (PIPE_BUF), so workers do not break each other's lines.
"""
_RETRY_SECONDS = 1.0
_LOOK_SECONDS = 1.0
_CLOSE_SECONDS = 2.0
_QUIET_SECONDS = 60.0
_REPORT_SECONDS = 10.0

T = TypeVar("T")


class AuditWriter(Generic[T]):
    """The queue and the thread.

    Args:
        target: a path, or `-` for the standard output.
        encode: returns the lines of a record. It runs in the thread.

    Raises:
        OSError: the file cannot be opened.
    """

    MOST = 16_384
    """Lines that may wait. A batch has up to 1,000, each with a key of up to 512 bytes."""

    def __init__(self, target: str, encode: Callable[[T], Iterable[bytes]]) -> None:
        self._target = target
        self._encode = encode
        self._most_bytes = _MOST_BYTES_STDOUT if target == _STDOUT else _MOST_BYTES
        self._queue: deque[tuple[T, int]] = deque()
        # Each is written by one thread only, so the difference is right without a lock.
        self._taken = self._done = 0
        self._wake = threading.Event()
        self._ended = False
        self._deadline = float("inf")
        self._reopen = False
        self._cut = False
        self._looked_at = 0.0
        self._quiet_until = 0.0
        self._dropped = self._reported = 0
        self._next_report_at = 0.0
        self._thread = threading.Thread(target=self._run, name="audit", daemon=True)
        self._file = self._open()

    def start(self) -> None:
        self._thread.start()

    def put(self, record: T, lines: int = 1) -> None:
        """Take a record, or drop it if too many lines wait.

        Args:
            lines: that the record has.
        """
        if self._queue and self._taken - self._done + lines > self.MOST:
            self._dropped += lines
            if EVENTS.audit_dropped is not None:
                EVENTS.audit_dropped("queue_full", lines)
            return
        self._taken += lines
        self._queue.append((record, lines))
        if not self._wake.is_set():
            self._wake.set()

    def reopen(self) -> None:
        """Open the file again before the next write. Any thread may call it."""
        self._reopen = True
        self._wake.set()

    def close(self) -> None:
        """Write what is left, within two seconds."""
        self._deadline = time.monotonic() + _CLOSE_SECONDS
        self._ended = True
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join(_CLOSE_SECONDS + _RETRY_SECONDS)
        if self._file >= 0 and self._target != _STDOUT and not self._thread.is_alive():
            os.close(self._file)
            self._file = -1

    def _open(self) -> int:
        if self._target == _STDOUT:
            return sys.stdout.fileno()
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
        # A pipe without a reader would make this wait.
        return os.open(self._target, flags | os.O_NONBLOCK, 0o600)

    def _run(self) -> None:
        while not self._ended:
            self._wake.wait()
            self._wake.clear()
            try:
                self._write_all()
            except Exception:  # noqa: BLE001 - an error must not end the thread
                _log.exception("the audit log failed")
        if self._queue:
            left = self._taken - self._done
            _log.error("the audit log lost %d records at the stop", left)
            if EVENTS.audit_dropped is not None:
                EVENTS.audit_dropped("write_failed", left)

    def _write_all(self) -> None:
        self._follow_rename()
        self._report_dropped()
        while self._queue:
            self._follow_rename()
            # A record leaves the queue when it is written.
            lines: list[bytes] = []
            size = records = 0
            while records < len(self._queue) and size < self._most_bytes:
                for line in self._encode(self._queue[records][0]):
                    if lines and size + len(line) > self._most_bytes:
                        if not self._write(lines):
                            return
                        lines, size = [], 0
                    lines.append(line)
                    size += len(line)
                records += 1
            if not self._write(lines):
                return
            for _ in range(records):
                self._done += self._queue.popleft()[1]

    def _write(self, lines: list[bytes]) -> bool:
        """Write whole lines, and try again until that works. Return False if the gateway ends."""
        while lines:
            try:
                # After a failure, half a line may stand at the end of the file.
                written = os.write(self._file, b"\n" * self._cut + b"".join(lines))
            except OSError as error:
                self._cut = True
                if not self._wait_after(error):
                    return False
                continue
            written -= self._cut
            while lines and written >= len(lines[0]):
                written -= len(lines.pop(0))
            self._cut = written > 0
        return True

    def _wait_after(self, error: OSError) -> bool:
        """Wait after a failed write. Return whether to try again."""
        if isinstance(error, BlockingIOError):
            time.sleep(0.01)
            return time.monotonic() < self._deadline
        if time.monotonic() >= self._quiet_until:
            self._quiet_until = time.monotonic() + _QUIET_SECONDS
            reason = error.strerror or str(error)
            _log.error("cannot write the audit log: %s; the gateway tries again", reason)
        self._report_dropped()
        if self._ended:
            return False
        if EVENTS.audit_write_failed is not None:
            EVENTS.audit_write_failed()
        time.sleep(_RETRY_SECONDS)
        self._looked_at = 0.0
        self._reopen = self._reopen or error.errno in (errno.EBADF, errno.EPIPE, errno.ESTALE)
        self._follow_rename()
        return not self._ended

    def _report_dropped(self) -> None:
        """Log occasionally that records were dropped."""
        dropped = self._dropped
        if dropped != self._reported and time.monotonic() >= self._next_report_at:
            self._next_report_at = time.monotonic() + _REPORT_SECONDS
            count, self._reported = dropped - self._reported, dropped
            _log.error("the audit log lost %d records: they came faster than written", count)

    def _follow_rename(self) -> None:
        """Open the file again if that is asked for, or if another tool has moved it away."""
        if self._target == _STDOUT:
            self._reopen = False
            return
        now = time.monotonic()
        if not self._reopen and now < self._looked_at + _LOOK_SECONDS:
            return
        self._looked_at = now
        moved = self._reopen
        self._reopen = False
        if not moved:
            try:
                moved = not os.path.samestat(os.stat(self._target), os.fstat(self._file))  # noqa: PTH116
            except OSError:
                moved = True
        if not moved:
            return
        try:
            file = self._open()
        except OSError as error:
            _log.error("cannot open the audit log again: %s; it stays in the old file", error)
            return
        old, self._file, self._cut = self._file, file, False
        with suppress(OSError):
            os.close(old)

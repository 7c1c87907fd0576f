"""Runs a command on a terminal: what it prints, and what somebody types."""

import os
import pty
import re
import select
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from tests.cli.data import PROGRAM, SECONDS, Cli

_CONTROLLED = "import fcntl, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0)"
"""Without this, Ctrl-C would be a character like any other."""


class Terminal:
    """A command whose standard input, output and error are a terminal."""

    def __init__(self, cli: Cli, program: list[str], environment: dict[str, str]) -> None:
        self._control, other = pty.openpty()
        self.shown = ""
        merged = {**os.environ, **cli.environment, "TERM": "xterm", "COLUMNS": "120", **environment}
        self._process = subprocess.Popen(
            program,
            stdin=other,
            stdout=other,
            stderr=other,
            start_new_session=True,
            env={name: value for name, value in merged.items() if value is not None},
        )
        os.close(other)

    def type(self, text: str) -> None:
        os.write(self._control, text.encode())

    def wait_for(self, text: str) -> None:
        """Wait until a text is shown."""
        deadline = time.monotonic() + SECONDS
        while text not in self.shown:
            assert time.monotonic() < deadline, self.shown
            assert self._read(), f"ended: {self.shown}"

    def ended(self) -> int:
        """Wait for the end, and return the exit code."""
        deadline = time.monotonic() + SECONDS
        while self._read():
            assert time.monotonic() < deadline, self.shown
        return self._process.wait(SECONDS)

    @property
    def plain(self) -> str:
        """What was shown, without colours."""
        return re.sub(r"\x1b\[[0-9;]*m", "", self.shown).replace("\r\n", "\n")

    def close(self) -> None:
        self._process.kill()
        self._process.wait(SECONDS)
        os.close(self._control)

    def _read(self) -> bool:
        """Read what comes next; return False if there is nothing more."""
        if not select.select([self._control], [], [], 0.5)[0]:
            return True
        try:
            found = os.read(self._control, 65_536)
        except OSError:  # Linux says so when the other side is closed.
            return False
        self.shown += found.decode(errors="replace")
        return bool(found)


@contextmanager
def terminal(cli: Cli, *words: object, **environment: str) -> Iterator[Terminal]:
    """Run a command on a terminal."""
    program = [sys.executable, "-c", f"{_CONTROLLED}; {PROGRAM}", *map(str, words)]
    found = Terminal(cli, program, environment)
    try:
        yield found
    finally:
        found.close()


@contextmanager
def shell(cli: Cli, script: str) -> Iterator[Terminal]:
    """Run a script of bash on a terminal."""
    found = Terminal(cli, ["bash", "-c", script], {})
    try:
        yield found
    finally:
        found.close()

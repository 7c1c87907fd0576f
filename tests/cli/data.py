"""Runs the commands that work with data, in this process, against a gateway."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from typer.testing import CliRunner

from jetkv.cli.root import app


@dataclass(frozen=True, slots=True)
class Ended:
    """How a command ended."""

    code: int
    out: bytes
    err: str

    @property
    def text(self) -> str:
        return self.out.decode()

    @property
    def lines(self) -> list[str]:
        return self.text.splitlines()

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    @property
    def objects(self) -> list[Any]:
        """The output as JSON lines."""
        return [json.loads(line) for line in self.lines]


class Cli:
    """`jetkv` for one gateway; nothing is a terminal."""

    def __init__(self, url: str) -> None:
        self.environment: dict[str, str | None] = {"JETKV_URL": url}

    def try_(self, *words: object, stdin: bytes = b"") -> Ended:
        """Run a command, and return how it ended."""
        given = CliRunner().invoke(
            app, list(map(str, words)), input=stdin, env=self.environment, catch_exceptions=False
        )
        return Ended(given.exit_code, given.stdout_bytes, given.stderr)

    def __call__(self, *words: object, stdin: bytes = b"") -> Ended:
        """Run a command that succeeds."""
        ended = self.try_(*words, stdin=stdin)
        assert ended.code == 0, ended
        return ended

    def fails(self, *words: object, stdin: bytes = b"") -> tuple[int, str]:
        """Run a command that fails with one line; return its exit code and this line."""
        ended = self.try_(*words, stdin=stdin)
        assert ended.code != 0, ended
        (line,) = ended.err.splitlines()
        return ended.code, line

    @contextmanager
    def running(self, *words: object, **options: Any) -> Iterator["Running"]:
        """Run a command as a process of its own, such as one that goes on until Ctrl-C."""
        environment = {**os.environ, **self.environment}
        process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, *map(str, words)],
            env={name: value for name, value in environment.items() if value is not None},
            **{"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options},
        )
        try:
            yield Running(process)
        finally:
            process.kill()
            process.communicate()


PROGRAM = "from jetkv.cli.main import main; main()"
SECONDS = 30


@dataclass(frozen=True, slots=True)
class Running:
    """A command that runs as a process."""

    process: subprocess.Popen[bytes]

    def line(self) -> str:
        """Return the next line that it prints."""
        assert self.process.stdout is not None
        return self.process.stdout.readline().decode().rstrip("\n")

    def object(self) -> Any:
        return json.loads(self.line())

    def interrupted(self) -> tuple[int, str]:
        """Press Ctrl-C; return the exit code and what it says."""
        self.process.send_signal(signal.SIGINT)
        return self.ended()

    def ended(self) -> tuple[int, str]:
        """Wait for its end; return the exit code and what it says."""
        _, err = self.process.communicate(timeout=SECONDS)
        return self.process.returncode, (err or b"").decode()

"""Runs the commands that work with data, in this process, against a gateway."""

import json
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

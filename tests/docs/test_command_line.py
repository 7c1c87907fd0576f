"""The terminal sessions of docs/cli.md and docs/transfer.md, as one sees them who pastes them."""

import re
import sys
from pathlib import Path

import pytest

from tests.cli.data import PROGRAM, Cli
from tests.cli.terminal import shell
from tests.docs.test_examples import ROOT, blocks
from tests.support.http import Http

PAGE = ROOT / "docs" / "cli.md"
PAGES = [PAGE, ROOT / "docs" / "transfer.md"]


def steps(page: Path) -> list[tuple[str, str]]:
    """Return each command of a page and what it prints."""
    text = "".join(blocks(page, "shell-session"))
    found = [step.partition("\n") for step in re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]]
    return [(command, output) for command, _, output in found]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.stem))
def test_the_sessions_of_the_page_print_what_it_says(
    dev: Http, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, page: Path
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    (tmp_path / "buckets.toml").write_text(blocks(PAGE, "toml")[1])
    program = tmp_path / "jetkv"
    program.write_text(f"#!/bin/sh\nexec {sys.executable} -c '{PROGRAM}' \"$@\"\n")
    program.chmod(0o700)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.chdir(tmp_path)
    script = "\n".join(f"{command}; echo '== done'" for command, _ in steps(page))
    with shell(Cli(dev.url), script) as shown:
        assert shown.ended() == 0
    printed = shown.plain.split("== done\n")
    for (command, expected), found in zip(steps(page), printed, strict=False):
        pattern = ".+?".join(map(re.escape, evened(expected).split("…")))
        assert re.fullmatch(pattern, evened(found)), f"{command}\n{found}"
    assert len(printed) == len(steps(page)) + 1


def evened(text: str) -> str:
    """Return a text with one space between words: columns are as wide as what they show."""
    return "\n".join(" ".join(line.split()) for line in text.strip().splitlines())

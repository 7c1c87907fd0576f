"""Constructions that a reader has to read twice stand nowhere in the repository."""

import ast
import re
import subprocess
from pathlib import Path

import pytest

from tests.docs.test_examples import ROOT

CONSTRUCTIONS = [
    "who comes when all places are taken",
    "an id from a cookie that is none",
    "what the one returns, the other is awaited for",
    "over and over until nobody came in between",
    "must be said",
    "a variable that is none",
    "a kept connection without a request gets one more answer",
    "one corner has no key",
    "holds / does not hold",
    "no s: value: s is wanted",
    "made anew again and again",
]
"""Each was once in a text; the cure is a sentence with a subject, a verb and common words."""

BINARY = {".png", ".svg", ".ico", ".gz"}


def texts() -> dict[Path, str]:
    """Return the text of each file of the repository, in lower case, on one line."""
    named = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    files = [ROOT / name for name in named.stdout.splitlines()]
    return {
        file: re.sub(r"\W*\n[\s#>*]*|\s+", " ", file.read_text()).lower()
        for file in files
        if file.is_file() and file.suffix not in BINARY and file != Path(__file__)
    }


@pytest.fixture(scope="module")
def repository() -> dict[Path, str]:
    return texts()


@pytest.mark.parametrize("construction", CONSTRUCTIONS)
def test_a_construction_that_is_read_twice_stands_nowhere(
    repository: dict[Path, str], construction: str
) -> None:
    assert [str(file) for file, text in repository.items() if construction in text] == []


def messages(file: Path) -> list[str]:
    """Return the literal texts of a module without its docstrings."""
    tree = ast.parse(file.read_text())
    notes = {
        id(node.value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    }
    return [
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in notes
    ]


def test_no_message_says_is_none_which_reads_as_the_value_none() -> None:
    found = [
        f"{file.relative_to(ROOT)}: {text}"
        for folder in ("adapter", "sdk")
        for file in sorted((ROOT / folder).rglob("*.py"))
        for text in messages(file)
        if re.search(r"\b(is|are) none\b", text)
    ]
    assert found == []

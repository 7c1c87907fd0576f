"""The public API as type checkers see it, from outside: strict mypy and strict pyright."""

import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

HERE = Path(__file__).parent
USAGE = HERE / "usage.py"
MISUSE = HERE / "misuse.py"
CHECKERS = ("mypy", "pyright")

Findings = dict[Path, dict[int, str]]
"""Texts of errors by file and line."""


def run(*command: str) -> str:
    """Run a checker; it fails by its findings, not by its exit code."""
    done = subprocess.run(
        [sys.executable, "-m", *command], capture_output=True, text=True, timeout=120, cwd=HERE
    )
    assert done.returncode in (0, 1), done.stdout + done.stderr
    return done.stdout


def mypy(cache: Path) -> Findings:
    # The project's own settings stay out: a caller has neither its paths nor its plugins.
    out = run(
        "mypy",
        *("--config-file=", "--strict", "--output=json", f"--cache-dir={cache}"),
        *(str(USAGE), str(MISUSE)),
    )
    found: Findings = {}
    for line in out.splitlines():
        finding = json.loads(line)
        if finding["severity"] == "error":
            place = found.setdefault((HERE / finding["file"]).resolve(), {})
            place[finding["line"]] = finding["message"]
    return found


def pyright() -> Findings:
    # How strict it is, the files say themselves.
    out = run(
        "pyright",
        *("--outputjson", f"--pythonpath={sys.executable}"),
        *(str(USAGE), str(MISUSE)),
    )
    report = json.loads(out)
    assert report["summary"]["filesAnalyzed"] == 2
    found: Findings = {}
    for finding in report["generalDiagnostics"]:
        if finding["severity"] == "error":
            place = found.setdefault(Path(finding["file"]).resolve(), {})
            place[finding["range"]["start"]["line"] + 1] = finding["message"]
    return found


@pytest.fixture(scope="module")
def found(request: pytest.FixtureRequest) -> dict[str, Findings]:
    """What each checker finds in both files; they run at once, since each takes its time."""
    cache = request.config.cache.mkdir("mypy")
    with ThreadPoolExecutor() as pool:
        by_mypy, by_pyright = pool.submit(mypy, cache), pool.submit(pyright)
        return {"mypy": by_mypy.result(), "pyright": by_pyright.result()}


@pytest.mark.parametrize("checker", CHECKERS)
def test_what_callers_write_has_the_types_it_says(found: dict[str, Findings], checker: str) -> None:
    assert found[checker].get(USAGE, {}) == {}


@pytest.mark.parametrize("checker", CHECKERS)
def test_every_misuse_is_an_error_and_nothing_else_is(
    found: dict[str, Findings], checker: str
) -> None:
    lines = enumerate(MISUSE.read_text().splitlines(), start=1)
    marked = {number for number, line in lines if "# wrong: " in line}
    findings = found[checker][MISUSE]
    assert findings.keys() == marked, findings

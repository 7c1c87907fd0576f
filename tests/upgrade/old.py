"""The version before this one, built from the history of this repository and installed.

It stays in `.bench/old/REVISION`.
"""

import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

OLD = "f2b549c0880f82105b001845b590727ea8f8f4d2"
"""The last commit of the version before. At a release, name the commit of the release here."""

ROOT = Path(__file__).resolve().parent.parent.parent
CACHE = ROOT / ".bench" / "old"


def old_python() -> Path:
    """Return a Python in whose environment the version before is installed."""
    environment = CACHE / OLD[:12]
    python = environment / "bin" / "python"
    if not (environment / "complete").exists():
        if subprocess.run(["git", "-C", ROOT, "cat-file", "-e", f"{OLD}^{{commit}}"]).returncode:
            pytest.skip(f"this clone has no commit {OLD[:12]}: git fetch --unshallow")
        _install(environment, python)
        (environment / "complete").touch()
    return python


def _install(environment: Path, python: Path) -> None:
    with tempfile.TemporaryDirectory(prefix="jetkv-old-") as folder:
        archive = subprocess.run(
            ["git", "-C", ROOT, "archive", OLD], stdout=subprocess.PIPE, check=True
        )
        subprocess.run(["tar", "-x", "-C", folder], input=archive.stdout, check=True)
        subprocess.run([sys.executable, "-m", "venv", "--clear", environment], check=True)
        pip = [python, "-m", "pip"]
        subprocess.run(
            [*pip, "wheel", "-q", "--no-deps", "-w", "dist", "."], cwd=folder, check=True
        )
        (wheel,) = Path(folder, "dist").glob("jetkv-*.whl")
        run = Path(folder, "requirements", "run.txt")
        subprocess.run([*pip, "install", "-q", "-r", run], check=True)
        subprocess.run([*pip, "install", "-q", "--no-deps", wheel], check=True)

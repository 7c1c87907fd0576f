"""What `make dist` makes, installed into empty environments and used there.

These tests run only where they are asked for by path, `make test-release`: they download packages,
and the newest Python, which comes from Debian (`.ci/python`) and needs root.
"""

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
NEWEST = [str(ROOT / ".ci" / "python"), os.environ.get("JETKV_CI_SUITE", "sid")]
"""Runs a command with the newest Python."""

Run = Callable[..., str]


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    start = config.invocation_params.dir
    asked = [(start / argument.partition("::")[0]).resolve() for argument in config.args]
    return None if any(path.is_relative_to(HERE) for path in asked) else True


def run(*command: str | Path, code: int = 0) -> str:
    """Run a command and return what it printed."""
    done = subprocess.run(
        [str(part) for part in command],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == code, done.stdout
    return done.stdout


@pytest.fixture(scope="session")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the folder that `make dist` fills."""
    run("make", "-s", "dist")
    folder = tmp_path_factory.mktemp("dist")
    shutil.copytree(ROOT / "dist", folder, dirs_exist_ok=True)
    return folder


@pytest.fixture(params=["this Python", "the newest Python"])
def python(request: pytest.FixtureRequest) -> list[str]:
    """A command that runs a Python: each test with it runs on both."""
    if request.param == "this Python":
        return ["python3"]
    if os.geteuid() != 0:
        pytest.skip("the newest Python comes from Debian, and that needs root")
    return [*NEWEST, "python3"]

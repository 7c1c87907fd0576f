"""The published OFREP providers for JavaScript, as `npm` installs them; nothing is vendored.

These tests run only where they are asked for by path, `python -m pytest tests/openfeature`, since
they need Node, npm's registry and Chromium.
"""

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from jetkv.testing import LocalNats
from tests.browser.conftest import chromium, open_page
from tests.support.flags import FlagGateways, flag_gateways

__all__ = ["chromium", "open_page"]

HERE = Path(__file__).parent
_INSTALLED = HERE.parents[1] / ".venv" / "openfeature"
_PINS = HERE / "js" / "package.json"
_SECONDS = 300


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    start = config.invocation_params.dir
    asked = [(start / argument.partition("::")[0]).resolve() for argument in config.args]
    return None if any(path.is_relative_to(HERE) for path in asked) else True


@pytest.fixture(scope="session")
def node() -> str:
    path = shutil.which("node")
    if path is None or shutil.which("npm") is None:
        pytest.fail("there is no `node` with `npm` to run these tests: apt-get install npm")
    return path


@pytest.fixture(scope="session")
def modules(node: str) -> Path:
    """The folder of the installed packages, of the versions that package.json has."""
    wanted = _PINS.read_bytes()
    stamp = _INSTALLED / "installed"
    if not stamp.is_file() or stamp.read_bytes() != wanted:
        shutil.rmtree(_INSTALLED, ignore_errors=True)
        _INSTALLED.mkdir(parents=True)
        (_INSTALLED / _PINS.name).write_bytes(wanted)
        command = ["npm", "install", "--no-package-lock", "--ignore-scripts"]
        command += ["--no-audit", "--no-fund"]
        subprocess.run(command, cwd=_INSTALLED, check=True, timeout=_SECONDS)
        stamp.write_bytes(wanted)
    return _INSTALLED / "node_modules"


@pytest.fixture
def flags(nats: LocalNats) -> Iterator[FlagGateways]:
    """Two gateways, which pages on this machine may call."""
    with flag_gateways(nats.url, 2, cors_origins=["loopback"]) as started:
        started.create_bucket()
        yield started

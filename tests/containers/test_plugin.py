"""The fixtures of the test kit on containers, and the example in docs/testing.md."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.testing import project

PAGE = Path(__file__).parents[2] / "docs" / "testing.md"

INI = "[pytest]\nasyncio_default_fixture_loop_scope = function\nfilterwarnings = error\n"
OPTIONS = ("-pno:cacheprovider", "-pno:schemathesis", "-pno:hypothesispytest")


@pytest.mark.parametrize("which", ["TestBuckets", "nats-kill", "gateway-pause", "both"])
def test_a_project_that_uses_the_plugin_passes(images: None, tmp_path: Path, which: str) -> None:
    (tmp_path / "pytest.ini").write_text(INI)
    shutil.copy(project.__file__, tmp_path / "test_project.py")
    command = [sys.executable, "-m", "pytest", *OPTIONS, "--jetkv=container", "-k", which]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_example_of_the_page_runs(images: None) -> None:
    (code,) = re.findall(r"^```py\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    exec(compile(code, str(PAGE), "exec"), {})

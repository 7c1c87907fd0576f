"""Make the sync client from the async one.

    python tools/unasync.py          writes sdk/jetkv/**/_sync from **/_async
    python tools/unasync.py --check  fails if a file is not up to date, and names it

The transport and the runtime differ in more than words. They are written by hand on both sides.
"""

import re
import subprocess
import sys
import sysconfig
from pathlib import Path

ROOT = Path(__file__).parents[1]
SDK = ROOT / "sdk" / "jetkv"
BY_HAND = {"__init__.py", "transport.py", "runtime.py"}

BANNER = "# Made from {source} by `make format`. Edit that file.\n"
RULES = [
    (r"MaybeAwaitable\[((?:[^\[\]]|\[[^\]]*\])*)\]", r"\1"),
    (r"\b(Maybe)?Awaitable, ", ""),
    (r"\basync (def|with|for)\b", r"\1"),
    (r"\bawait ", ""),
    (r"\b_async\b", "_sync"),
    (r"\bAsync(?=[A-Z])", ""),
    (r"\baclose\b", "close"),
    (r"__a(enter|exit|iter|next)__", r"__\1__"),
    (r"\bStopAsyncIteration\b", "StopIteration"),
    (r"\bAwaitable\[((?:[^\[\]]|\[[^\]]*\])*)\]", r"\1"),
]


def sync_of(source: Path) -> str:
    """Return the sync text of an async module."""
    text = source.read_text()
    for pattern, replacement in RULES:
        text = re.sub(pattern, replacement, text)
    formatted = BANNER.format(source=source.relative_to(ROOT)) + text
    ruff = Path(sysconfig.get_path("scripts")) / "ruff"
    for command in (["check", "--select", "I,RUF022", "--fix", "-q"], ["format", "-q"]):
        done = subprocess.run(
            [ruff, *command, "--stdin-filename", str(source), "-"],
            input=formatted,
            capture_output=True,
            text=True,
            check=True,
            cwd=ROOT,
        )
        formatted = done.stdout
    return formatted


def main() -> int:
    checking = "--check" in sys.argv[1:]
    outdated = []
    for source in sorted(SDK.glob("**/_async/*.py")):
        if source.name in BY_HAND:
            continue
        target = source.parents[1] / "_sync" / source.name
        text = sync_of(source)
        if target.exists() and target.read_text() == text:
            continue
        if checking:
            outdated.append(target.relative_to(ROOT))
        else:
            target.parent.mkdir(exist_ok=True)
            target.write_text(text)
            print(f"wrote {target.relative_to(ROOT)}")
    for target in outdated:
        print(f"{target} is out of date: run `make format`", file=sys.stderr)
    return 1 if outdated else 0


if __name__ == "__main__":
    sys.exit(main())

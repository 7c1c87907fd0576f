"""Record which test files take longest. tests/conftest.py starts these first.

So no slow file starts near the end of a run, and all processes are busy to the end. Run this when
the order has become wrong:

    python -m pytest -n 4 --dist loadfile --junit-xml report.xml
    python -m tools.slowest report.xml
"""

import sys
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from xml.etree import ElementTree

TABLE = Path(__file__).resolve().parent.parent / "tests" / "slowest.tsv"
LEAST_SECONDS = 5


def seconds_by_file(report: Path) -> Counter[str]:
    """Return the seconds of each test file, by its path, from a report of pytest."""
    found: Counter[str] = Counter()
    for case in ElementTree.parse(report).iter("testcase"):  # noqa: S314 - our own report
        module = [part for part in case.get("classname", "").split(".") if part[:1].islower()]
        found["/".join(module) + ".py"] += float(case.get("time", 0))
    return found


def known(text: str) -> dict[str, float]:
    """Return the seconds of each file of a table."""
    rows = (line.split("\t") for line in text.splitlines())
    return {path: float(took) for took, path in rows}


def table(seconds: Mapping[str, float]) -> str:
    """Return a line for each slow file, slowest first: whole seconds, a tab, the path."""
    rows = [(round(took), path) for path, took in seconds.items() if took >= LEAST_SECONDS]
    return "".join(f"{took}\t{path}\n" for took, path in sorted(rows, key=lambda row: -row[0]))


if __name__ == "__main__":
    # Of one tier, a report names only some of the files.
    before = known(TABLE.read_text())
    TABLE.write_text(table(before | seconds_by_file(Path(sys.argv[1]))))

"""The table of slow test files, by which tests/conftest.py orders a run."""

from collections import Counter
from pathlib import Path

from tools.slowest import TABLE, known, seconds_by_file, table

REPORT = """<testsuites><testsuite>
<testcase classname="tests.unit.test_a" name="test_one" time="4.0"/>
<testcase classname="tests.unit.test_b.TestB" name="test_one" time="2.5"/>
<testcase classname="tests.unit.test_b" name="test_two" time="40.5"/>
</testsuite></testsuites>"""


def test_the_seconds_of_a_file_are_those_of_its_tests(tmp_path: Path) -> None:
    report = tmp_path / "report.xml"
    report.write_text(REPORT)
    assert seconds_by_file(report) == {"tests/unit/test_a.py": 4.0, "tests/unit/test_b.py": 43.0}


def test_slow_files_alone_are_recorded_slowest_first() -> None:
    seconds = Counter({"tests/a.py": 4.0, "tests/b.py": 6.0, "tests/c.py": 43.2})
    assert table(seconds) == "43\ttests/c.py\n6\ttests/b.py\n"


def test_a_table_is_read_as_it_is_written() -> None:
    text = "43\ttests/c.py\n6\ttests/b.py\n"
    assert table(known(text)) == text


def test_the_slowest_ten_of_the_table_exist() -> None:
    # A file further down that has another name by now only begins a little later.
    paths = [line.partition("\t")[2] for line in TABLE.read_text().splitlines()]
    assert len(paths) > 10
    assert [path for path in paths[:10] if not (TABLE.parent.parent / path).is_file()] == []

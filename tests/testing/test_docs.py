"""Every Python block of docs/testing.md runs."""

import re
from pathlib import Path

import pytest

pytest_plugins = ["pytester"]

PAGE = Path(__file__).parents[2] / "docs" / "testing.md"
LONGEST = 15.0
"""Seconds of one test. The slowest restarts NATS; one that waits for a deadline takes longer."""
OPTIONS = ("-pno:cacheprovider", "-pno:schemathesis", "-pno:hypothesispytest")


def test_the_tests_of_the_guide_pass(pytester: pytest.Pytester) -> None:
    pytester.makeini("""
        [pytest]
        asyncio_default_fixture_loop_scope = function
        filterwarnings = error
    """)
    blocks = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    for number, block in enumerate(blocks):
        name = "conftest" if block.startswith("# conftest.py") else f"test_block_{number}"
        pytester.makepyfile(**{name: block})
    tests = sum(block.count("def test_") for block in blocks)
    assert tests >= len(blocks) - 1
    result = pytester.runpytest_subprocess(*OPTIONS, "--durations=0", "-vv", timeout=60)
    result.assert_outcomes(passed=tests)
    took = re.findall(r"^([0-9.]+)s call +\S+::(\w+)", result.stdout.str(), re.MULTILINE)
    assert len({name for _, name in took}) >= tests / 2
    slow = {name: seconds for seconds, name in took if float(seconds) > LONGEST}
    assert slow == {}, "a guide shows the short way"

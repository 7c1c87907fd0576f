"""docs/security.md: each item of the chapters of ASVS is there once, and each test exists."""

import re
from collections import Counter

import pytest

from tests.docs.test_examples import ROOT
from tests.docs.test_guarantees import TEST, named_in

PAGE = (ROOT / "docs" / "security.md").read_text()
ITEMS = {
    "2.1": 3,
    "2.2": 3,
    "2.3": 5,
    "2.4": 2,
    "4.1": 5,
    "4.2": 5,
    "4.3": 2,
    "4.4": 4,
    "8.1": 4,
    "8.2": 4,
    "8.3": 3,
    "8.4": 2,
    "13.1": 4,
    "13.2": 6,
    "13.3": 4,
    "13.4": 7,
    "16.1": 1,
    "16.2": 5,
    "16.3": 4,
    "16.4": 3,
    "16.5": 4,
}
"""How many items each section of ASVS 5.0 has."""


def test_each_item_is_there_once() -> None:
    cells = [line.split("|")[1] for line in PAGE.splitlines() if line.startswith("| ")]
    found = Counter(item for cell in cells for item in re.findall(r"\d+\.\d+\.\d+", cell))
    wanted = [f"{section}.{n}" for section, last in ITEMS.items() for n in range(1, last + 1)]
    assert found == Counter(wanted)


@pytest.mark.parametrize(("path", "name"), sorted(set(TEST.findall(PAGE))))
def test_each_test_exists(path: str, name: str) -> None:
    assert name in named_in(path)

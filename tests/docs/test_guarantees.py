"""docs/guarantees.md: every promise names a test that exists; what it says of fsync is so."""

import ast
import json
import re
from functools import cache
from pathlib import Path
from urllib.request import urlopen

import pytest

from jetkv.testing import LocalNats
from tests.docs.test_examples import ROOT, blocks
from tests.support.ports import free_ports

PAGE = ROOT / "docs" / "guarantees.md"
TEST = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")


def promises() -> list[tuple[str, str]]:
    """Return (promise, what shows it) of each row of the tables that begin with `Promise`."""
    found, inside = [], False
    for line in PAGE.read_text().splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if not line.startswith("|"):
            inside = False
        elif cells[0] == "Promise":
            assert cells == ["Promise", "By", "Test"]
            inside = True
        elif inside and set(line) - set("|-"):
            assert len(cells) == 3, line
            found.append((cells[0], cells[2]))
    return found


PROMISES = promises()
each_promise = pytest.mark.parametrize(
    "shown_by", [shown for _, shown in PROMISES], ids=[promise for promise, _ in PROMISES]
)


@cache
def named_in(path: str) -> frozenset[str]:
    """Return the names of the tests in a file."""
    file = ROOT / path
    if not file.is_file():
        return frozenset()
    return frozenset(
        node.name
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and node.name.startswith("test_")
    )


def test_the_page_has_promises() -> None:
    assert len(PROMISES) > 30
    assert len({promise for promise, _ in PROMISES}) == len(PROMISES)


@each_promise
def test_a_promise_names_tests_that_exist(shown_by: str) -> None:
    named = TEST.findall(shown_by)
    assert named or shown_by == "`TODO`"
    assert [f"{path}::{name}" for path, name in named if name not in named_in(path)] == []
    assert TEST.sub("", shown_by).replace("`TODO`", "").strip() == "", "nothing else stands there"


def test_no_promise_waits_for_its_test() -> None:
    assert [promise for promise, shown_by in PROMISES if "TODO" in shown_by] == []


def _synced(folder: Path, jetstream: str) -> tuple[float, bool]:
    """Return a server's seconds between syncs, and whether it syncs each write."""
    (port,) = free_ports(1)
    with (
        LocalNats(folder, jetstream=jetstream, config=f'http: "127.0.0.1:{port}"'),
        urlopen(f"http://127.0.0.1:{port}/varz", timeout=5) as answer,
    ):
        config = json.load(answer)["jetstream"]["config"]
    return config["sync_interval"] / 1e9, config.get("sync_always", False)


def test_the_remedy_makes_a_server_sync_every_write(tmp_path: Path) -> None:
    (block,) = blocks(PAGE, "conf")
    (remedy,) = re.findall(r"^ +(sync_interval: .+)$", block, re.MULTILINE)
    assert _synced(tmp_path / "default", "") == (120, False)
    assert _synced(tmp_path / "remedy", remedy)[1] is True

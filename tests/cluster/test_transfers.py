"""The check of transfers finds what it is for, in histories made by hand."""

from dataclasses import replace

from tests.cluster.history import Batch
from tests.cluster.transfers import ACCOUNTS, breaches_of_batches

ONE, OTHER = ACCOUNTS[:2]
OPENED = {key: (number + 1, 100) for number, key in enumerate(ACCOUNTS)}
MOVED = {**OPENED, ONE: (7, 99), OTHER: (8, 101)}

READ = Batch("a", "read", 0, 10, "ok", 6, OPENED)
MOVE = Batch("a", "transfer", 20, 30, "ok", 8, {ONE: (1, 99), OTHER: (2, 101)})
AFTER = Batch("b", "read", 40, 50, "ok", 8, MOVED)


def test_what_is_well_is_not_complained_of() -> None:
    assert breaches_of_batches([READ, MOVE, AFTER]) == []


def test_a_read_of_half_a_transfer_is_found() -> None:
    torn = replace(AFTER, shown={**OPENED, ONE: (7, 99)})
    assert "no moment has this" in breaches_of_batches([READ, MOVE, torn])[0]


def test_a_read_that_is_newer_than_its_moment_is_found() -> None:
    assert "no moment has this" in breaches_of_batches([replace(AFTER, revision=7)])[0]


def test_a_read_that_misses_what_was_acknowledged_is_found() -> None:
    stale = replace(READ, start=40, end=50)
    assert any("was known before" in text for text in breaches_of_batches([MOVE, stale]))


def test_a_state_that_comes_back_is_found() -> None:
    back = replace(READ, revision=9, start=40, end=50)
    found = breaches_of_batches([READ, MOVE, AFTER, back])
    assert any("as of an earlier revision" in text for text in found)


def test_two_transfers_on_one_state_are_found() -> None:
    second = replace(MOVE, client="b", revision=10)
    assert any("next states" in text for text in breaches_of_batches([READ, MOVE, second]))


def test_a_transfer_that_was_acknowledged_and_is_another_is_found() -> None:
    other = replace(AFTER, shown={**OPENED, ONE: (7, 101), OTHER: (8, 99)})
    assert any("was read as" in text for text in breaches_of_batches([READ, MOVE, other]))


def test_an_answer_that_breaks_the_contract_is_found() -> None:
    assert "500" in breaches_of_batches([replace(READ, wrong="a read was answered 500")])[0]

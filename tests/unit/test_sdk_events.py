"""Event streams are read the same, however they are cut into chunks."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jetkv._core.events import Event, EventParser, TooLong

LINE = st.text(st.characters(blacklist_characters="\r\n", blacklist_categories=["Cs"]), max_size=20)


def test_a_block_is_its_data_and_its_id() -> None:
    found = EventParser().feed(b'retry: 1000\n\nid: 7\ndata: {"a":1}\n\n')
    assert found == [Event(b'{"a":1}', "7")]


def test_a_block_with_an_id_alone_is_a_bookmark() -> None:
    assert EventParser().feed(b"id: 9\n\n") == [Event(None, "9")]


def test_comments_and_unknown_fields_are_nothing() -> None:
    assert EventParser().feed(b": keep-alive\n\nevent: x\n\n") == []


def test_several_data_lines_are_joined_and_carriage_returns_dropped() -> None:
    assert EventParser().feed(b"data: a\r\ndata:b\r\n\r\n") == [Event(b"a\nb", None)]


def test_an_empty_id_takes_the_last_one_back() -> None:
    assert EventParser().feed(b"id:\ndata: x\n\n") == [Event(b"x", "")]


@given(
    blocks=st.lists(st.tuples(LINE, st.integers(0, 10**18)), max_size=6),
    cuts=st.lists(st.integers(0, 400), max_size=12),
)
def test_cuts_change_nothing(blocks: list[tuple[str, int]], cuts: list[int]) -> None:
    text = b"".join(b"id: %d\ndata: %s\n\n" % (n, line.encode()) for line, n in blocks)
    places = [0, *sorted(min(cut, len(text)) for cut in cuts), len(text)]
    parser = EventParser()
    found = [event for a, b in itertools.pairwise(places) for event in parser.feed(text[a:b])]
    assert found == [Event(line.encode(), str(n)) for line, n in blocks]


def test_a_line_without_an_end_is_refused_rather_than_kept() -> None:
    parser = EventParser(max_bytes=100)
    assert parser.feed(b"data: " + b"x" * 90) == []
    with pytest.raises(TooLong):
        parser.feed(b"x" * 10)


def test_an_event_without_an_end_is_refused_rather_than_kept() -> None:
    parser = EventParser(max_bytes=700)
    assert parser.feed(b"data: 0123456789\n" * 9) == []
    with pytest.raises(TooLong):
        parser.feed(b"data: 0123456789\n")

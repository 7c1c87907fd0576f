"""What is kept has a bound, and what was added last stays."""

from jetkv_gateway.kv.kept import make_room


def test_there_is_always_room_for_one_more() -> None:
    kept: dict[int, int] = {}
    for number in range(1000):
        make_room(kept, 100)
        kept[number] = number
        assert len(kept) <= 100


def test_what_was_added_first_goes_first() -> None:
    kept = dict.fromkeys(range(100))
    make_room(kept, 100)
    assert list(kept) == list(range(100 - len(kept), 100))
    assert len(kept) >= 30, "most of it stays"


def test_nothing_goes_while_there_is_room() -> None:
    kept = dict.fromkeys(range(99))
    make_room(kept, 100)
    assert len(kept) == 99

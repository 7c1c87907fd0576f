"""Which requests run, wait and are refused, by times that are handed in."""

from collections import defaultdict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jetkv_gateway.serving.admission_queue import AdmissionLimits, AdmissionQueue
from jetkv_gateway.serving.shares import Account

HERE = Account("from this machine", limited=False)


def line(
    requests: int = 8, waiting: int = 80, wait: float = 10, share: float = 0.25
) -> AdmissionQueue:
    """Of eight places a caller has two for sure, and one is left to others."""
    return AdmissionQueue(
        AdmissionLimits(requests=requests, waiting=waiting, wait=wait, share=share)
    )


def address() -> Account:
    return Account("from this address")


def token() -> Account:
    return Account("with this token")


def enter_all(front: AdmissionQueue, of: Account, count: int, token: Account | None = None) -> int:
    """Have a caller come with requests, and return how many went in at once."""
    return sum(front.try_enter((of, token, number), 0, of, token) for number in range(count))


# --- places


def test_a_caller_alone_has_nearly_all_places_and_the_next_one_goes_in_at_once() -> None:
    front = line()
    assert enter_all(front, address(), 20) == 7
    assert enter_all(front, address(), 1) == 1


def test_within_its_share_a_caller_goes_in_while_there_is_room() -> None:
    front = line()
    modest = address()
    assert enter_all(front, address(), 6) == 6
    assert enter_all(front, modest, 20) == 2
    assert (modest.places, front.running) == (2, 8)


def test_callers_on_this_machine_take_all() -> None:
    assert enter_all(line(), HERE, 20) == 8


def test_without_a_limit_everybody_goes_in() -> None:
    assert enter_all(line(requests=0), address(), 500) == 500


def test_many_tokens_of_one_address_do_not_take_all() -> None:
    front = line()
    one = address()
    assert sum(enter_all(front, one, 1, token()) for _ in range(20)) == 7


def test_one_token_at_many_addresses_does_not_take_all() -> None:
    front = line()
    one = token()
    assert sum(enter_all(front, address(), 1, one) for _ in range(20)) == 7


def test_a_place_that_is_left_counts_no_more() -> None:
    front = line()
    one, key = address(), token()
    assert front.try_enter("r", 0, one, key)
    front.release("r")
    assert (one.places, key.places, front.running) == (0, 0, 0)


# --- the line


def test_of_one_caller_the_first_to_come_is_the_first_to_be_served() -> None:
    front = line(requests=1)
    one = address()
    assert front.try_enter(-1, 0, one)
    for number in range(5):
        assert front.wait(number, 0, one) is None
    served = []
    last: object = -1
    while front.release(last):
        last = front.admit_next(0)
        served.append(last)
    assert served == [0, 1, 2, 3, 4]


def test_callers_take_turns_however_many_requests_each_has() -> None:
    front = line(requests=1, share=1)
    many, few = address(), address()
    assert front.try_enter("first", 0, many)
    for number in range(50):
        assert front.wait(("many", number), 0, many) is None
    for number in range(2):
        assert front.wait(("few", number), 0, few) is None
    served = []
    last: object = "first"
    for _ in range(4):
        front.release(last)
        last = front.admit_next(0)
        served.append(last)
    assert served == [("many", 0), ("few", 0), ("many", 1), ("few", 1)]


def test_a_caller_over_its_share_is_passed_over_while_only_the_reserve_is_free() -> None:
    front = line()
    many, few = address(), address()
    assert enter_all(front, many, 7) == 7
    assert front.wait("many", 0, many) is None
    assert front.admit_next(0) is None
    assert front.wait("few", 0, few) is None
    assert front.admit_next(0) == "few"
    assert front.admit_next(0) is None
    front.release((many, None, 0))
    assert front.admit_next(0) is None, "seven are taken, the reserve is free"
    front.release("few")
    assert front.admit_next(0) == "many"


def test_a_caller_with_a_line_full_of_requests_leaves_places_in_it_to_others() -> None:
    front = line(requests=1, waiting=8)
    many, few = address(), address()
    assert front.try_enter("first", 0, many)
    refusals = [front.wait(number, 0, many) for number in range(20)]
    assert [refusal is None for refusal in refusals] == [True] * 7 + [False] * 13
    assert front.wait("few", 0, few) is None
    refusal = front.wait("another", 0, address())
    assert refusal is not None, "the line is full"
    assert refusal.message == "too many requests"


def test_a_refusal_for_the_share_names_it_and_what_to_do() -> None:
    front = line(requests=8, waiting=0)
    one, key = address(), token()
    assert enter_all(front, one, 7) == 7
    refusal = front.wait("r", 0, one)
    assert refusal is not None
    assert refusal.message == "too many requests from this address"
    assert refusal.retry_after == 1
    assert refusal.hint == (
        "one caller has 2 of 8 places (max_share) and leaves the last 1 to others: send fewer at a "
        "time; the request was not run: try again after retry_after seconds"
    )
    key.places = 2
    by_token = front.wait("r", 0, address(), key)
    assert by_token is not None
    assert by_token.message == "too many requests with this token"


def test_requests_that_waited_too_long_are_refused_in_the_order_in_which_they_came() -> None:
    front = line(requests=1, wait=0.5)
    assert front.try_enter("first", 0, HERE)
    assert front.wait("second", 0, HERE) is None
    assert front.wait("third", 0.1, address()) is None
    assert front.next_check(0.1) == 0.5
    assert front.next_expired(0.4) is None
    late = front.next_expired(0.5)
    assert late is not None
    assert (late[0], late[1].message) == ("second", "too many requests")
    assert front.next_expired(0.5) is None
    assert front.waiting == 1


def test_a_request_that_leaves_the_queue_is_not_served() -> None:
    front = line(requests=1)
    one = address()
    assert front.try_enter("first", 0, one)
    assert front.wait("second", 0, one) is None
    assert front.cancel("second")
    assert not front.cancel("second")
    assert not front.release("first")
    assert (one.waiting, front.waiting, front.admit_next(0)) == (0, 0, None)


# --- requests that only wait


def test_a_request_that_only_waits_gives_its_place_away() -> None:
    front = line(requests=1)
    assert front.try_enter("stuck", 0, HERE)
    assert front.wait("next", 0.9, HERE) is None
    front.move_stalled(0.9)
    assert front.admit_next(0.9) is None
    front.move_stalled(1.0)
    assert front.admit_next(1.0) == "next"
    assert (front.running, front.stalled) == (1, 1)
    assert not front.release("stuck"), "it had no place any more"
    assert front.stalled == 0


def test_a_request_that_says_that_it_only_waits_gives_its_place_away_at_once() -> None:
    front = line(requests=1)
    assert front.try_enter("waits", 0, HERE)
    assert not front.stall("waits"), "nobody wants its place"
    assert front.try_enter("works", 0, HERE)
    assert not front.stall("waits"), "it has none"
    assert front.wait("next", 0, HERE) is None
    assert front.admit_next(0) is None
    assert front.stall("works")
    assert front.admit_next(0) == "next"
    assert (front.running, front.stalled) == (1, 2)


def test_one_caller_does_not_fill_all_that_may_be_carried_out_without_a_place() -> None:
    front = line(requests=2, share=0.25)
    many, few = address(), address()
    now = 0.0
    for number in range(100):
        now += 1
        front.move_stalled(now)
        front.try_enter(number, now, many)
    assert front.stalled == many.stalled == 26, "of thirty"
    assert front.try_enter("few", now, few)
    front.move_stalled(now + 1)
    assert few.stalled == 1


# --- whatever happens

ACTIONS = st.lists(
    st.tuples(
        st.sampled_from(["come", "come", "come", "leave", "forget", "late", "expel", "stall"]),
        st.integers(0, 3),
        st.integers(0, 2),
        st.floats(0, 0.6),
    ),
    max_size=150,
)


@given(ACTIONS, st.sampled_from([1, 2, 8]))
def test_whatever_happens_counts_are_right_and_nobody_waits_for_a_place_that_it_may_have(
    actions: list[tuple[str, int, int, float]], requests: int
) -> None:
    front = line(requests=requests, waiting=12, wait=1)
    here = Account("from this machine", limited=False)
    addresses = [*(address() for _ in range(3)), here]
    tokens = [token(), token(), None]
    inside: dict[int, tuple[Account, Account | None]] = {}
    waiting: dict[int, tuple[Account, Account | None]] = {}
    served: dict[Account, list[int]] = defaultdict(list)
    now = 0.0
    for number, (action, who, which, step) in enumerate(actions):
        now += step
        if action == "come":
            of, key = addresses[who], tokens[which]
            if front.try_enter(number, now, of, key):
                inside[number] = of, key
            elif front.wait(number, now, of, key) is None:
                waiting[number] = of, key
        elif action == "leave" and inside:
            front.release(one := list(inside)[who % len(inside)])
            del inside[one]
        elif action == "forget" and waiting:
            one = list(waiting)[who % len(waiting)]
            assert front.cancel(one)
            del waiting[one]
        elif action == "late":
            while (late := front.next_expired(now)) is not None:
                del waiting[int(str(late[0]))]
        elif action == "expel":
            front.move_stalled(now)
        elif action == "stall" and inside:
            front.stall(list(inside)[who % len(inside)])
        while (following := front.admit_next(now)) is not None:
            one = int(str(following))
            of, key = inside[one] = waiting.pop(one)
            served[key or of].append(one)
        assert front.running + front.stalled == len(inside)
        assert front.waiting == len(waiting)
        for account in [*addresses, *tokens]:
            if account is None:
                continue
            own = [one for one in inside.values() if account in one]
            assert account.places + account.stalled == len(own)
            assert account.waiting == sum(account in one for one in waiting.values())
            if account.limited and requests > 1 and all(of is not here for of, _ in own):
                assert account.places <= requests - 1
        if front.running < requests - 1:
            assert not waiting
    for numbers in served.values():
        assert numbers == sorted(numbers)


@pytest.mark.parametrize("queues", [40, 100])
def test_a_request_that_may_run_gets_its_turn_behind_many_that_may_not(queues: int) -> None:
    front = line(waiting=1000)
    one = address()
    assert enter_all(front, one, 7) == 7
    for number in range(queues):
        assert front.wait(number, 0, one, token()) is None
    assert front.wait("other", 0, address()) is None
    looks = [front.admit_next(0) for _ in range(queues // 32 + 1)]
    assert "other" in looks

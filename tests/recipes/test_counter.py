"""A counter: exact, plain to read, and left alone when the value is not a number."""

import pytest

from jetkv import InvalidArgumentError, OutcomeUnknownError, ValueDecodeError
from jetkv.recipes import AsyncCounter
from tests.recipes.relay import Loss


@pytest.fixture
def counter(kv, bucket) -> AsyncCounter:
    return AsyncCounter(kv.bucket(bucket.name), "views")


async def test_a_counter_begins_at_zero(counter) -> None:
    assert await counter.value() == 0


async def test_adding_returns_the_new_total(counter) -> None:
    assert await counter.add() == 1
    assert await counter.add(5) == 6
    assert await counter.add(-7) == -1
    assert await counter.value() == -1


async def test_a_reset_returns_the_total_until_then(counter) -> None:
    assert await counter.reset() == 0
    await counter.add(3)
    assert await counter.reset() == 3
    assert await counter.value() == 0


async def test_a_counter_is_a_plain_number_to_everybody_else(counter, bucket) -> None:
    await counter.add(41)
    assert bucket.get("views").value == b"41"
    assert bucket.get("views", "?values=json").json["value"] == 41
    bucket.put("views", "100")
    assert await counter.add() == 101


@pytest.mark.parametrize("value", [b'"7"', b"true", b"1.5", b"\xff", b"[1]"])
async def test_what_is_no_counter_is_left_as_it_is(value, counter, bucket) -> None:
    bucket.put("views", value)
    with pytest.raises(ValueDecodeError):
        await counter.add()
    with pytest.raises(ValueDecodeError):
        await counter.value()
    assert bucket.get("views").value == value


@pytest.mark.parametrize("n", [1.5, True, "1", None])
async def test_only_whole_numbers_are_added(n, counter) -> None:
    with pytest.raises(InvalidArgumentError, match="whole numbers"):
        await counter.add(n)


@pytest.mark.parametrize(("loss", "total"), [(Loss.ANSWER, 1), (Loss.REQUEST, 0)])
async def test_an_addition_without_an_answer_is_said_and_not_repeated(
    loss, total, relay, relayed, counter, bucket
) -> None:
    relay.lose("PUT", loss)
    with pytest.raises(OutcomeUnknownError):
        await AsyncCounter(relayed.bucket(bucket.name), "views").add()
    assert await counter.value() == total

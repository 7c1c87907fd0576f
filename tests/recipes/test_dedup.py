"""Commands: one wins, the others get its result."""

import pytest

from jetkv import InvalidArgumentError, OutcomeUnknownError, RevisionMismatchError
from jetkv.recipes import AsyncCommandDedup
from tests.recipes.relay import Loss
from tests.support.waiting import eventually


@pytest.fixture
def name(make_bucket) -> str:
    return make_bucket(ttl_seconds=60).name


@pytest.fixture
def dedup(kv, name) -> AsyncCommandDedup:
    return AsyncCommandDedup(kv.bucket(name))


@pytest.fixture
def relayed_dedup(relayed, name) -> AsyncCommandDedup:
    return AsyncCommandDedup(relayed.bucket(name))


async def test_the_first_claim_wins_and_the_second_does_not(dedup) -> None:
    assert (await dedup.claim("c")).won
    second = await dedup.claim("c")
    assert (second.won, second.done, second.result) == (False, False, None)


async def test_a_finalized_command_gives_its_result_to_all(dedup) -> None:
    await dedup.finalize(await dedup.claim("c"), {"charged": 5})
    later = await dedup.claim("c")
    assert (later.won, later.done, later.result) == (False, True, {"charged": 5})


async def test_a_released_command_can_be_claimed_again(dedup) -> None:
    await dedup.release(await dedup.claim("c"))
    assert (await dedup.claim("c")).won


async def test_only_the_winner_finalizes_or_releases(dedup) -> None:
    await dedup.claim("c")
    second = await dedup.claim("c")
    with pytest.raises(InvalidArgumentError, match="was not won"):
        await dedup.finalize(second, 1)
    with pytest.raises(InvalidArgumentError, match="was not won"):
        await dedup.release(second)
    assert not (await dedup.claim("c")).done


async def test_a_finalized_command_is_not_released_any_more(dedup) -> None:
    claim = await dedup.claim("c")
    await dedup.finalize(claim, 1)
    await dedup.release(claim)
    assert (await dedup.claim("c")).result == 1


async def test_a_winner_whose_time_was_up_is_followed_by_another_and_cannot_finalize(
    kv, make_bucket
) -> None:
    dedup = AsyncCommandDedup(kv.bucket(make_bucket(ttl_seconds=1).name))
    slow = await dedup.claim("c")

    async def another_wins() -> bool:
        return (await dedup.claim("c")).won

    await eventually(another_wins, "another wins")
    with pytest.raises(RevisionMismatchError):
        await dedup.finalize(slow, "late")
    await dedup.release(slow)
    again = await dedup.claim("c")
    assert (again.won, again.done) == (False, False)


async def test_a_claim_applied_without_an_answer_is_won(relay, relayed_dedup, dedup) -> None:
    relay.lose("PUT", Loss.ANSWER)
    claim = await relayed_dedup.claim("c")
    assert claim.won
    assert relay.lost == ["ANSWER of PUT"]
    await relayed_dedup.finalize(claim, 1)
    assert (await dedup.claim("c")).result == 1


async def test_a_claim_that_arrives_late_is_not_won_by_a_caller_that_gave_up(
    relay, relayed_dedup, dedup
) -> None:
    relay.lose("PUT", Loss.LATE, Loss.REQUEST, Loss.REQUEST)
    with pytest.raises(OutcomeUnknownError):
        await relayed_dedup.claim("c")
    relay.let_through()
    assert not (await dedup.claim("c")).won


@pytest.mark.parametrize("loss", [Loss.ANSWER, Loss.REQUEST])
async def test_a_result_without_an_answer_is_stored(loss, relay, relayed_dedup, dedup) -> None:
    claim = await relayed_dedup.claim("c")
    relay.lose("PUT", loss)
    await relayed_dedup.finalize(claim, 1)
    assert relay.lost == [f"{loss.name} of PUT"]
    assert (await dedup.claim("c")).result == 1


async def test_a_release_does_not_undo_a_result_that_got_no_answer(
    relay, relayed_dedup, dedup
) -> None:
    claim = await relayed_dedup.claim("c")
    relay.lose("PUT", Loss.ANSWER)
    relay.lose("GET", *[Loss.REQUEST] * 2)
    with pytest.raises(OutcomeUnknownError):
        await relayed_dedup.finalize(claim, 1)
    await relayed_dedup.release(claim)
    assert (await dedup.claim("c")).result == 1


async def test_a_result_that_is_no_json_leaves_the_claim_as_it_is(dedup) -> None:
    claim = await dedup.claim("c")
    with pytest.raises(InvalidArgumentError):
        await dedup.finalize(claim, object())
    await dedup.finalize(claim, 1)
    assert (await dedup.claim("c")).result == 1


async def test_a_bucket_without_a_ttl_is_refused(kv, bucket) -> None:
    with pytest.raises(InvalidArgumentError, match="a claim needs a bucket whose keys expire"):
        await AsyncCommandDedup(kv.bucket(bucket.name)).claim("c")


@pytest.mark.parametrize("id", [7, None, ""])
async def test_an_invalid_id_is_refused(id, dedup) -> None:
    with pytest.raises(InvalidArgumentError, match="a command's id"):
        await dedup.claim(id)

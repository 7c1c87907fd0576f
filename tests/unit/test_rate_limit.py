"""How much a peer may send: a burst, then a rate, and not for long above it."""

import pytest

from jetkv_gateway.serving.rate_limit import RateLimit

FRAMES = RateLimit.FRAMES_A_SECOND
BYTES = RateLimit.BYTES_A_SECOND
BURST = RateLimit.BURST_SECONDS


def test_a_peer_that_sends_no_faster_than_it_grows_is_never_stopped() -> None:
    allowance = RateLimit(0)
    for second in range(1, 1000):
        allowance.consume(FRAMES, BYTES)
        assert not allowance.exhausted
        assert allowance.refill(second)


@pytest.mark.parametrize(
    ("frames", "size"), [(FRAMES * BURST, 0), (0, BYTES * BURST)], ids=["frames", "bytes"]
)
def test_a_burst_spends_it_and_a_pause_brings_it_back(frames: int, size: int) -> None:
    allowance = RateLimit(0)
    allowance.consume(frames, size)
    assert allowance.exhausted
    assert allowance.refill(1)
    assert not allowance.exhausted
    # Once it is whole again, the next burst starts again.
    assert allowance.refill(BURST + 1)
    allowance.consume(frames, size)
    assert all(allowance.refill(second) for second in (5, 6, 22, 100))


def test_a_peer_that_sends_faster_than_it_grows_for_ten_seconds_is_ended() -> None:
    allowance = RateLimit(0)
    granted = 0
    for second in range(1, 100):
        if not allowance.exhausted:
            allowance.consume(FRAMES * 20, 0)
            granted += FRAMES * 20
        if not allowance.refill(second):
            break
    assert second == 11
    assert granted <= FRAMES * (BURST + second + 20)


def test_what_is_overdrawn_is_paid_back_before_anything_more_is_read() -> None:
    allowance = RateLimit(0)
    allowance.consume(FRAMES * (BURST + 5), 0)
    seconds = [
        second for second in range(1, 9) if (allowance.refill(second), allowance.exhausted)[1]
    ]
    assert seconds == [1, 2, 3, 4, 5]


def test_a_long_silence_saves_up_no_more_than_the_burst() -> None:
    allowance = RateLimit(0)
    allowance.refill(1_000_000)
    allowance.consume(FRAMES * BURST, 0)
    assert allowance.exhausted

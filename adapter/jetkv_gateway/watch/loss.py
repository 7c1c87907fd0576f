"""Whether a change can have gone without a trace while a watch was not looking.

A newer revision of its key is a trace of a change, and so is an expiry marker, until its own time
is up. Where a bucket forgets (`kv.model.SilentLoss`), three things prove that nothing was missed
after a revision N:

1. *Time*: what came after N is younger than the bucket keeps anything, traces included. A stored
   revision up to N + 1 that is young proves it, too: all that follows is younger.
2. *Order*: where the oldest goes first, a stored revision up to N + 1 vouches for all after it.
3. *Presence*: every revision after N is delivered, one after the other.

Time and order are read off a bucket's state. For presence the changes have to be read without a
filter, since a revision that is missing does not tell its key: written over since, or gone.
"""

from math import inf

from jetkv_gateway.kv.model import BucketState, SilentLoss
from jetkv_gateway.kv.store import Changes, FeedBatch

__all__ = [
    "CHECK_GAPS",
    "LOST",
    "first_gap",
    "gap_is_loss",
    "is_short",
    "loss_reason",
    "seconds_proven",
    "seconds_safe",
    "stricter",
]

LOST = -inf
CHECK_GAPS = 0.0

_WIDER = 8
_SHORT_SECONDS = 1.0


def seconds_safe(state: BucketState, after: int, age: float) -> float:
    """Return the seconds for which nothing that changed after a revision can go unseen.

    Args:
        after: the revision.
        age: seconds, at least as many as the first change after it is old.

    Returns:
        `inf` where nothing ever goes; `LOST` where something may have gone already; `CHECK_GAPS`
        where neither is sure, and each gap has to be looked at.
    """
    silent_loss = state.silent_loss
    if silent_loss is None:
        return inf
    if state.last <= after:
        age = 0.0
    elif state.first <= after + 1:
        age = min(age, state.first_age)
    if age < silent_loss.after:
        return silent_loss.after - age
    return LOST if state.last > after and state.first > after + 1 else CHECK_GAPS


def is_short(safe: float, state: BucketState) -> bool:
    """Return whether there is too little time to read anything before it is over."""
    if state.silent_loss is None:
        return False
    return safe <= 0 or safe < min(_SHORT_SECONDS, state.silent_loss.after / 4)


def gap_is_loss(state: BucketState, before: int, age: float) -> bool:
    """Return whether a change may have gone where the revision after `before` is missing.

    Args:
        state: of the bucket, read after the gap was seen.
        age: seconds, at least as many as what is missing is old.
    """
    safe = seconds_safe(state, before, age)
    if safe == CHECK_GAPS:
        return state.silent_loss is None or not state.silent_loss.oldest_first
    return safe == LOST


def first_gap(batch: FeedBatch, position: int) -> int | None:
    """Return the revision before the first gap after `position`, None where all have come."""
    for change in batch.changes:
        if change.revision > position + 1:
            return position
        position = max(position, change.revision)
    return position if batch.reached > position else None


def loss_reason(after: int) -> str:
    """Return the reason of a resync."""
    return f"changes after revision {after} may have expired unseen"


def stricter(one: SilentLoss | None, other: SilentLoss | None) -> SilentLoss | None:
    """Return how a bucket forgets that may have forgotten in both ways."""
    if one is None or other is None:
        return one or other
    return SilentLoss(min(one.after, other.after), one.oldest_first and other.oldest_first)


async def seconds_proven(changes: Changes, bucket: str, state: BucketState, after: int) -> float:
    """Return the seconds that a young revision up to `after` + 1 makes sure, 0 where there is none.

    Looked for from there backwards, in steps that grow: the first stored revision is the oldest of
    all, and may be one that never goes.
    """
    silent_loss = state.silent_loss
    if silent_loss is None or state.first > after + 1:
        return 0.0
    step = 1
    while True:
        begin = max(state.first, after + 2 - step)
        found = await changes.first_at_or_after(bucket, begin)
        if found is None:
            return 0.0
        if found.revision <= after + 1:
            return max(0.0, found.stored_at + silent_loss.after - state.now)
        if begin == state.first:
            return 0.0
        step *= _WIDER

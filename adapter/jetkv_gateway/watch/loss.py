"""Tells whether a watch may have missed a change that left no trace.

A change leaves a trace if a newer revision of its key or an expiry marker is stored, until that
expires itself. If a bucket forgets (`kv.model.SilentLoss`), three things prove that no change after
revision N was missed:

1. *Time*: all changes after N are younger than the bucket's limit, so nothing has expired. A
   young stored revision up to N + 1 proves that too, since all later ones are younger.
2. *Order*: if the bucket drops the oldest first, a stored revision up to N + 1 proves it.
3. *Presence*: every revision after N is delivered without a gap.

The bucket's state shows time and order. Presence needs all changes without a filter, since a
missing revision does not show its key, nor whether it was overwritten or lost.
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
    """Return for how many seconds no change after a revision can be lost unnoticed.

    Args:
        after: the revision.
        age: the greatest possible age of the first change after it, in seconds.

    Returns:
        `inf` if the bucket never forgets; `LOST` if a change may be lost already; `CHECK_GAPS`
        if neither is certain, and each gap must be checked.
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
    """Return whether the safe time is too short to read anything."""
    if state.silent_loss is None:
        return False
    return safe <= 0 or safe < min(_SHORT_SECONDS, state.silent_loss.after / 4)


def gap_is_loss(state: BucketState, before: int, age: float) -> bool:
    """Return whether a gap after the revision `before` may be a lost change.

    Args:
        state: of the bucket, read after the gap was seen.
        age: the greatest possible age of the missing revision, in seconds.
    """
    safe = seconds_safe(state, before, age)
    if safe == CHECK_GAPS:
        return state.silent_loss is None or not state.silent_loss.oldest_first
    return safe == LOST


def first_gap(batch: FeedBatch, position: int) -> int | None:
    """Return the revision before the first gap after `position`, or None without a gap."""
    for change in batch.changes:
        if change.revision > position + 1:
            return position
        position = max(position, change.revision)
    return position if batch.reached > position else None


def loss_reason(after: int) -> str:
    """Return the text of a resync."""
    return f"changes after revision {after} may have expired unseen"


def stricter(one: SilentLoss | None, other: SilentLoss | None) -> SilentLoss | None:
    """Return the stricter of two limits, for a bucket that may have had both."""
    if one is None or other is None:
        return one or other
    return SilentLoss(min(one.after, other.after), one.oldest_first and other.oldest_first)


async def seconds_proven(changes: Changes, bucket: str, state: BucketState, after: int) -> float:
    """Return the safe seconds that a young revision up to `after` + 1 proves, or 0.

    The search goes backwards in growing steps, since the first stored revision is the oldest and
    may be one that never expires.
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

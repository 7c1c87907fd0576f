"""Writes the entries of one bucket to another one, without a file in between."""

from collections.abc import Callable

from jetkv import Bucket
from jetkv._sync.bucket import endpoint_of
from jetkv.errors import UnexpectedAnswerError
from jetkv.transfer.format import Item, item_of
from jetkv.transfer.policy import Counts, Load, Policy, Rules, Ttl, require
from jetkv.transfer.revisions import Revisions
from jetkv.transfer.source import Selection, reading
from jetkv.transfer.workers import Workers
from jetkv.transfer.writer import Writer

__all__ = ["copy"]


def copy(
    source: Bucket[bytes],
    selection: Selection,
    target: Bucket[bytes],
    policy: Policy,
    ttl: Ttl,
    workers: int,
    counts: Counts,
    progress: Callable[[int], None] = lambda _count: None,
) -> None:
    """Write the entries of one bucket to another one.

    Args:
        source: the bucket to read.
        selection: what to read of it.
        target: the bucket to write.
        policy: what to do with a key that has another value.
        ttl: how long values that expire live.
        workers: how many batches may be in flight.
        counts: gets what became of the entries, also after an error.
        progress: is called with the number of entries so far.

    Raises:
        PreconditionFailedError: a key has another value, with the policy `fail`.
        BucketUnsuitableError: the target cannot take it.
        JetKVError: a gateway does not answer, or refuses.
    """
    from_info, to_info = source.info(), target.info()
    require(to_info, Load(from_info.history if selection.history else 1), ttl)
    rules = Rules.of(policy, ttl, to_info)
    ours = Revisions()

    def make(stopped: Callable[[], bool]) -> Writer:
        return Writer(endpoint_of(target), to_info, rules, ours, stopped)

    done = 0
    running = Workers(workers, make)
    try:
        with reading(endpoint_of(source), selection) as entries, running:
            for lines in entries.lines():
                for line in lines:
                    running.add(_item(line, selection))
                done += len(lines)
                progress(done)
            running.finish()
    finally:
        counts.add(running.counts)


def _item(line: bytes, selection: Selection) -> Item:
    try:
        return item_of(line)
    except ValueError as error:
        raise UnexpectedAnswerError(
            f"{selection.request().description}: {error}", hint="check the address"
        ) from error

"""Writes entries to a bucket by the rules of a transfer."""

from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime

from jetkv._sync.endpoint import Endpoint
from jetkv.errors import PreconditionFailedError, UnavailableError
from jetkv.models import BucketInfo, Entry
from jetkv.transfer.batch import Batch, Op
from jetkv.transfer.format import Item
from jetkv.transfer.policy import Counts, Policy, Rules, Verdict
from jetkv.transfer.revisions import Revisions, runs_of

__all__ = ["Writer"]

_TRIES = 20
_OPTIMISTIC = (Policy.FAIL, Policy.SKIP)


class Writer:
    """Writes entries to one bucket. It is used by one thread.

    Args:
        endpoint: what sends the requests.
        target: the bucket.
        rules: the rules.
        ours: the revisions that all writers of the transfer have written.
        stopped: returns whether to give up.

    Attributes:
        counts: what became of the entries so far.
        written: the revisions that it has written, as runs. Its owner empties it after each batch.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        target: BucketInfo,
        rules: Rules,
        ours: Revisions,
        stopped: Callable[[], bool],
    ) -> None:
        self._bucket = target.name
        self._rules = rules
        self._ours = ours
        self._batch = Batch(endpoint, target.name, atomic=target.batches, stopped=stopped)
        self.counts = Counts()
        self.written: list[list[int]] = []

    def write(self, items: Sequence[Item]) -> None:
        """Write entries, those of one key in order.

        Raises:
            PreconditionFailedError: a key has another value, with the policy `fail`.
            JetKVError: the gateway does not answer, or refuses.
        """
        now = datetime.now(UTC)
        ready = [(item, op) for item in items if (op := self._rules.op(item, now)) is not None]
        self.counts.expired += len(items) - len(ready)
        if self._rules.policy is Policy.OVERWRITE:
            self._apply(ready)
            return
        firsts: dict[str, tuple[Item, Op]] = {}
        later: list[tuple[Item, Op]] = []
        for item, op in ready:
            if item["key"] in firsts:
                later.append((item, op))
            else:
                firsts[item["key"]] = (item, op)
        taken = self._decide(firsts)
        kept = [pair for pair in later if pair[0]["key"] not in taken]
        self.counts.kept += len(kept)
        self._apply([pair for pair in later if pair[0]["key"] in taken])

    def claim(self, revisions: Iterable[int]) -> None:
        """Take revisions for written by this writer: a killed import wrote them."""
        runs = runs_of(revisions)
        self._ours.add(runs)
        self.written += runs

    def current(self, items: Sequence[Item]) -> dict[str, Entry[bytes]]:
        """Return the live entries of the keys of entries."""
        sizes: dict[str, int] = {}
        for item in items:
            sizes[item["key"]] = max(sizes.get(item["key"], 0), len(item["value"]))
        return self._batch.current(list(sizes), list(sizes.values()))

    def _apply(self, ready: Sequence[tuple[Item, Op]]) -> None:
        """Write entries without conditions."""
        self._sent(ready, [op for _, op in ready])
        self.counts.written += len(ready)

    def _sent(self, ready: Sequence[tuple[Item, Op]], ops: list[Op]) -> list[int | None]:
        if not ops:
            return []
        codings = {
            place: item["content_encoding"]
            for place, (item, _) in enumerate(ready)
            if "content_encoding" in item
        }
        revisions = self._batch.send(ops, codings)
        self.claim(revision for revision in revisions if revision)
        return revisions

    def _decide(self, waiting: dict[str, tuple[Item, Op]]) -> set[str]:
        """Write the first entry of each key if the policy allows it; return the keys that it wrote.

        A write is conditional, so whoever writes a key at the same time does not lose that.
        """
        taken: set[str] = set()
        current: dict[str, Entry[bytes]] = {}
        if self._rules.policy in _OPTIMISTIC:
            # Most keys are not there yet, so it is not worth while to ask first.
            unread = [item for item, op in waiting.values() if op["op"] != "put"]
            current = self.current(unread)
        else:
            current = self.current([item for item, _ in waiting.values()])
        for _ in range(_TRIES):
            ready: list[tuple[Item, Op]] = []
            for item, op in waiting.values():
                found = current.get(item["key"])
                ours = found is not None and found.revision in self._ours
                verdict, revision = self._rules.judge(item, found, ours=ours)
                if verdict is None:
                    ready.append((item, _conditional(op, revision)))
                else:
                    self._count(verdict, item)
                    if verdict is Verdict.UNCHANGED:
                        taken.add(item["key"])
            revisions = self._sent(ready, [op for _, op in ready])
            waiting = {}
            for (item, op), revision_or_none in zip(ready, revisions, strict=True):
                if revision_or_none is None:
                    waiting[item["key"]] = (item, {**op, "op": _plain(item)})
                else:
                    taken.add(item["key"])
            self.counts.written += len(ready) - len(waiting)
            if not waiting:
                return taken
            current = self.current([item for item, _ in waiting.values()])
        raise UnavailableError(
            f"{next(iter(waiting))!r} in bucket {self._bucket!r} changes faster than it can be read"
        )

    def _count(self, verdict: Verdict, item: Item) -> None:
        if verdict is Verdict.CONFLICT:
            raise PreconditionFailedError(
                f"{item['key']!r} in bucket {self._bucket!r} has another value",
                hint="choose --on-conflict skip, overwrite or if-newer",
            )
        if verdict is Verdict.UNCHANGED:
            self.counts.unchanged += 1
        else:
            self.counts.kept += 1


def _plain(item: Item) -> str:
    operation: str = item["operation"]
    return operation


def _conditional(op: Op, revision: int) -> Op:
    """Return an op that applies only if its key is at a revision; 0 is for no live value."""
    plain = {name: value for name, value in op.items() if name != "revision"}
    if plain["op"] == "put":
        return (
            {**plain, "op": "update", "revision": revision}
            if revision
            else {
                **plain,
                "op": "create",
            }
        )
    return {**plain, "revision": revision}

"""Writes the entries of an export to a bucket, and goes on where it broke off."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

from jetkv import Bucket
from jetkv._sync.bucket import endpoint_of
from jetkv.errors import PreconditionFailedError
from jetkv.models import BucketInfo, format_time
from jetkv.transfer.files import Checked, check, lines_of
from jetkv.transfer.format import Item, item_of
from jetkv.transfer.policy import Counts, Load, Policy, Rules, Ttl, require
from jetkv.transfer.problems import FileDamagedError
from jetkv.transfer.revisions import Revisions
from jetkv.transfer.settle import left_of
from jetkv.transfer.source import newest_revision
from jetkv.transfer.state import State, state_file
from jetkv.transfer.survey import Survey, survey
from jetkv.transfer.workers import Workers, worker_of
from jetkv.transfer.writer import Writer

__all__ = ["Import", "items_of"]


@dataclass(slots=True)
class Import:
    """An export and the bucket that it is written to.

    Args:
        path: the file.
        bucket: the bucket.
        policy: what to do with a key that has another value.
        ttl: how long values that expire live.

    Attributes:
        checked: what the file is.
        target: what the bucket is.
        resumed: whether it is the rest of a broken import.
        counts: what became of the entries, also after an error.
    """

    path: Path
    bucket: Bucket[bytes]
    policy: Policy
    ttl: Ttl
    checked: Checked
    target: BucketInfo
    resumed: bool = False
    counts: Counts = field(default_factory=Counts)

    @classmethod
    def prepare(cls, path: Path, bucket: Bucket[bytes], policy: Policy, ttl: Ttl) -> "Import":
        """Check the file, and that the bucket can take what is in it. Nothing is written.

        Raises:
            FileDamagedError: the file is no whole export.
            BucketUnsuitableError: the bucket cannot take it.
            JetKVError: the gateway does not answer, or refuses.
            OSError: the file cannot be read.
        """
        checked = check(path)
        target = bucket.info()
        header, end = checked.header, checked.end
        kept = header.settings.get("history", 1) if header.history else 1
        require(target, Load(kept, end.expiring, end.count - end.expiring, end.largest), ttl)
        return cls(path, bucket, policy, ttl, checked, target)

    def survey(self, progress: Callable[[int], None] = lambda _count: None) -> Survey:
        """Compare the bucket with the file. Nothing is written."""
        writer = self._writer(Revisions(), lambda: False)
        return survey(self.bucket, writer, self._rules, self.checked, self._items, progress)

    def run(self, workers: int, progress: Callable[[int], None] = lambda _count: None) -> Counts:
        """Write the entries, and return what became of them.

        Args:
            workers: how many batches may be in flight. The rest of a broken import has as many as
                that.
            progress: is called with the number of entries so far.

        Raises:
            PreconditionFailedError: a key has another value, with the policy `fail`.
            FileDamagedError: the file was changed meanwhile.
            InvalidArgumentError: the state file belongs to another import.
            JetKVError: the gateway does not answer, or refuses. The next run goes on from here.
            OSError: a file cannot be read or written.
        """
        endpoint = endpoint_of(self.bucket)
        state = State(
            state_file(self.path, self.bucket.name),
            self._identity(),
            workers=workers,
            newest=newest_revision(endpoint, self.bucket.name),
        )
        try:
            self.resumed = state.resumed
            begun = any(done.count for done in state.done)
            if self.policy is Policy.FAIL and not begun and self.target.values != 0:
                self._refuse_conflicts(progress)
            self.counts.add(state.counts)
            self._run(state, progress)
            state.remove()
        finally:
            state.close()
        return self.counts

    def _refuse_conflicts(self, progress: Callable[[int], None]) -> None:
        found = self.survey(progress)
        if found.differ:
            state_file(self.path, self.bucket.name).unlink()
            raise PreconditionFailedError(
                f"{found.differ:,} of the keys have another value in bucket {self.bucket.name!r}, "
                f"such as {found.example!r}; nothing was written",
                hint="choose --on-conflict skip, overwrite or if-newer",
            )

    def _run(self, state: State, progress: Callable[[int], None]) -> None:
        before = [Counts() for _ in state.done]

        def record(worker: int, count: int, writer: Writer) -> None:
            so_far = before[worker]
            now = replace(writer.counts)
            state.record(
                worker,
                count,
                writer.written,
                Counts(
                    now.written - so_far.written,
                    now.unchanged - so_far.unchanged,
                    now.kept - so_far.kept,
                    now.expired - so_far.expired,
                ),
            )
            before[worker] = now

        count = len(state.done)
        skip = [done.count for done in state.done]
        done = sum(skip)
        workers = Workers(
            count,
            lambda stopped: self._writer(state.ours, stopped),
            record,
            settle=self._settle(state) if state.resumed else None,
        )
        try:
            with workers:
                for item in self._items():
                    number = worker_of(item["key"], count)
                    if skip[number]:
                        skip[number] -= 1
                        continue
                    workers.add(item)
                    done += 1
                    if done % 256 == 0:
                        progress(done)
                workers.finish()
        finally:
            self.counts.add(workers.counts)

    def _settle(self, state: State) -> Callable[[int, Writer, list[Item]], list[Item]]:
        def settle(number: int, writer: Writer, batch: list[Item]) -> list[Item]:
            now = datetime.now(UTC)
            lasting = [item for item in batch if self._rules.op(item, now) is not None]
            newest = state.done[number].newest
            left = left_of(self.bucket, writer, lasting, newest, self.target.history)
            writer.counts.expired += len(batch) - len(lasting)
            writer.counts.written += len(lasting) - len(left)
            return left

        return settle

    @property
    def _rules(self) -> Rules:
        return Rules.of(self.policy, self.ttl, self.target)

    def _writer(self, ours: Revisions, stopped: Callable[[], bool]) -> Writer:
        return Writer(endpoint_of(self.bucket), self.target, self._rules, ours, stopped)

    def _identity(self) -> dict[str, str]:
        return {
            "sha256": self.checked.end.sha256,
            "bucket": self.bucket.name,
            "gateway": str(endpoint_of(self.bucket).address),
            "bucket_created_at": format_time(self.target.created_at),
            "policy": self.policy.value,
            "ttl": self.ttl.value,
        }

    def _items(self) -> Iterator[Item]:
        return items_of(self.path, self.checked.end.count)


def items_of(path: Path, count: int) -> Iterator[Item]:
    """Yield the entries of a file that was checked.

    Raises:
        FileDamagedError: it is another file by now.
        OSError: it cannot be read.
    """
    lines = lines_of(path)
    next(lines, b"")
    for number in range(count):
        try:
            yield item_of(next(lines, b""))
        except ValueError as error:
            raise FileDamagedError(f"line {number + 2} of it is no entry: {error}") from error

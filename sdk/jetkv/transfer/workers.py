"""Several threads that write entries at the same time. Those of one key stay in order."""

import queue
import threading
import zlib
from collections.abc import Callable
from typing import Protocol

from jetkv.transfer.batch import MAX_BYTES, MAX_ITEMS
from jetkv.transfer.format import Item
from jetkv.transfer.policy import Counts
from jetkv.transfer.writer import Writer

__all__ = ["Record", "Settle", "Workers", "worker_of"]

_TICK_SECONDS = 0.2


class Record(Protocol):
    """Is told of each batch that a worker has written, by this worker's thread."""

    def __call__(self, worker: int, count: int, writer: Writer) -> None: ...


Settle = Callable[[int, Writer, list[Item]], list[Item]]


class _Worker:
    def __init__(self, writer: Writer) -> None:
        self.writer = writer
        self.queue: queue.Queue[list[Item] | None] = queue.Queue(1)
        self.begun: list[Item] = []
        self.size = 0
        self.thread: threading.Thread | None = None


class Workers:
    """Threads that write entries. Each key belongs to one of them. Use it with `with`.

    Args:
        count: the number of threads.
        make_writer: makes the writer of a thread. It gets what tells it to give up.
        record: is called after each batch.
        settle: returns what is left of the first batch of a worker, which a killed import may have
            written.
    """

    def __init__(
        self,
        count: int,
        make_writer: Callable[[Callable[[], bool]], Writer],
        record: Record | None = None,
        settle: Settle | None = None,
    ) -> None:
        self._stop = threading.Event()
        self._record = record
        self._settle = settle
        self._error: BaseException | None = None
        self._workers = [_Worker(make_writer(self._stop.is_set)) for _ in range(count)]

    @property
    def counts(self) -> Counts:
        """What became of the entries so far."""
        counts = Counts()
        for worker in self._workers:
            counts.add(worker.writer.counts)
        return counts

    def __enter__(self) -> "Workers":
        for number, worker in enumerate(self._workers):
            worker.thread = threading.Thread(
                target=self._run, args=(number, worker), name=f"jetkv-transfer-{number}"
            )
            worker.thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_rest: object) -> None:
        if kind is not None:
            self._stop.set()
        # A request in flight ends with its own deadline.
        for worker in self._workers:
            if worker.thread is not None:
                worker.thread.join()

    def add(self, item: Item) -> None:
        """Have an entry written; wait while its worker has enough to do.

        Raises:
            Exception: that of the worker that failed first.
        """
        worker = self._workers[worker_of(item["key"], len(self._workers))]
        size = len(item["value"])
        if worker.begun and worker.size + size > MAX_BYTES:
            self._hand_over(worker)
        worker.begun.append(item)
        worker.size += size
        if len(worker.begun) >= MAX_ITEMS:
            self._hand_over(worker)

    def finish(self) -> None:
        """Wait until everything is written.

        Raises:
            Exception: that of the worker that failed first.
        """
        for worker in self._workers:
            if worker.begun:
                self._hand_over(worker)
        for worker in self._workers:
            self._put(worker, None)
        for worker in self._workers:
            while worker.thread is not None and worker.thread.is_alive():
                worker.thread.join(_TICK_SECONDS)
        self._check()

    def _hand_over(self, worker: _Worker) -> None:
        batch, worker.begun, worker.size = worker.begun, [], 0
        self._put(worker, batch)

    def _put(self, worker: _Worker, batch: list[Item] | None) -> None:
        while True:
            self._check()
            try:
                worker.queue.put(batch, timeout=_TICK_SECONDS)
            except queue.Full:
                continue
            return

    def _check(self) -> None:
        if self._error is not None:
            raise self._error

    def _run(self, number: int, worker: _Worker) -> None:
        try:
            settle = self._settle
            while not self._stop.is_set():
                try:
                    batch = worker.queue.get(timeout=_TICK_SECONDS)
                except queue.Empty:
                    continue
                if batch is None:
                    return
                worker.writer.written = []
                left = batch if settle is None else settle(number, worker.writer, batch)
                settle = None
                worker.writer.write(left)
                if self._record is not None:
                    self._record(number, len(batch), worker.writer)
        except Exception as error:  # noqa: BLE001 - the thread that waits for this one raises it
            if self._error is None:
                self._error = error
            self._stop.set()


def worker_of(key: str, count: int) -> int:
    """Return which of some workers a key belongs to, in every run the same."""
    return zlib.crc32(key.encode()) % count

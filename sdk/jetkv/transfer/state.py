"""How far an import is, in a file that survives a power cut.

Its first line says what is imported into what. Each further line says what one worker has written.
It is on the disk before that worker sends more, so at most one batch of each worker is not in the
file although it was written.
"""

import json
import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from threading import Lock
from typing import IO, Any

from jetkv.errors import InvalidArgumentError
from jetkv.transfer.files import sync_folder
from jetkv.transfer.policy import Counts
from jetkv.transfer.revisions import Revisions

__all__ = ["State", "state_file"]

_MAX_BYTES = 64 * 1024 * 1024
_KIND = "jetkv-import"


def state_file(path: Path, bucket: str) -> Path:
    """Return the path of the file beside an export that says how far its import is."""
    return path.with_name(f"{path.name}.{bucket}.import-state")


@dataclass(slots=True)
class Done:
    """What one worker has written.

    Attributes:
        count: the number of its entries that are done.
        newest: the newest revision that it has written; at first that of the bucket.
    """

    count: int
    newest: int


class State:
    """How far an import is. The workers of the import share it.

    Args:
        path: the file. It is made if it is not there, and removed by `remove`.
        import_: what is imported into what. The rest of a broken import must be the same.
        workers: how many workers a new import has.
        newest: the newest revision of the bucket before a new import.

    Attributes:
        resumed: whether it is the rest of a broken import.
        done: of each worker.
        counts: what became of the entries until then.
        ours: the revisions that were written.

    Raises:
        InvalidArgumentError: the file belongs to another import, or one that runs.
        OSError: the file cannot be written.
    """

    def __init__(
        self, path: Path, import_: Mapping[str, Any], *, workers: int, newest: int
    ) -> None:
        self.path = path
        self.counts = Counts()
        self.ours = Revisions()
        self._lock = Lock()
        self._file: IO[bytes] = path.open("a+b")
        try:
            self._lock_file()
            self._file.seek(0)
            whole, newline, _ = self._file.read(_MAX_BYTES).rpartition(b"\n")
            self.resumed = bool(newline)
            if self.resumed:
                workers, newest = self._read(whole.split(b"\n"), import_)
                # A line that was cut off was not finished when the machine stopped.
                self._file.truncate(len(whole) + 1)
            else:
                self._file.truncate(0)
                first = {"type": _KIND, "version": 1, **import_}
                self._append({**first, "workers": workers, "newest": newest})
                sync_folder(path)
        except BaseException:
            self._file.close()
            raise

    def _lock_file(self) -> None:
        try:
            import fcntl
        except ModuleNotFoundError:  # on Windows
            return
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise InvalidArgumentError(
                "this import runs already", hint="wait until it has ended"
            ) from error

    def _read(self, lines: list[bytes], import_: Mapping[str, Any]) -> tuple[int, int]:
        try:
            first = json.loads(lines[0])
            workers, newest = int(first["workers"]), int(first["newest"])
            known = first["type"] == _KIND and first["version"] == 1 and workers > 0
            self.done = [Done(0, newest) for _ in range(workers)]
            for line in lines[1:]:
                self._read_line(json.loads(line))
        except (ValueError, KeyError, TypeError, IndexError) as error:
            raise self._another("it is damaged") from error
        if not known:
            raise self._another("it is of another version")
        for name, value in import_.items():
            if first.get(name) != value:
                raise self._another(f"its {name} was {first.get(name)!r}, and now is {value!r}")
        return workers, newest

    def _read_line(self, found: dict[str, Any]) -> None:
        done = self.done[found["worker"]]
        done.count = found["done"]
        runs = found["revisions"]
        self.ours.add(runs)
        done.newest = max([done.newest, *(last for _, last in runs)])
        self.counts.add(Counts(**found["counts"]))

    def _another(self, why: str) -> InvalidArgumentError:
        return InvalidArgumentError(
            f"{self.path} is the state of another import: {why}",
            hint="import as before to finish that one; to forget it, remove the file",
        )

    def record(self, worker: int, count: int, runs: list[list[int]], counts: Counts) -> None:
        """Store that a worker has written further entries. When this returns, it is on the disk."""
        with self._lock:
            done = self.done[worker]
            done.count += count
            done.newest = max([done.newest, *(last for _, last in runs)])
            self._append(
                {"worker": worker, "done": done.count, "revisions": runs, "counts": asdict(counts)}
            )

    def _append(self, document: Mapping[str, Any]) -> None:
        self._file.write(json.dumps(document, separators=(",", ":")).encode() + b"\n")
        self._file.flush()
        os.fsync(self._file.fileno())
        if "workers" in document:
            self.done = [Done(0, document["newest"]) for _ in range(document["workers"])]

    def close(self) -> None:
        self._file.close()

    def remove(self) -> None:
        """Remove the file: the import is done."""
        with suppress(FileNotFoundError):
            self.path.unlink()

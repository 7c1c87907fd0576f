"""Writers that note what was acked: through the gateway, each in a thread, until stopped."""

import base64
import random
import threading
import time
from collections import Counter
from collections.abc import Callable

from tests.support.http import Bucket, Http
from tests.support.waiting import until
from tests.watch.promises import Write

_VERSIONS_OF_A_KEY = 50
"""A history of 64 has to hold every version, or not every revision could be asked for."""

_PACE_SECONDS = 0.004


class Ledger:
    """Every write that was tried."""

    def __init__(self) -> None:
        self.writes: list[Write] = []
        self.acked = 0
        self.odd: list[str] = []
        self._tries: Counter[tuple[str, str]] = Counter()
        self._lock = threading.Lock()

    def may_write(self, bucket: str, key: str) -> bool:
        with self._lock:
            self._tries[bucket, key] += 1
            return self._tries[bucket, key] <= _VERSIONS_OF_A_KEY

    def note(self, write: Write) -> None:
        with self._lock:
            self.writes.append(write)
            self.acked += write.acked_at is not None

    def of(self, bucket: str, created_at: str) -> list[Write]:
        with self._lock:
            return [
                write
                for write in self.writes
                if (write.bucket, write.created_at) == (bucket, created_at)
            ]


class Writers:
    """Threads that put, create, delete and purge until they are stopped.

    Args:
        gateway: where to write now.
        created_at: of a bucket, as it stands now.
        buckets: name → whether purges are among the writes.
    """

    def __init__(
        self,
        gateway: Callable[[], Http],
        ledger: Ledger,
        created_at: dict[str, str],
        buckets: dict[str, bool],
        *,
        threads: int = 3,
    ) -> None:
        self._gateway = gateway
        self._ledger = ledger
        self._created_at = created_at
        self._buckets = buckets
        self._stop = threading.Event()
        self._go = threading.Event()
        self._parked: set[int] = set()
        self._threads = [
            threading.Thread(target=self._run, args=(number,), daemon=True)
            for number in range(threads)
        ]

    def start(self) -> None:
        self._go.set()
        for thread in self._threads:
            thread.start()

    def pause(self) -> None:
        """Return when no write is in flight."""
        self._go.clear()
        until(lambda: len(self._parked) == len(self._threads), "the writers are idle", 30)

    def go_on(self) -> None:
        self._go.set()

    def stop(self) -> None:
        self._stop.set()
        self._go.set()
        for thread in self._threads:
            if thread.ident is not None:
                thread.join(30)
                assert not thread.is_alive(), "a writer does not stop"

    def _run(self, number: int) -> None:
        chance = random.Random(f"writer {number}")
        count = 0
        while not self._stop.wait(_PACE_SECONDS):
            if not self._go.is_set():
                self._parked.add(number)
                self._go.wait()
                self._parked.discard(number)
                continue
            count += 1
            bucket = chance.choice(sorted(self._buckets))
            # Most keys have one writer; some are written by all.
            key = chance.choice([f"w{number}.{chance.randrange(30)}"] * 3 + [f"all.{count % 10}"])
            if self._ledger.may_write(bucket, key):
                self._write(chance.random(), bucket, key, f"{number}-{count}")

    def _write(self, chance: float, bucket: str, key: str, value: str) -> None:
        target = Bucket(self._gateway(), bucket)
        created_at = self._created_at[bucket]
        operation, text = "put", base64.b64encode(value.encode()).decode()
        status, revision = 0, None
        try:
            if chance < 0.2:
                operation, text = "delete", ""
                query = "?purge=true" if self._buckets[bucket] and chance < 0.1 else ""
                status = target.delete(key, query).status
            else:
                headers = {"If_None_Match": "*"} if chance < 0.35 else {}
                answer = target.put(key, value, **headers)
                status = answer.status
                revision = answer.json["revision"] if status == 200 else None
        except ConnectionRefusedError:
            return
        except OSError:
            pass  # it may have been written
        except Exception as error:  # noqa: BLE001 - an answer cut off in its middle
            self._ledger.odd.append(repr(error))
        if status in (412, 503):
            return
        if status not in (0, 200, 204, 504):
            self._ledger.odd.append(f"{operation} {key}: {status}")
            return
        acked_at = time.monotonic() if status in (200, 204) else None
        self._ledger.note(Write(bucket, created_at, key, operation, text, revision, acked_at))

"""A cluster is upgraded member by member, from the oldest version to the newest, under load.

Each writer has keys of its own and is told every revision, so a condition of its can only fail by a
fault of the gateway. Nothing leaves a bucket of this history, so its messages are the writes.
"""

import asyncio
import base64
import random
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from jetkv_gateway.embedded import find_nats_server
from tests.servers import fetch
from tests.support.cluster import Member, running_cluster
from tests.support.gateway import running_gateway
from tests.support.http import Answer, Bucket
from tests.support.native import Native, native_client
from tests.support.waiting import eventually, until

pytestmark = pytest.mark.long

OLD = "2.10.25"
WRITERS = 6
HISTORY = 64
WRITES_OF_A_KEY = 20
ANSWERED_WITHIN = 20.0
PAUSE = 0.1

LATER = {503, 504}
"""What may be answered while a member is away, and is worth another try."""


@dataclass(frozen=True)
class Write:
    """A write with an idempotency key.

    Attributes:
        value: None deletes.
        condition: the header of it, none for an unconditional write.
    """

    key: str
    value: str | None
    condition: dict[str, str]
    name: str

    def send(self, bucket: Bucket) -> Answer:
        headers = {**self.condition, "Idempotency_Key": self.name}
        if self.value is None:
            return bucket.delete(self.key, **headers)
        return bucket.put(self.key, self.value, **headers)

    def __str__(self) -> str:
        return f"{self.name} {'DELETE' if self.value is None else 'PUT'} {self.condition}"


@dataclass
class Writer:
    """Writes to one key after the other, and retries on purpose.

    Attributes:
        acked: by key, what was written to it, in order: the value, None for a delete.
        faults: answers that it must not get.
        seen: how often each status was answered, and how many retries of each kind were made.
    """

    bucket: Bucket
    name: str
    acked: dict[str, list[str | None]] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)
    seen: Counter[str] = field(default_factory=Counter)

    def write(self, stopped: threading.Event) -> None:
        chance = random.Random(self.name)
        number = 0
        while not stopped.is_set() and not self.faults:
            number += 1
            self._write_to(f"{self.name}-{number}", chance, stopped)

    def _write_to(self, key: str, chance: random.Random, stopped: threading.Event) -> None:
        revision: int | None = None
        earlier: list[tuple[Write, Answer]] = []
        stored = self.acked.setdefault(key, [])
        for number in range(WRITES_OF_A_KEY):
            if stopped.is_set():
                return
            write = self._next(key, f"{key}.{number}", revision, chance)
            first = self._until_answered(write)
            if first.status not in (200, 204):
                self.faults.append(f"{write}: {first.status} {first.body!r}")
                return
            stored.append(write.value)
            revision = None if write.value is None else first.json["revision"]
            earlier.append((write, first))
            self._retry(write, first, "a retry at once")
            self._retry(*chance.choice(earlier[-8:]), "a retry later")
            if revision is not None and chance.random() < 0.1:
                self._be_refused(Write(key, "never", {"If_Match": '"1"'}, f"{key}.{number}.never"))

    def _next(self, key: str, name: str, revision: int | None, chance: random.Random) -> Write:
        value = f"value of {name}"
        if revision is None:
            created_again = chance.random() < 0.8
            return Write(key, value, {"If_None_Match": "*"} if created_again else {}, name)
        condition = {"If_Match": f'"{revision}"'} if chance.random() < 0.8 else {}
        return Write(key, value if chance.random() < 0.8 else None, condition, name)

    def _until_answered(self, write: Write) -> Answer:
        deadline = time.monotonic() + ANSWERED_WITHIN
        while True:
            answer = write.send(self.bucket)
            self.seen[str(answer.status)] += 1
            if answer.status not in LATER or time.monotonic() > deadline:
                return answer
            time.sleep(PAUSE)

    def _be_refused(self, write: Write) -> None:
        """Name a revision that the key was never at."""
        status = write.send(self.bucket).status
        self.seen["refused, as it should be" if status == 412 else str(status)] += 1

    def _retry(self, write: Write, first: Answer, kind: str) -> None:
        again = self._until_answered(write)
        self.seen[kind] += 1
        if (again.status, again.body) != (first.status, first.body):
            was = f"{first.status} {first.body!r}"
            self.faults.append(f"{kind} of {write}: {was}, now {again.status} {again.body!r}")


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[list[Member]]:
    with running_cluster(tmp_path, binary=fetch(OLD)) as members:
        yield members


async def _info(native: Native, bucket: Bucket) -> dict[str, Any]:
    return await native.api(f"STREAM.INFO.KV_{bucket.name}")


async def _level(native: Native, bucket: Bucket) -> int:
    """Return the API level of the server that leads a bucket's stream."""
    metadata = (await _info(native, bucket))["config"].get("metadata") or {}
    return int(metadata.get("_nats.level", 0))


async def _whole(native: Native, bucket: Bucket) -> bool:
    """Return whether a bucket's stream has a leader, and all others have what it has."""
    try:
        cluster = (await _info(native, bucket)).get("cluster") or {}
    except TimeoutError:
        return False
    replicas = cluster.get("replicas") or []
    return len(replicas) == 2 and all(
        replica["current"] and not replica.get("offline") for replica in replicas
    )


async def _let_another_lead(native: Native, bucket: Bucket) -> None:
    await native.api(f"STREAM.LEADER.STEPDOWN.KV_{bucket.name}")
    await eventually(lambda: _whole(native, bucket), "the stream has a leader again", 20)


async def _counts(native: Native, bucket: Bucket) -> set[int]:
    """Return how many messages a bucket has, by each of its servers: all lead once."""
    led, counts = set(), set()
    for _ in range(30):
        info = await _info(native, bucket)
        led.add(info["cluster"]["leader"])
        counts |= {info["state"]["messages"], info["state"]["last_seq"]}
        if len(led) == 3:
            return counts
        await _let_another_lead(native, bucket)
    raise AssertionError(f"only {led} led")


async def _upgrade(members: list[Member], bucket: Bucket, binary: Path) -> set[int]:
    """Upgrade one member after the other; return the API levels of those that led meanwhile."""
    levels = set()
    for member in members:
        await asyncio.to_thread(member.upgrade, binary)
        async with native_client(member.url) as native:
            await eventually(lambda n=native: _whole(n, bucket), f"{member.name} is back", 30)
            # Versions lead in turn while they are mixed.
            for _ in range(2):
                levels.add(await _level(native, bucket))
                await _let_another_lead(native, bucket)
            levels.add(await _level(native, bucket))
    return levels


async def test_a_rolling_upgrade_under_load_loses_nothing_repeats_nothing_and_refuses_nothing(
    cluster: list[Member], capsys: pytest.CaptureFixture[str]
) -> None:
    urls = ",".join(member.url for member in cluster)
    with running_gateway(urls, buckets=f"b,replicas=3,history={HISTORY}") as http:
        bucket = Bucket(http, "b")
        await asyncio.to_thread(
            until, lambda: bucket.put("k", "v").status == 200, "the bucket is there", 20
        )
        async with native_client(cluster[0].url) as native:
            assert await _level(native, bucket) == 0
        writers = [Writer(bucket, f"w{number}") for number in range(WRITERS)]
        stopped = threading.Event()
        with ThreadPoolExecutor(WRITERS) as pool:
            running = [pool.submit(writer.write, stopped) for writer in writers]
            try:
                levels = await _upgrade(cluster, bucket, find_nats_server())
            finally:
                stopped.set()
        for done in running:
            done.result()
        seen = sum((writer.seen for writer in writers), Counter[str]())
        with capsys.disabled():
            print(f"\nrolling upgrade: levels {sorted(levels)}, {dict(seen)}")

        assert [fault for writer in writers for fault in writer.faults] == []
        assert len(levels) > 1, "servers of both versions led"
        assert seen["a retry later"] > 300
        assert seen["refused, as it should be"] > 10
        assert {status for status in seen if status.isdigit()} <= {"200", "204", "503", "504"}
        acked = {key: values for writer in writers for key, values in writer.acked.items()}
        assert await asyncio.to_thread(_stored, bucket, acked) == acked
        count = 1 + sum(map(len, acked.values()))
        async with native_client(cluster[0].url) as native:
            assert await _counts(native, bucket) == {count}


async def test_nothing_is_asked_of_an_old_leader_that_its_newer_followers_would_store(
    cluster: list[Member],
) -> None:
    """A leader of 2.10 sends its followers what it then refuses; newer ones store it."""
    with running_gateway(cluster[1].url, buckets=f"b,replicas=3,history={HISTORY}") as http:
        bucket = Bucket(http, "b")
        await asyncio.to_thread(
            until, lambda: bucket.put("k", "1").status == 200, "the bucket is there", 20
        )
        await asyncio.to_thread(cluster[0].upgrade, find_nats_server())
        async with native_client(cluster[1].url) as native:
            await eventually(lambda: _whole(native, bucket), "n0 is back", 30)
            while await _level(native, bucket):
                await _let_another_lead(native, bucket)
            told = await asyncio.to_thread(_conflicts, bucket)
            assert await _level(native, bucket) == 0, "the old leader answered"
            assert told == {
                "another one was first": 412,
                "one of unknown condition was first": 504,
                "it was first itself": 200,
            }
            assert await _counts(native, bucket) == {5}
            assert bucket.get("k").value == b"4"


def _conflicts(bucket: Bucket) -> dict[str, int]:
    """Return the answers to writes whose condition does not hold (any more)."""
    bucket.put("k", "2", If_Match='"1"')
    bucket.put("k", "3", If_Match='"2"', Idempotency_Key="third")
    bucket.put("k", "4")
    bucket.put("other", "5")
    conflicts = {
        "another one was first": bucket.put("k", "w", If_Match='"1"', Idempotency_Key="a"),
        "one of unknown condition was first": bucket.put(
            "k", "w", If_Match='"3"', Idempotency_Key="b"
        ),
        "it was first itself": bucket.put("k", "3", If_Match='"2"', Idempotency_Key="third"),
    }
    return {story: answer.status for story, answer in conflicts.items()}


def _stored(bucket: Bucket, keys: dict[str, Any]) -> dict[str, list[str | None]]:
    """Return all that a bucket holds of each key, in order: the values, None for a delete."""
    return {
        key: [
            None if entry["operation"] == "delete" else base64.b64decode(entry["value"]).decode()
            for entry in bucket.history(key).json["entries"]
        ]
        for key in keys
    }

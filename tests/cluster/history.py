"""What a run leaves behind: every operation, every sample, every fault, and what is stored.

A history is all that the checks need, so that one that failed can be kept as a file of JSON lines
and checked again alone. Times are `time.monotonic_ns()` of the one process that saw it all.
"""

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from tests.watch.promises import Bookmark, Chain, Session, Stored, Update

__all__ = [
    "BEAT",
    "NATIVE",
    "NATIVE_PROXIED",
    "PROXIED",
    "SECOND",
    "SLOW_NETWORK",
    "Attempt",
    "Batch",
    "History",
    "Kind",
    "Operation",
    "Outcome",
    "Sample",
    "Strike",
    "load",
    "save",
]

Kind = Literal["put", "create", "cas", "delete", "purge", "get"]
Outcome = Literal["ok", "conflict", "refused", "unknown"]
"""`conflict` is a 412, which says what the leader has; `refused` says only: not applied."""

SECOND = 1_000_000_000

BEAT = 0.1
"""Seconds between two probes of one source."""

NATIVE = "nats-py"
NATIVE_PROXIED = f"{NATIVE}.proxy"
PROXIED = "g0"
"""The gateway that reaches NATS through proxies, and nats-py's client that does so, too."""

SLOW_NETWORK = "network slow"
"""The fault, as it is named; others may strike together with it."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """One request of an operation; status 0 is a connection that broke or was refused."""

    start: int
    end: int
    status: int
    retries: str = ""


@dataclass(frozen=True, slots=True)
class Operation:
    """One operation of a client.

    Attributes:
        value: what was written; unique, so that it names its write.
        expected: the revision that a `cas` is conditional on.
        revision: of the write that was acked, of the value that was read, or of what a conflict
            was with.
        read: the value of a `get`; None when there is none.
        wrong: what breaks the contract in the answer itself.
    """

    number: int
    client: str
    gateway: int
    kind: Kind
    key: str
    start: int
    end: int
    outcome: Outcome
    status: int
    value: str = ""
    expected: int | None = None
    idempotency_key: str | None = None
    revision: int | None = None
    read: str | None = None
    worker: str = ""
    attempts: tuple[Attempt, ...] = ()
    wrong: str = ""

    def __str__(self) -> str:
        sent = f" {self.value}" if self.value else ""
        sent += f" if {self.expected}" if self.expected is not None else ""
        got = self.read if self.kind == "get" else ""
        return (
            f"#{self.number} {self.client}/g{self.gateway} {self.kind} {self.key}{sent} → "
            f"{self.outcome} {self.status} rev {self.revision} {got} "
            f"[{self.start / 1e9:.3f}, {self.end / 1e9:.3f}]"
        )


@dataclass(frozen=True, slots=True)
class Sample:
    """One probe: a write at a fixed beat, whatever became of those before.

    Attributes:
        source: `g0`, `g1`, or NATIVE and what it was connected to first.
        worker: which process of the gateway answered.
    """

    source: str
    start: int
    end: int
    ok: bool
    status: str
    worker: str
    key: str
    value: str
    revision: int | None


@dataclass(frozen=True, slots=True)
class Strike:
    """One fault: from when it struck until all was mended."""

    fault: str
    start: int
    end: int
    kills_worker: bool = False


Shown = dict[str, tuple[int, int]]
"""By account, its revision and its balance."""


@dataclass(frozen=True, slots=True)
class Batch:
    """One batch: a read of all accounts, or a transfer between two.

    Attributes:
        revision: the moment of a read; of a transfer that was applied, that of its last write.
        shown: what a read showed; by account, what a transfer wrote: the balance, and the revision
            that it was conditional on.
        wrong: what breaks the contract in the answer itself.
    """

    client: str
    kind: Literal["read", "transfer"]
    start: int
    end: int
    outcome: Literal["ok", "conflict", "refused", "unknown"]
    revision: int = 0
    shown: Shown = field(default_factory=dict)
    wrong: str = ""

    def __str__(self) -> str:
        return f"{self.client} {self.kind} {self.shown} → {self.outcome} rev {self.revision}"


@dataclass
class History:
    """One run on one bucket.

    Attributes:
        settled: when the bucket and both gateways were whole again after each strike.
        trouble: what the run itself could not do, such as watchers that never caught up.
        batches: what the clients did that move money between accounts.
    """

    bucket: str
    seed: int
    operations: list[Operation] = field(default_factory=list)
    samples: list[Sample] = field(default_factory=list)
    strikes: list[Strike] = field(default_factory=list)
    settled: list[int] = field(default_factory=list)
    chains: list[Chain] = field(default_factory=list)
    stored: Stored = field(default_factory=lambda: Stored({}, 0))
    trouble: list[str] = field(default_factory=list)
    batches: list[Batch] = field(default_factory=list)


def save(history: History, path: Path) -> None:
    """Write a history as JSON lines: what it is of first, then one record a line."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as out:
        for kind, record in _records(history):
            out.write(json.dumps({"record": kind, **record}) + "\n")


def _records(history: History) -> Iterator[tuple[str, dict[str, Any]]]:
    yield "history", {"bucket": history.bucket, "seed": history.seed, "trouble": history.trouble}
    for strike, settled in zip(history.strikes, history.settled, strict=True):
        yield "strike", {**asdict(strike), "settled": settled}
    for operation in history.operations:
        yield "operation", asdict(operation)
    for sample in history.samples:
        yield "sample", asdict(sample)
    for chain in history.chains:
        sessions = [
            {**asdict(session), "items": [[type(i).__name__, asdict(i)] for i in session.items]}
            for session in chain.sessions
        ]
        yield "chain", {**asdict(chain), "sessions": sessions}
    for batch in history.batches:
        yield "batch", asdict(batch)
    yield "stored", {"last": history.stored.last}
    for update in history.stored.updates.values():
        yield "update", asdict(update)


def load(path: Path) -> History:
    """Read what `save` wrote."""
    history = History("", 0)
    updates: dict[int, Update] = {}
    last = 0
    for line in path.read_text().splitlines():
        record = json.loads(line)
        match record.pop("record"):
            case "history":
                history.bucket, history.seed = record["bucket"], record["seed"]
                history.trouble = record["trouble"]
            case "strike":
                history.settled.append(record.pop("settled"))
                history.strikes.append(Strike(**record))
            case "operation":
                record["attempts"] = tuple(Attempt(**attempt) for attempt in record["attempts"])
                history.operations.append(Operation(**record))
            case "sample":
                history.samples.append(Sample(**record))
            case "chain":
                record["sessions"] = [_session(session) for session in record["sessions"]]
                history.chains.append(Chain(**record))
            case "batch":
                record["shown"] = {key: tuple(one) for key, one in record["shown"].items()}
                history.batches.append(Batch(**record))
            case "stored":
                last = record["last"]
            case "update":
                updates[record["revision"]] = Update(**record)
    history.stored = Stored(updates, last)
    return history


def _session(record: dict[str, Any]) -> Session:
    kinds = {"Update": Update, "Bookmark": Bookmark}
    items = [kinds[kind](**item) for kind, item in record.pop("items")]
    return Session(**record, items=items)

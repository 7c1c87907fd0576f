"""What people see of a run: a line for each fault, and the file of a history that failed."""

import itertools
from pathlib import Path

from tests.cluster.availability import (
    cluster_back,
    gateway_outages,
    native_outage,
    round_trip,
    times_back,
    windows,
)
from tests.cluster.checks import breaches
from tests.cluster.history import SECOND, History, save

__all__ = ["FAILURES", "judge", "keep", "lines", "verdict"]

FAILURES = Path(".cluster-failures")
_SHOWN = 5


def lines(history: History) -> list[str]:
    """Return a line for each fault, and one for the whole."""
    found = []
    for strike, until in windows(history):
        begun = [op for op in history.operations if strike.start <= op.start < until]
        outages = gateway_outages(history, strike.start, until)
        whole = max((s for source, s in outages.items() if "." not in source), default=0.0)
        slowest = max((a.end - a.start for op in begun for a in op.attempts), default=0) / SECOND
        found.append(
            f"{strike.fault:24} seed {history.seed} {(strike.end - strike.start) / SECOND:5.1f} s  "
            f"ops {len(begun):5} unknown {sum(op.outcome == 'unknown' for op in begun):4} "
            f"refused {sum(op.outcome == 'refused' for op in begun):4}  "
            f"away: gateway {whole:4.1f} worker {max(outages.values(), default=0):4.1f} "
            f"nats-py {native_outage(history, strike.start, until):4.1f} s  "
            f"back after {max(times_back(history, strike.end, until).values(), default=0):4.1f} s "
            f"(cluster {(cluster_back(history, strike.end, until) - strike.end) / SECOND:4.1f})  "
            f"slowest {slowest:4.1f} s  "
            f"round trip {round_trip(history, strike.start, until, 'g1') * 1000:3.0f} ms"
        )
    keys = len({op.key for op in history.operations})
    found.append(
        f"{len(history.operations)} operations on {keys} keys, {len(history.samples)} probes, "
        f"{len(history.stored.updates)} stored, "
        f"{sum(len(chain.updates) for chain in history.chains)} updates seen"
    )
    return found


def verdict(found: dict[str, list[str]]) -> list[str]:
    """Return the breaches as lines, the first few of each check."""
    text = []
    for check, texts in found.items():
        text.append(f"{check}: {len(texts)} breaches")
        text += [f"  {breach}" for breach in texts[:_SHOWN]]
    return text


def keep(history: History, folder: Path = FAILURES) -> Path:
    """Store a history as a file of a name of its own, and return its path."""
    for number in itertools.count():
        path = folder / f"seed-{history.seed}-{number}.jsonl"
        if not path.exists():
            save(history, path)
            break
    return path


def judge(history: History) -> bool:
    """Print what became of a run, store it when it failed, and return whether it did not."""
    for line in lines(history):
        print(line)
    found = breaches(history)
    for line in verdict(found):
        print(line)
    if found:
        path = keep(history)
        print(f"stored as {path}: python -m tests.cluster check {path}")
    return not found

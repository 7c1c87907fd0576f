"""What a history has to be, as pure functions from it to the breaches found."""

import base64
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace

from tests.cluster.availability import breaches_of_availability
from tests.cluster.history import NATIVE, SECOND, History, Operation, Strike
from tests.cluster.model import TOMBSTONE, KeyHistory, linearize
from tests.cluster.transfers import breaches_of_batches
from tests.watch.promises import (
    GOING_AWAY,
    SILENCE,
    Chain,
    Update,
    Write,
    breaches_of_acks,
    breaches_of_endings,
    breaches_of_order,
    breaches_of_reliability,
    breaches_of_resumption,
    breaches_of_uniqueness,
)

__all__ = ["CHECKS", "DEADLINE", "breaches"]

DEADLINE = 5.0 + 6.0
"""Seconds that a request to the gateway may take: one answer waited for (`request_timeout`), and
all retries of what was not applied (docs/architecture.md, decision 7). A client gets one second
more."""

_GRACE = 1.0
_WRITES = ("put", "create", "cas", "delete", "purge")


def breaches_of_answers(history: History) -> list[str]:
    """No status 500, nothing malformed, nothing that contradicts docs/http-api.md#errors."""
    return [f"{op.wrong}: {op}" for op in history.operations if op.wrong] + [
        f"500: {op}"
        for op in history.operations
        if any(attempt.status == 500 for attempt in op.attempts)
    ]


def breaches_of_deadlines(history: History) -> list[str]:
    """No request takes longer than its deadline and a second."""
    return [
        f"took {(attempt.end - attempt.start) / SECOND:.1f} s: {op}"
        for op in history.operations
        for attempt in op.attempts
        if attempt.end - attempt.start > (DEADLINE + _GRACE) * SECOND
    ] + [
        f"took {(sample.end - sample.start) / SECOND:.1f} s: {sample}"
        for sample in history.samples
        if not sample.source.startswith(NATIVE)
        and sample.end - sample.start > (DEADLINE + _GRACE) * SECOND
    ]


def breaches_of_effects(history: History) -> list[str]:
    """What is there was written, once, by a write that may have been applied."""
    written = {op.value: op for op in history.operations if op.value}
    found = []
    for key, effects in _effects(history).items():
        times: dict[str, int] = {}
        for revision, value in sorted(effects.items()):
            if value is TOMBSTONE:
                continue
            op = written.get(value)
            if op is None or op.key != key:
                found.append(f"{key} held {value!r} at {revision}, which nobody wrote there")
            elif op.outcome in ("refused", "conflict"):
                found.append(f"refused, and yet applied at {revision}: {op}")
            elif value in times:
                found.append(f"applied twice, at {times[value]} and at {revision}: {op}")
            elif op.outcome == "ok" and op.revision != revision:
                found.append(f"acked as another revision than {revision}: {op}")
            times[value] = revision
    seen = {update.revision: update for update in _seen(history)}
    return found + [
        f"acked, and it is {seen[op.revision]}: {op}"
        for op in history.operations
        if op.value and op.outcome == "ok" and op.revision in seen
        if (seen[op.revision].key, text_of(seen[op.revision])) != (op.key, op.value)
    ]


def breaches_of_durability(history: History) -> list[str]:
    """An acked write is stored as it was acked, unless its key was purged after it."""
    purged = {op.key for op in history.operations if op.kind == "purge" and _may_be_applied(op)}
    newest = {key: update.revision for key, update in history.stored.newest_of_each_key().items()}
    found = []
    for op in history.operations:
        if not op.value or op.outcome != "ok" or op.revision is None:
            continue
        stored = history.stored.updates.get(op.revision)
        if stored is None:
            if op.key not in purged or newest.get(op.key, 0) <= op.revision:
                found.append(f"acked and lost: {op}")
        elif (stored.key, stored.operation, text_of(stored)) != (op.key, "put", op.value):
            found.append(f"acked, and stored is {stored}: {op}")
    return found + breaches_of_acks(history.stored, _probe_writes(history))


def breaches_of_linearizability(history: History) -> list[str]:
    """For each key, one order of all operations explains every answer."""
    found = []
    for key, known in sorted(key_histories(history).items()):
        verdict = linearize(known)
        if not verdict.ok:
            stuck = "".join(f"\n    {op}" for op in verdict.stuck)
            found.append(f"{key}: {verdict.reason}; none of these can be next:{stuck}")
    return found


def breaches_of_watches(history: History) -> list[str]:
    """Every watch shows each change once, in order, and never ends without a word."""
    writes = _probe_writes(history) + _client_writes(history)
    found = []
    for chain in history.chains:
        found += breaches_of_order(chain) + breaches_of_uniqueness(chain)
        found += breaches_of_reliability(chain, history.stored, writes)
        found += breaches_of_resumption(chain, history.stored)
    return found + _silent_ends(history.chains, history.strikes)


def breaches_of_recovery(history: History) -> list[str]:
    """Whatever was mended is well again after a time, and every watcher gets to the end."""
    return history.trouble


CHECKS: dict[str, Callable[[History], list[str]]] = {
    "answers": breaches_of_answers,
    "deadlines": breaches_of_deadlines,
    "effects": breaches_of_effects,
    "durability": breaches_of_durability,
    "linearizability": breaches_of_linearizability,
    "batches": lambda history: breaches_of_batches(history.batches),
    "watches": breaches_of_watches,
    "availability": breaches_of_availability,
    "recovery": breaches_of_recovery,
}


def breaches(history: History) -> dict[str, list[str]]:
    """Return all breaches, by the check that found them."""
    found = {name: check(history) for name, check in CHECKS.items()}
    return {name: texts for name, texts in found.items() if texts}


# What is known of each key


def text_of(update: Update) -> str:
    """The value of a change; frames and the stream show it as base64."""
    return base64.b64decode(update.value).decode()


def _may_be_applied(op: Operation) -> bool:
    return op.outcome in ("ok", "unknown")


def _seen(history: History) -> Iterator[Update]:
    """Yield every change that the stream holds, or that a watcher was shown."""
    yield from history.stored.updates.values()
    for chain in history.chains:
        yield from chain.updates


def _effects(history: History) -> dict[str, dict[int, str | None]]:
    """Every change of the clients' keys that the stream or a watcher showed, or an ack named."""
    keys = {op.key for op in history.operations}
    effects: dict[str, dict[int, str | None]] = defaultdict(dict)
    for update in _seen(history):
        if update.key in keys:
            value = text_of(update) if update.operation == "put" else TOMBSTONE
            effects[update.key][update.revision] = value
    for op in history.operations:
        if op.outcome != "ok" or op.revision is None:
            continue
        if op.kind == "get":
            effects[op.key].setdefault(op.revision, op.read)
        else:
            effects[op.key].setdefault(op.revision, op.value)
    return effects


def key_histories(history: History) -> dict[str, KeyHistory]:
    """Return what is known of each key, for the search."""
    effects = _effects(history)
    revisions = {
        value: revision
        for known in effects.values()
        for revision, value in known.items()
        if value is not TOMBSTONE
    }
    keys: dict[str, KeyHistory] = {}
    for op in history.operations:
        known = keys.setdefault(op.key, KeyHistory([], effects.get(op.key, {}), complete=True))
        if op.kind == "purge" and _may_be_applied(op):
            # A purge drops what came before it, and a watcher that was away has not seen that.
            known.complete = False
        if op.outcome == "refused" or (op.kind == "get" and op.outcome == "unknown"):
            continue
        if op.outcome == "unknown" and op.value:
            op = replace(op, revision=revisions.get(op.value))
        known.operations.append(op)
    for known in keys.values():
        if known.complete:
            # All that ever happened was seen, so these did not.
            known.operations = [
                op
                for op in known.operations
                if op.outcome != "unknown" or not op.value or op.revision is not None
            ]
    return keys


def _client_writes(history: History) -> list[Write]:
    return [
        Write(
            history.bucket,
            "",
            op.key,
            "put" if op.value else "delete",
            _base64(op.value),
            op.revision if op.value and op.outcome == "ok" else None,
            op.end / SECOND if op.outcome == "ok" else None,
        )
        for op in history.operations
        if op.kind in _WRITES
    ]


def _probe_writes(history: History) -> list[Write]:
    return [
        Write(history.bucket, "", s.key, "put", _base64(s.value), s.revision, s.end / SECOND)
        for s in history.samples
    ]


def _base64(value: str) -> str:
    return base64.b64encode(value.encode()).decode()


def _silent_ends(chains: Iterable[Chain], strikes: Iterable[Strike]) -> list[str]:
    """A watch ends with a word, unless its worker was killed: as many workers as were."""
    silent = set()
    found = []
    for chain in chains:
        for session in chain.sessions:
            if session.end in (SILENCE, GOING_AWAY) and session.worker:
                silent.add(session.worker)
            else:
                found += [f"{chain}: {text}" for text in breaches_of_endings(session, ())]
    killed = sum(strike.kills_worker for strike in strikes)
    if len(silent) > killed:
        found.append(f"watches of {len(silent)} workers ended in silence, killed were {killed}")
    return found

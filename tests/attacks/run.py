"""One row: a fresh stand, a quiet time, and the attack."""

import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

from tests.attacks.attackers import Tally
from tests.attacks.probe import PATIENCE, Probe, Seen
from tests.attacks.rows import Row
from tests.attacks.stand import KEYS, stand
from tests.bench.children import child

MEBIBYTE = 1024 * 1024
QUIET_SECONDS = 3.0


@dataclass
class Found:
    """What one row came to; times in seconds, memory in bytes.

    Attributes:
        tally: what the attackers got.
        grown: resident memory at most, less what it was before the attack.
        waited: seconds that the gateway was kept from running, as its core was taken: by its
            nats-server, or by whatever else runs on the machine.
        wrong: what does not hold; empty when the bar is met.
    """

    row: Row
    quiet: Seen
    beside: Seen
    tally: Tally
    before: int
    grown: int
    slow_consumers: int
    reconnects: int
    lasted: float
    waited: float
    wrong: list[str] = field(default_factory=list)

    @property
    def kept_waiting(self) -> float:
        """The part of the attack for which the gateway did not get a core that it wanted."""
        return self.waited / self.lasted if self.lasted else 0.0

    @property
    def met(self) -> bool:
        return not self.wrong

    def figures(self) -> dict[str, Any]:
        """Return what a machine reads: milliseconds and bytes."""
        times = {
            f"{when}_{what}_p{part}_ms": round(getattr(seen, what).part(part) * 1000, 2)
            for when, seen in (("quiet", self.quiet), ("beside", self.beside))
            for what in ("get", "health", "put", "late")
            for part in (50, 99)
        }
        return {
            "row": self.row.name,
            "title": self.row.title,
            **times,
            "outcomes": {
                what: dict(getattr(self.beside, what).outcomes) for what in ("get", "health", "put")
            },
            "attackers": {**self.tally.outcomes, **self.tally.notes},
            "resident_before": self.before,
            "grown": self.grown,
            "slow_consumers": self.slow_consumers,
            "reconnects": self.reconnects,
            "seconds": round(self.lasted, 1),
            "waited_for_a_core": round(self.waited, 2),
            "met": self.met,
            "wrong": self.wrong,
        }


def run(row: Row, seconds: float, progress: Callable[[str], None]) -> Found:
    """Run one row on a fresh stand."""
    seconds = row.seconds or seconds
    with ExitStack() as stack:
        progress("starts")
        on = stack.enter_context(
            stand(
                descriptors=row.descriptors,
                environment=row.environment,
                tls=row.tls,
                tokens=row.tokens,
            )
        )
        probe = stack.enter_context(child(Probe, on.port, KEYS, row.tls, on.token))
        attackers = [
            stack.enter_context(child(row.attacker, on.port, number, row.processes))
            for number in range(row.processes)
        ]
        clients = tuple(each.call("pid") for each in (probe, *attackers))
        on.put("probe", b"v" * 128)
        prepared = None
        if row.prepare is not None:
            progress("prepares")
            prepared = row.prepare(on)
            # What the preparation took in memory is nothing of the attack's.
            on.stop_gateway()
            on.start_gateway()
        for attacker in attackers:
            attacker.call("prepare", prepared=prepared)
        on.set_apart(clients)
        progress("quiet")
        quiet = probe.call("watch", seconds=QUIET_SECONDS)
        before = on.resident_bytes()
        on.forget_peak()
        reconnects = on.reconnects()
        waited = on.waited_seconds()
        progress(f"attacks for {seconds:.0f} s")
        probe.start("watch", seconds=seconds)
        began = time.perf_counter()
        for attacker in attackers:
            attacker.start("attack", seconds=seconds)
        tally = Tally()
        for attacker in attackers:
            tally.add(attacker.result())
        ended = time.perf_counter()
        grown = on.peak_bytes() - before
        waited = on.waited_seconds() - waited
        seen: Seen = probe.result()
        found = Found(
            row,
            quiet,
            seen.until(ended),
            tally,
            before,
            grown,
            on.slow_consumers(),
            -1,
            ended - began,
            waited,
        )
        found.wrong += _judge(found)
        if not on.running:
            found.wrong.append(f"the gateway ended: {on.last_words()}")
        elif not on.is_well():
            found.wrong.append(f"no /health within {PATIENCE:.0f} s afterwards")
        else:
            found.reconnects = on.reconnects() - reconnects
            if found.reconnects:
                found.wrong.append(f"{found.reconnects} reconnects to NATS")
    return found


def _judge(found: Found) -> list[str]:
    row, wrong = found.row, []
    for name in ("get", "health", "put"):
        calls = getattr(found.beside, name)
        if not calls.all_well:
            others = {what: n for what, n in calls.outcomes.items() if what != "200"}
            failed = ", ".join(f"{n} × {what}" for what, n in others.items()) or "none asked"
            wrong.append(f"{name}: {failed}")
    for name in ("get", "health"):
        p99 = getattr(found.beside, name).part(99)
        if row.p99 is not None and p99 >= row.p99:
            wrong.append(f"{name} p99 {p99 * 1000:.0f} ms")
    if row.memory is not None and found.grown > row.memory:
        wrong.append(f"+ {found.grown / MEBIBYTE:.1f} MiB")
    if found.slow_consumers:
        wrong.append(f"{found.slow_consumers} × Slow Consumer")
    judged = row.judge(found.tally)
    if judged:
        wrong.append(judged)
    return wrong

"""The ratios that a release is held to, each of one run: what it has to reach, and what it may."""

from dataclasses import dataclass

from tests.bench import fanout, keys
from tests.bench.keys import Scenario


@dataclass(frozen=True)
class Ratio:
    """One line: `reached` is None where a peer is not installed.

    Attributes:
        at_most: whether less is better.
    """

    text: str
    bar: float
    goal: float | None
    reached: float | None
    at_most: bool = False

    def within(self, bound: float) -> bool:
        assert self.reached is not None
        return self.reached <= bound if self.at_most else self.reached >= bound

    @property
    def verdict(self) -> str:
        if self.reached is None:
            return "not installed"
        if not self.within(self.bar):
            return "MISSED"
        return "goal met" if self.goal is not None and self.within(self.goal) else "met"

    @property
    def met(self) -> bool:
        return self.reached is None or self.within(self.bar)


def ratios(figures: keys.Figures, frames: fanout.Figures) -> list[Ratio]:
    """Return all lines."""
    put, get = ("PUT", 32, 128), ("GET", 32, 128)
    flag = ("FLAG", 32, 128)
    larger, once = ("GET", 32, 16 * 1024), ("PUT once", 32, 128)

    def rate(scenario: Scenario, peer: str) -> float | None:
        compared = figures[scenario]
        theirs = compared[peer].rate if peer in compared else 0.0
        return compared["gateway"].rate / theirs if theirs else None

    def median(operation: str) -> float:
        one = figures[operation, 1, 128]
        return one["gateway"].p50 / one["nats-py"].p50

    def tail(scenario: Scenario) -> float:
        ours = figures[scenario]["gateway"]
        return ours.p99 / ours.p50

    return [
        Ratio("PUT / floor (`floors/steps.py`)", 0.70, 0.85, rate(put, "steps")),
        Ratio("GET / floor with direct reads", 0.70, 0.85, rate(get, "steps, direct")),
        Ratio("PUT / uvicorn doing nothing", 0.75, 0.90, rate(put, "nothing")),
        Ratio("evaluation of a flag / uvicorn doing nothing", 0.60, None, rate(flag, "nothing")),
        Ratio("PUT / etcd's JSON gateway", 2.5, 3.2, rate(put, "etcd")),
        Ratio("GET / etcd's JSON gateway", 2.8, 3.8, rate(get, "etcd")),
        Ratio("GET 16 KiB / etcd's JSON gateway", 1.6, 2.2, rate(larger, "etcd")),
        Ratio("PUT p99 / p50", 3.0, 2.5, tail(put), at_most=True),
        Ratio("GET p99 / p50", 3.0, 2.5, tail(get), at_most=True),
        Ratio("one connection, PUT p50 / nats-py", 1.35, 1.2, median("PUT"), at_most=True),
        Ratio("one connection, GET p50 / nats-py", 1.30, 1.1, median("GET"), at_most=True),
        Ratio(
            "frames to 100 watchers / broadcaster",
            4.5,
            None,
            fanout.ratio(frames, 100, "broadcast"),
        ),
        Ratio(
            "frames to 1,000 watchers / broadcaster",
            2.9,
            None,
            fanout.ratio(frames, 1000, "broadcast"),
        ),
        Ratio(
            "frames to one watcher / nats-py's watch", 1.5, 2.0, fanout.ratio(frames, 1, "nats-py")
        ),
        Ratio(
            "PUT with `Idempotency-Key` / plain PUT",
            0.9,
            None,
            figures[once]["gateway"].rate / figures[put]["gateway"].rate,
        ),
    ]


def table(lines: list[Ratio]) -> list[str]:
    out = [
        "| Ratio (128 B, 32 connections, one worker, unless said) | bar | goal | reached | |",
        "|---|---:|---:|---:|---|",
    ]
    for line in lines:
        sign = "≤" if line.at_most else "≥"
        goal = "" if line.goal is None else f"{sign} {line.goal:.2f}"
        reached = "" if line.reached is None else f"{line.reached:.2f}"
        out.append(f"| {line.text} | {sign} {line.bar:.2f} | {goal} | {reached} | {line.verdict} |")
    return out

"""The table: what is tried, by how many processes, and what has to hold beside it."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

from tests.attacks import answers, comeback
from tests.attacks.answers import LargeAnswers
from tests.attacks.attackers import Attacker, Tally
from tests.attacks.bodies import LARGE, HalfSent
from tests.attacks.callers import Callers
from tests.attacks.filters import Globs
from tests.attacks.frames import Floods
from tests.attacks.handshakes import Handshakes
from tests.attacks.heads import Heads
from tests.attacks.idle import Idle
from tests.attacks.stand import Stand

MEBIBYTE = 1024 * 1024

Judge = Callable[[Tally], str]
"""Returns what is wrong with what the attackers got; nothing for empty."""


def _nothing_wrong(tally: Tally) -> str:
    return ""


def _refused(tally: Tally) -> str:
    """All heads get 431; a client that still sends when the gateway closes may see a reset."""
    got = set(tally.outcomes)
    if "431" not in got:
        return "no 431"
    wrong = got - {"431", "reset"}
    return f"not all 431: {', '.join(sorted(wrong))}" if wrong else ""


def _all_200(tally: Tally) -> str:
    wrong = [
        f"{number} × {name}"
        for name, number in tally.outcomes.items()
        if name.startswith(("GET: ", "PUT: ")) and not name.endswith("200")
    ]
    return ", ".join(wrong)


def _puts_200(tally: Tally) -> str:
    puts = {name: n for name, n in tally.outcomes.items() if name.startswith("PUT: ")}
    return _all_200(Tally(Counter(puts)))


def _caught_up(tally: Tally) -> str:
    missing = tally.outcomes["not caught up"]
    return f"{missing} not caught up in {comeback.CAUGHT_UP_SECONDS:.0f} s" if missing else ""


def _let_nobody_in(tally: Tally) -> str:
    wrong = set(tally.outcomes) - {"401", "429"}
    return f"not all refused: {', '.join(sorted(wrong))}" if wrong else ""


def _kept_to_its_rate(tally: Tally) -> str:
    wrong = set(tally.outcomes) - {"200", "429"}
    if wrong or not tally.outcomes["429"]:
        return f"not all 200 and 429: {tally}"
    return ""


@dataclass(frozen=True)
class Row:
    """One attack.

    Attributes:
        attacker: makes one process's part of it, of `port`, `number`, `of`.
        p99: seconds that a GET and `/health` may take beside it, at the 99th percentile; None where
            it is enough that they are served.
        memory: bytes by which the gateway's resident memory may grow at most.
        judge: looks at what the attackers got.
        processes: how many attack at once.
        seconds: how long; None for what the command line says.
        tls: whether the gateway has a certificate.
        tokens: whether callers need a token.
        prepare: is called with the stand before anything is measured; then the gateway restarts.
    """

    name: str
    title: str
    attacker: Callable[[int, int, int], Attacker]
    p99: float | None = 0.1
    memory: int | None = None
    judge: Judge = _nothing_wrong
    processes: int = 1
    seconds: float | None = None
    descriptors: int | None = None
    environment: dict[str, str] = field(default_factory=dict)
    tls: bool = False
    tokens: bool = False
    prepare: Callable[[Stand], object] | None = None


def _heads(kind: str, title: str, at_once: int) -> Row:
    return Row(
        f"head-{kind}" + (f"-{at_once}" if at_once > 1 else ""),
        title if at_once == 1 else f"{title}, {at_once} at once",
        partial(Heads, kind=kind, at_once=at_once),
        memory=32 * MEBIBYTE,
        judge=_refused,
    )


def _frames(kind: str, title: str) -> Row:
    return Row(f"frames-{kind}", title, partial(Floods, kind=kind), memory=8 * MEBIBYTE)


def _handshakes(kind: str, title: str, at_once: int) -> Row:
    return Row(
        f"tls-{kind}",
        title,
        partial(Handshakes, kind=kind, at_once=at_once),
        # A descriptor is also a place in the memory of TLS.
        memory=96 * MEBIBYTE,
        tls=True,
    )


def _callers(name: str, title: str, judge: Judge, *, greedy: bool) -> Row:
    return Row(
        name,
        title,
        partial(Callers, greedy=greedy),
        memory=32 * MEBIBYTE,
        judge=judge,
        tokens=True,
        environment={"JETKV_LIMIT_LOOPBACK": "true"},
    )


def _half_sent(name: str, title: str, size: int) -> Row:
    return Row(
        name,
        title,
        partial(HalfSent, count=2_400, size=size),
        p99=None,
        memory=64 * MEBIBYTE,
        processes=2,
        seconds=15,
    )


ROWS = [
    *(
        _heads(kind, title, at_once)
        for at_once in (1, 50)
        for kind, title in (
            ("line", "a head of 1 MB, one line"),
            ("lines", "a head of 200,000 lines"),
            ("endless", "a head without end"),
        )
    ),
    _frames("empty", "a watcher that sends empty frames"),
    _frames("fragments", "a watcher whose message never ends"),
    _frames("pings", "a watcher that pings and does not read"),
    _half_sent("put-few-bytes", "2,400 half-sent PUTs of a few bytes", 10),
    _half_sent("put-1mb", "2,400 half-sent PUTs of 1 MB", LARGE),
    _handshakes("silent", "2,000 TLS handshakes that stop in the middle", 2_000),
    _handshakes("garbage", "what is no TLS, 100 at once", 100),
    _handshakes("endless", "complete TLS handshakes and nothing else, 10 at once", 10),
    _callers("wrong-tokens", "wrong tokens, 50 at once", _let_nobody_in, greedy=False),
    _callers("greedy", "one token over its rate, 50 at once", _kept_to_its_rate, greedy=True),
    Row(
        "silent",
        "300 silent connections at 256 descriptors",
        partial(Idle, count=300, served=False),
        p99=None,
        descriptors=256,
        seconds=10,
    ),
    Row(
        "idle",
        "5,000 idle connections",
        partial(Idle, count=5_000, served=True),
        p99=None,
        memory=5_000 * 8 * 1024,
        processes=2,
        seconds=10,
    ),
    Row(
        "large-read",
        "120 GETs of 1 MB, six histories of 64 MB that nobody reads, small PUTs",
        partial(LargeAnswers, read=True),
        memory=64 * MEBIBYTE,
        judge=_all_200,
        prepare=answers.fill,
    ),
    Row(
        "large-unread",
        "the same, and nobody reads the GETs either",
        partial(LargeAnswers, read=False),
        memory=64 * MEBIBYTE,
        judge=_puts_200,
        prepare=answers.fill,
    ),
    Row("globs", "64 globs of 490 bytes in a watch, 1,000 times", Globs),
    Row(
        "comeback",
        "10,000 watches that come back within a second of a restart",
        comeback.Watches,
        p99=0.25,
        judge=_caught_up,
        processes=2,
        seconds=comeback.CAUGHT_UP_SECONDS,
        prepare=comeback.change,
    ),
]

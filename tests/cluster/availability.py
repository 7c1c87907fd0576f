"""When gateways were of use to their callers, and nats-py's own client beside them."""

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Iterator
from itertools import pairwise

from tests.cluster.history import (
    BEAT,
    NATIVE,
    NATIVE_PROXIED,
    PROXIED,
    SECOND,
    SLOW_NETWORK,
    History,
    Sample,
    Strike,
)
from tests.cluster.model import FOREVER

__all__ = [
    "breaches_of_availability",
    "cluster_back",
    "gateway_outages",
    "native_outage",
    "round_trip",
    "times_back",
    "windows",
]

_BACK = 2.0
_MORE_THAN_NATIVE = 1.0
_SLOWEST_TRIP = 0.6  # one answer of NATS over the slowest network of the faults
_SLOW = 1.0
_TRIPS = 4  # to reconnect: next to nothing, unless the network or the machine is slow


def breaches_of_availability(history: History) -> list[str]:
    """A gateway is back soon after the cluster, and away no longer than nats-py's own client."""
    found = []
    for strike, until in windows(history):
        for source, seconds in gateway_outages(history, strike.start, until).items():
            gateway = source.partition(".")[0]
            away = native_outage(history, strike.start, until, gateway)
            trip = round_trip(history, strike.start, until, gateway)
            if gateway == PROXIED and SLOW_NETWORK in strike.fault:
                # Each connection has a delay of its own, and most of the window may be without.
                trip = max(trip, _SLOWEST_TRIP)
            trips = _TRIPS * trip
            lag = observer_lag(history, strike.start, until)
            if seconds > away + _MORE_THAN_NATIVE + trips + lag:
                found.append(
                    f"{strike.fault}: {source} was away for {seconds:.1f} s, nats-py {away:.1f} s"
                )
        late = _late(history, strike.end, until)
        if late:
            found.append(
                f"{strike.fault}: {len(late)} writes failed though nats-py had been well for "
                f"{_BACK} s, such as {late[0]}"
            )
        for source, seconds in times_back(history, strike.end, until).items():
            if seconds > _BACK:
                found.append(f"{strike.fault}: {source} was back after {seconds:.1f} s")
    return found


def windows(history: History) -> Iterator[tuple[Strike, int]]:
    """Yield each strike, and when all was well again after it."""
    yield from zip(history.strikes, history.settled, strict=True)


def _answers(history: History) -> Iterator[Sample]:
    """Yield what became of writes through the gateways: probes, and what the clients put.

    A delete takes more requests to NATS than what nats-py's own client is probed with.
    """
    for sample in history.samples:
        if not sample.source.startswith(NATIVE):
            yield sample
    for op in history.operations:
        if op.value and len(op.attempts) == 1:
            last = op.attempts[-1]
            ok = op.outcome in ("ok", "conflict")
            status = str(op.status)
            yield Sample(
                f"g{op.gateway}", last.start, last.end, ok, status, op.worker, op.key, "", None
            )


def _natives(history: History, gateway: str) -> list[Sample]:
    """Return what became of nats-py's own clients that a gateway is held against.

    Only the gateway behind the proxies is held against the client that is behind them, too.
    """
    return [
        sample
        for sample in history.samples
        if sample.source.startswith(NATIVE)
        and (gateway == PROXIED or sample.source != NATIVE_PROXIED)
    ]


def _good(answer: Sample) -> bool:
    return answer.ok and answer.end - answer.start <= _SLOW * SECOND


def _late(history: History, mended: int, until: int) -> list[Sample]:
    """Return the writes that failed when a gateway should have been back.

    It is given its time after each trouble of the cluster, which may elect a leader once more
    after all is mended.
    """
    found = []
    for gateway in sorted({op.gateway for op in history.operations}):
        name = f"g{gateway}"
        trouble = sorted(s.start for s in _natives(history, name) if not _good(s))
        for answer in _answers(history):
            since = answer.start - int(_BACK * SECOND)
            if answer.source == name and not answer.ok and mended < since and answer.start < until:
                place = bisect_right(trouble, since)
                if place == len(trouble) or trouble[place] > answer.start + SECOND // 2:
                    found.append(answer)
    return found


def outage(answers: Iterable[Sample], start: int, until: int, merged: float = 0.0) -> float:
    """Return the longest time in seconds in which nobody who asked was served, in a window.

    It is a run of writes, in the order in which they began, that all failed or took too long: from
    when the first of them began until the last one did. So a queue that is worked off in one
    moment does not pass for service, nor a time in which nobody asked for an outage.

    Args:
        merged: two runs with less than so many seconds between them are one.
    """
    longest, since, last = 0, None, 0
    inside = (a for a in answers if start - SECOND <= a.start <= until)
    for answer in sorted(inside, key=_start):
        if not _good(answer):
            since = answer.start if since is None else since
            last = answer.start
            longest = max(longest, last - since)
        elif answer.start - last >= merged * SECOND:
            since = None
    return longest / SECOND


def _start(sample: Sample) -> int:
    return sample.start


def native_outage(history: History, start: int, until: int, gateway: str = PROXIED) -> float:
    """Return the longest time in seconds that one of nats-py's own clients was of no use.

    Between two such times it has to have been well for as long as a gateway may need to come back.
    """
    by_source: dict[str, list[Sample]] = defaultdict(list)
    for sample in _natives(history, gateway):
        by_source[sample.source].append(sample)
    return max((outage(s, start, until, _BACK) for s in by_source.values()), default=0.0)


def round_trip(history: History, start: int, until: int, gateway: str) -> float:
    """Return how many seconds a write takes nats-py's own client at its quickest: a tenth of them.

    The client is the one whose network is that of the gateway.
    """
    quick = sorted(
        sample.end - sample.start
        for sample in history.samples
        if sample.source.startswith(NATIVE)
        and (sample.source == NATIVE_PROXIED) == (gateway == PROXIED)
        and start - SECOND <= sample.start <= until
    )
    return quick[len(quick) // 10] / SECOND if quick else 0.0


def observer_lag(history: History, start: int, until: int) -> float:
    """Return the longest time in seconds that a probe was late: this process had no processor.

    What it measures at such a time is wrong by as much.
    """
    beats: dict[str, list[int]] = defaultdict(list)
    for sample in history.samples:
        if start - SECOND <= sample.start <= until:
            beats[sample.source].append(sample.start)
    late = [
        (after - before) / SECOND - BEAT
        for starts in beats.values()
        for before, after in pairwise(sorted(starts))
    ]
    return max(late, default=0.0)


def gateway_outages(history: History, start: int, until: int) -> dict[str, float]:
    """Return the same for each gateway, and as `g0.abc` for each of its workers."""
    by_source: dict[str, list[Sample]] = defaultdict(list)
    for answer in _answers(history):
        by_source[answer.source].append(answer)
        if answer.worker:
            by_source[f"{answer.source}.{answer.worker}"].append(answer)
    return {source: outage(found, start, until) for source, found in by_source.items()}


def cluster_back(history: History, mended: int, until: int) -> int:
    """Return when the cluster answered nats-py's own client again after a fault was mended.

    And went on to: an answer that is followed by a failure was not the end of it.
    """
    direct = [sample for sample in _natives(history, "") if mended <= sample.start < until]
    failures = sorted(sample.start for sample in direct if not sample.ok)
    for sample in sorted((s for s in direct if s.ok), key=_start):
        place = bisect_right(failures, sample.start)
        if place == len(failures) or failures[place] > sample.start + _BACK * SECOND:
            return sample.end
    return FOREVER


def times_back(history: History, mended: int, until: int) -> dict[str, float]:
    """Return how many seconds after the cluster each gateway answered again."""
    back = cluster_back(history, mended, until)
    first: dict[str, int] = {}
    for answer in _answers(history):
        if answer.ok and answer.start >= mended:
            first[answer.source] = min(first.get(answer.source, FOREVER), answer.end)
    return {
        source: max(0.0, (first.get(source, FOREVER) - back) / SECOND)
        for source in sorted({f"g{op.gateway}" for op in history.operations})
    }

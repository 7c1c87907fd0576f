"""What a watch promises, each promise over each fault (docs/watch.md#what-is-promised).

A fault is struck once, on two buckets, one that remembers every revision and one that remembers
only the newest of each key, while three writers write and some forty watchers watch: WebSockets
and event streams, with a snapshot and without, some of which drop their connection again and
again. Each promise is then judged by what all of them saw.
"""

from tests.watch.promises import (
    ID_ALONE,
    SNAPSHOT_END,
    breaches_of_a_probe,
    breaches_of_acks,
    breaches_of_bookmarks,
    breaches_of_completeness,
    breaches_of_endings,
    breaches_of_order,
    breaches_of_reliability,
    breaches_of_resumption,
    breaches_of_uniqueness,
)
from tests.watch.scenario import Evidence


def test_watch_is_ordered(evidence: Evidence) -> None:
    assert [breach for chain in evidence.chains for breach in breaches_of_order(chain)] == []


def test_watch_is_unique(evidence: Evidence) -> None:
    assert [breach for chain in evidence.chains for breach in breaches_of_uniqueness(chain)] == []


def test_watch_is_reliable(evidence: Evidence) -> None:
    breaches = [
        breach
        for chain in evidence.chains
        for breach in breaches_of_reliability(chain, evidence.of(chain), evidence.writes_of(chain))
    ]
    assert breaches == []
    assert evidence.trouble == []
    assert [
        breach
        for life, stored in evidence.stored.items()
        for breach in breaches_of_acks(stored, evidence.writes[life])
    ] == [], "the store itself lost a write"


def test_watch_is_complete(evidence: Evidence) -> None:
    with_snapshot = [chain for chain in evidence.chains if chain.began_with_a_snapshot]
    assert sum(chain.snapshot_end is not None for chain in with_snapshot) >= 8
    assert [
        breach
        for chain in with_snapshot
        for breach in breaches_of_completeness(chain, evidence.of(chain), evidence.writes_of(chain))
    ] == []


def test_watch_is_resumable(evidence: Evidence) -> None:
    resumed = [chain for chain in evidence.chains if len(chain.sessions) > 1]
    cut_off = [
        chain for chain in resumed if chain.began_with_a_snapshot and chain.snapshot_end is None
    ]
    assert len(resumed) >= 8
    assert cut_off, "no snapshot was cut off, so nothing was shown of those"
    assert [
        breach for chain in resumed for breach in breaches_of_resumption(chain, evidence.of(chain))
    ] == []


def test_watch_is_bookmarkable(evidence: Evidence) -> None:
    sources = {probe.bookmark.source for probe in evidence.probes}
    assert sources == {"id", ID_ALONE, SNAPSHOT_END}
    breaches = [
        breach
        for chain in evidence.chains
        for breach in breaches_of_bookmarks(chain, evidence.of(chain))
    ]
    breaches += [
        breach
        for probe in evidence.probes
        for breach in breaches_of_a_probe(probe, evidence.of(probe.chain))
    ]
    # The bookmark of a bucket that is gone must not pass for one of its successor.
    breaches += [
        f"{probe.chain} after {probe.bookmark} ended with {session.end}"
        for probe in evidence.probes_of_the_dead
        for session in probe.chain.sessions
        if session.end != "resync" or session.items
    ]
    assert breaches == []


def test_watch_never_ends_in_silence(evidence: Evidence) -> None:
    assert [
        f"{chain}: {breach}"
        for chain, session in evidence.sessions
        for breach in breaches_of_endings(session, evidence.may_end)
    ] == []
    assert set(evidence.refused) <= evidence.may_refuse
    ends = {session.end for _, session in evidence.sessions}
    assert evidence.must_end <= ends
    never_told = set(evidence.stalled) - {
        chain.watcher for chain, session in evidence.sessions if session.end == "slow_consumer"
    }
    assert never_told == set(), "these read nothing for long, and nobody told them"

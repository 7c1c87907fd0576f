"""What a watch promises, as pure functions from what was seen to the breaches found.

The promises are those of etcd's watch. Each checker returns one text for each breach, so that an
assertion that there are none shows at once who missed or repeated what.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

READ_TO_THE_END = "read to the end"
DROPPED = "dropped by its reader"
GOING_AWAY = "server stopping"
SILENCE = "silence"

CLOSE_CODES = {"bucket_deleted": 4410, "resync": 4409, "slow_consumer": 1013, GOING_AWAY: 1001}


@dataclass(frozen=True)
class Update:
    """One change, as a frame showed it or as the stream holds it."""

    revision: int
    key: str
    operation: str
    value: str


@dataclass(frozen=True)
class Bookmark:
    """A revision that was said without a change: `kv_snapshot_end`, or an event's id alone."""

    revision: int
    source: str


SNAPSHOT_END = "kv_snapshot_end"
ID_ALONE = "id alone"


@dataclass
class Session:
    """One connection of a watcher.

    Attributes:
        after: the revision that it resumed after, None where it did not.
        asked_at: when its handshake began.
        end: a word of the server's, or one of the constants above.
        close_code: of a WebSocket.
        last_id: what an `EventSource` has at the end; "" where the server took it back.
    """

    snapshot: bool
    after: int | None
    asked_at: float
    items: list[Update | Bookmark] = field(default_factory=list)
    end: str = SILENCE
    close_code: int | None = None
    last_id: str | None = None
    worker: str = ""

    @property
    def updates(self) -> list[Update]:
        return [item for item in self.items if isinstance(item, Update)]


@dataclass
class Chain:
    """The connections of one watcher that continue each other.

    Attributes:
        since: the bucket's newest revision when a watch without a past began, where that is known.
    """

    watcher: str
    bucket: str
    created_at: str
    since: int | None = None
    sessions: list[Session] = field(default_factory=list)

    def __str__(self) -> str:
        return f"{self.watcher} of {self.bucket}"

    @property
    def items(self) -> list[Update | Bookmark]:
        return [item for session in self.sessions for item in session.items]

    @property
    def updates(self) -> list[Update]:
        return [item for item in self.items if isinstance(item, Update)]

    @property
    def last(self) -> int:
        """The newest revision that it knows of."""
        return max((item.revision for item in self.items), default=self.since or 0)

    @property
    def began_with_a_snapshot(self) -> bool:
        return bool(self.sessions) and self.sessions[0].snapshot

    @property
    def snapshot_end(self) -> int | None:
        """Where its snapshot was complete, if it was before the first connection ended."""
        for item in self.items:
            if isinstance(item, Bookmark) and item.source == SNAPSHOT_END:
                return item.revision
        return None

    @property
    def start(self) -> int:
        """The revision after which every change is owed.

        A snapshot owes newest values only. One that was cut off owes every change after the last
        one that it showed.
        """
        if self.since is not None:
            return self.since
        if not self.began_with_a_snapshot:
            return self.items[0].revision if self.items else 0
        if self.snapshot_end is not None:
            return self.snapshot_end
        cut_off = next((session for session in self.sessions if session.updates), None)
        return cut_off.updates[-1].revision if cut_off else 0


@dataclass(frozen=True)
class Stored:
    """All that a bucket's leader holds at the end, by revision."""

    updates: dict[int, Update]
    last: int

    @property
    def state(self) -> dict[str, Update]:
        return fold(self.updates[revision] for revision in sorted(self.updates))

    def newest_of_each_key(self) -> dict[str, Update]:
        """Tombstones included."""
        return {self.updates[number].key: self.updates[number] for number in sorted(self.updates)}


@dataclass(frozen=True)
class Write:
    """One write that was tried.

    Attributes:
        revision: as acked; None where it is not known, as it is for deletes.
        acked_at: None where its outcome is not known.
    """

    bucket: str
    created_at: str
    key: str
    operation: str
    value: str
    revision: int | None
    acked_at: float | None


@dataclass(frozen=True)
class Probe:
    """What came when a bookmark was resumed from; `state` is what its reader knew there."""

    bookmark: Bookmark
    state: dict[str, Update] | None
    chain: Chain


def fold(updates: Iterable[Update], known: dict[str, Update] | None = None) -> dict[str, Update]:
    """Return the live keys after `updates`."""
    state = dict(known or {})
    for update in updates:
        if update.operation == "put":
            state[update.key] = update
        else:
            state.pop(update.key, None)
    return state


def breaches_of_order(chain: Chain) -> list[str]:
    """Ordered: the revisions of one watcher strictly increase, also across its connections."""
    revisions = [update.revision for update in chain.updates]
    return [
        f"{chain}: revision {after} came after {before}"
        for before, after in pairwise(revisions)
        if after <= before
    ]


def breaches_of_uniqueness(chain: Chain) -> list[str]:
    """Unique: no revision comes twice, also across connections."""
    seen: set[int] = set()
    found = []
    for update in chain.updates:
        if update.revision in seen:
            found.append(f"{chain}: revision {update.revision} of {update.key} came twice")
        seen.add(update.revision)
    return found


def breaches_of_reliability(chain: Chain, stored: Stored, writes: Sequence[Write]) -> list[str]:
    """Reliable: all that is stored after the start came, as it was written, and nothing else."""
    came = {update.revision: update for update in chain.updates}
    found = _missing(chain, stored, chain.start, stored.last, came)
    written = {(write.key, write.operation, write.value) for write in writes}
    acked = {
        write.revision: (write.key, write.operation, write.value)
        for write in writes
        if write.revision is not None
    }
    for revision, update in came.items():
        what = (update.key, update.operation, update.value)
        if revision in stored.updates:
            if update != stored.updates[revision]:
                found.append(f"{chain}: {update} came, {stored.updates[revision]} is stored")
        elif acked.get(revision, what) != what or what not in written:
            found.append(f"{chain}: {update} came, which nobody wrote")
    return found


def breaches_of_acks(stored: Stored, writes: Sequence[Write]) -> list[str]:
    """What every promise stands on: an acked put is stored, or its key has a newer revision."""
    newest = stored.newest_of_each_key()
    return [
        f"acked and neither stored nor superseded: {write}"
        for write in writes
        if write.revision is not None
        and (write.key not in newest or newest[write.key].revision < write.revision)
    ]


def breaches_of_completeness(chain: Chain, stored: Stored, writes: Sequence[Write]) -> list[str]:
    """Complete: snapshot and live frames together are the truth, at the snapshot's end, too."""
    found = _wrong_state(str(chain), fold(chain.updates), stored)
    end = chain.snapshot_end
    if end is None:
        return found
    before: list[Update] = []
    for item in chain.items:
        if isinstance(item, Bookmark) and item.source == SNAPSHOT_END:
            break
        if isinstance(item, Update):
            before.append(item)
    state = fold(before)
    place = f"{chain} at kv_snapshot_end {end}"
    for key, update in _newest_through(stored, end).items():
        expected = update if update.operation == "put" else None
        if state.get(key) != expected:
            found.append(f"{place}: {key} is {state.get(key)}, stored is {update}")
    return found + _not_represented(chain, place, end, state, before, writes)


def _not_represented(
    chain: Chain,
    place: str,
    end: int,
    state: dict[str, Update],
    before: Sequence[Update],
    writes: Sequence[Write],
) -> list[str]:
    asked_at = chain.sessions[0].asked_at
    latest: dict[str, Write] = {}
    removed = {write.key for write in writes if write.operation == "delete"}
    for write in writes:
        if write.revision is None or write.acked_at is None or write.acked_at >= asked_at:
            continue
        known = latest.get(write.key)
        if known is None or (known.revision or 0) < write.revision:
            latest[write.key] = write
    found = []
    shown = {update.key: update.revision for update in before}
    for key, write in latest.items():
        assert write.revision is not None
        if end < write.revision:
            found.append(f"{place}: {write} was acked before the handshake")
        elif key in state and state[key].revision < write.revision:
            found.append(f"{place}: {state[key]} is there, not {write}")
        elif key not in shown and key not in removed:
            found.append(f"{place}: {key} is absent, not {write}")
    return found


def breaches_of_resumption(chain: Chain, stored: Stored) -> list[str]:
    """Resumable: each connection that resumes goes on right after what was seen before it."""
    found = []
    seen = 0
    for number, session in enumerate(chain.sessions):
        revisions = [update.revision for update in session.updates]
        if session.after is not None:
            who = f"{chain}, connection {number} after {session.after}"
            if early := [
                revision for revision in revisions if revision <= max(session.after, seen)
            ]:
                found.append(f"{who}: revisions {early[:10]} came again")
            came = {update.revision: update for update in session.updates}
            through = max((item.revision for item in session.items), default=0)
            found += _missing(who, stored, session.after, through, came)
        seen = max([seen, *revisions])
    if chain.last < stored.last:
        found.append(f"{chain}: ended at {chain.last}, the bucket is at {stored.last}")
    if chain.began_with_a_snapshot:
        found += _wrong_state(str(chain), fold(chain.updates), stored)
    return found


def breaches_of_bookmarks(chain: Chain, stored: Stored) -> list[str]:
    """Bookmarkable: when a bookmark is said, all up to it has been said."""
    found = []
    came: dict[int, Update] = {}
    for item in chain.items:
        if isinstance(item, Update):
            came[item.revision] = item
        else:
            found += _missing(
                f"{chain} at {item.source} {item.revision}",
                stored,
                chain.start,
                item.revision,
                came,
            )
    return found


def breaches_of_a_probe(probe: Probe, stored: Stored) -> list[str]:
    """Bookmarkable: resuming from a bookmark shows all after it, and leads to the truth."""
    after = probe.bookmark.revision
    who = f"{probe.chain}, resumed after {probe.bookmark.source} {after}"
    came = {update.revision: update for update in probe.chain.updates}
    found = _missing(who, stored, after, stored.last, came)
    if early := [revision for revision in came if revision <= after]:
        found.append(f"{who}: revisions {early[:10]} came again")
    if probe.state is not None:
        found += _wrong_state(who, fold(probe.chain.updates, probe.state), stored)
    return found


def breaches_of_endings(session: Session, allowed: Iterable[str]) -> list[str]:
    """A watch ends with a word of those allowed, and with its close code, never in silence."""
    allowed = {READ_TO_THE_END, DROPPED, *allowed}
    if session.end not in allowed:
        return [f"ended with {session.end!r} ({session.close_code}); allowed: {sorted(allowed)}"]
    if session.end not in CLOSE_CODES:
        return []
    if session.close_code not in (None, CLOSE_CODES[session.end]):
        return [f"{session.end} closed with {session.close_code}"]
    taken_back = session.last_id == ""
    if session.last_id is not None and taken_back != (session.end in ("bucket_deleted", "resync")):
        return [f"after {session.end} the event stream's id is {session.last_id!r}"]
    return []


def _missing(
    who: object, stored: Stored, after: int, through: int, came: dict[int, Update]
) -> list[str]:
    lost = [
        update
        for revision, update in stored.updates.items()
        if after < revision <= through and revision not in came
    ]
    if not lost:
        return []
    return [f"{who}: {len(lost)} stored changes in ({after}, {through}] never came: {lost[:5]}"]


def _wrong_state(who: str, state: dict[str, Update], stored: Stored) -> list[str]:
    truth = stored.state
    wrong = [key for key in truth.keys() | state.keys() if truth.get(key) != state.get(key)]
    return [
        f"{who}: {key} is {state.get(key)} there, {truth.get(key)} in the bucket"
        for key in sorted(wrong)[:5]
    ]


def _newest_through(stored: Stored, end: int) -> dict[str, Update]:
    """The newest stored change of each key at `end`, of all keys where that can be told.

    What a short history has dropped since is not told any more.
    """
    return {
        update.key: update for revision, update in sorted(stored.updates.items()) if revision <= end
    }

"""What a bucket shows whose values have TTLs: the model of `tests/integration/test_ttl_model.py`.

One task writes each key, one write after the other, and notes when it sent a write and when the
answer came. The server stored the write at some moment between the two, so the value expires at
some moment between `sent` + TTL and `answered` + TTL. A look at the bucket takes some time, too.
The model says what a look from `begin` to `end` may show. It leaves a choice only while a write or
an expiry overlaps with the look.

All times are seconds since 1970. Test, gateway and nats-server share one clock.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from math import inf
from typing import Any

__all__ = ["Key", "Look", "Shape", "Version", "moment"]

CLOCK = 0.005
"""Seconds by which two readings of the clock may differ in order."""

Shown = dict[str, Any]


def moment(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


@dataclass(frozen=True)
class Shape:
    """The settings of a bucket.

    Attributes:
        ttl: of the bucket in seconds, infinite for none.
        key_ttl: whether values can have their own.
        shortest: the shortest own TTL that NATS does not change.
    """

    name: str
    history: int = 1
    ttl: float = inf
    markers: bool = True
    key_ttl: bool = True
    shortest: int = 1

    def lasts(self, own: float | None) -> float:
        """Return how long a value lives whose own TTL this is; infinite for `never`."""
        if own is None:
            return self.ttl
        return own if own == inf else min(own, self.ttl)

    def takes(self, own: float | None, *, drops_history: bool) -> bool:
        """Return whether a write may have this TTL."""
        if own is None:
            return True
        if not self.key_ttl or (self.history > 1 and not drops_history):
            return False
        if own == inf:
            return self.history == 1 or self.ttl == inf
        return own >= self.shortest


@dataclass(eq=False)
class Version:
    """One write of a key.

    Attributes:
        value: None for a delete.
        purges: whether it is a purge.
        own: the TTL of the value itself: None for none, infinite for `never`.
        lasts: how long it lives.
        drops_history: whether it removes what is stored of the key.
        certain: whether it certainly wrote something: a delete of nothing does not.
        answered: when the answer came; infinite until then.
        revision: None for a delete, and until the answer.
    """

    value: str | None
    sent: float
    purges: bool = False
    own: float | None = None
    lasts: float = inf
    drops_history: bool = False
    certain: bool = True
    answered: float = inf
    revision: int | None = None

    def may_live(self, begin: float, slack: float) -> bool:
        """Return whether a look that began then may show the value, unless a later write counts."""
        return self.value is not None and begin <= self.answered + self.lasts + slack + CLOCK

    def may_be_over(self, end: float) -> bool:
        """Return whether a look that ended then may find no value, unless a later write counts."""
        return self.value is None or end >= self.sent + self.lasts - CLOCK

    def is_shown(self, shown: Shown) -> bool:
        value, revision = shown.get("value", self.value), shown.get("revision", self.revision)
        return (self.value, self.revision) == (value, revision)

    def is_entry(self, entry: Shown) -> bool:
        """Return whether an entry of a history is this write."""
        if self.value is None:
            return bool(entry["operation"] == ("purge" if self.purges else "delete"))
        return entry["operation"] == "put" and self.is_shown(entry)

    def expiry_fault(self, shown: Shown) -> str:
        """Return what is wrong with the time of expiry that was shown, "" if nothing is."""
        told = shown.get("expires_at")
        if self.lasts == inf or told is None:
            right = self.lasts == inf and told is None
            return "" if right else f"shows expires_at {told} of a value that lasts {self.lasts} s"
        stored = moment(told) - self.lasts
        created = moment(shown.get("created_at", told)) - (
            0 if "created_at" in shown else self.lasts
        )
        if abs(created - stored) > 1e-5:
            return f"shows created_at {shown['created_at']} and expires_at {told}"
        if not self.sent - CLOCK <= stored <= self.answered + CLOCK:
            return f"shows expires_at {told}"
        return ""


@dataclass
class Look:
    """What one view showed of one key.

    Attributes:
        shown: some of `value`, `revision`, `created_at`, `expires_at`; None for no value.
        tells_expiry: whether the view says when a value expires.
        since: when the view began to look for a key that it did not show.
    """

    view: str
    begin: float
    end: float
    shown: Shown | None
    tells_expiry: bool = True
    since: float = inf


@dataclass
class HistoryLook:
    """A history, read while no write of its key was under way, and what was stored then."""

    begin: float
    end: float
    entries: Sequence[Shown]
    stored: list[tuple[Version, bool]]


@dataclass
class Key:
    """The writes of one key in order, and the looks at it."""

    shape: Shape
    name: str
    versions: list[Version] = field(default_factory=list)
    looks: list[Look] = field(default_factory=list)
    histories: list[HistoryLook] = field(default_factory=list)

    @property
    def last(self) -> Version | None:
        return self.versions[-1] if self.versions else None

    def current(self, begin: float, end: float) -> Iterator[Version | None]:
        """Yield the writes that may be the newest during a look; None before the first one."""
        for place, version in enumerate([None, *self.versions]):
            # An uncertain delete found no value, and maybe wrote nothing over the expired one.
            later = next((one for one in self.versions[place:] if one.certain), None)
            sent = -inf if version is None else version.sent
            if sent <= end + CLOCK and (later is None or later.answered >= begin - CLOCK):
                yield version

    def may_be_absent(self, begin: float, end: float) -> bool:
        return any(one is None or one.may_be_over(end) for one in self.current(begin, end))

    def may_show(self, begin: float, end: float, slack: float) -> list[Version]:
        """Return the writes whose value a look may show."""
        current = self.current(begin, end)
        return [one for one in current if one is not None and one.may_live(begin, slack)]

    def live_at(self, when: float) -> Version | None:
        """Return the newest write if its value lives, long after it was answered."""
        last = self.last
        return last if last is not None and last.may_live(when, 0) else None

    def version_of(self, revision: int) -> Version | None:
        return next((one for one in self.versions if one.revision == revision), None)

    def faults(self, slacks: Mapping[str, float]) -> Iterator[str]:
        """Yield what is wrong with the looks of some views.

        Args:
            slacks: by view, the seconds after the expiry in which it may still show a value.
        """
        for look in self.looks:
            if look.view in slacks:
                fault = self._fault(look, slacks[look.view])
                if fault:
                    yield self._told(f"{look.view} {fault}", look.begin, look.end)

    def _fault(self, look: Look, slack: float) -> str:
        if look.shown is None:
            absent = self.may_be_absent(min(look.begin, look.since), look.end)
            return "" if absent else "shows no value"
        possible = self.may_show(look.begin, look.end, slack)
        found = next((one for one in possible if one.is_shown(look.shown)), None)
        if found is None:
            return f"shows {look.shown}"
        return found.expiry_fault(look.shown) if look.tells_expiry else ""

    def stored(self) -> list[tuple[Version, bool]]:
        """Return the writes that are stored unless expired, and whether each must be."""
        kept: list[tuple[Version, bool]] = []
        for version in self.versions:
            if version.drops_history:
                kept = [] if version.certain else [(one, False) for one, _ in kept]
            kept.append((version, version.certain))
        found = []
        for place, (version, must) in enumerate(kept):
            newer = [certain for _, certain in kept[place + 1 :]]
            if sum(newer) < self.shape.history:
                found.append((version, must and len(newer) < self.shape.history))
        return found

    def history_faults(self, slack: float) -> Iterator[str]:
        """Yield what is wrong with the histories."""
        for look in self.histories:
            fault = self._history_fault(look, slack)
            if fault:
                yield self._told(f"the history {fault}", look.begin, look.end)

    def _history_fault(self, look: HistoryLook, slack: float) -> str:
        stored = [
            (one, must and not self._may_have_gone(one, look.end)) for one, must in look.stored
        ]
        entries = look.entries
        # A marker removes what was stored before it.
        marked = self.shape.markers and bool(entries) and entries[0]["operation"] == "purge"
        if not _fits(entries, stored) and not (marked and _fits(entries[1:], stored)):
            return f"shows {entries} of {stored}"
        puts = [(one, entry) for one, _ in stored for entry in entries if one.is_entry(entry)]
        for version, entry in puts:
            if version.value is None:
                continue
            if not version.may_live(look.begin, slack):
                return f"still shows {entry}"
            if fault := version.expiry_fault(entry):
                return fault
        return ""

    def _may_have_gone(self, version: Version, end: float) -> bool:
        lasts = self.shape.ttl if version.value is None else version.lasts
        return end >= version.sent + lasts - CLOCK

    def _told(self, fault: str, begin: float, end: float) -> str:
        """Return a fault with the last writes before it; times are seconds from its beginning."""
        writes = [one for one in self.versions if one.sent <= end][-6:]
        told = [
            f"  {one.value or 'delete'} @{one.revision} own TTL {one.own} lasts {one.lasts}, "
            f"sent {one.sent - begin:+.3f} answered {one.answered - begin:+.3f}"
            for one in writes
        ]
        head = f"{self.shape.name}, {self.name}: {fault}, after {end - begin:.3f} s"
        return "\n".join([head, *told])


def _fits(entries: Sequence[Shown], stored: Sequence[tuple[Version, bool]]) -> bool:
    """Return whether a history can consist of these writes in order; some of them must be there."""
    if not stored:
        return not entries
    (version, must), rest = stored[0], stored[1:]
    if entries and version.is_entry(entries[0]) and _fits(entries[1:], rest):
        return True
    return not must and _fits(entries, rest)

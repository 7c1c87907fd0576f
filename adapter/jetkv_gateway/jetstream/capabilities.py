"""What a nats-server can do, by the server that holds the stream; versions are known here alone.

The server that the gateway is connected to says nothing about a stream: behind a leaf node, in a
JetStream domain or in a rolling upgrade another one holds it. From 2.11 on, the leader of a stream
adds its own API level and version to the stream's metadata in STREAM.INFO (`_nats.level` and
`_nats.ver`; NATS ADR-44); without them it is older. Each new leader says its own, so what is known
of a host is read again with a bucket's write limits.
"""

import re
from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Any, NamedTuple

__all__ = [
    "OLDEST",
    "Capability",
    "Host",
    "host_of",
    "host_of_version",
    "since",
    "since_each",
    "too_old",
]

_LEVEL = "_nats.level"
_VERSION = "_nats.ver"
_SUPPORTED = (2, 10)
_NUMBERS = re.compile(r"v?([0-9]{1,5})\.([0-9]{1,5})\.([0-9]{1,5})")


class Capability(StrEnum):
    """Something that not every supported server can do."""

    EXPIRY_MARKERS = "expiry markers"
    """A tombstone is left for a value whose time is up."""

    KEY_TTL = "a value with a TTL of its own"

    BATCHES = "atomic batches"
    """Several messages are stored as one, or none of them."""

    IDS_BEFORE_TTL = "ids are looked at before a TTL that cannot be"
    """A message with a known id and an impossible TTL is answered "known", and never stored."""

    IDS_BEFORE_CONDITIONS = "a replicated stream looks at ids before conditions"
    """What is sent again is answered "known", also when its condition does not hold any more."""

    FOLLOWERS_SKIP_CONDITIONS = "a follower looks at no condition"
    """It stores what its leader sent it, also what an old leader refuses after it has sent it."""

    SEVERAL_AT_ONCE = "a direct get can ask for the newest messages of several subjects"
    """They are of one moment (ADR-31)."""

    DROPS_REFUSED_IDS = "an id is forgotten when its write was refused"
    """Before, a replicated stream keeps such an id "in process" for its duplicate window."""

    ATOMIC_BATCHES = "atomic batches"
    """Messages are stored all or none, and nobody reads in between (ADR-50)."""

    GUARDS_OTHER_KEYS = "a message of a batch has the condition of another key"
    """Before, the name of that key could be overwritten while it was used (nats-server#8377)."""


class Host(NamedTuple):
    """The server that answers for a stream.

    Attributes:
        level: of its JetStream API; 0 before 2.11.
        version: such as (2, 12, 8); (0, 0, 0) where it does not say.
    """

    level: int
    version: tuple[int, int, int]

    def can(self, capability: Capability) -> bool:
        if self.level < _LEVELS[capability][0]:
            return False
        return capability not in _FIXES or self._has_fix(_FIXES[capability])

    def _has_fix(self, fixes: Sequence[tuple[int, int, int]]) -> bool:
        """Return whether it has a fix, given the first release with it of each line."""
        for fix in fixes:
            if self.version[:2] == fix[:2]:
                return self.version >= fix
        return self.version > fixes[-1]

    @property
    def name(self) -> str:
        """The version as people write it; of an old server, what is known of it."""
        return ".".join(map(str, self.version)) if self.level else "older than 2.11"


OLDEST = Host(0, (0, 0, 0))

_LEVELS: Mapping[Capability, tuple[int, str]] = {
    Capability.EXPIRY_MARKERS: (1, "2.11"),
    Capability.KEY_TTL: (1, "2.11"),
    Capability.BATCHES: (2, "2.12"),
    Capability.IDS_BEFORE_TTL: (1, "2.11"),
    Capability.IDS_BEFORE_CONDITIONS: (1, "2.11"),
    Capability.FOLLOWERS_SKIP_CONDITIONS: (2, "2.12"),
    Capability.SEVERAL_AT_ONCE: (1, "2.11"),
    Capability.DROPS_REFUSED_IDS: (2, "2.12"),
    Capability.ATOMIC_BATCHES: (2, "2.12"),
    Capability.GUARDS_OTHER_KEYS: (2, "2.12.14"),
}
"""Capability → the API level that has it, and the version that brought it."""

_FIXES: Mapping[Capability, tuple[tuple[int, int, int], ...]] = {
    Capability.GUARDS_OTHER_KEYS: ((2, 12, 14), (2, 14, 4)),
}
"""Capability → the first releases in which it works, one of each line that has it."""


_LEVEL_SINCE = (((2, 11), 1), ((2, 12), 2), ((2, 14), 4), ((2, 15), 5))
"""The least API level of a version."""


def since(capability: Capability) -> str:
    """Return the first version of nats-server that has a capability."""
    return _LEVELS[capability][1]


def since_each(capability: Capability) -> str:
    """Return the first version that has a fix, of each line of releases."""
    return " or ".join(".".join(map(str, fix)) for fix in _FIXES[capability])


def host_of_version(text: str) -> Host:
    """Return what a server can do that says its version alone; of the newest, at least that."""
    numbers = _NUMBERS.match(text)
    if numbers is None:
        return OLDEST
    version = (int(numbers[1]), int(numbers[2]), int(numbers[3]))
    level = max((level for since, level in _LEVEL_SINCE if version[:2] >= since), default=0)
    return Host(level, version)


def too_old(version: Sequence[int]) -> str | None:
    """Return why the gateway cannot work with the server it is connected to, None where it can."""
    if tuple(version[:2]) >= _SUPPORTED:
        return None
    said, oldest = (".".join(map(str, numbers)) for numbers in (version, _SUPPORTED))
    return f"nats-server {said} is too old: {oldest} is the oldest"


def host_of(info: Mapping[str, Any]) -> Host:
    """Read the host off a reply of STREAM.INFO or STREAM.CREATE; STREAM.LIST does not name it."""
    metadata = info["config"].get("metadata") or {}
    level = str(metadata.get(_LEVEL, ""))
    if not (level.isascii() and level.isdigit()):
        return OLDEST
    numbers = _NUMBERS.match(str(metadata.get(_VERSION, "")))
    version = (int(numbers[1]), int(numbers[2]), int(numbers[3])) if numbers else (0, 0, 0)
    return Host(int(level), version)

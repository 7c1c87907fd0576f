"""What a nats-server can do. The only module that knows versions.

The server that the gateway is connected to may not hold the stream: with a leaf node, a JetStream
domain or a rolling upgrade, another server does. From 2.11 on, the leader of a stream adds its API
level and version to the stream's metadata in STREAM.INFO (`_nats.level` and `_nats.ver`; NATS
ADR-44). Without them, the server is older. Each new leader reports its own, so this is read again
with a bucket's write limits.
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
    """A feature that not every supported server has."""

    EXPIRY_MARKERS = "expiry markers"
    """The server leaves a tombstone when a value expires."""

    KEY_TTL = "a value with a TTL of its own"

    BATCHES = "atomic batches"
    """The server stores several messages as one, or none of them."""

    IDS_BEFORE_TTL = "ids are checked before an invalid TTL"
    """The server answers a message with a known id and an invalid TTL as a duplicate. It never
    stores such a message."""

    IDS_BEFORE_CONDITIONS = "a replicated stream checks ids before conditions"
    """A write that is sent again is a duplicate even if its condition does not hold any more."""

    FOLLOWERS_SKIP_CONDITIONS = "followers check no conditions"
    """A follower stores everything that its leader sends, even what an old leader refuses after
    sending it."""

    SEVERAL_AT_ONCE = "one direct get reads the newest messages of several subjects"
    """The messages are as of one moment (ADR-31)."""

    DROPS_REFUSED_IDS = "the id of a refused write is dropped"
    """Without this, a replicated stream keeps the id of a refused write "in process" for its
    duplicate window."""

    ATOMIC_BATCHES = "atomic batches"
    """Messages are stored all or none, and nobody reads in between (ADR-50)."""

    GUARDS_OTHER_KEYS = "a message of a batch has the condition of another key"
    """Before, the name of that key could be overwritten while it was used (nats-server#8377)."""


class Host(NamedTuple):
    """The server that answers for a stream.

    Attributes:
        level: its JetStream API level; 0 before 2.11.
        version: such as (2, 12, 8); (0, 0, 0) if unknown.
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
        """The version for messages; for a server without an API level, what is known about it."""
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
"""Capability → the API level that has it, and the first version with that level."""

_FIXES: Mapping[Capability, tuple[tuple[int, int, int], ...]] = {
    Capability.GUARDS_OTHER_KEYS: ((2, 12, 14), (2, 14, 4)),
}
"""Capability → the first releases in which it works, one of each line that has it."""


_LEVEL_SINCE = (((2, 11), 1), ((2, 12), 2), ((2, 14), 4), ((2, 15), 5))
"""Versions with their lowest API level."""


def since(capability: Capability) -> str:
    """Return the first version of nats-server that has a capability."""
    return _LEVELS[capability][1]


def since_each(capability: Capability) -> str:
    """Return the first version that has a fix, of each line of releases."""
    return " or ".join(".".join(map(str, fix)) for fix in _FIXES[capability])


def host_of_version(text: str) -> Host:
    """Return the host with this version.

    A version newer than all known ones gets the highest known level.
    """
    numbers = _NUMBERS.match(text)
    if numbers is None:
        return OLDEST
    version = (int(numbers[1]), int(numbers[2]), int(numbers[3]))
    level = max((level for since, level in _LEVEL_SINCE if version[:2] >= since), default=0)
    return Host(level, version)


def too_old(version: Sequence[int]) -> str | None:
    """Return why the gateway does not support the connected server, or None if it does."""
    if tuple(version[:2]) >= _SUPPORTED:
        return None
    said, oldest = (".".join(map(str, numbers)) for numbers in (version, _SUPPORTED))
    return f"nats-server {said} is too old: {oldest} is the oldest"


def host_of(info: Mapping[str, Any]) -> Host:
    """Read the host from a reply of STREAM.INFO or STREAM.CREATE; STREAM.LIST does not name it."""
    metadata = info["config"].get("metadata") or {}
    level = str(metadata.get(_LEVEL, ""))
    if not (level.isascii() and level.isdigit()):
        return OLDEST
    numbers = _NUMBERS.match(str(metadata.get(_VERSION, "")))
    version = (int(numbers[1]), int(numbers[2]), int(numbers[3])) if numbers else (0, 0, 0)
    return Host(int(level), version)

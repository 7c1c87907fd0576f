"""How long a client may take: every deadline is about progress. No I/O, no timers.

A connection says what it waits for since when, and asks about once a second.
"""

import enum

from jetkv_gateway.serving.connections import Rank

__all__ = ["Expired", "Phase", "Progress"]

# Longer than clients keep a quiet connection (Go 90 s, ours 50): one that is closed just as a
# request goes out leaves a write unknown.
_IDLE_SECONDS = 120.0
_FIRST_SECONDS = 60.0
_HEAD_SECONDS = 20.0
_LATE_SECONDS = 2.0
_BODY_SECONDS = 10.0
_BODY_BYTES_A_SECOND = 512
_UNSENT_SECONDS = 30.0


class Phase(enum.IntEnum):
    """What a connection is about."""

    IDLE = 0
    HEAD = 1
    BODY = 2
    ANSWER = 3
    CLOSING = 4
    PROXY = 5
    """Before all else: a proxy says whom it passes on."""


class Expired(enum.Enum):
    """What is to be done with a client that makes no progress."""

    NO_REQUEST = enum.auto()
    """Nothing was asked: close."""
    INCOMPLETE_REQUEST = enum.auto()
    """Say that the rest did not come in time."""
    UNREAD_ANSWER = enum.auto()
    """Whatever is still to be sent, it is not wanted: cut the connection."""


class Progress:
    """Of one client. Times are those of the event loop, to the second."""

    __slots__ = ("_idle_seconds", "_mark", "_since", "_unsent", "_unsent_since")

    def __init__(self, now: float) -> None:
        self._since = now
        self._idle_seconds = _FIRST_SECONDS
        self._mark = 0
        self._unsent = 0
        self._unsent_since = now

    def enter(self, phase: Phase, now: float) -> None:
        """Note that the connection waits for something else."""
        self._since = now
        self._mark = 0
        if phase is Phase.IDLE:
            self._idle_seconds = _IDLE_SECONDS

    def enter_idle(self, now: float) -> None:
        """Note that a request was answered; as `enters` does for `IDLE`, which each comes to."""
        self._since = now
        self._idle_seconds = _IDLE_SECONDS

    def note_unsent(self, unsent: int, now: float) -> None:
        """Note that an answer is not taken in as fast as it is written."""
        self._unsent, self._unsent_since = unsent, now

    @property
    def since(self) -> float:
        """The time since which the connection waits for what it waits for."""
        return self._since

    def rank(self, phase: Phase, now: float) -> Rank:
        """Return where it stands among those that may have to make room."""
        if phase is Phase.IDLE:
            return Rank.UNUSED if self._idle_seconds == _FIRST_SECONDS else Rank.IDLE
        if phase is Phase.HEAD:
            # One that has not come for so long seldom comes.
            return Rank.HEAD if now - self._since < _LATE_SECONDS else Rank.UNUSED
        if phase is Phase.BODY:
            return Rank.BODY
        # Who has its last word has had all.
        return Rank.BUSY if phase is Phase.ANSWER else Rank.UNUSED

    def check(self, phase: Phase, now: float, *, size: int, unsent: int) -> Expired | None:
        """Return what is to be done, None while there is progress.

        Args:
            size: bytes of the body that have come.
            unsent: bytes that the client has not taken in, 0 where they are few.
        """
        if unsent:
            if unsent != self._unsent:
                self.note_unsent(unsent, now)
            elif now - self._unsent_since > _UNSENT_SECONDS:
                return Expired.UNREAD_ANSWER
        waited = now - self._since
        if phase is Phase.IDLE:
            return Expired.NO_REQUEST if waited > self._idle_seconds and not unsent else None
        if phase in (Phase.HEAD, Phase.PROXY):
            return Expired.INCOMPLETE_REQUEST if waited > _HEAD_SECONDS else None
        if phase is Phase.BODY and waited > _BODY_SECONDS:
            # By rate: a slow link passes, a silent client does not.
            if size - self._mark < waited * _BODY_BYTES_A_SECOND:
                return Expired.INCOMPLETE_REQUEST
            self._mark, self._since = size, now
        return None

"""How long a client may take. Every deadline depends on progress. No I/O, no timers.

A connection reports its phase, and checks the deadlines about once a second.
"""

import enum

from jetkv_gateway.serving.connections import Rank

__all__ = ["Expired", "Phase", "Progress"]

# Clients keep idle connections for less time (Go 90 s, the SDK 50 s). If the server closed one just
# as a request arrives, the client would not know the outcome of a write.
_IDLE_SECONDS = 120.0
_FIRST_SECONDS = 60.0
_HEAD_SECONDS = 20.0
_LATE_SECONDS = 2.0
_BODY_SECONDS = 10.0
_BODY_BYTES_A_SECOND = 512
_UNSENT_SECONDS = 30.0


class Phase(enum.IntEnum):
    """The phase of a connection."""

    IDLE = 0
    HEAD = 1
    BODY = 2
    ANSWER = 3
    CLOSING = 4
    PROXY = 5
    """The first phase, if a proxy sends a PROXY protocol header."""


class Expired(enum.Enum):
    """A deadline that has passed."""

    NO_REQUEST = enum.auto()
    """No request arrived: close."""
    INCOMPLETE_REQUEST = enum.auto()
    """A request is incomplete: answer with an error."""
    UNREAD_ANSWER = enum.auto()
    """The client does not read the answer: reset the connection."""


class Progress:
    """The progress of one client. Times are those of the event loop, to the second."""

    __slots__ = ("_idle_seconds", "_mark", "_since", "_unsent", "_unsent_since")

    def __init__(self, now: float) -> None:
        self._since = now
        self._idle_seconds = _FIRST_SECONDS
        self._mark = 0
        self._unsent = 0
        self._unsent_since = now

    def enter(self, phase: Phase, now: float) -> None:
        """Enter another phase."""
        self._since = now
        self._mark = 0
        if phase is Phase.IDLE:
            self._idle_seconds = _IDLE_SECONDS

    def enter_idle(self, now: float) -> None:
        """Enter `IDLE` after an answer. It is a faster `enter`."""
        self._since = now
        self._idle_seconds = _IDLE_SECONDS

    def note_unsent(self, unsent: int, now: float) -> None:
        """Note that the client reads an answer more slowly than it is written."""
        self._unsent, self._unsent_since = unsent, now

    @property
    def since(self) -> float:
        """The time when the present phase started."""
        return self._since

    def rank(self, phase: Phase, now: float) -> Rank:
        """Return the rank among connections that may be closed to make room."""
        if phase is Phase.IDLE:
            return Rank.UNUSED if self._idle_seconds == _FIRST_SECONDS else Rank.IDLE
        if phase is Phase.HEAD:
            # A head that is late for this long rarely arrives.
            return Rank.HEAD if now - self._since < _LATE_SECONDS else Rank.UNUSED
        if phase is Phase.BODY:
            return Rank.BODY
        # A closing connection has received its last answer.
        return Rank.BUSY if phase is Phase.ANSWER else Rank.UNUSED

    def check(self, phase: Phase, now: float, *, size: int, unsent: int) -> Expired | None:
        """Return the deadline that has passed, or None.

        Args:
            size: bytes of the body that have arrived.
            unsent: bytes that the client has not read, 0 if they are few.
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
            # A minimum rate accepts a slow connection, but not a silent client.
            if size - self._mark < waited * _BODY_BYTES_A_SECOND:
                return Expired.INCOMPLETE_REQUEST
            self._mark, self._since = size, now
        return None

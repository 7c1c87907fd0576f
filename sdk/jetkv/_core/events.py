"""Parses server-sent events (WHATWG HTML §9.2) from chunks of any size."""

from dataclasses import dataclass

from jetkv._core.messages import MAX_ANSWER_BYTES

__all__ = ["Event", "EventParser", "TooLong"]

_LINE_BYTES = 64  # the memory of a line beside its text


class TooLong(ValueError):
    """Raised for a line or an event that is longer than any gateway sends."""


@dataclass(frozen=True, slots=True)
class Event:
    """One event of a stream.

    Attributes:
        data: the `data:` lines, joined by newlines; None without such a line.
        id: the `id:` line; None without one. An empty id resets the last one.
    """

    data: bytes | None
    id: str | None


class EventParser:
    """Turns chunks into events. It keeps the incomplete end of a chunk for the next one.

    Args:
        max_bytes: the largest line or event.
    """

    def __init__(self, max_bytes: int = MAX_ANSWER_BYTES) -> None:
        self._max_bytes = max_bytes
        self._rest = bytearray()
        self._searched = 0
        self._data: list[bytes] = []
        self._id: str | None = None
        self._size = 0

    def feed(self, chunk: bytes) -> list[Event]:
        """Return the events that are complete now.

        Raises:
            TooLong: a line or an event is longer than `max_bytes`.
        """
        self._rest += chunk
        last = self._rest.rfind(b"\n", self._searched)
        if last < 0:
            self._searched = len(self._rest)
            if len(self._rest) > self._max_bytes:
                raise TooLong(f"a line of over {self._max_bytes:,} bytes in an event stream")
            return []
        lines = bytes(self._rest[:last]).split(b"\n")
        del self._rest[: last + 1]
        self._searched = 0
        found = []
        for line in lines:
            event = self._line(line.removesuffix(b"\r"))
            if event is not None:
                found.append(event)
        return found

    def _line(self, line: bytes) -> Event | None:
        if not line:
            if not self._data and self._id is None:
                return None
            event = Event(b"\n".join(self._data) if self._data else None, self._id)
            self._data, self._id, self._size = [], None, 0
            return event
        name, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if name == b"data":
            self._data.append(value)
            self._size += len(value) + _LINE_BYTES
            if self._size > self._max_bytes:
                raise TooLong(f"an event of over {self._max_bytes:,} bytes in an event stream")
        elif name == b"id":
            self._id = value.decode("latin-1")
        return None

"""Server-sent events, as WHATWG HTML §9.2 reads them, from chunks of any size."""

from dataclasses import dataclass

from jetkv._core.wire import MOST_BYTES

__all__ = ["Event", "EventParser", "TooLong"]

_LINE_BYTES = 64  # what a line takes beside its text


class TooLong(ValueError):
    """Raised for a line or an event that no gateway sends."""


@dataclass(frozen=True, slots=True)
class Event:
    """A block of an event stream.

    Attributes:
        data: its `data:` lines joined, None in a block without any.
        id: its `id:`, None in a block without one; empty takes the last one back.
    """

    data: bytes | None
    id: str | None


class EventParser:
    """Turns chunks into events; what a chunk breaks off waits for the next one.

    Args:
        most: bytes of a line or an event.
    """

    def __init__(self, most: int = MOST_BYTES) -> None:
        self._most = most
        self._rest = bytearray()
        self._searched = 0
        self._data: list[bytes] = []
        self._id: str | None = None
        self._size = 0

    def feed(self, chunk: bytes) -> list[Event]:
        """Return the events that are whole by now.

        Raises:
            TooLong: a line or an event does not end.
        """
        self._rest += chunk
        last = self._rest.rfind(b"\n", self._searched)
        if last < 0:
            self._searched = len(self._rest)
            if len(self._rest) > self._most:
                raise TooLong(f"a line of over {self._most:,} bytes in an event stream")
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
            if self._size > self._most:
                raise TooLong(f"an event of over {self._most:,} bytes in an event stream")
        elif name == b"id":
            self._id = value.decode("latin-1")
        return None

"""What all connections of a worker share."""

import asyncio
from typing import TYPE_CHECKING

from uvicorn.server import ServerState

from jetkv_gateway.serving.admission import Admission, AdmissionLimits

if TYPE_CHECKING:
    from jetkv_gateway.http.gateway import Gateway

__all__ = ["Front"]


class Front:
    """The gateway that answers, the places there are, the time, and whether it all ends.

    Attributes:
        gateway: known once uvicorn has loaded the app, before the first connection.
        draining: whether the server is about to stop: others should be asked.
        stopping: set when it stops.
        now: the time of the event loop, to the second: it goes on with each tick.
        ping_seconds: how often a WebSocket pings its peer.
    """

    gateway: "Gateway"

    def __init__(self, limits: AdmissionLimits, *, ping_seconds: float) -> None:
        self.admission = Admission(limits)
        self.ping_seconds = ping_seconds
        self.draining = False
        self.stopping = asyncio.Event()
        self.now = 0.0
        self._date = b""
        self._date_of: list[tuple[bytes, bytes]] | None = None

    def tick(self, now: float) -> None:
        """Let time go on; the server says so once a second, before it tells the connections."""
        self.now = now

    def date_line(self, state: ServerState) -> bytes:
        """Return the header lines of every answer: uvicorn renews them each second."""
        if state.default_headers is not self._date_of:
            self._date_of = state.default_headers
            self._date = b"".join([b"%s: %s\r\n" % header for header in self._date_of])
        return self._date

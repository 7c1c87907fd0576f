"""Measures what no event can tell: how late the event loop is, and what goes on now."""

import asyncio
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from jetkv_gateway.telemetry.prometheus import PrometheusListener

__all__ = ["Sampler", "State"]

_SECONDS = 0.5
_KEPT = 30


@dataclass(frozen=True, slots=True)
class State:
    """What goes on in a worker now.

    Attributes:
        connected: whether there is a connection to NATS.
        in_flight: requests that run, without watches.
        watch_lag: revisions by which the slowest watch is behind its bucket.
    """

    connected: bool
    in_flight: int
    watch_lag: int


class Sampler:
    """Sets the gauges of this worker twice a second, from `start` to `close`."""

    def __init__(self, listener: PrometheusListener, look: Callable[[], State]) -> None:
        self._listener = listener
        self._look = look
        self._lags: deque[float] = deque([0.0], _KEPT)
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._listener.call_soon = asyncio.get_running_loop().call_soon
        self._task = asyncio.create_task(self._run(), name="metrics")

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
        # The event loop ends, and the listener may go on for another gateway in this process.
        self._listener.call_soon = None
        self._listener.settle()
        self._listener.set_gauges(connected=False, in_flight=0, watch_lag=0, loop_lag=0.0)

    def sample(self) -> None:
        """Set the gauges now."""
        self._listener.settle()
        state = self._look()
        self._listener.set_gauges(
            connected=state.connected,
            in_flight=state.in_flight,
            watch_lag=state.watch_lag,
            loop_lag=max(self._lags),
        )

    async def _run(self) -> None:
        while True:
            due = time.perf_counter() + _SECONDS
            await asyncio.sleep(_SECONDS)
            self._lags.append(max(0.0, time.perf_counter() - due))
            self.sample()

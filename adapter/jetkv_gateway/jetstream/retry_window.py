"""The tries of one request: how long they go on, and the pauses between them."""

import asyncio
import random

from jetkv_gateway.kv.retries import Retries

__all__ = ["RETRY_SECONDS", "RetryWindow"]

RETRY_SECONDS = 6.0
"""Seconds after its beginning in which a request may start another try."""

_FIRST_PAUSE = 0.02
_LAST_PAUSE = 0.5


class RetryWindow:
    """The tries of one request: pauses that double, with jitter, until `RETRY_SECONDS` are over.

    All calls of a request share one object, so they share the time.

    Args:
        retries: counts the retries.
        loop: the running loop; None looks it up, which costs a system call before Python 3.12.
        began: the time of the event loop when the request began; None for now.

    Attributes:
        began: the time of the event loop when the request began.
    """

    __slots__ = ("_loop", "_pause", "_retries", "began")

    def __init__(
        self,
        retries: Retries | None = None,
        loop: asyncio.AbstractEventLoop | None = None,
        began: float | None = None,
    ) -> None:
        self._retries = retries
        self._loop = loop = loop or asyncio.get_running_loop()
        self.began = loop.time() if began is None else began
        self._pause = _FIRST_PAUSE

    @property
    def spent(self) -> float:
        """Seconds since the request began."""
        return RETRY_SECONDS - self.left

    @property
    def left(self) -> float:
        """Seconds in which another try may begin."""
        return self.began + RETRY_SECONDS - self._loop.time()

    def restart(self) -> None:
        """Start the window again from now."""
        self.began = self._loop.time()

    async def pause(self) -> bool:
        """Wait before another try; return False at once if there is no time for one."""
        pause = self._pause * random.uniform(0.5, 1.0)  # noqa: S311 - jitter
        if pause > self.left:
            return False
        self._pause = min(self._pause * 2, _LAST_PAUSE)
        await asyncio.sleep(pause)
        if self._retries is not None:
            self._retries.count += 1
        return True

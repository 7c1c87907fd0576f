"""How much one peer may send, as a rule without I/O (docs/watch.md#websockets)."""

__all__ = ["RateLimit"]


class RateLimit:
    """How much a peer may still send: it grows with time up to a burst, and may be overdrawn.

    A watcher has nothing to say but pongs, so both rates are generous.

    Attributes:
        frames: left to send.
        bytes: left to send.
    """

    FRAMES_A_SECOND = 100
    BYTES_A_SECOND = 64 * 1024
    BURST_SECONDS = 3
    PATIENCE_SECONDS = 10.0

    __slots__ = ("_exhausted_at", "_since", "bytes", "frames")

    def __init__(self, now: float) -> None:
        self._since = now
        self._exhausted_at: float | None = None
        self.frames: float = self.FRAMES_A_SECOND * self.BURST_SECONDS
        self.bytes: float = self.BYTES_A_SECOND * self.BURST_SECONDS

    def consume(self, frames: int, size: int) -> None:
        self.frames -= frames
        self.bytes -= size

    @property
    def exhausted(self) -> bool:
        """Whether there is nothing left: nothing more should be read."""
        return self.frames <= 0 or self.bytes <= 0

    def refill(self, now: float) -> bool:
        """Add what the time since has brought.

        Returns:
            False where it was spent for too long: the peer does not slow down by itself.
        """
        was_exhausted = self.exhausted
        seconds, self._since = now - self._since, now
        frames, size = self.FRAMES_A_SECOND, self.BYTES_A_SECOND
        self.frames = min(self.frames + seconds * frames, self.BURST_SECONDS * frames)
        self.bytes = min(self.bytes + seconds * size, self.BURST_SECONDS * size)
        if was_exhausted:
            if self._exhausted_at is None:
                self._exhausted_at = now
            return now - self._exhausted_at < self.PATIENCE_SECONDS
        if self.frames == self.BURST_SECONDS * frames and self.bytes == self.BURST_SECONDS * size:
            self._exhausted_at = None
        return True

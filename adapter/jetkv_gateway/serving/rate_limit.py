"""A rate limit for the frames of one peer. No I/O (docs/watch.md#websockets)."""

__all__ = ["RateLimit"]


class RateLimit:
    """The frames and bytes that a peer may still send.

    They grow with time up to a burst, and may become negative.

    A watcher only sends pongs, so both rates are generous.

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
        """Whether the limit is reached, so that reading must pause."""
        return self.frames <= 0 or self.bytes <= 0

    def refill(self, now: float) -> bool:
        """Add the allowance of the time since the last call.

        Returns:
            False if it was exhausted for too long, because the peer does not slow down.
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

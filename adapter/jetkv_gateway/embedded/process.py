"""A server as a process of this machine, and what can be done to it."""

import os
import signal
import subprocess
from pathlib import Path
from typing import ClassVar

from jetkv_gateway.exits import how_it_ended

__all__ = ["Process"]


class Process:
    """Ends, kills, freezes a process that its subclass starts, and sets as `_process`.

    Args:
        log: where it writes to.
    """

    stop_seconds: ClassVar[float] = 5.0
    """How long `stop` waits before it kills."""

    def __init__(self, log: Path) -> None:
        self._log = log
        self._process: subprocess.Popen[bytes] | None = None
        self._frozen: int | None = None

    @property
    def pid(self) -> int | None:
        """The process id while it runs."""
        return self._process.pid if self._process and self._process.poll() is None else None

    @property
    def running(self) -> bool:
        """Whether it was started and has not ended; a paused one runs."""
        return self.pid is not None

    def how_it_ended(self) -> str:
        """Return how it ended, such as `was killed by SIGKILL`; of one that runs, nothing holds."""
        return how_it_ended(self._process.returncode if self._process else None)

    def last_words(self) -> str:
        """Return the last line of its log."""
        try:
            return self._log.read_text(errors="replace").strip().splitlines()[-1]
        except (OSError, IndexError):
            return "it said nothing"

    def stop(self) -> None:
        """Ask it to end, paused or not, and kill it when it does not."""
        process = self._process
        if process is None or process.poll() is not None:
            return
        process.send_signal(signal.SIGCONT)
        process.terminate()
        try:
            process.wait(self.stop_seconds)
        except subprocess.TimeoutExpired:
            self.kill()

    def kill(self) -> None:
        """End it as a crash does."""
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait()

    def pause(self) -> None:
        """Freeze it: connections stand, nothing answers. Nothing happens when it is frozen."""
        pid = self.pid
        if pid is None or pid == self._frozen:
            return
        os.kill(pid, signal.SIGSTOP)
        # The signal is on its way; what it does has to be done when this returns.
        os.waitpid(pid, os.WUNTRACED)
        self._frozen = pid

    def resume(self) -> None:
        """End `pause`."""
        if self._process is not None:
            self._process.send_signal(signal.SIGCONT)
        self._frozen = None

    def __exit__(self, *_exc: object) -> None:
        self.stop()

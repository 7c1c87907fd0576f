"""A server as a local process that can be stopped, killed and paused."""

import ctypes
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import ClassVar

from jetkv_gateway.exits import how_it_ended

__all__ = ["Process", "die_with_parent"]

_PR_SET_PDEATHSIG = 1


def die_with_parent() -> None:
    """Let the kernel end this process with its parent, however that ends. Only Linux can."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


class Process:
    """Stops, kills or pauses a process that a subclass starts and assigns to `_process`.

    Args:
        log: the log file of the process.
    """

    stop_seconds: ClassVar[float] = 5.0
    """Seconds that `stop` waits before it kills the process."""

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
        """Whether it was started and has not ended. A paused process is running."""
        return self.pid is not None

    def how_it_ended(self) -> str:
        """Return how it ended, such as `was killed by SIGKILL`. Do not call it while it runs."""
        return how_it_ended(self._process.returncode if self._process else None)

    def last_words(self) -> str:
        """Return the last line of its log."""
        try:
            return self._log.read_text(errors="replace").strip().splitlines()[-1]
        except (OSError, IndexError):
            return "its log is empty"

    def stop(self) -> None:
        """Stop the process, paused or not. Kill it if it does not end in time."""
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
        """Kill it, as in a crash."""
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait()

    def pause(self) -> None:
        """Pause it: connections stay open, but nothing answers. It may be paused already."""
        pid = self.pid
        if pid is None or pid == self._frozen:
            return
        os.kill(pid, signal.SIGSTOP)
        # The signal takes effect asynchronously, so wait for that.
        os.waitpid(pid, os.WUNTRACED)
        self._frozen = pid

    def resume(self) -> None:
        """End `pause`."""
        if self._process is not None:
            self._process.send_signal(signal.SIGCONT)
        self._frozen = None

    def __exit__(self, *_exc: object) -> None:
        self.stop()

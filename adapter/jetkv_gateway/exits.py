"""Describes how a process ended, for the log."""

import signal

__all__ = ["how_it_ended"]


def how_it_ended(code: int | None) -> str:
    """Return a text that follows the name of a process, such as `was killed by SIGKILL`.

    Args:
        code: as in `subprocess` and `multiprocessing`: negative for a signal, None if unknown.
    """
    if code is None:
        return "ended with an unknown exit code"
    if code >= 0:
        return f"ended with exit code {code}"
    try:
        return f"was killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"was killed by signal {-code}"

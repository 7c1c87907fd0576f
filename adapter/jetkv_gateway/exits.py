"""How a process ended, in words for the log."""

import signal

__all__ = ["how_it_ended"]


def how_it_ended(code: int | None) -> str:
    """Return what follows the name of a process, such as `was killed by SIGKILL`.

    Args:
        code: as `subprocess` and `multiprocessing` have it: negative for a signal; None where
            nobody can tell.
    """
    if code is None:
        return "ended, with a code that is not known"
    if code >= 0:
        return f"ended with exit code {code}"
    try:
        return f"was killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"was killed by signal {-code}"

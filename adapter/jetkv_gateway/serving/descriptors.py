"""How many files this process may have open; a connection is one."""

from contextlib import suppress

try:
    import resource
except ImportError:  # pragma: no cover - Windows, which has no such limit
    resource = None  # type: ignore[assignment] # asked for below

__all__ = ["raise_limit"]

_WITHOUT_LIMIT = 1 << 20


def raise_limit() -> int:
    """Raise the soft limit to the hard one, as the Go runtime does, and return what it is then.

    The soft one is often 1,024, for the sake of programs that use `select`.
    """
    if resource is None:
        return _WITHOUT_LIMIT
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        with suppress(OSError, ValueError):
            # Where the hard one is unlimited, the system has a limit of its own.
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return _WITHOUT_LIMIT if soft == resource.RLIM_INFINITY else soft

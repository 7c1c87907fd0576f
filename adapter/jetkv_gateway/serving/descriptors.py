"""The limit on open files of this process. Each connection is one."""

from contextlib import suppress

try:
    import resource
except ImportError:  # pragma: no cover - Windows, which has no such limit
    resource = None  # type: ignore[assignment] # checked below

__all__ = ["raise_limit"]

_WITHOUT_LIMIT = 1 << 20


def raise_limit() -> int:
    """Raise the soft limit to the hard limit, as the Go runtime does, and return it.

    The soft limit is often 1,024, for programs that use `select`.
    """
    if resource is None:
        return _WITHOUT_LIMIT
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        with suppress(OSError, ValueError):
            # If the hard limit is unlimited, the system has its own limit.
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return _WITHOUT_LIMIT if soft == resource.RLIM_INFINITY else soft

"""What came from NATS and cannot be read: it is counted, and each kind is logged once.

Anybody who may publish to a bucket can make such messages, as many as they like, and each watch and
listing meets them again: a line for each would be a way to fill a disk.
"""

import logging
from collections.abc import Callable

__all__ = ["on_unreadable", "report_unreadable"]

_log = logging.getLogger("jetkv.nats")

_KINDS = 1000

_logged: set[tuple[str, str]] = set()
_listeners: list[Callable[[str], None]] = []


def on_unreadable(listener: Callable[[str], None]) -> None:
    """Call `listener` with the part, such as "subject", of each oddity from here on."""
    _listeners.append(listener)


def report_unreadable(part: str, where: str, what: str, *, exc_info: bool = False) -> None:
    """Note that a part of what came cannot be read.

    Args:
        part: `subject`, `headers`, `answer`, `message`, `protocol`.
        where: the bucket, or whatever else it came from; a kind is a part and where it came from.
        what: what became of it, for the log.
        exc_info: whether the exception that is handled now belongs to it.
    """
    for listener in _listeners:
        listener(part)
    kind = part, where
    if kind not in _logged and len(_logged) < _KINDS:
        _logged.add(kind)
        _log.warning(
            "NATS delivered what cannot be read, %s of %s: %s; more of the kind is only counted",
            part,
            where,
            what,
            exc_info=exc_info,
        )

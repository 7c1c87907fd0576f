"""Reports data from NATS that cannot be parsed: counts it, and logs each kind once.

Everyone who may publish to a bucket can create such messages in any number, and each watch and
listing meets them again. A log line for each of them would fill the disk.
"""

import logging

from jetkv_gateway.telemetry.events import EVENTS

__all__ = ["report_unreadable"]

_log = logging.getLogger("jetkv.nats")

_KINDS = 1000

_logged: set[tuple[str, str]] = set()


def report_unreadable(part: str, where: str, what: str, *, exc_info: bool = False) -> None:
    """Report that a part of the received data cannot be parsed.

    Args:
        part: `subject`, `headers`, `answer`, `message` or `protocol`.
        where: the bucket or other source; part and source together are a kind.
        what: the consequence, for the log.
        exc_info: whether to log the exception that is being handled.
    """
    if EVENTS.unreadable is not None:
        EVENTS.unreadable(part)
    kind = part, where
    if kind not in _logged and len(_logged) < _KINDS:
        _logged.add(kind)
        _log.warning(
            "cannot parse the %s of %s, received from NATS: %s; more of this kind is only counted",
            part,
            where,
            what,
            exc_info=exc_info,
        )

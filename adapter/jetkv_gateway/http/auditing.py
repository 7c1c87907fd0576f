"""What the audit log is told of a request: who, what, and with which outcome (docs/audit.md)."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from jetkv_gateway.kv.access import Verb
from jetkv_gateway.telemetry.events import EVENTS

if TYPE_CHECKING:
    from jetkv_gateway.http.call import Call

__all__ = ["Subject", "note_subjects", "report_audit"]

Subject = tuple[str, str | None, str, str | None, int | None]
"""A thing that a request is about: verb, bucket, the kind of a text (`key`, `filter`, `prefix` or
`token`), that text, and a status if it differs from the answer's.
"""

_REFUSED = frozenset({401, 403})
_UNAUTHENTICATED = 401
_FIRST_ERROR = 400
_BY_FILTER = frozenset({Verb.LIST_KEYS, Verb.DELETE_KEYS})


def note_subjects(call: "Call", subjects: Iterable[Subject]) -> None:
    """Note what a request is about, where neither path nor query will say so. Else do nothing."""
    if EVENTS.audited is not None:
        call.subjects = tuple(subjects)


def report_audit(call: "Call", status: int, *, ended: bool = False) -> None:
    """Report a request that has been answered, or the end of a watch.

    Public routes are not reported. A refusal of access always is.

    Args:
        ended: whether this is the end of a watch, whose begin was reported before.
    """
    audited, route = EVENTS.audited, call.route
    match = call.target.match
    if audited is None:
        return
    if route is None and match is not None:
        # A refused caller does not get as far as the route.
        route = match[0].routes.get(call.method)
    verb = None if route is None else route.verb
    if verb is None and status not in _REFUSED:
        return
    event = "request"
    if ended:
        event = "watch_end"
    elif route is not None and route.endless and status < _FIRST_ERROR:
        event = "watch_open"
    known = status != _UNAUTHENTICATED
    principal = call.principal
    audited(
        event,
        principal.name if known else None,
        principal.method if known else None,
        call.request.client,
        call.subjects or (_subject(call, verb),),
        status,
        call.request_id,
    )


def _subject(call: "Call", verb: Verb | None) -> Subject:
    """Return what the path and the query say that a request is about."""
    match = call.target.match
    named = dict(zip(match[0].parameters, call.names, strict=False)) if match is not None else {}
    kind, text = "key", named.get("key")
    if verb in _BY_FILTER:
        kind = "filter" if call.parameter("prefix") is None else "prefix"
        text = call.parameter(kind)
    elif "name" in named:
        kind, text = "token", named["name"]
    return (verb.value if verb is not None else "unknown", named.get("bucket"), kind, text, None)

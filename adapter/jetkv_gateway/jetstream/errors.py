"""What JetStream's refusals, and requests without a reply, are to a caller. A table.

Codes and their meaning: nats-server's error list. Every row is a refusal, so nothing was applied.
A code that is not in the table is `BucketUnsuitable` with the server's own words where the server
calls it the caller's fault (4xx), else `Unavailable`: never a 500.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from jetkv_gateway.jetstream.requests import (
    ConnectionLost,
    NoResponders,
    NotConnected,
    NotPermitted,
    PayloadTooLarge,
    RequestTimeout,
    Signal,
)
from jetkv_gateway.kv import errors as kv

__all__ = [
    "IN_FLIGHT",
    "IN_PROCESS",
    "MISMATCHES",
    "NO_MESSAGE",
    "STREAM_NOT_FOUND",
    "TABLE",
    "Row",
    "nothing_applied",
    "refusal",
    "unanswered",
]

STREAM_NOT_FOUND = 10059
NO_MESSAGE = 10037
WRONG_LAST_SEQUENCE = 10071
IN_FLIGHT = 10164
IN_PROCESS = 10158
MISMATCHES = frozenset({WRONG_LAST_SEQUENCE, IN_FLIGHT})
"""Both refuse a conditional write. After 10164, only said by replicated streams, the write in
flight may or may not land: nothing is known until the leader is read again (contract 1.4)."""


@dataclass(frozen=True, slots=True)
class Row:
    """One refusal: the server's code, its meaning, and the error it becomes."""

    code: int
    meaning: str
    error: Callable[[str], kv.GatewayError]


def _plain(kind: Callable[[], kv.GatewayError]) -> Callable[[str], kv.GatewayError]:
    return lambda _text: kind()


def _hinted(kind: type[kv.GatewayError]) -> Callable[[str], kv.GatewayError]:
    return lambda text: kind(hint=f"NATS says: {text}")


def _not_permitted(text: str) -> kv.GatewayError:
    # The server calls these 500, as it does a failing disk; but it is the bucket's own setting.
    if "not permitted" in text:
        return kv.BucketUnsuitable(f"NATS refuses this: {text}", hint="DELETE without purge works")
    return kv.Unavailable(f"NATS cannot do this now: {text}")


def _store_failed(text: str) -> kv.GatewayError:
    # One code for "the limit is reached", which is permanent, and for a failing disk.
    return kv.BucketFull() if "maximum" in text else kv.Unavailable(f"NATS cannot store: {text}")


TABLE: dict[int, Row] = {
    row.code: row
    for row in (
        Row(10002, "resource limits exceeded for account", _hinted(kv.BucketFull)),
        Row(10008, "JetStream system temporarily unavailable", kv.Unavailable),
        Row(10009, "not the leader", kv.Unavailable),
        Row(10023, "insufficient resources", kv.Unavailable),
        Row(10026, "maximum consumers limit reached", kv.TooManyRequests),
        Row(10027, "maximum number of streams reached", kv.TooManyRequests),
        Row(10028, "insufficient memory in account", _hinted(kv.BucketFull)),
        Row(NO_MESSAGE, "no message found", _plain(kv.KeyNotFound)),
        Row(10039, "JetStream not enabled for account", kv.Unavailable),
        Row(10047, "insufficient storage in account", _hinted(kv.BucketFull)),
        Row(10052, "invalid stream configuration", kv.InvalidArgument),
        Row(10054, "message larger than the stream allows", _plain(kv.ValueTooLarge)),
        Row(10058, "stream name in use with another configuration", _plain(kv.BucketExists)),
        Row(STREAM_NOT_FOUND, "stream not found", _plain(kv.BucketNotFound)),
        Row(10060, "message taken by another stream", _plain(kv.BucketNotFound)),
        Row(WRONG_LAST_SEQUENCE, "wrong last sequence", _plain(kv.RevisionMismatch)),
        Row(10074, "replicas need a cluster", kv.InvalidArgument),
        Row(10076, "JetStream not enabled", kv.Unavailable),
        Row(10077, "store failed, mostly because a limit is reached", _store_failed),
        Row(10110, "the stream does not allow purges", _not_permitted),
        Row(10111, "the stream does not allow roll-ups", _not_permitted),
        Row(IN_PROCESS, "a write with the same message id is in process", kv.Unavailable),
        Row(IN_FLIGHT, "a write on the same key is in flight", _plain(kv.RevisionMismatch)),
        Row(10165, "invalid per-message TTL", kv.InvalidArgument),
    )
}


def refusal(error: dict[str, Any]) -> kv.GatewayError:
    """Return the domain error of a JetStream API error object."""
    text = str(error.get("description", ""))
    row = TABLE.get(error.get("err_code", 0))
    if row is not None:
        return row.error(text)
    if 400 <= error.get("code", 500) < 500:
        return kv.BucketUnsuitable(f"NATS refuses this: {text}")
    return kv.Unavailable(f"NATS cannot do this now: {text}")


def unanswered(signal: Signal, check: str | None) -> kv.GatewayError:
    """Return the domain error of a request without a reply.

    Args:
        signal: what became of the request.
        check: for a write, how to find out what became of it; None for a read.
    """
    match signal:
        case NotConnected():
            return kv.Unavailable("not connected to NATS")
        case NoResponders():
            return kv.Unavailable("JetStream has no leader for this, or is not enabled")
        case NotPermitted():
            return kv.PermissionDenied(
                f"permission denied: the gateway's NATS user may not publish to {signal}",
                hint="grant it, or start the gateway with another NATS user",
            )
        case PayloadTooLarge():
            return kv.ValueTooLarge(*signal.args)
        case RequestTimeout() | ConnectionLost() if check is not None:
            return kv.OutcomeUnknown(check)
        case RequestTimeout():
            return kv.DeadlineExceeded()
        case _:
            return kv.Unavailable("the connection to NATS was lost; nothing was applied")


def nothing_applied(error: kv.DeadlineExceeded) -> kv.GatewayError:
    """Return what a write answers when a request of its own got no answer in time.

    Only the write itself can have an unknown outcome. A read that goes before it, or after it was
    refused, leaves nothing behind: 503, and a retry is safe (contract 1.4).
    """
    if isinstance(error, kv.OutcomeUnknown):
        return error
    return kv.Unavailable("no answer from NATS in time; nothing was applied")

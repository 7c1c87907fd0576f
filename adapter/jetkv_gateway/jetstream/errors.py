"""Translates JetStream's errors, and requests without a reply, to the gateway's errors. A table.

The codes and their meanings are those of nats-server's error list. Every error in it is a refusal,
so nothing was applied. Each code of the list has a decision: a row of `TABLE` if one of our calls
can meet it, otherwise a place in `NOT_EXPECTED`. A code in neither comes from a newer server than
the list. For both, the server's own class decides: a 429 or 5xx is transient and becomes
`Unavailable`, all else becomes `BucketUnsuitable`, each with the server's own words; never a 500.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from jetkv_gateway.jetstream.request_errors import LoginNotPermitted
from jetkv_gateway.jetstream.requests import (
    ConnectionLost,
    NoResponders,
    NotConnected,
    NotPermitted,
    PayloadTooLarge,
    RequestFailed,
    RequestTimeout,
    Unreadable,
)
from jetkv_gateway.jetstream.subject_meanings import meaning_of
from jetkv_gateway.kv import errors as kv

__all__ = [
    "IN_FLIGHT",
    "IN_PROCESS",
    "KNOWN_IN_BATCH",
    "MISMATCHES",
    "NOT_EXPECTED",
    "NO_MESSAGE",
    "STREAM_NOT_FOUND",
    "TABLE",
    "TRANSIENT",
    "Row",
    "api_error",
    "nothing_applied",
    "request_error",
]

STREAM_NOT_FOUND = 10059
NO_MESSAGE = 10037
WRONG_LAST_SEQUENCE = 10071
IN_FLIGHT = 10164
IN_PROCESS = 10158
KNOWN_IN_BATCH = 10201
MISMATCHES = frozenset({WRONG_LAST_SEQUENCE, IN_FLIGHT})
"""Both refuse a conditional write. After 10164, which only replicated streams return, the write in
flight may or may not be applied: nothing is known until the leader is read again
(docs/architecture.md, decision 7)."""


@dataclass(frozen=True, slots=True)
class Row:
    """One error of JetStream.

    Attributes:
        code: the server's `err_code`.
        meaning: a note for readers of the table.
        error: creates the gateway's error from the server's text.
        transient: whether it is over in a moment, so that a write is retried meanwhile.
    """

    code: int
    meaning: str
    error: Callable[[str], kv.GatewayError]
    transient: bool = False


def _plain(kind: Callable[[], kv.GatewayError]) -> Callable[[str], kv.GatewayError]:
    return lambda _text: kind()


def _hinted(kind: type[kv.GatewayError]) -> Callable[[str], kv.GatewayError]:
    return lambda text: kind(hint=f"NATS says: {text}")


def _transient(code: int, meaning: str) -> Row:
    return Row(code, meaning, _later, transient=True)


def _later(text: str) -> kv.GatewayError:
    return kv.Unavailable(f"NATS cannot do this now: {text}")


def _unsuitable(text: str) -> kv.GatewayError:
    return kv.BucketUnsuitable(f"NATS refuses this: {text}")


def _max_bytes(text: str) -> kv.GatewayError:
    return kv.InvalidArgument(f"invalid max_bytes: {text}")


def _queue_full(_text: str) -> kv.GatewayError:
    return kv.Unavailable("too many writes to this bucket wait in NATS; nothing was applied")


def _offline(text: str) -> kv.GatewayError:
    return kv.BucketUnsuitable(
        f"the bucket is out of service: NATS says: {text}",
        hint="its stream needs a newer nats-server, which happens after a downgrade; "
        "upgrade the server or delete the stream",
    )


def _no_peers(text: str) -> kv.GatewayError:
    # NATS uses one code for a server that is offline and for a cluster that is too small.
    return _later(text) if "offline" in text else _unsuitable(text)


def _not_permitted(text: str) -> kv.GatewayError:
    # The server reports a setting of the bucket as 500, like a failing disk.
    if "not permitted" in text:
        return kv.BucketUnsuitable(f"NATS refuses this: {text}", hint="DELETE without purge works")
    return _later(text)


def _store_failed(text: str) -> kv.GatewayError:
    # NATS uses one code for limits, which are permanent, and for a failing disk.
    if "per subject" in text:
        return kv.BucketUnsuitable(
            "the bucket refuses another revision of this key (discard_new_per_subject)",
            hint="with this setting a key never gets more revisions than the bucket's history; "
            "set discard_new_per_subject of its stream to false",
        )
    if "maximum" in text:
        return kv.BucketFull()
    return kv.Unavailable(f"NATS cannot store: {text}")


TABLE: dict[int, Row] = {
    row.code: row
    for row in (
        Row(10002, "resource limits exceeded for account", _hinted(kv.BucketFull)),
        Row(10003, "bad request: a server that does not know what is asked", _unsuitable),
        _transient(10004, "a listing of streams that not all servers answered"),
        Row(10005, "no suitable servers for the replicas", _no_peers),
        _transient(10006, "the cluster is not active"),
        _transient(10007, "the stream is not assigned to this server"),
        Row(10008, "JetStream system temporarily unavailable", kv.Unavailable, transient=True),
        Row(10009, "not the leader", kv.Unavailable, transient=True),
        Row(10012, "a consumer could not be created", _later),
        Row(10014, "consumer not found", _unsuitable),
        Row(10023, "insufficient resources", kv.Unavailable),
        Row(10026, "maximum consumers limit reached", kv.TooManyRequests),
        Row(10027, "maximum number of streams reached", kv.TooManyRequests),
        Row(10028, "insufficient memory in account", _hinted(kv.BucketFull)),
        _transient(10035, "the account is not known yet, or no more"),
        Row(NO_MESSAGE, "no message found", _plain(kv.KeyNotFound)),
        Row(10039, "JetStream not enabled for account", kv.Unavailable),
        _transient(10041, "a replica's log failed"),
        Row(10047, "insufficient storage in account", _hinted(kv.BucketFull)),
        _transient(10048, "the stream could not be assigned"),
        Row(10049, "the stream could not be created", _later),
        Row(10050, "the stream could not be deleted", _later),
        Row(10051, "any other failure", _later),
        Row(10052, "invalid stream configuration", kv.InvalidArgument),
        Row(10053, "a limit on streams that has no code of its own", _unsuitable),
        Row(10054, "message larger than the stream allows", _plain(kv.ValueTooLarge)),
        Row(10058, "stream name in use with another configuration", _plain(kv.BucketExists)),
        Row(STREAM_NOT_FOUND, "stream not found", _plain(kv.BucketNotFound)),
        Row(10060, "message taken by another stream", _plain(kv.BucketNotFound)),
        _transient(10063, "a replica is behind"),
        Row(10065, "another stream has the subjects", _unsuitable),
        Row(10069, "the stream could not be changed", _later),
        Row(WRONG_LAST_SEQUENCE, "wrong last sequence", _plain(kv.RevisionMismatch)),
        Row(10074, "replicas need a cluster", kv.InvalidArgument),
        _transient(10075, "no other server for a replica"),
        Row(10076, "JetStream not enabled", kv.Unavailable),
        Row(10077, "store failed, mostly because a limit is reached", _store_failed),
        Row(10084, "a work queue takes no consumer like ours", _unsuitable),
        Row(10093, "the subjects were changed meanwhile", _unsuitable),
        _transient(10096, "the stream is being closed"),
        Row(10097, "headers over 64 KiB", kv.InvalidArgument),
        Row(10099, "a work queue has another consumer", _unsuitable),
        Row(10100, "a work queue has another consumer", _unsuitable),
        Row(10101, "a work queue takes no consumer like ours", _unsuitable),
        Row(10104, "a consumer could not be stored", _later),
        Row(10109, "the stream is sealed", _unsuitable),
        Row(10110, "the stream does not allow purges", _not_permitted),
        Row(10111, "the stream does not allow roll-ups", _not_permitted),
        Row(10113, "the account wants max_bytes", _max_bytes),
        _transient(10117, "more subjects than the server lists"),
        _transient(10118, "all servers of the stream are down"),
        _transient(10119, "all servers of the consumer are down"),
        Row(10120, "the account allows no such number of replicas", _unsuitable),
        Row(10121, "a limit on consumers that ours goes over", _unsuitable),
        Row(10122, "max_bytes over the account's limit", _max_bytes),
        Row(10123, "a move and another number of replicas at once", _unsuitable),
        _transient(10124, "the stream is being moved"),
        Row(10134, "consumers need as many replicas as the stream", _unsuitable),
        Row(10153, "a limit on consumers that ours goes over", _unsuitable),
        Row(IN_PROCESS, "a write with the same message id is in process", kv.Unavailable),
        _transient(10163, "the key's last sequence is not known yet"),
        Row(IN_FLIGHT, "a write on the same key is in flight", _plain(kv.RevisionMismatch)),
        Row(10165, "invalid per-message TTL", kv.InvalidArgument),
        Row(10166, "the stream allows no TTL of a message", _unsuitable),
        Row(10167, "the stream's queue is full", _queue_full, transient=True),
        Row(10169, "the stream counts, and stores no values", _unsuitable),
        Row(10174, "the stream allows no atomic batches", _unsuitable),
        _transient(10176, "not all messages of a batch have come"),
        Row(10177, "a batch has a header that this server does not take", _unsuitable),
        _transient(10180, "a replica is behind"),
        Row(10185, "an older server than is asked for", _unsuitable),
        Row(10194, "the stream needs a newer server", _offline),
        Row(10195, "the consumer needs a newer server", _offline),
        Row(10199, "more messages than this server takes in a batch", _unsuitable),
        Row(KNOWN_IN_BATCH, "a batch has a message id that is known", kv.Unavailable),
        _transient(10202, "servers are being added or removed"),
        _transient(10210, "too many atomic batches"),
        _transient(10211, "too many batches"),
        _transient(10226, "the stream is being moved"),
    )
}

TRANSIENT = frozenset(row.code for row in TABLE.values() if row.transient)
"""A write is retried after these codes, as long as its request has time."""

NOT_EXPECTED = frozenset(
    {
        *(10010, 10011, 10040, 10044, 10129, 10224),  # changes of a cluster
        *(10013, 10016, 10017, 10018, 10019, 10020, 10102, 10103, 10105, 10106),  # durable names
        *(10015, 10042, 10062, 10064, 10072, 10130),  # snapshots
        *(10021, 10022, 10024, 10029, 10030, 10031, 10032, 10033, 10034, 10045),  # mirrors, sources
        *(10046, 10055, *range(10140, 10148), *range(10150, 10153), 10154, 10173),
        *(10186, 10187, 10198, 10209, *range(10213, 10218), 10225, 10227),
        *(10025, 10038, 10056, 10127, 10128, 10133, 10157),  # requests that are malformed
        *(10036, 10043, 10057, 10061, 10070),  # calls and conditions that the gateway does not use
        *(10066, 10067, 10068, 10073),  # templates
        *range(10078, 10084),  # options of consumers that ours have not
        *(*range(10085, 10093), 10094, 10095, 10098, 10107, 10108, 10112, 10114, 10115, 10116),
        *(10125, 10126, 10131, 10132, *range(10135, 10140), 10148, 10149, *range(10159, 10163)),
        *(10178, *range(10181, 10185), 10196, 10197, 10204, *range(10218, 10223)),
        *(10155, 10156),  # transforms
        *(10168, 10170, 10171, 10172),  # counters
        *(10175, 10179, 10200, *range(10205, 10209)),  # batches
        *(*range(10188, 10193), 10203, 10212, 10223),  # schedules
        10193,  # a condition that we do not set
    }
)
"""None of our calls makes a server return these codes. The rule at the top applies to them."""


def api_error(error: dict[str, Any]) -> kv.GatewayError:
    """Return the gateway's error for an error object of the JetStream API."""
    text = str(error.get("description", ""))
    row = TABLE.get(error.get("err_code", 0))
    if row is not None:
        return row.error(text)
    status = error.get("code", 500)
    return _unsuitable(text) if 400 <= status < 500 and status != 429 else _later(text)


def request_error(failed: RequestFailed, check: str | None) -> kv.GatewayError:
    """Return the gateway's error for a request without a reply.

    Args:
        failed: the result of the request.
        check: for a write, how the caller finds out whether it was applied; None for a read.
    """
    match failed:
        case NotConnected():
            return kv.Unavailable(str(failed) or "not connected to NATS")
        case NoResponders():
            return kv.Unavailable("JetStream has no leader for this, or is not enabled")
        case LoginNotPermitted():
            return kv.PermissionDenied(
                f"permission denied: {meaning_of(str(failed))}",
                hint="NATS does not let this login do it: ask who runs NATS",
            )
        case NotPermitted():
            return kv.PermissionDenied(
                f"permission denied: the gateway's NATS user may not publish to {failed}",
                hint="grant it, or start the gateway with another NATS user",
            )
        case PayloadTooLarge():
            return kv.ValueTooLarge(*failed.args)
        case RequestTimeout() | ConnectionLost() | Unreadable() if check is not None:
            return kv.OutcomeUnknown(check)
        case Unreadable():
            return kv.Unavailable("a program other than JetStream answered")
        case RequestTimeout():
            return kv.DeadlineExceeded()
        case _:
            return kv.Unavailable("the connection to NATS was lost; nothing was applied")


def nothing_applied(error: kv.DeadlineExceeded) -> kv.GatewayError:
    """Return the error of a write of which a read, before or after it, got no answer in time.

    Only the write itself can have an unknown outcome. A read before it, or after its refusal,
    leaves nothing behind: the answer is 503, and a retry is safe (docs/http-api.md#errors).
    """
    if isinstance(error, kv.OutcomeUnknown):
        return error
    return kv.Unavailable("no answer from NATS in time; nothing was applied")

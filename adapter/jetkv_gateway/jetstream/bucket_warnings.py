"""The warnings of a bucket, derived from the configuration of its stream.

They state only what is certain. docs/guarantees.md covers what a client cannot see of a server,
such as how often it syncs its files (`sync_interval`).
"""

from collections.abc import Callable, Mapping
from typing import Any

from jetkv_gateway.kv.buckets import BucketWarning
from jetkv_gateway.kv.model import RETRY_HORIZON

__all__ = ["cluster_of", "warnings_of"]

_SECOND = 1_000_000_000


def cluster_of(info: Mapping[str, Any]) -> str:
    """Return the name of the cluster that holds a stream, "" for a standalone server.

    A standalone server names a leader but no cluster in STREAM.INFO, and has no such field in
    STREAM.LIST and STREAM.CREATE. A server in a cluster names the cluster in all three.
    """
    return (info.get("cluster") or {}).get("name") or ""


def warnings_of(info: Mapping[str, Any]) -> tuple[BucketWarning, ...]:
    """Return the warnings of a bucket, in a fixed order.

    Args:
        info: of its stream, from STREAM.INFO, STREAM.LIST or STREAM.CREATE.
    """
    found = ((code, say(info)) for code, say in _WARNINGS.items())
    return tuple(BucketWarning(code, message) for code, message in found if message)


def _single_replica(info: Mapping[str, Any]) -> str | None:
    cluster = cluster_of(info)
    if not cluster or info["config"]["num_replicas"] > 1:
        return None
    return (
        f"one copy only in the cluster {cluster}: while the server that has it is down, the bucket "
        "cannot be used, and if its disk is lost, so is the bucket; "
        f"nats stream edit {info['config']['name']} --replicas 3"
    )


def _memory_storage(info: Mapping[str, Any]) -> str | None:
    if info["config"]["storage"] != "memory":
        return None
    restart = (
        "a restart of its servers at the same time"
        if info["config"]["num_replicas"] > 1
        else "a restart of its server"
    )
    return (
        f"kept in memory only: {restart} loses all that it holds; "
        "this cannot be changed, make another bucket with storage file"
    )


def _async_persistence(info: Mapping[str, Any]) -> str | None:
    if info["config"].get("persist_mode") != "async":
        return None
    return (
        "persist_mode async: a write is acknowledged before it is in the file, so a crash of the "
        "server can lose it; this cannot be changed, make another bucket"
    )


def _short_duplicate_window(info: Mapping[str, Any]) -> str | None:
    config = info["config"]
    window = config.get("duplicate_window", 0) / _SECOND
    if window >= RETRY_HORIZON:
        return None
    max_age = config.get("max_age", 0) / _SECOND
    again = f"a client may send a write again for {RETRY_HORIZON:g} s"
    meaning = (
        f"an Idempotency-Key is known for {window:g} s only: {again}, and after {window:g} s "
        "that is a second write"
        if window
        else f"no Idempotency-Key is known: {again}, and that is a second write"
    )
    remedy = (
        f"NATS allows no more than the bucket's ttl_seconds, {max_age:g}"
        if 0 < max_age < RETRY_HORIZON
        else f"nats stream edit {config['name']} --dupe-window 2m, where the server allows as much"
    )
    return f"{meaning}; {remedy}"


def _evicts_oldest(info: Mapping[str, Any]) -> str | None:
    config = info["config"]
    limits = [
        f"{config[name]} {what}"
        for name, what in (("max_bytes", "bytes"), ("max_msgs", "messages"))
        if config.get(name, -1) > 0
    ]
    if config.get("discard") != "old" or not limits:
        return None
    return (
        f"discard old: above {' or '.join(limits)} the oldest values are removed, and nobody is "
        f"told; nats stream edit {config['name']} --discard new"
    )


def _limited_consumers(info: Mapping[str, Any]) -> str | None:
    limit = info["config"].get("max_consumers", -1)
    if limit <= 0:
        return None
    return (
        f"max_consumers {limit}: watches of the bucket take one for each worker, and each listing "
        "and each watch that catches up takes another; more are refused (429); "
        "this cannot be changed, make another bucket"
    )


def _silent_expiry(info: Mapping[str, Any]) -> str | None:
    config = info["config"]
    max_age = config.get("max_age", 0)
    own_ttls = config.get("allow_msg_ttl")
    if config.get("subject_delete_marker_ttl") or not (max_age or own_ttls):
        return None
    which = "values can have a TTL of their own" if own_ttls else "values have a TTL"
    remedy = 'PATCH the bucket with {"expiry_markers":true}'
    if not own_ttls:
        remedy += " (nats-server 2.11 or newer; an older one has no remedy)"
    return (
        f"{which}, and nothing marks an expired one: watchers are not told, and a watch that "
        f"was away may have to start again (resync); {remedy}"
    )


def _not_retained(info: Mapping[str, Any]) -> str | None:
    retention = info["config"].get("retention", "limits")
    if retention == "limits":
        return None
    return (
        f"retention {retention}: consumers decide how long a value is kept, and it can be gone as "
        "soon as it is stored; make another bucket, with retention limits"
    )


def _no_ack(info: Mapping[str, Any]) -> str | None:
    if not info["config"].get("no_ack"):
        return None
    return (
        "no_ack: the server acknowledges no write, so the outcome of each is unknown (504); "
        f"set no_ack of the stream {info['config']['name']} to false"
    )


def _no_overwrites(info: Mapping[str, Any]) -> str | None:
    config = info["config"]
    if not config.get("discard_new_per_subject"):
        return None
    history = config["max_msgs_per_subject"]
    taken = f"{history} revisions" if history > 1 else "one revision"
    return (
        f"discard_new_per_subject: a key takes {taken}, then another PUT or DELETE of it is "
        f"refused (409); set discard_new_per_subject of the stream {config['name']} to false"
    )


_WARNINGS: Mapping[str, Callable[[Mapping[str, Any]], str | None]] = {
    "single_replica": _single_replica,
    "memory_storage": _memory_storage,
    "async_persistence": _async_persistence,
    "short_duplicate_window": _short_duplicate_window,
    "evicts_oldest": _evicts_oldest,
    "silent_expiry": _silent_expiry,
    "limited_consumers": _limited_consumers,
    "not_retained": _not_retained,
    "no_ack": _no_ack,
    "no_overwrites": _no_overwrites,
}

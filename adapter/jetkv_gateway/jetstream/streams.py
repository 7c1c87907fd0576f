"""Translates between buckets and JetStream streams, and tells which streams are buckets. Pure."""

import secrets
from collections.abc import Callable, Mapping
from typing import Any

from jetkv_gateway.jetstream.api import Naming
from jetkv_gateway.jetstream.bucket_warnings import cluster_of, warnings_of
from jetkv_gateway.kv.buckets import FIELDS, MAX_HISTORY, BucketInfo, BucketSpec, Storage
from jetkv_gateway.kv.filters import overlap
from jetkv_gateway.kv.model import SilentLoss

__all__ = [
    "bucket_info",
    "silent_loss_of",
    "stream_config",
    "stream_value_limit",
    "unsuitable_reason",
]

_SECOND = 1_000_000_000
_SHORTEST_TTL = 1.0

VALUE_RESERVE = 1024
"""Bytes that max_msg_size adds to max_value_size. The server counts headers too, and a tombstone,
which consists of headers only, must fit into the smallest bucket."""

_CREATION = "jetkv.creation"
_VALUE_LIMIT = "jetkv.max_value_size"


def stream_config(naming: Naming, spec: BucketSpec, *, markers: bool) -> dict[str, Any]:
    """Return the stream configuration of a bucket, in the layout of NATS clients (ADR-8).

    With `markers` the server leaves a tombstone when a value expires (ADR-43). The stream's max_age
    removes markers too, so a longer marker TTL than the bucket's has no effect.

    The configuration leaves the duplicate window to the server: two minutes, or less if the
    bucket's TTL or a limit of the server is shorter. The server refuses a longer one.

    JetStream reports success when a stream with an identical configuration exists. The metadata
    makes each configuration unique, so that only one of several creates succeeds.
    """
    config: dict[str, Any] = {
        "name": naming.stream(spec.name),
        "subjects": [naming.subject(spec.name, ">")],
        "retention": "limits",
        "discard": "new",
        "max_msgs": -1,
        "max_consumers": -1,
        "allow_rollup_hdrs": True,
        "allow_direct": True,
        "deny_delete": True,
        "deny_purge": False,
    }
    for name, write in _TO_STREAM.items():
        config[FIELDS[name].nats] = write(getattr(spec, name))
    if markers:
        config["allow_msg_ttl"] = True
        config[FIELDS["expiry_markers"].nats] = config[FIELDS["ttl_seconds"].nats]
    metadata = {_CREATION: secrets.token_hex(8)}
    if spec.max_value_size:
        metadata[_VALUE_LIMIT] = str(spec.max_value_size)
    config["metadata"] = metadata
    return config


def unsuitable_reason(config: dict[str, Any]) -> str | None:
    """Return why the gateway cannot use a stream as a bucket, or None if it can."""
    name = config["name"]
    if config.get("mirror"):
        return (
            f"stream {name} mirrors {config['mirror'].get('name')}: "
            "use the origin bucket, because a mirror stores the keys of its origin"
        )
    subjects = config.get("subjects") or []
    if subjects != [f"$KV.{name[3:]}.>"]:
        return f"stream {name} is not a KV bucket: its subjects are {', '.join(subjects) or 'none'}"
    if not 1 <= config.get("max_msgs_per_subject", -1) <= MAX_HISTORY:
        return f"stream {name} is not a KV bucket: its history is not 1 to {MAX_HISTORY}"
    return _moved_keys_reason(config)


def _moved_keys_reason(config: dict[str, Any]) -> str | None:
    """Return why the stream stores some writes under another subject; None if it does not.

    The server acknowledges such a write, but a GET of its key does not find it.
    """
    transform = config.get("subject_transform") or {}
    source, target = transform.get("src") or ">", transform.get("dest")
    if not target or source == target or not overlap(source, f"$KV.{config['name'][3:]}.>"):
        return None
    return (
        f"stream {config['name']} moves keys: its subject_transform stores {source} as {target}, "
        "so a GET does not find them"
    )


def stream_value_limit(config: dict[str, Any]) -> int | None:
    """Return the largest value in bytes that a bucket allows, or None for no limit.

    The metadata of a bucket created here states the limit. It counts only while it agrees with
    max_msg_size, which another tool may have changed. For other buckets this returns
    max_msg_size, which includes headers.
    """
    size = int(config.get("max_msg_size", -1))
    if size < 0:
        return None
    stated = (config.get("metadata") or {}).get(_VALUE_LIMIT, "")
    if stated.isascii() and stated.isdigit() and int(stated) + VALUE_RESERVE == size:
        return int(stated)
    return size


def silent_loss_of(config: dict[str, Any]) -> SilentLoss | None:
    """Return how a bucket can lose messages without a trace; None if it cannot.

    A newer revision of the key is a trace. An expiry marker is one too, until it expires itself. If
    a message can have its own TTL, or `never` in a bucket with a TTL, messages do not expire in
    order of age.
    """
    own_ttls = bool(config.get("allow_msg_ttl"))
    consumed = config.get("retention", "limits") != "limits"
    evicts = config.get("discard") == "old" and (
        config.get("max_bytes", -1) > 0 or config.get("max_msgs", -1) > 0
    )
    kept = [0.0] if evicts or consumed else []
    if config.get("max_age"):
        kept.append(config["max_age"] / _SECOND)
    if own_ttls:
        kept.append(config.get("subject_delete_marker_ttl", 0) / _SECOND or _SHORTEST_TTL)
    return SilentLoss(min(kept), oldest_first=not own_ttls and not consumed) if kept else None


_TO_STREAM: Mapping[str, Callable[[Any], Any]] = {
    "description": str,
    "ttl_seconds": lambda seconds: seconds * _SECOND,
    "history": int,
    "max_value_size": lambda size: size + VALUE_RESERVE if size else -1,
    "max_bytes": lambda size: size or -1,
    "storage": str,
    "replicas": int,
}
"""Setting → its value in the stream's configuration; `stream_config` adds expiry markers."""

_FROM_STREAM: Mapping[str, Callable[[dict[str, Any]], Any]] = {
    "description": lambda config: config.get("description", ""),
    # Round up to whole seconds, because published clients accept nothing else.
    "ttl_seconds": lambda config: -(-config.get("max_age", 0) // _SECOND),
    "history": lambda config: config["max_msgs_per_subject"],
    "max_value_size": lambda config: stream_value_limit(config) or 0,
    "max_bytes": lambda config: max(0, config.get("max_bytes", -1)),
    "storage": lambda config: Storage(config["storage"]),
    "replicas": lambda config: config["num_replicas"],
    "expiry_markers": lambda config: bool(config.get("subject_delete_marker_ttl")),
}
"""Setting → its value, read from the configuration of any stream."""


def bucket_info(naming: Naming, info: dict[str, Any]) -> BucketInfo:
    """Convert the info of a stream for which `unsuitable_reason` is None."""
    config, state = info["config"], info["state"]
    return BucketInfo(
        name=naming.bucket(config["name"]) or config["name"],
        values=state["messages"],
        bytes=state["bytes"],
        created_at=info["created"],
        cluster=cluster_of(info),
        warnings=warnings_of(info),
        **{name: read(config) for name, read in _FROM_STREAM.items()},
    )

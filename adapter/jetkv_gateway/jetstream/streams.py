"""A bucket as a stream: its configuration, what is read off it, and what is no bucket. Pure."""

import secrets
from collections.abc import Callable, Mapping
from typing import Any

from jetkv_gateway.jetstream.api import Naming
from jetkv_gateway.jetstream.durability import cluster_of, warnings_of
from jetkv_gateway.kv.buckets import FIELDS, MAX_HISTORY, BucketInfo, BucketSpec, Storage
from jetkv_gateway.kv.filters import collide
from jetkv_gateway.kv.model import Forgetting

__all__ = ["bucket_info", "forgetting", "misfit", "stream_config", "stream_value_limit"]

_SECOND = 1_000_000_000
_SHORTEST_TTL = 1.0

VALUE_RESERVE = 1024
"""What a bucket's max_msg_size has over its max_value_size: the server counts headers, and a
tombstone, which is all headers, must fit into the smallest bucket."""

_CREATION = "jetkv.creation"
_VALUE_LIMIT = "jetkv.max_value_size"


def stream_config(naming: Naming, spec: BucketSpec, *, markers: bool) -> dict[str, Any]:
    """Return the stream of a bucket as NATS clients lay it out (ADR-8).

    With `markers` the server leaves a tombstone for a value whose time is up (ADR-43). It goes
    when its own time is up, so it does not have to be given more than the bucket's.

    The duplicate window is left to the server, which takes two minutes, or less where the bucket's
    TTL or a limit of its own is shorter: to name more than it allows would be refused.

    JetStream answers a create with success when the same configuration stands already, whoever
    made it. The metadata makes each one unique, so that of several creates one succeeds.
    """
    config: dict[str, Any] = {
        "name": naming.stream(spec.name),
        "subjects": [naming.stored(spec.name, ">")],
        "retention": "limits",
        "discard": "new",
        "max_msgs": -1,
        "max_consumers": -1,
        "allow_rollup_hdrs": True,
        "allow_direct": True,
        "deny_delete": True,
        "deny_purge": False,
    }
    for name, write in _WRITE.items():
        config[FIELDS[name].nats] = write(getattr(spec, name))
    if markers:
        config["allow_msg_ttl"] = True
        config[FIELDS["expiry_markers"].nats] = config[FIELDS["ttl_seconds"].nats]
    metadata = {_CREATION: secrets.token_hex(8)}
    if spec.max_value_size:
        metadata[_VALUE_LIMIT] = str(spec.max_value_size)
    config["metadata"] = metadata
    return config


def misfit(config: dict[str, Any]) -> str | None:
    """Return why a stream is not a KV bucket, or None if it is one."""
    name = config["name"]
    if config.get("mirror"):
        return (
            f"stream {name} mirrors {config['mirror'].get('name')}: "
            "a mirror holds the keys of its origin, use that bucket"
        )
    subjects = config.get("subjects") or []
    if subjects != [f"$KV.{name[3:]}.>"]:
        return f"stream {name} is not a KV bucket: its subjects are {', '.join(subjects) or 'none'}"
    if not 1 <= config.get("max_msgs_per_subject", -1) <= MAX_HISTORY:
        return f"stream {name} is not a KV bucket: its history is not 1 to {MAX_HISTORY}"
    return _moves_keys(config)


def _moves_keys(config: dict[str, Any]) -> str | None:
    """Return why a write would be stored under another subject than its own, None where none is.

    A server acknowledges such a write as any other, and a GET of its key does not find it.
    """
    transform = config.get("subject_transform") or {}
    source, target = transform.get("src") or ">", transform.get("dest")
    if not target or source == target or not collide(source, f"$KV.{config['name'][3:]}.>"):
        return None
    return (
        f"stream {config['name']} moves keys elsewhere: its subject_transform stores "
        f"{source} as {target}, where a GET does not find it"
    )


def stream_value_limit(config: dict[str, Any]) -> int | None:
    """Return the largest value in bytes that a bucket allows, or None for no limit.

    Buckets made here say it themselves, as long as nobody changed their stream since; of others
    it is the stream's limit, from which the server subtracts headers.
    """
    size = int(config.get("max_msg_size", -1))
    if size < 0:
        return None
    stated = (config.get("metadata") or {}).get(_VALUE_LIMIT, "")
    if stated.isascii() and stated.isdigit() and int(stated) + VALUE_RESERVE == size:
        return int(stated)
    return size


def forgetting(config: dict[str, Any]) -> Forgetting | None:
    """Return how messages can go without a trace, None where none does.

    A newer revision of its key is a trace, and so is an expiry marker, until its own time is up.
    Where a message may have a TTL of its own, or none (`never`) in a bucket that has one, the
    oldest does not go first.
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
    return Forgetting(min(kept), oldest_first=not own_ttls and not consumed) if kept else None


_WRITE: Mapping[str, Callable[[Any], Any]] = {
    "description": str,
    "ttl_seconds": lambda seconds: seconds * _SECOND,
    "history": int,
    "max_value_size": lambda size: size + VALUE_RESERVE if size else -1,
    "max_bytes": lambda size: size or -1,
    "storage": str,
    "replicas": int,
}
"""What a setting is in the stream's configuration; markers depend on the server as well."""

_READ: Mapping[str, Callable[[dict[str, Any]], Any]] = {
    "description": lambda config: config.get("description", ""),
    # Whole seconds: published clients take no others.
    "ttl_seconds": lambda config: -(-config.get("max_age", 0) // _SECOND),
    "history": lambda config: config["max_msgs_per_subject"],
    "max_value_size": lambda config: stream_value_limit(config) or 0,
    "max_bytes": lambda config: max(0, config.get("max_bytes", -1)),
    "storage": lambda config: Storage(config["storage"]),
    "replicas": lambda config: config["num_replicas"],
    "expiry_markers": lambda config: bool(config.get("subject_delete_marker_ttl")),
}
"""What a setting is by the stream's configuration, whoever made it."""


def bucket_info(naming: Naming, info: dict[str, Any]) -> BucketInfo:
    """Read a stream's info as a bucket's; the stream must be no `misfit`."""
    config, state = info["config"], info["state"]
    return BucketInfo(
        name=naming.bucket(config["name"]) or config["name"],
        values=state["messages"],
        bytes=state["bytes"],
        created_at=info["created"],
        cluster=cluster_of(info),
        warnings=warnings_of(info),
        **{name: read(config) for name, read in _READ.items()},
    )

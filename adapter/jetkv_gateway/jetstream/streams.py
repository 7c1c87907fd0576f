"""Translates between buckets and JetStream streams, and tells which streams are buckets. Pure."""

from typing import Any

from jetkv_gateway.jetstream.api import Naming, subjects_of
from jetkv_gateway.jetstream.bucket_warnings import cluster_of, warnings_of
from jetkv_gateway.jetstream.configs import marker_seconds, owner_of, read_settings
from jetkv_gateway.kv.buckets import MAX_HISTORY, BucketInfo
from jetkv_gateway.kv.filters import overlap

__all__ = ["bucket_info", "unsuitable_reason"]


def unsuitable_reason(config: dict[str, Any]) -> str | None:
    """Return why the gateway cannot use a stream as a bucket, or None if it can."""
    name = config["name"]
    if config.get("mirror"):
        return (
            f"stream {name} mirrors {config['mirror'].get('name')}: "
            "use the origin bucket, because a mirror stores the keys of its origin"
        )
    subjects = config.get("subjects") or []
    if subjects != [subjects_of(name)]:
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
    if not target or source == target or not overlap(source, subjects_of(config["name"])):
        return None
    return (
        f"stream {config['name']} moves keys: its subject_transform stores {source} as {target}, "
        "so a GET does not find them"
    )


def bucket_info(naming: Naming, info: dict[str, Any]) -> BucketInfo:
    """Convert the info of a stream for which `unsuitable_reason` is None."""
    config, state = info["config"], info["state"]
    return BucketInfo(
        name=naming.bucket(config["name"]) or config["name"],
        values=state["messages"],
        bytes=state["bytes"],
        created_at=info["created"],
        cluster=cluster_of(info),
        marker_ttl_seconds=marker_seconds(config),
        warnings=warnings_of(info),
        owner=owner_of(config),
        **read_settings(config),
    )

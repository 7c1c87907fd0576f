"""Converts a bucket's settings to the configuration of its stream, and back. Pure.

The layout is that of NATS clients (ADR-8). The gateway stores what it has to remember about a
bucket in the stream's metadata, under keys that begin with `jetkv.`.
"""

import secrets
from collections.abc import Callable, Mapping
from typing import Any

from jetkv_gateway.jetstream.api import Naming
from jetkv_gateway.jetstream.silent_loss import KEPT_SINCE, kept_since
from jetkv_gateway.kv.bucket_values import (
    SYSTEM_METADATA,
    Compression,
    Placement,
    Republish,
    Storage,
)
from jetkv_gateway.kv.buckets import FIELDS
from jetkv_gateway.kv.plans import Difference

__all__ = [
    "changed_config",
    "described",
    "marked",
    "marker_seconds",
    "new_config",
    "owned",
    "owner_of",
    "read_settings",
    "shortest_ttl",
    "stream_value_limit",
    "unmarked",
]

_SECOND = 1_000_000_000

VALUE_RESERVE = 1024
"""Bytes that max_msg_size adds to max_value_size. The server counts headers too, and a tombstone,
which consists of headers only, must fit into the smallest bucket."""

MARKERS_SECONDS = 3600
"""The lifetime of expiry markers in a bucket without a TTL. A watch that was away for less has
missed nothing."""

MARKERS_SECONDS_WITH_HISTORY = 30
"""The same in a bucket with a history. There it is also the shortest TTL of a value: the server
raises a shorter one without saying so (NATS ADR-43)."""

_DEFAULT_WINDOW = 120 * _SECOND
"""The time for which a server remembers message ids, unless a TTL is shorter."""

_CREATION = "jetkv.creation"
_VALUE_LIMIT = "jetkv.max_value_size"
_PROTECTED = "jetkv.protected"
_OWNER = "jetkv.owner"
_OF_THE_MOMENT = ("_nats.ver", "_nats.level")
"""What the leader adds to each answer. A server that does not know these fields would store them.
"""


def new_config(naming: Naming, name: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the configuration of a new bucket's stream.

    The configuration leaves the duplicate window to the server: two minutes, or less if the
    bucket's TTL or a limit of the server is shorter. The server refuses a longer one.

    Args:
        settings: all of `FIELDS`.
    """
    config: dict[str, Any] = {
        "name": naming.stream(name),
        "subjects": [naming.subject(name, ">")],
        "retention": "limits",
        "discard": "new",
        "max_msgs": -1,
        "max_consumers": -1,
        "allow_rollup_hdrs": True,
        "allow_direct": True,
        "deny_delete": True,
        "deny_purge": False,
    }
    for field, write in _WRITE.items():
        write(config, settings[field])
    return config


def owned(config: Mapping[str, Any], owner: str) -> dict[str, Any]:
    """Return a configuration with the owner of the bucket, or as it is without one."""
    if not owner:
        return dict(config)
    return {**config, "metadata": {**_metadata(config), _OWNER: owner}}


def owner_of(config: Mapping[str, Any]) -> str:
    """Return the owner of a bucket, or an empty text."""
    return _metadata(config).get(_OWNER, "")


def marked(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the configuration with a unique mark.

    JetStream reports success when a stream with an identical configuration exists. With the mark,
    only one of several creates succeeds.
    """
    metadata = config.get("metadata") or {}
    return {**config, "metadata": {**metadata, _CREATION: secrets.token_hex(8)}}


def unmarked(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return a configuration from a server without the mark and the server's own additions.

    If the mark stayed, a client that creates its bucket at each start (nats.go's `CreateKeyValue`)
    would find a different configuration and fail.
    """
    kept = {
        key: text
        for key, text in (config.get("metadata") or {}).items()
        if key != _CREATION and key not in _OF_THE_MOMENT
    }
    # For a server before 2.11, missing and empty metadata are different configurations.
    rest = {name: value for name, value in config.items() if name != "metadata"}
    return {**rest, "metadata": kept} if kept else rest


def changed_config(
    config: Mapping[str, Any], changes: Mapping[str, Difference], now: float
) -> dict[str, Any]:
    """Return the configuration of a stream with some of the bucket's settings changed.

    Everything else stays as it is.

    Args:
        now: the server's time, in seconds since 1970.
    """
    changed = unmarked(config)
    for field, write in _WRITE.items():
        if field in changes:
            write(changed, changes[field].wanted)
    _write_mark(changed, KEPT_SINCE, kept_since(config, changed, now))
    return changed


def described(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return a configuration with the fields that a server adds and the gateway reads."""
    age, window = config.get("max_age", 0), _DEFAULT_WINDOW
    return {"duplicate_window": min(age, window) if age else window, **config}


def _write_ttl(config: dict[str, Any], seconds: int) -> None:
    before, window = config.get("max_age", 0), config.get("duplicate_window")
    config["max_age"] = age = seconds * _SECOND
    if window is None:
        return
    if age and window > age:
        # The server takes no more.
        config["duplicate_window"] = age
    elif window == before:
        # The old TTL had shortened the window, so let the server use its default.
        del config["duplicate_window"]


def _write_value_limit(config: dict[str, Any], size: int) -> None:
    config["max_msg_size"] = size + VALUE_RESERVE if size else -1
    _write_mark(config, _VALUE_LIMIT, str(size) if size else None)


def _write_markers(config: dict[str, Any], wanted: bool) -> None:
    name = FIELDS["expiry_markers"].nats
    if wanted:
        config[name] = _marker_seconds(config) * _SECOND
    else:
        config.pop(name, None)


def _marker_seconds(config: Mapping[str, Any]) -> int:
    # A bucket's TTL removes markers too.
    age = max(1, config.get("max_age", 0) // _SECOND) if config.get("max_age") else None
    if config["max_msgs_per_subject"] == 1:
        return age or MARKERS_SECONDS
    return min(age or MARKERS_SECONDS_WITH_HISTORY, MARKERS_SECONDS_WITH_HISTORY)


def _write_metadata(config: dict[str, Any], metadata: Mapping[str, str]) -> None:
    _set_metadata(config, {**_system_metadata(config), **metadata})


def _write_mark(config: dict[str, Any], key: str, text: str | None) -> None:
    metadata = {name: value for name, value in _metadata(config).items() if name != key}
    _set_metadata(config, metadata if text is None else {**metadata, key: text})


def _set_metadata(config: dict[str, Any], metadata: dict[str, str]) -> None:
    if metadata:
        config["metadata"] = metadata
    else:
        config.pop("metadata", None)


def _metadata(config: Mapping[str, Any]) -> Mapping[str, str]:
    return config.get("metadata") or {}


def _system_metadata(config: Mapping[str, Any]) -> dict[str, str]:
    items = _metadata(config).items()
    return {key: text for key, text in items if key.startswith(SYSTEM_METADATA)}


def _write_placement(config: dict[str, Any], placement: Placement) -> None:
    config["placement"] = {"cluster": placement.cluster, "tags": list(placement.tags)}
    if not placement:
        del config["placement"]


def _write_republish(config: dict[str, Any], republish: Republish) -> None:
    config["republish"] = {
        "src": republish.source,
        "dest": republish.destination,
        "headers_only": republish.headers_only,
    }
    if not republish:
        del config["republish"]


def _plainly(
    name: str, convert: Callable[[Any], Any]
) -> tuple[str, Callable[[dict[str, Any], Any], None]]:
    nats = FIELDS[name].nats

    def write(config: dict[str, Any], value: Any) -> None:
        config[nats] = convert(value)

    return name, write


_WRITE: Mapping[str, Callable[[dict[str, Any], Any], None]] = dict(
    (
        _plainly("description", str),
        ("ttl_seconds", _write_ttl),
        _plainly("history", int),
        ("max_value_size", _write_value_limit),
        _plainly("max_bytes", lambda size: size or -1),
        _plainly("storage", str),
        _plainly("replicas", int),
        _plainly("compression", str),
        ("placement", _write_placement),
        ("metadata", _write_metadata),
        ("republish", _write_republish),
        # The markers depend on the TTL and the history, so write them last.
        ("expiry_markers", _write_markers),
        _plainly("key_ttl", bool),
        _plainly("batches", bool),
        ("protected", lambda config, on: _write_mark(config, _PROTECTED, "true" if on else None)),
    )
)
"""Setting → how it is written into a stream's configuration."""


def stream_value_limit(config: Mapping[str, Any]) -> int | None:
    """Return the largest value in bytes that a bucket allows, or None for no limit.

    The metadata of a bucket created here states the limit. It counts only while it agrees with
    max_msg_size, which another tool may have changed. For other buckets this returns max_msg_size,
    which includes headers.
    """
    size = int(config.get("max_msg_size", -1))
    if size < 0:
        return None
    stated = _metadata(config).get(_VALUE_LIMIT, "")
    if stated.isascii() and stated.isdigit() and int(stated) + VALUE_RESERVE == size:
        return int(stated)
    return size


def marker_seconds(config: Mapping[str, Any]) -> int:
    """Return the lifetime of expiry markers, 0 without markers."""
    return int(-(-config.get("subject_delete_marker_ttl", 0) // _SECOND))


def shortest_ttl(config: Mapping[str, Any]) -> int | None:
    """Return the shortest TTL of a value in seconds, None if values cannot have one.

    With a history, the server raises a shorter TTL to that of the markers (NATS ADR-43, and seen
    with 2.11.11 to 2.15.1). Without a history it does not.
    """
    if not config.get("allow_msg_ttl"):
        return None
    if config.get("max_msgs_per_subject") == 1:
        return 1
    return max(1, marker_seconds(config))


def _read_placement(config: Mapping[str, Any]) -> Placement:
    placement = config.get("placement") or {}
    return Placement(placement.get("cluster") or "", tuple(placement.get("tags") or ()))


def _read_republish(config: Mapping[str, Any]) -> Republish:
    republish = config.get("republish") or {}
    if not republish.get("dest"):
        return Republish()
    return Republish(
        republish["dest"], republish.get("src") or ">", bool(republish.get("headers_only"))
    )


_READ: Mapping[str, Callable[[Mapping[str, Any]], Any]] = {
    "description": lambda config: config.get("description", ""),
    # Round up to whole seconds, because published clients accept nothing else.
    "ttl_seconds": lambda config: -(-config.get("max_age", 0) // _SECOND),
    "history": lambda config: config["max_msgs_per_subject"],
    "max_value_size": lambda config: stream_value_limit(config) or 0,
    "max_bytes": lambda config: max(0, config.get("max_bytes", -1)),
    "storage": lambda config: Storage(config["storage"]),
    "replicas": lambda config: config["num_replicas"],
    # An unknown compression of a newer server is shown as s2.
    "compression": lambda config: (
        Compression.NONE if config.get("compression", "none") in ("none", "") else Compression.S2
    ),
    "placement": _read_placement,
    "metadata": lambda config: {
        key: text for key, text in _metadata(config).items() if not key.startswith(SYSTEM_METADATA)
    },
    "republish": _read_republish,
    "expiry_markers": lambda config: bool(config.get("subject_delete_marker_ttl")),
    "key_ttl": lambda config: bool(config.get("allow_msg_ttl")),
    "batches": lambda config: bool(config.get("allow_atomic")),
    "protected": lambda config: _metadata(config).get(_PROTECTED) == "true",
}
"""Setting → its value, read from the configuration of any stream."""


def read_settings(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of a bucket, read from the configuration of any stream."""
    return {name: read(config) for name, read in _READ.items()}

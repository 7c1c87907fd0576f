"""Names and JSON of the JetStream API: subjects, stream configurations, headers of messages."""

import secrets
from base64 import b64decode
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

import orjson

from jetkv_gateway.jetstream.durability import cluster_of, warnings_of
from jetkv_gateway.jetstream.headers import read_headers
from jetkv_gateway.kv.filters import collide
from jetkv_gateway.kv.media import kept_encoding, kept_type
from jetkv_gateway.kv.model import (
    MAX_HISTORY,
    BucketInfo,
    BucketSpec,
    Entry,
    Forgetting,
    Operation,
    Storage,
)

__all__ = [
    "CONTENT_ENCODING",
    "CONTENT_TYPE",
    "EXPECTED_REVISION",
    "EXPECTED_STREAM",
    "MESSAGE_ID",
    "OPERATION",
    "REQUEST",
    "ROLLUP",
    "TTL",
    "Naming",
    "bucket_info",
    "consumer_request",
    "delivery",
    "expired",
    "forgetting",
    "marks_expiry",
    "message_headers",
    "message_kind",
    "misfit",
    "read_entry",
    "stream_config",
    "stream_value_limit",
]

EXPECTED_STREAM = "Nats-Expected-Stream"
EXPECTED_REVISION = "Nats-Expected-Last-Subject-Sequence"
OPERATION = "KV-Operation"
ROLLUP = "Nats-Rollup"
MARKER_REASON = "Nats-Marker-Reason"
CONTENT_TYPE = "Content-Type"
CONTENT_ENCODING = "Content-Encoding"
MESSAGE_ID = "Nats-Msg-Id"
TTL = "Nats-TTL"
REQUEST = "JetKV-Request"
"""What a write with an idempotency key asked for, as `Idempotency.content`: of a message that has
the same message id, it says whether a retry or another request stands before us."""

_SECOND = 1_000_000_000
_SHORTEST_TTL = 1.0
"""Seconds; the server takes no less for a single message."""

VALUE_RESERVE = 1024
"""What a bucket's max_msg_size has over its max_value_size: the server counts headers, and a
tombstone, which is all headers, must fit into the smallest bucket."""

_OPERATIONS = {"DEL": Operation.DELETE, "PURGE": Operation.PURGE}
_MARKERS = {
    "MaxAge": Operation.PURGE,
    "Purge": Operation.PURGE,
    "Remove": Operation.DELETE,
}

_CREATION = "jetkv.creation"
_VALUE_LIMIT = "jetkv.max_value_size"


@dataclass(frozen=True, slots=True, eq=False)
class Naming:
    """Where buckets and their API live: stream prefix and JetStream domain, both "" by default.

    Compared by identity, since it is part of a cache's key on the hot path.
    """

    prefix: str = ""
    domain: str = ""

    @property
    def api(self) -> str:
        return f"$JS.{self.domain}.API." if self.domain else "$JS.API."

    def stream(self, bucket: str) -> str:
        return f"KV_{self.prefix}{bucket}"

    def stored(self, bucket: str, tokens: str) -> str:
        """Return the subject that messages of a key (or filter) are stored under."""
        return f"$KV.{self.prefix}{bucket}.{tokens}"

    def written(self, bucket: str, tokens: str) -> str:
        """Return the subject to publish to; in a domain its API prefix leads there."""
        stored = self.stored(bucket, tokens)
        return self.api + stored if self.domain else stored

    def tokens(self, bucket: str, subject: str) -> str:
        return subject[len(f"$KV.{self.prefix}{bucket}.") :]

    def bucket(self, stream: str) -> str | None:
        """Return the bucket of a stream's name, or None where the prefix is not ours."""
        start = f"KV_{self.prefix}"
        return stream[len(start) :] if stream.startswith(start) else None


def stream_config(naming: Naming, spec: BucketSpec, *, markers: bool) -> dict[str, Any]:
    """Return the stream of a bucket as NATS clients lay it out (ADR-8).

    With `markers` the server leaves a tombstone for a value whose time is up (ADR-43). It goes
    when its own time is up, so it does not have to be given more than the bucket's.

    The duplicate window is left to the server, which takes two minutes, or less where the bucket's
    TTL or a limit of its own is shorter: to name more than it allows would be refused.

    JetStream answers a create with success when the same configuration stands already, whoever
    made it. The metadata makes each one unique, so that of several creates one succeeds.
    """
    max_age = spec.ttl_seconds * _SECOND
    config: dict[str, Any] = {
        "name": naming.stream(spec.name),
        "subjects": [naming.stored(spec.name, ">")],
        "retention": "limits",
        "discard": "new",
        "storage": spec.storage.value,
        "num_replicas": spec.replicas,
        "max_msgs_per_subject": spec.history,
        "max_msgs": -1,
        "max_consumers": -1,
        "max_bytes": spec.max_bytes or -1,
        "max_age": max_age,
        "max_msg_size": spec.max_value_size + VALUE_RESERVE if spec.max_value_size else -1,
        "allow_rollup_hdrs": True,
        "allow_direct": True,
        "deny_delete": True,
        "deny_purge": False,
    }
    if markers:
        config["allow_msg_ttl"] = True
        config["subject_delete_marker_ttl"] = max_age
    if spec.description:
        config["description"] = spec.description
    metadata = {_CREATION: secrets.token_hex(8)}
    if spec.max_value_size:
        metadata[_VALUE_LIMIT] = str(spec.max_value_size)
    config["metadata"] = metadata
    return config


def misfit(config: dict[str, Any]) -> str | None:
    """Return why a stream is not a KV bucket (contract 1.3), or None if it is one."""
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


def marks_expiry(config: dict[str, Any]) -> bool:
    """Return whether a value whose time is up leaves a tombstone."""
    return bool(config.get("subject_delete_marker_ttl"))


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


def bucket_info(naming: Naming, info: dict[str, Any]) -> BucketInfo:
    """Read a stream's info as a bucket's; the stream must be no `misfit`."""
    config, state = info["config"], info["state"]
    age = config.get("max_age", 0)
    return BucketInfo(
        name=naming.bucket(config["name"]) or config["name"],
        values=state["messages"],
        bytes=state["bytes"],
        history=config["max_msgs_per_subject"],
        created_at=info["created"],
        description=config.get("description", ""),
        ttl_seconds=-(-age // _SECOND),  # whole: published clients take no others
        max_value_size=stream_value_limit(config) or 0,
        max_bytes=max(0, config.get("max_bytes", -1)),
        storage=Storage(config["storage"]),
        replicas=config["num_replicas"],
        expiry_markers=marks_expiry(config),
        cluster=cluster_of(info),
        warnings=warnings_of(info),
    )


def get_last(subject: str) -> bytes:
    return orjson.dumps({"last_by_subj": subject})


def get_sequence(sequence: int) -> bytes:
    return orjson.dumps({"seq": sequence})


def get_next(subject: str, sequence: int) -> bytes:
    return orjson.dumps({"seq": sequence, "next_by_subj": subject})


def message_headers(headers: str | None) -> dict[str, str]:
    """Read a stored message's headers, base64 as the API has them."""
    return read_headers(b64decode(headers)) if headers else {}


def read_entry(message: dict[str, Any], subject: str, key: str) -> Entry | None:
    """Read a stored message as the API has it; None where it belongs to another key."""
    if message["subject"] != subject:
        return None
    kind = message_kind(message.get("hdrs"))
    return Entry(key, message.get("data", ""), message["seq"], message["time"], *kind)


class Kind(NamedTuple):
    """What a message's headers say of it; a type and an encoding, if any, as they are kept."""

    operation: Operation
    content_type: str | None = None
    content_encoding: str | None = None


def expired(headers: Mapping[str, str]) -> bool:
    """Return whether a tombstone's headers say that its key's time was up."""
    return not headers.get(OPERATION) and headers.get(MARKER_REASON) == "MaxAge"


@lru_cache(maxsize=1024)
def message_kind(headers: str | None) -> Kind:
    """Read off a stored message's headers, base64 as the API has them, what it is.

    A marker that the server leaves for an expired value is a tombstone too: nats-py reads it as
    a live, empty value (nats-notes §0.2).
    """
    if not headers:
        return Kind(Operation.PUT)
    return header_kind(read_headers(b64decode(headers)))


def header_kind(headers: Mapping[str, str]) -> Kind:
    """Read off a message's headers what it is.

    They alone decide, as in NATS's own clients, never whether there is a value: a listing does not
    see it. So a marker that somebody else than the server wrote is a tombstone as well; who may
    write it may delete the key.

    A content type or encoding that could not be one in an HTTP answer, which only other clients
    can have stored, counts as none.
    """
    return Kind(
        _operation(headers),
        kept_type(headers.get(CONTENT_TYPE, "")),
        kept_encoding(headers.get(CONTENT_ENCODING, "")),
    )


def _operation(headers: Mapping[str, str]) -> Operation:
    operation = headers.get(OPERATION)
    if operation:
        return _OPERATIONS.get(operation, Operation.PUT)
    return _MARKERS.get(headers.get(MARKER_REASON, ""), Operation.PUT)


def consumer_request(
    stream: str, name: str, subjects: Iterable[str], *, inactive_seconds: float, **config: Any
) -> bytes:
    """Return the body that creates an ephemeral pull consumer which acknowledges nothing.

    Its replicas are left to the server: one, or as many as the stream has where it wants that.

    Args:
        inactive_seconds: after which the server removes it; see `JetStreamBuckets.resting`.
        config: where it begins, and whatever else it has of its own.
    """
    return orjson.dumps(
        {
            "stream_name": stream,
            "config": {
                "name": name,
                "ack_policy": "none",
                "replay_policy": "instant",
                "filter_subjects": list(subjects),
                "mem_storage": True,
                "inactive_threshold": int(inactive_seconds * _SECOND),
                **config,
            },
        }
    )


def delivery(reply: bytes) -> tuple[int, int, int]:
    """Read (stream sequence, consumer sequence, when it was stored) off a delivery's reply subject.

    The time is the server's, nanoseconds since 1970 (ADR-15).

    It has 9 tokens, or 11 and more once a domain and an account are among them.
    """
    tokens = reply.split(b".")
    first = 5 if len(tokens) == 9 else 7
    return int(tokens[first]), int(tokens[first + 1]), int(tokens[first + 2])

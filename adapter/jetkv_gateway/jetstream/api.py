"""Names and JSON of the JetStream API: subjects, stream configurations, headers of messages."""

from base64 import b64decode
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

import orjson

from jetkv_gateway.jetstream.headers import read_headers
from jetkv_gateway.kv.media import kept_encoding, kept_type
from jetkv_gateway.kv.model import Entry, Operation

__all__ = [
    "BATCH_COMMIT",
    "BATCH_ID",
    "BATCH_PLACE",
    "CONTENT_ENCODING",
    "CONTENT_TYPE",
    "EXPECTED_NEWEST",
    "EXPECTED_REVISION",
    "EXPECTED_STREAM",
    "EXPECTED_SUBJECT",
    "MESSAGE_ID",
    "OPERATION",
    "REQUEST",
    "ROLLUP",
    "TTL",
    "Naming",
    "block_kind",
    "delivery",
    "expired",
    "message_headers",
    "message_kind",
    "read_entry",
]

EXPECTED_STREAM = "Nats-Expected-Stream"
EXPECTED_REVISION = "Nats-Expected-Last-Subject-Sequence"
EXPECTED_SUBJECT = "Nats-Expected-Last-Subject-Sequence-Subject"
EXPECTED_NEWEST = "Nats-Expected-Last-Sequence"
BATCH_ID = "Nats-Batch-Id"
BATCH_PLACE = "Nats-Batch-Sequence"
BATCH_COMMIT = "Nats-Batch-Commit"
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
"""Seconds; the server takes no less for a single message."""

_OPERATIONS = {"DEL": Operation.DELETE, "PURGE": Operation.PURGE}
_MARKERS = {
    "MaxAge": Operation.PURGE,
    "Purge": Operation.PURGE,
    "Remove": Operation.DELETE,
}


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

    def subject(self, bucket: str, tokens: str) -> str:
        """Return the subject that messages of a key (or filter) are stored under."""
        return f"$KV.{self.prefix}{bucket}.{tokens}"

    def publish_subject(self, bucket: str, tokens: str) -> str:
        """Return the subject to publish to; in a domain its API prefix leads there."""
        subject = self.subject(bucket, tokens)
        return self.api + subject if self.domain else subject

    def tokens(self, bucket: str, subject: str) -> str:
        return subject[len(f"$KV.{self.prefix}{bucket}.") :]

    def bucket(self, stream: str) -> str | None:
        """Return the bucket of a stream's name, or None where the prefix is not ours."""
        start = f"KV_{self.prefix}"
        return stream[len(start) :] if stream.startswith(start) else None


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
    a live, empty value (docs/http-api.md#expiry-markers).
    """
    if not headers:
        return Kind(Operation.PUT)
    return header_kind(read_headers(b64decode(headers)))


@lru_cache(maxsize=1024)
def block_kind(block: bytes) -> Kind:
    """Read off the block that a message was stored with what it is."""
    return header_kind(read_headers(block))


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


def delivery(reply: bytes) -> tuple[int, int, int]:
    """Read (stream sequence, consumer sequence, when it was stored) off a delivery's reply subject.

    The time is the server's, nanoseconds since 1970 (ADR-15).

    It has 9 tokens, or 11 and more once a domain and an account are among them.
    """
    tokens = reply.split(b".")
    first = 5 if len(tokens) == 9 else 7
    return int(tokens[first]), int(tokens[first + 1]), int(tokens[first + 2])

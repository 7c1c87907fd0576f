"""Names and JSON of the JetStream API: subjects, requests, message headers."""

from base64 import b64decode
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

import orjson

from jetkv_gateway.jetstream.headers import read_headers
from jetkv_gateway.kv.media import storable_encoding, storable_type
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
    "OWN_BUCKET",
    "REQUEST",
    "ROLLUP",
    "TTL",
    "Naming",
    "TokenNaming",
    "block_kind",
    "delivery",
    "expired",
    "message_headers",
    "message_kind",
    "read_entry",
    "subjects_of",
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
"""The digest of the request (`Idempotency.content`) in a write with an idempotency key. In a stored
message with the same message id, it tells a retry from another request."""


_OPERATIONS = {"DEL": Operation.DELETE, "PURGE": Operation.PURGE}
_MARKERS = {
    "MaxAge": Operation.PURGE,
    "Purge": Operation.PURGE,
    "Remove": Operation.DELETE,
}


@dataclass(frozen=True, slots=True, eq=False)
class Naming:
    """Where buckets and their API are: stream prefix and JetStream domain, both "" by default.

    Instances compare by identity, because they are part of a cache key on the hot path.
    """

    prefix: str = ""
    domain: str = ""

    @property
    def api(self) -> str:
        return f"$JS.{self.domain}.API." if self.domain else "$JS.API."

    def stream(self, bucket: str) -> str:
        return f"KV_{self.prefix}{bucket}"

    def subject(self, bucket: str, tokens: str) -> str:
        """Return the subject that stores the messages of a key (or filter)."""
        return f"$KV.{self.prefix}{bucket}.{tokens}"

    def publish_subject(self, bucket: str, tokens: str) -> str:
        """Return the subject to publish to. A domain needs its API prefix in front."""
        subject = self.subject(bucket, tokens)
        return self.api + subject if self.domain else subject

    def tokens(self, bucket: str, subject: str) -> str:
        return subject[len(f"$KV.{self.prefix}{bucket}.") :]

    def bucket(self, stream: str) -> str | None:
        """Return the bucket of a stream, or None if the stream has another prefix."""
        start = f"KV_{self.prefix}"
        return stream[len(start) :] if stream.startswith(start) else None


TOKENS = "JETKV_TOKENS"
"""The stream of the gateway's own tokens, followed by `_` and the prefix of its buckets if there is
one. It does not begin with `KV_`, so no name of a bucket leads to it, whatever the prefix."""


class TokenNaming(Naming):
    """Where the tokens of the gateways with one prefix are: a bucket that is in no list.

    Its subjects begin with `$JETKV.`, where no bucket of the API can republish to, and no write to
    a bucket goes to.
    """

    def stream(self, bucket: str) -> str:  # noqa: ARG002 - there is one bucket only
        return f"{TOKENS}_{self.prefix}" if self.prefix else TOKENS

    def subject(self, bucket: str, tokens: str) -> str:  # noqa: ARG002 - as above
        return f"{_token_subjects(self.stream(''))}{tokens}"

    def publish_subject(self, bucket: str, tokens: str) -> str:
        # Servers map only the subjects of KV buckets from a domain. Others pass a leaf node as they
        # are.
        return self.subject(bucket, tokens)

    def tokens(self, bucket: str, subject: str) -> str:
        return subject[len(self.subject(bucket, "")) :]

    def bucket(self, stream: str) -> str | None:
        return OWN_BUCKET if stream == self.stream("") else None


OWN_BUCKET = "tokens"
"""What the code calls the bucket of a `TokenNaming`."""


def subjects_of(stream: str) -> str:
    """Return the subjects that the stream of a bucket must have."""
    if stream.startswith(TOKENS):
        return _token_subjects(stream) + ">"
    return f"$KV.{stream[3:]}.>"


def _token_subjects(stream: str) -> str:
    return f"$JETKV.tokens.KV_{stream[len(TOKENS) + 1 :]}."


def get_last(subject: str) -> bytes:
    return orjson.dumps({"last_by_subj": subject})


def get_sequence(sequence: int) -> bytes:
    return orjson.dumps({"seq": sequence})


def get_next(subject: str, sequence: int) -> bytes:
    return orjson.dumps({"seq": sequence, "next_by_subj": subject})


def message_headers(headers: str | None) -> dict[str, str]:
    """Parse a stored message's headers, base64 as in the API."""
    return read_headers(b64decode(headers)) if headers else {}


def read_entry(message: dict[str, Any], subject: str, key: str) -> Entry | None:
    """Convert a stored message of the API; return None if it belongs to another key."""
    if message["subject"] != subject:
        return None
    kind = message_kind(message.get("hdrs"))
    return Entry(key, message.get("data", ""), message["seq"], message["time"], *kind)


class Kind(NamedTuple):
    """What a message's headers say about it.

    The content type and encoding are as in `kv.media`.
    """

    operation: Operation
    content_type: str | None = None
    content_encoding: str | None = None


def expired(headers: Mapping[str, str]) -> bool:
    """Return whether a tombstone's headers say that the value expired."""
    return not headers.get(OPERATION) and headers.get(MARKER_REASON) == "MaxAge"


@lru_cache(maxsize=1024)
def message_kind(headers: str | None) -> Kind:
    """Read the kind of a message from its headers, base64 as in the API.

    A marker that the server leaves for an expired value is a tombstone too; nats-py reads it as a
    live, empty value (docs/http-api.md#expiry-markers).
    """
    if not headers:
        return Kind(Operation.PUT)
    return header_kind(read_headers(b64decode(headers)))


@lru_cache(maxsize=1024)
def block_kind(block: bytes) -> Kind:
    """Read the kind of a message from its raw header block."""
    return header_kind(read_headers(block))


def header_kind(headers: Mapping[str, str]) -> Kind:
    """Read the kind of a message from its parsed headers.

    Only the headers decide, as in NATS's own clients, because a listing does not see values. So a
    marker from a client is a tombstone too; a client that may write it may also delete the key.

    A content type or encoding that is invalid in an HTTP response counts as missing. Only other
    clients can have stored it.
    """
    return Kind(
        _operation(headers),
        storable_type(headers.get(CONTENT_TYPE, "")),
        storable_encoding(headers.get(CONTENT_ENCODING, "")),
    )


def _operation(headers: Mapping[str, str]) -> Operation:
    operation = headers.get(OPERATION)
    if operation:
        return _OPERATIONS.get(operation, Operation.PUT)
    return _MARKERS.get(headers.get(MARKER_REASON, ""), Operation.PUT)


def delivery(reply: bytes) -> tuple[int, int, int]:
    """Parse the reply subject of a delivered message: (stream sequence, consumer sequence, time).

    The time is when the message was stored, in nanoseconds since 1970. The subject has 9 tokens, or
    11 and more with a domain and an account (ADR-15). `Feed` inlines this.
    """
    tokens = reply.split(b".")
    first = 5 if len(tokens) == 9 else 7
    return int(tokens[first]), int(tokens[first + 1]), int(tokens[first + 2])

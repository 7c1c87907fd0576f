"""What the headers of a GET and of a PUT say about the value (docs/http-api.md)."""

from collections.abc import Mapping
from typing import NamedTuple

from jetkv_gateway.http.preconditions import expected_revision, if_match
from jetkv_gateway.http.views import accepts_raw
from jetkv_gateway.kv.errors import InvalidArgument
from jetkv_gateway.kv.media import storable_encoding, storable_type
from jetkv_gateway.kv.ttl import read_ttl

__all__ = ["GetHeaders", "PutHeaders", "own_ttl"]

_OUR_HEADER = b"jetkv-"
_TTL_HEADER = b"jetkv-ttl-seconds"


class GetHeaders(NamedTuple):
    """How a value is shown, and under which condition.

    Attributes:
        raw: whether `Accept` asks for raw values.
        expected: the revision that the value must have, None for any.
        has_tags: whether there is an `If-None-Match`.
    """

    raw: bool
    expected: int | None
    has_tags: bool

    @classmethod
    def read(cls, headers: dict[bytes, bytes]) -> "GetHeaders":
        """Read the headers.

        Raises:
            InvalidArgument: one of them breaks its rule.
        """
        raw = accepts_raw(headers.get(b"accept"))
        return cls(raw, if_match(headers), b"if-none-match" in headers)


class PutHeaders(NamedTuple):
    """What is stored with a value, and under which condition.

    Attributes:
        ttl: in seconds, or `NEVER`; None leaves the value the bucket's TTL.
        content_type, content_encoding: to store; None to store nothing.
        expected: the revision that the key must have; `MUST_NOT_EXIST` for a create, None for any.
        has_id: whether there is an idempotency key.
    """

    ttl: int | None
    content_type: str | None
    content_encoding: str | None
    expected: int | None
    has_id: bool

    @classmethod
    def read(cls, headers: dict[bytes, bytes]) -> "PutHeaders":
        """Read the headers.

        Raises:
            InvalidArgument: one of them breaks its rule.
        """
        media, coding = headers.get(b"content-type"), headers.get(b"content-encoding")
        return cls(
            own_ttl(headers),
            None if media is None else storable_type(media.decode("latin-1")),
            None if coding is None else storable_encoding(coding.decode("latin-1")),
            expected_revision(headers),
            b"idempotency-key" in headers,
        )


def own_ttl(headers: Mapping[bytes, bytes]) -> int | None:
    """Return the TTL of `JetKV-TTL-Seconds`, None without that header.

    Raises:
        InvalidArgument: it is not a TTL, or there is an unknown header whose name starts with ours.
    """
    ttl = None
    for name in headers:
        if name.startswith(_OUR_HEADER):
            if name != _TTL_HEADER:
                raise InvalidArgument(f"unknown header {name.decode('latin-1')[:100]!r}")
            ttl = read_ttl(headers[name].decode("latin-1"), "header JetKV-TTL-Seconds")
    return ttl

"""The routes of one key: GET, HEAD, PUT, DELETE (contract 1.1, 2.1 to 2.4). The hot path.

They stand in front of FastAPI (design decision 3): the same behaviour through its stack costs
about a quarter of the throughput. Their OpenAPI is in `openapi.py`.
"""

from collections.abc import Coroutine
from typing import Any

from jetkv_gateway.http.exchange import Exchange
from jetkv_gateway.http.paths import bucket_name, decode_segment, flag
from jetkv_gateway.http.preconditions import (
    expected_revision,
    idempotency_key,
    if_match,
    not_modified,
    parse_revision,
)
from jetkv_gateway.http.views import (
    OCTET_STREAM,
    View,
    choose_view,
    entry_json,
    http_date,
)
from jetkv_gateway.kv.access import Verb
from jetkv_gateway.kv.errors import (
    InvalidArgument,
    MethodNotAllowed,
    OutcomeUnknown,
    RevisionMismatch,
)
from jetkv_gateway.kv.idempotency import Idempotency
from jetkv_gateway.kv.media import kept_encoding, kept_type
from jetkv_gateway.kv.model import Consistency, Operation
from jetkv_gateway.kv.store import Entries

__all__ = ["KEY_METHODS", "EntryRoutes"]

KEY_METHODS = "GET, HEAD, PUT, DELETE, OPTIONS"

_OUR_HEADER = b"jetkv-"

# Without no-cache a browser may answer from its cache, by a share of the age in Last-Modified.
_READ_LINES = (
    b'etag: "%d"\r\nlast-modified: %s\r\ncache-control: no-cache\r\nvary: Accept\r\n'
    b"jetkv-consistency: %s\r\n"
)
_JSON_LINE = b"content-type: application/json\r\n"
_WRITE_LINES = _JSON_LINE + b'etag: "%d"\r\n'
# A stored page must not run as one of the gateway's own.
_RAW_LINES = (
    b"content-type: %s\r\nx-content-type-options: nosniff\r\n"
    b"content-security-policy: sandbox; default-src 'none'\r\n"
)
_CONSISTENCY = {kind: kind.value.encode() for kind in Consistency}


class EntryRoutes:
    """`/api/v1/kv/buckets/{bucket}/keys/{key...}`."""

    def __init__(self, entries: Entries) -> None:
        self._entries = entries

    def answer(
        self, exchange: Exchange, raw_bucket: bytes, raw_key: bytes
    ) -> Coroutine[Any, Any, None]:
        """Answer one request; both names are still percent-encoded.

        Raises:
            InvalidArgument, MethodNotAllowed: at once; what else can go wrong, when awaited.
        """
        bucket = bucket_name(raw_bucket)
        key = decode_segment(raw_key, "key")
        method = exchange.method
        if method in ("GET", "HEAD"):
            return self._get(exchange, bucket, key)
        if method == "PUT":
            return self._put(exchange, bucket, key)
        if method == "DELETE":
            return self._delete(exchange, bucket, key)
        raise MethodNotAllowed(KEY_METHODS)

    async def _get(self, exchange: Exchange, bucket: str, key: str) -> None:
        exchange.require(Verb.READ, bucket, key)
        headers = exchange.headers
        revision = None
        consistency = Consistency.STRONG
        values = None
        if exchange.query:
            parameters = exchange.parameters("values", "consistency", "revision")
            values = parameters.get("values")
            if "revision" in parameters:
                revision = parse_revision(parameters["revision"], "revision")
            consistency = _consistency(parameters.get("consistency"))
        view = choose_view(values, headers.get(b"accept"), exchange.view)
        condition = if_match(headers)
        entry = await self._entries.get(bucket, key, revision=revision, consistency=consistency)
        if condition is not None and condition != entry.revision:
            raise RevisionMismatch(entry.revision)
        revision = entry.revision
        lines = _READ_LINES % (
            revision,
            http_date(entry.created_at),
            _CONSISTENCY[entry.consistency],
        )
        if not_modified(headers, revision):
            await exchange.respond_lines(304, b"", lines)
        elif view is View.RAW:
            lines += _RAW_LINES % (entry.content_type or OCTET_STREAM).encode("ascii")
            if entry.content_encoding is not None:
                lines += b"content-encoding: %s\r\n" % entry.content_encoding.encode("ascii")
            await exchange.respond_lines(200, entry.value, lines)
        else:
            await exchange.respond_lines(200, entry_json(entry, view), lines + _JSON_LINE)

    async def _put(self, exchange: Exchange, bucket: str, key: str) -> None:
        exchange.require(Verb.WRITE, bucket, key)
        if exchange.query:
            exchange.parameters()
        headers = exchange.headers
        for name in headers:
            if name.startswith(_OUR_HEADER):
                raise InvalidArgument(f"unknown header {name.decode('latin-1')[:100]!r}")
        content_type = kept_type(headers.get(b"content-type", b"").decode("latin-1"))
        encoding = headers.get(b"content-encoding")
        content_encoding = None if encoding is None else kept_encoding(encoding.decode("latin-1"))
        expected = expected_revision(headers)
        value = await exchange.body(self._entries.max_value_bytes)
        identity = _identity(
            headers,
            bucket,
            key,
            Operation.PUT,
            value=value,
            content_type=content_type,
            content_encoding=content_encoding,
            expected=expected,
        )
        try:
            revision = await self._entries.put(
                bucket,
                key,
                value,
                content_type=content_type,
                content_encoding=content_encoding,
                expected=expected,
                identity=identity,
            )
        except OutcomeUnknown as error:
            _name_check(error, exchange)
            raise
        await exchange.respond_lines(200, b'{"revision":%d}' % revision, _WRITE_LINES % revision)

    async def _delete(self, exchange: Exchange, bucket: str, key: str) -> None:
        exchange.require(Verb.DELETE, bucket, key)
        purge = flag(exchange.parameters("purge"), "purge")
        if b"if-none-match" in exchange.headers:
            raise InvalidArgument("If-None-Match has no meaning on DELETE")
        expected = if_match(exchange.headers)
        operation = Operation.PURGE if purge else Operation.DELETE
        identity = _identity(exchange.headers, bucket, key, operation, expected=expected)
        try:
            await self._entries.delete(
                bucket, key, purge=purge, expected=expected, identity=identity
            )
        except OutcomeUnknown as error:
            _name_check(error, exchange)
            raise
        await exchange.respond_lines(204, b"", b"")


def _identity(
    headers: dict[bytes, bytes],
    bucket: str,
    key: str,
    operation: Operation,
    *,
    value: bytes = b"",
    content_type: str | None = None,
    content_encoding: str | None = None,
    expected: int | None = None,
) -> Idempotency | None:
    """Return by which a retry of a write is known, None where the caller gave it no name."""
    name = idempotency_key(headers)
    if name is None:
        return None
    return Idempotency.of(
        name,
        bucket=bucket,
        key=key,
        operation=operation,
        value=value,
        content_type=content_type,
        content_encoding=content_encoding,
        expected=expected,
    )


def _name_check(error: OutcomeUnknown, exchange: Exchange) -> None:
    """Name the read that shows what became of a write."""
    error.details = {**(error.details or {}), "check": f"GET {exchange.path.decode('latin-1')}"}


def _consistency(parameter: str | None) -> Consistency:
    if parameter is None:
        return Consistency.STRONG
    try:
        return Consistency(parameter)
    except ValueError:
        raise InvalidArgument("query parameter 'consistency' must be strong or eventual") from None

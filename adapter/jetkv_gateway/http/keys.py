"""Handlers of the routes for single keys. This is the hot path.

Each handler reads a request into a command, runs the command, and writes the answer.
"""

import orjson

from jetkv_gateway.flags.follower import FlagFollower
from jetkv_gateway.http.call import JSON_LINE, Call
from jetkv_gateway.http.histories import HistoryAnswer
from jetkv_gateway.http.key_headers import GetHeaders, PutHeaders, own_ttl
from jetkv_gateway.http.origins import isolation_headers
from jetkv_gateway.http.preconditions import (
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
from jetkv_gateway.kv.commands import Delete, Get, History, Put, Touch
from jetkv_gateway.kv.errors import InvalidArgument, OutcomeUnknown, RevisionMismatch
from jetkv_gateway.kv.model import Consistency
from jetkv_gateway.kv.store import Entries

__all__ = ["KeyHandlers"]

# Without no-cache, a browser may answer from its cache for a part of the age in Last-Modified.
_READ_LINES = (
    b'etag: "%d"\r\nlast-modified: %s\r\ncache-control: no-cache\r\nvary: Accept\r\n'
    b"jetkv-consistency: %s\r\n"
)
_READ_JSON_LINES = _READ_LINES + JSON_LINE
_WRITE_LINES = JSON_LINE + b'etag: "%d"\r\n'
_RAW_LINE = b"content-type: %s\r\n"
# Looked up once: of an enum, that takes as long as a call before Python 3.12.
_RAW = View.RAW
_CONSISTENCY = {kind: kind.value.encode() for kind in Consistency}

_LONGEST_SHOWN = 2048
"""Bytes of a body that is kept with its entry. JSON may be six times as long as the value."""


class KeyHandlers:
    """Handlers of the rows below `/api/v1/kv/buckets/{bucket}` that are about one key."""

    def __init__(self, entries: Entries, flags: FlagFollower) -> None:
        self._entries = entries
        self._flags = flags

    async def get_entry(self, call: Call, bucket: str, key: str) -> None:
        request, target = call.request, call.target
        told = request.findings.get
        if told is None:
            told = request.findings.get = GetHeaders.read(request.headers)
        raw, expected, has_tags = told
        view = _RAW if raw else target.view
        command: Get | None = target.command
        if target.query:
            command, view = _asked(call, bucket, key, view)
        elif command is None:
            command = target.command = Get.of(bucket, key)
        entry = await self._entries.get(command, call)
        revision = entry.revision
        if expected is not None and expected != revision:
            raise RevisionMismatch(revision)
        shown = entry.shown
        if shown is not None and not has_tags and (made := shown.get(view)) is not None:
            call.answer(200, *made)
            return
        facts = revision, http_date(entry.created_at), _CONSISTENCY[entry.consistency]
        if has_tags and not_modified(request.headers, revision):
            call.answer(304, _READ_LINES % facts, b"")
            return
        if view is _RAW:
            lines = _READ_LINES % facts
            lines += _RAW_LINE % (entry.content_type or OCTET_STREAM).encode("ascii")
            lines += isolation_headers(call)
            if entry.content_encoding is not None:
                lines += b"content-encoding: %s\r\n" % entry.content_encoding.encode("ascii")
            body = entry.value
        else:
            lines = _READ_JSON_LINES % facts
            body = entry_json(entry, view)
            if shown is not None and len(body) <= _LONGEST_SHOWN:
                shown[view] = lines, body
        del entry  # free a large value before its answer is sent
        call.answer(200, lines, body)

    async def put_entry(self, call: Call, bucket: str, key: str) -> None:
        request = call.request
        findings = request.findings
        told = findings.put
        if told is None:
            told = findings.put = PutHeaders.read(request.headers)
        ttl, content_type, content_encoding, expected, has_id = told
        identity = idempotency_key(request.headers, call.principal.identity) if has_id else None
        command = Put.of(
            bucket,
            key,
            request.body,
            content_type=content_type,
            content_encoding=content_encoding,
            expected=expected,
            idempotency_key=identity,
            ttl=ttl,
        )
        try:
            revision = await self._entries.put(command, call)
        except OutcomeUnknown as error:
            _add_check_hint(error, call)
            raise
        if bucket == self._flags.bucket:
            self._flags.wrote(revision)
        call.answer(200, _WRITE_LINES % revision, b'{"revision":%d}' % revision)

    async def touch_entry(self, call: Call, bucket: str, key: str) -> None:
        headers = call.headers
        if b"if-none-match" in headers:
            raise InvalidArgument("If-None-Match has no meaning on a touch")
        command = Touch.of(
            bucket,
            key,
            ttl=own_ttl(headers),
            expected=if_match(headers),
            idempotency_key=idempotency_key(headers, call.principal.identity),
        )
        try:
            touched = await self._entries.touch(command, call)
        except OutcomeUnknown as error:
            _add_check_hint(error, call)
            raise
        fields: dict[str, object] = {"revision": touched.revision}
        if touched.expires_at is not None:
            fields["expires_at"] = touched.expires_at
        call.answer(200, _WRITE_LINES % touched.revision, orjson.dumps(fields))

    async def delete_entry(self, call: Call, bucket: str, key: str) -> None:
        purge, headers = call.flag("purge"), call.request.headers
        if b"if-none-match" in headers:
            raise InvalidArgument("If-None-Match has no meaning on DELETE")
        command = Delete.of(
            bucket,
            key,
            purge=purge,
            expected=if_match(headers),
            idempotency_key=idempotency_key(headers, call.principal.identity),
        )
        try:
            revision = await self._entries.delete(command, call)
        except OutcomeUnknown as error:
            _add_check_hint(error, call)
            raise
        if bucket == self._flags.bucket:
            self._flags.wrote(revision)
        call.answer(204, b"", b"")

    async def get_history(self, call: Call, bucket: str, key: str) -> None:
        view = choose_view(call.parameter("values"), None, call.view)
        if view is View.RAW:
            raise InvalidArgument("query parameter 'values' must be base64 or json here")
        found = self._entries.history(History.of(bucket, key), call)
        await HistoryAnswer(call, found, view).send()


def _asked(call: Call, bucket: str, key: str, view: View) -> tuple[Get, View]:
    """Return the command and the view that the query of a GET asks for.

    Args:
        view: without `values` in the query.

    Raises:
        InvalidArgument: a parameter breaks its rule.
    """
    values, wanted = call.parameter("values"), call.parameter("revision")
    revision = None if wanted is None else parse_revision(wanted, "revision")
    consistency = _consistency(call.parameter("consistency"))
    if values is not None:
        view = choose_view(values, None, view)
    return Get.of(bucket, key, revision=revision, consistency=consistency), view


def _add_check_hint(error: OutcomeUnknown, call: Call) -> None:
    """Add the request that shows whether a write was applied."""
    # A touch is checked by its key: /api/v1/kv/buckets/{bucket}/touch/{key...}
    parts = call.path.decode("latin-1").split("/", 7)
    parts[6] = "keys"
    error.details = {**(error.details or {}), "check": f"GET {'/'.join(parts)}"}


def _consistency(parameter: str | None) -> Consistency:
    if parameter is None:
        return Consistency.STRONG
    try:
        return Consistency(parameter)
    except ValueError:
        raise InvalidArgument("query parameter 'consistency' must be strong or eventual") from None

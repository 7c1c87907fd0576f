"""Reads the entries of a bucket from a gateway, in revision order and in bounded memory."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from urllib.parse import urlencode

from jetkv._core import batches, fields
from jetkv._core.answers import error_of
from jetkv._core.messages import Answer, Broken, Kind, Request, TransportError, Unreadable
from jetkv._core.requests import bucket_path
from jetkv._core.retry import judge
from jetkv._sync.endpoint import Endpoint
from jetkv._sync.transport import Stream
from jetkv.errors import JetKVError
from jetkv.transfer.format import MAX_LINE, Header

__all__ = ["Reading", "Selection", "newest_revision", "reading"]

_SILENCE_SECONDS = 30.0
_ENTRY = b'{"key":'


@dataclass(frozen=True, slots=True)
class Selection:
    """What to read of a bucket.

    Attributes:
        bucket: its name.
        filter, prefix: which keys, as in `Bucket.keys`; None for all.
        history: whether to read all stored revisions, tombstones too.
    """

    bucket: str
    filter: str | None = None
    prefix: str | None = None
    history: bool = False

    def request(self) -> Request:
        query = {"include": "history" if self.history else "values", "values": "base64"}
        if self.filter is not None:
            query["filter"] = self.filter
        if self.prefix is not None:
            query["prefix"] = self.prefix
        return Request(
            "GET",
            f"{bucket_path(self.bucket)}/keys?{urlencode(query)}",
            Kind.READ,
            f"export of bucket {self.bucket!r}",
            {"Accept": "application/x-ndjson"},
            large=True,
        )

    def header(self, revision: int, started_at: str, history: int, ttl: int) -> Header:
        """Return the header of an export.

        Args:
            revision: the newest one before it began.
            started_at: when it began.
            history, ttl: settings of the bucket; a TTL of 0 is none.
        """
        settings = {"history": history} | ({"ttl_seconds": ttl} if ttl else {})
        return Header(
            self.bucket, self.history, revision, started_at, settings, self.filter, self.prefix
        )


def newest_revision(endpoint: Endpoint, bucket: str) -> int:
    """Return the newest revision of a bucket. Every write that was answered before is at most that.

    Raises:
        JetKVError: the gateway does not answer, or refuses.
    """
    request, keys = batches.get_many(bucket, ["-"])
    answer = endpoint.call(request)
    return batches.read_snapshot(answer, request, keys, lambda _key, raw: raw).revision


@dataclass(slots=True)
class Reading:
    """The entries of a bucket while they arrive.

    Attributes:
        partial: whether the caller may not read some of the keys.
        revision: the newest revision that was read, once `lines` has ended.
    """

    partial: bool
    revision: int = 0
    _request: Request = field(repr=False, kw_only=True)
    _stream: Stream = field(repr=False, kw_only=True)
    _endpoint: Endpoint = field(repr=False, kw_only=True)

    def lines(self) -> Iterator[list[bytes]]:
        """Yield lines with an entry each, some at a time, without their line ends.

        Raises:
            JetKVError: the reading broke off. What came until then is not all.
        """
        count = 0
        for some in self._received():
            last = b"" if some[-1].startswith(_ENTRY) else some.pop()
            count += len(some)
            if some:
                yield some
            if last:
                self._end(last, count)
                return
        raise self._failed(Broken("the end of the answer is missing"))

    def _received(self) -> Iterator[list[bytes]]:
        begun: list[bytes] = []
        size = 0
        while True:
            try:
                chunk = self._stream.read()
            except TransportError as failure:
                raise self._failed(failure) from failure
            if not chunk:
                return
            whole, newline, rest = chunk.rpartition(b"\n")
            if newline:
                begun.append(whole)
                yield b"".join(begun).split(b"\n")
                begun, size = [], 0
            if rest:
                begun.append(rest)
                size += len(rest)
                if size > MAX_LINE:
                    raise self._failed(Unreadable("a line is too long"))

    def _end(self, line: bytes, count: int) -> None:
        try:
            found = fields.json_object(line)
            kind = fields.string(found, "type")
            if kind == "end":
                self.revision = fields.revision(found, 0)
                if fields.integer(found, "count") != count:
                    raise fields.FieldError("lines of the answer are missing")
                return
            message = fields.string(found, "message")
        except ValueError as error:
            raise self._failed(
                Unreadable(f"the answer does not come from a gateway: {error}")
            ) from error
        body = line.replace(b'"message"', b'"error"', 1)
        # A failure after the first line has no status. 503 stands for a reading that broke off.
        status = 403 if found.get("code") == "permission_denied" else 503
        kind_of_error = type(error_of(Answer(status, {}, body), self._request))
        raise kind_of_error(f"{self._request.description} broke off: {message}")

    def _failed(self, failure: TransportError) -> JetKVError:
        error = judge(self._request, failure, self._endpoint.address).error
        assert error is not None, "a failure has an error"
        return error


@contextmanager
def reading(endpoint: Endpoint, selection: Selection) -> Iterator[Reading]:
    """Begin to read a bucket.

    Raises:
        JetKVError: the gateway does not answer, or refuses.
    """
    request = selection.request()
    stream = endpoint.stream()
    try:
        try:
            stream.open(request, _SILENCE_SECONDS, _SILENCE_SECONDS)
            refusal = None if stream.status == 200 else stream.answer()
        except TransportError as failure:
            error = judge(request, failure, endpoint.address).error
            assert error is not None, "a failure has an error"
            raise error from failure
        if refusal is not None:
            raise error_of(refusal, request)
        yield Reading(
            "jetkv-filtered" in stream.headers,
            _request=request,
            _stream=stream,
            _endpoint=endpoint,
        )
    finally:
        stream.abort()

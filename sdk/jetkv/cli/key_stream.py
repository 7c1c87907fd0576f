"""Reads a list of keys as JSON lines: they come as they are found, in the order of revisions.

A page of a sorted list comes once the gateway has found and sorted all keys of the bucket. JSON
lines need no such wait, so they suit buckets of any size (docs/http-api.md#json-lines).
"""

import json
from collections.abc import Callable, Iterator

from jetkv import Bucket
from jetkv._core import fields, listing
from jetkv._core.answers import error_of
from jetkv._core.messages import Answer, Broken, Request, TransportError, Unreadable
from jetkv._core.retry import judge
from jetkv._sync.bucket import endpoint_of
from jetkv.cli.documents import Hidden, Selection
from jetkv.cli.output import Document

__all__ = ["sorted_if_few", "streamed"]

_SILENCE_SECONDS = 30.0
_MAX_LINE = 128 * 1024 * 1024  # a value of 64 MiB in base64, and its entry

FEW = 10_000
_FEW_BYTES = 32 * 1024 * 1024

_STATUSES = {
    "invalid_argument": 400,
    "unauthenticated": 401,
    "permission_denied": 403,
    "not_found": 404,
    "bucket_deleted": 410,
    "resource_exhausted": 429,
    "unavailable": 503,
    "deadline_exceeded": 504,
}
"""The statuses that errors have in an answer of their own."""


def streamed(
    bucket: Bucket[bytes], selection: Selection, hidden: Hidden, *, include: str
) -> Iterator[Document]:
    """Yield the entries of the keys as the gateway finds them.

    A key that is written meanwhile may come again. The client's timeout does not apply: the call
    fails if the gateway sends nothing for 30 s.

    Args:
        bucket: the bucket.
        selection: which keys.
        hidden: is told if the caller may not read all of them.
        include: `keys`, `meta` or `values`.

    Raises:
        JetKVError: the errors of `Bucket.entries`. What came before is not the whole list.
    """
    endpoint = endpoint_of(bucket)
    request = listing.stream_lines(bucket.name, selection.filter, selection.prefix, include)
    stream = endpoint.stream()
    try:
        stream.open(request, _SILENCE_SECONDS, _SILENCE_SECONDS)
        if stream.status != 200:
            raise error_of(stream.answer(), request)
        if "x-ndjson" not in stream.headers.get("content-type", ""):
            raise fields.FieldError("it is no list of JSON lines")
        hidden.check(Answer(200, stream.headers, b""))
        rest = b""
        while chunk := stream.read():
            *lines, rest = (rest + chunk).split(b"\n")
            if len(rest) > _MAX_LINE:
                raise fields.FieldError("a line is too long")
            for line in lines:
                document = fields.json_object(line)
                kind = document.get("type")
                if kind == "error":
                    raise _error(document, request)
                if kind == "end":
                    return
                yield document
        raise Broken("the end of the list is missing")
    except (TransportError, ValueError) as failure:
        outcome = failure
    finally:
        stream.abort()
    if not isinstance(outcome, TransportError):
        outcome = Unreadable(f"the answer does not come from a gateway: {outcome}")
    error = judge(request, outcome, endpoint.address).error
    assert error is not None, "a failure has an error"
    raise error from outcome


def sorted_if_few(documents: Iterator[Document], tell: Callable[[str], None]) -> Iterator[Document]:
    """Yield entries sorted by key, once each, if there are at most 10,000 with 32 MiB of values.

    Otherwise they come as they are: to sort them needs memory for all of them.

    Args:
        documents: the entries.
        tell: is called with a text if they are not sorted.
    """
    few: list[Document] = []
    size = 0
    for document in documents:
        few.append(document)
        size += len(str(document.get("value", "")))
        if len(few) > FEW or size > _FEW_BYTES:
            tell("too many keys to sort: they come in the order of revisions")
            yield from few
            yield from documents
            return
    # A key that was written meanwhile comes again. The newer revision comes later.
    newest = {document["key"]: document for document in few}
    yield from sorted(newest.values(), key=lambda one: str(one["key"]).encode())


def _error(document: Document, request: Request) -> Exception:
    """Return the error of an error line. It has no status: the answer was a 200."""
    code = fields.string(document, "code")
    body = json.dumps({**document, "error": fields.string(document, "message")}).encode()
    return error_of(Answer(_STATUSES.get(code, 500), {}, body), request)

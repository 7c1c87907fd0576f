"""The table of routes: every path of the gateway stands here once.

Routing, 405 and `Allow`, OPTIONS, the limit on requests in flight, access, the `route` label of
metrics and the OpenAPI document all come from it. A row without a verb is public.
"""

from typing import Any

from jetkv_gateway.http.router import Answer, Parameter, Route, Router
from jetkv_gateway.kv.access import Verb
from jetkv_gateway.kv.keys import MAX_KEY_BYTES

__all__ = ["PATH_PARAMETERS", "ROUTER", "ROUTES"]

_BUCKETS = "/api/v1/kv/buckets"
_BUCKET = f"{_BUCKETS}/{{bucket}}"
_KEY = f"{_BUCKET}/keys/{{key...}}"

BUCKET_NAME = Parameter(
    "bucket", "Bucket name", {"pattern": "^[A-Za-z0-9_-]{1,200}$"}, where="path"
)
KEY_NAME = Parameter(
    "key",
    f"1 to {MAX_KEY_BYTES} bytes of UTF-8 without control characters; slashes may be sent as they "
    "are or as %2F",
    {"pattern": r"^[^\x00-\x1f\x7f]+$", "maxLength": MAX_KEY_BYTES},
    where="path",
)
PATH_PARAMETERS = {one.name: one for one in (BUCKET_NAME, KEY_NAME)}

_IF_MATCH = Parameter(
    "If-Match",
    'One revision, `7` or `"7"`',
    {"pattern": '^([1-9][0-9]{0,18}|"[1-9][0-9]{0,18}")$'},
    where="header",
)
_IF_NONE_MATCH = Parameter(
    "If-None-Match",
    'Revisions known already, such as `"7"`; answers 304',
    {"pattern": r'^(\*|(W/)?"[0-9]*"(, (W/)?"[0-9]*")*)$'},
    where="header",
)
_CREATE_ONLY = Parameter("If-None-Match", "`*` creates the key", {"enum": ["*"]}, where="header")
_VALUES = Parameter("values", "How values are shown", {"enum": ["base64", "json"]})
_FILTER = Parameter(
    "filter",
    "`*` is one dot token, a final `>` the rest, `*` inside a token a glob that stops at a dot; "
    "without wildcards that key, or a prefix where it ends in one of `. : / -`",
    {"pattern": r"^([^>\x00-\x1f\x7f]*|([^>\x00-\x1f\x7f]*\.)?>)$", "maxLength": 512},
)
_FLAG = {"enum": ["true", "false"]}
_BYTES = {"type": "string", "format": "binary"}
_TEXT = {"type": "string"}
_ETAG: dict[str, dict[str, Any]] = {
    "ETag": {"schema": _TEXT, "description": 'The revision, such as "7"'}
}
_READ_HEADERS: dict[str, dict[str, Any]] = {
    **_ETAG,
    "Last-Modified": {"schema": _TEXT},
    "JetKV-Consistency": {"schema": {"type": "string", "enum": ["strong", "eventual"]}},
}
_CODING = {
    "Content-Encoding": {
        "schema": _TEXT,
        "description": "Of the PUT, where the answer is the value itself",
    }
}
_REVISION = {
    "type": "object",
    "properties": {"revision": {"type": "integer"}},
    "required": ["revision"],
}


def _json(description: str, schema: str) -> Answer:
    return Answer(description, {"application/json": schema})


ROUTES: tuple[Route, ...] = (
    Route(
        "get_entry",
        "GET",
        _KEY,
        Verb.READ,
        "Read a key",
        "Keys",
        parameters=(
            Parameter("values", "How the value is shown", {"enum": ["base64", "json", "raw"]}),
            Parameter("consistency", "Who may answer", {"enum": ["strong", "eventual"]}),
            Parameter("revision", "An older revision", {"pattern": "^[1-9][0-9]{0,18}$"}),
            _IF_MATCH,
            _IF_NONE_MATCH,
        ),
        lists_head=True,
        steps=True,
        answers={
            200: Answer(
                "The entry, or its bytes",
                {"application/json": "EntryOut", "*/*": _BYTES},
                {**_READ_HEADERS, **_CODING},
            ),
            304: Answer("Not modified", headers=_READ_HEADERS),
        },
        refusals=(404, 409, 412, 429, 503, 504),
    ),
    Route(
        "put_entry",
        "PUT",
        _KEY,
        Verb.WRITE,
        "Store a value, byte for byte; create or compare-and-set by condition",
        "Keys",
        parameters=(
            _IF_MATCH,
            _CREATE_ONLY,
            Parameter(
                "Content-Encoding",
                "How the value is coded, such as gzip: it is kept",
                where="header",
            ),
        ),
        repeatable=True,
        steps=True,
        answers={200: Answer("Stored", {"application/json": _REVISION}, _ETAG)},
        refusals=(404, 409, 412, 413, 429, 501, 503, 504, 507),
        body={"application/octet-stream": _BYTES, "application/json": {}, "*/*": _BYTES},
    ),
    Route(
        "delete_entry",
        "DELETE",
        _KEY,
        Verb.DELETE,
        "Delete a key; with purge its history, too",
        "Keys",
        parameters=(Parameter("purge", "Drop the history", _FLAG), _IF_MATCH),
        repeatable=True,
        steps=True,
        answers={204: Answer("There is no live value under the key now")},
        refusals=(404, 409, 412, 429, 503, 504, 507),
    ),
    Route(
        "get_history",
        "GET",
        f"{_BUCKET}/history/{{key...}}",
        Verb.READ,
        "The stored revisions of a key, tombstones included, oldest first",
        "Keys",
        parameters=(_VALUES,),
        long=True,
        answers={200: _json("Its entries", "History")},
        refusals=(404, 409, 429, 503, 504),
    ),
    Route(
        "list_keys",
        "GET",
        f"{_BUCKET}/keys",
        Verb.LIST_KEYS,
        "The live keys, sorted by their UTF-8 bytes",
        "Keys",
        parameters=(_FILTER,),
        limited=False,
        scans=True,
        answers={200: _json("The keys", "KeyList")},
        refusals=(404, 409, 429, 503, 504),
    ),
    Route(
        "watch_bucket",
        "GET",
        f"{_BUCKET}/watch",
        Verb.WATCH,
        "Changes of keys, as they happen: a WebSocket, or an event stream for `Accept`",
        "Watch",
        parameters=(
            Parameter(
                "key", "A filter as in listings; up to 64 times", {"maxLength": 512}, repeated=True
            ),
            Parameter("snapshot", "Begin with what is there, then `kv_snapshot_end`", _FLAG),
            Parameter(
                "resume_after", "Begin with what changed since", {"pattern": "^[0-9]{1,19}$"}
            ),
            Parameter("bucket_created_at", "The bucket that `resume_after` is a revision of"),
            Parameter("ignore_deletes", "Leave deletes out", _FLAG),
            Parameter("meta_only", "Send sizes instead of values", _FLAG),
            Parameter("env", "Accepted and ignored"),
        ),
        limited=False,
        socket=True,
        answers={
            101: Answer("Frames over a WebSocket"),
            200: Answer(
                "Frames as server-sent events; their id is the revision",
                {"text/event-stream": _TEXT},
            ),
        },
        refusals=(409, 426, 429, 503, 504),
    ),
    Route(
        "create_bucket",
        "POST",
        _BUCKETS,
        Verb.CREATE_BUCKET,
        "Create a bucket. A field that is not known is refused.",
        "Buckets",
        answers={201: _json("The bucket", "BucketOut")},
        refusals=(409, 413, 429, 501, 503, 504, 507),
        body={"application/json": "BucketCreate"},
    ),
    Route(
        "list_buckets",
        "GET",
        _BUCKETS,
        Verb.LIST_BUCKETS,
        "All buckets, sorted by name",
        "Buckets",
        answers={200: _json("The buckets", "BucketList")},
        refusals=(503, 504),
    ),
    Route(
        "get_bucket",
        "GET",
        _BUCKET,
        Verb.BUCKET_INFO,
        "One bucket as it stands",
        "Buckets",
        answers={200: _json("The bucket", "BucketOut")},
        refusals=(404, 409, 503, 504),
    ),
    Route(
        "delete_bucket",
        "DELETE",
        _BUCKET,
        Verb.DELETE_BUCKET,
        "Delete a bucket with all keys and their history, for good",
        "Buckets",
        answers={204: Answer("Deleted")},
        refusals=(404, 409, 503, 504),
    ),
    Route(
        "liveness",
        "GET",
        "/health",
        None,
        "200 while the process lives",
        "Health",
        limited=False,
        answers={200: _json("It lives", "HealthStatus")},
    ),
    Route(
        "readiness",
        "GET",
        "/ready",
        None,
        "200 while JetStream answers, else 503 with what is amiss; 503 too before it stops",
        "Health",
        limited=False,
        answers={
            200: _json("Ready", "Readiness"),
            503: _json("Not ready", "Readiness"),
        },
    ),
    Route(
        "capabilities",
        "GET",
        "/api/v1/capabilities",
        None,
        "What this server can do",
        "Health",
        limited=False,
        answers={200: _json("Its abilities", "Capabilities")},
    ),
    Route(
        "metrics",
        "GET",
        "/metrics",
        Verb.METRICS,
        "What this gateway counts, all workers together, in Prometheus's text format",
        "Health",
        limited=False,
        answers={200: Answer("The figures", {"text/plain": _TEXT})},
    ),
    Route(
        "openapi",
        "GET",
        "/api/v1/openapi.json",
        Verb.API_DESCRIPTION,
        "This document",
        "API description",
        answers={200: Answer("The document", {"application/json": {}})},
    ),
    Route(
        "docs",
        "GET",
        "/docs",
        Verb.API_DESCRIPTION,
        "The same as a page",
        "API description",
        page=True,
        answers={200: Answer("The page", {"text/html": _TEXT})},
    ),
)

ROUTER = Router(ROUTES)
"""The table, to be looked things up in."""

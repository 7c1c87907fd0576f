"""The table of routes. It has each path of the gateway once.

Routing, 405 and `Allow`, OPTIONS, the limit on requests in flight, access, the `route` label of
metrics and the OpenAPI document all use it. A route without a verb is public.
"""

from typing import Any

from jetkv_gateway.http.auth_routes import AUTH_ROUTES
from jetkv_gateway.http.batch_schema import BATCH_ANSWER, BATCH_BODY
from jetkv_gateway.http.bucket_routes import BUCKET_ROUTES
from jetkv_gateway.http.console.routes import CONSOLE_FILE, CONSOLE_ROUTES
from jetkv_gateway.http.flag_routes import FLAG_ROUTES
from jetkv_gateway.http.listing_routes import LISTING_ROUTES
from jetkv_gateway.http.route_parts import BUCKET, FILTERED, FLAG, TEXT, VALUES, json_answer
from jetkv_gateway.http.router import Answer, Parameter, Route, Router
from jetkv_gateway.http.token_routes import TICKET, TOKEN_NAME, TOKEN_ROUTES
from jetkv_gateway.kv.access import Verb
from jetkv_gateway.kv.keys import MAX_KEY_BYTES

__all__ = ["PATH_PARAMETERS", "ROUTER", "ROUTES"]

_KEY = f"{BUCKET}/keys/{{key...}}"

BUCKET_NAME = Parameter(
    "bucket", "Bucket name", {"pattern": "^[A-Za-z0-9_-]{1,200}$"}, where="path"
)
KEY_NAME = Parameter(
    "key",
    f"1 to {MAX_KEY_BYTES} bytes of UTF-8 without control characters. You can send a slash as it "
    "is or as %2F.",
    {"pattern": r"^[^\x00-\x1f\x7f]+$", "maxLength": MAX_KEY_BYTES},
    where="path",
)
PATH_PARAMETERS = {one.name: one for one in (BUCKET_NAME, KEY_NAME, TOKEN_NAME, CONSOLE_FILE)}

_IF_MATCH = Parameter(
    "If-Match",
    'Fail with 412 unless the key has this revision: `7` or `"7"`',
    {"pattern": '^([1-9][0-9]{0,18}|"[1-9][0-9]{0,18}")$'},
    where="header",
)
_IF_NONE_MATCH = Parameter(
    "If-None-Match",
    'Answer 304 if the key still has one of these revisions, such as `"7"`',
    {"pattern": r'^(\*|(W/)?"[0-9]*"(, (W/)?"[0-9]*")*)$'},
    where="header",
)
_CREATE_ONLY = Parameter(
    "If-None-Match",
    "`*`: create the key, and fail with 412 if it exists",
    {"enum": ["*"]},
    where="header",
)
_TTL = Parameter(
    "JetKV-TTL-Seconds",
    "Expire the value after this many seconds; `never`: not even with the bucket's TTL",
    {"pattern": "^([1-9][0-9]{0,9}|never)$"},
    where="header",
)
_BYTES = {"type": "string", "format": "binary"}
_ETAG: dict[str, dict[str, Any]] = {
    "ETag": {"schema": TEXT, "description": 'The revision in quotes, such as "7"'}
}
_READ_HEADERS: dict[str, dict[str, Any]] = {
    **_ETAG,
    "Last-Modified": {"schema": TEXT},
    "JetKV-Consistency": {"schema": {"type": "string", "enum": ["strong", "eventual"]}},
}
_CODING = {
    "Content-Encoding": {
        "schema": TEXT,
        "description": "The Content-Encoding of the PUT, if the answer is the raw value",
    }
}
_REVISION = {
    "type": "object",
    "properties": {"revision": {"type": "integer"}},
    "required": ["revision"],
}


_SNAPSHOT = Parameter("snapshot", "Send the current values first, then `kv_snapshot_end`", FLAG)
_IGNORE_DELETES = Parameter("ignore_deletes", "Leave out deletes", FLAG)
_META_ONLY = Parameter("meta_only", "Send sizes instead of values", FLAG)


def _watch_answers(id_is: str) -> dict[int, Answer]:
    return {
        101: Answer("Frames over a WebSocket", headers=FILTERED),
        200: Answer(
            f"Frames as server-sent events; the `id` is {id_is}",
            {"text/event-stream": TEXT},
            FILTERED,
        ),
    }


_TOUCHED = {
    "type": "object",
    "properties": {
        "revision": {"type": "integer"},
        "expires_at": {"type": "string", "format": "date-time"},
    },
    "required": ["revision"],
}

ROUTES: tuple[Route, ...] = (
    Route(
        "get_entry",
        "GET",
        _KEY,
        Verb.READ,
        "Read a key",
        "Keys",
        parameters=(
            Parameter("values", "The format of the value", {"enum": ["base64", "json", "raw"]}),
            Parameter(
                "consistency",
                "`strong` (the default) shows every acknowledged write; with `eventual`, any "
                "replica may answer",
                {"enum": ["strong", "eventual"]},
            ),
            Parameter("revision", "Read this older revision", {"pattern": "^[1-9][0-9]{0,18}$"}),
            _IF_MATCH,
            _IF_NONE_MATCH,
        ),
        documents_head=True,
        steps=True,
        answers={
            200: Answer(
                "The entry, or its raw bytes",
                {"application/json": "EntryOut", "*/*": _BYTES},
                {**_READ_HEADERS, **_CODING},
            ),
            304: Answer("Not modified", headers=_READ_HEADERS),
        },
        error_statuses=(404, 409, 412, 429, 503, 504),
    ),
    Route(
        "put_entry",
        "PUT",
        _KEY,
        Verb.WRITE,
        "Store a value byte for byte, optionally under a condition",
        "Keys",
        parameters=(
            _IF_MATCH,
            _CREATE_ONLY,
            _TTL,
            Parameter(
                "Content-Encoding",
                "The coding of the value, such as gzip; it is stored with the value",
                where="header",
            ),
        ),
        repeatable=True,
        steps=True,
        answers={200: Answer("Stored", {"application/json": _REVISION}, _ETAG)},
        error_statuses=(404, 409, 412, 413, 429, 501, 503, 504, 507),
        body={"application/octet-stream": _BYTES, "application/json": {}, "*/*": _BYTES},
    ),
    Route(
        "touch_entry",
        "POST",
        f"{BUCKET}/touch/{{key...}}",
        Verb.WRITE,
        "Renew the TTL of a key, without changing its value",
        "Keys",
        parameters=(_TTL, _IF_MATCH),
        repeatable=True,
        answers={200: Answer("Renewed", {"application/json": _TOUCHED}, _ETAG)},
        error_statuses=(404, 409, 412, 429, 503, 504, 507),
    ),
    Route(
        "delete_entry",
        "DELETE",
        _KEY,
        Verb.DELETE,
        "Delete a key; with `purge`, delete its history, too",
        "Keys",
        parameters=(Parameter("purge", "Delete the history, too", FLAG), _IF_MATCH),
        repeatable=True,
        steps=True,
        answers={204: Answer("The key does not exist now")},
        error_statuses=(404, 409, 412, 429, 503, 504, 507),
    ),
    Route(
        "get_history",
        "GET",
        f"{BUCKET}/history/{{key...}}",
        Verb.READ,
        "List the stored revisions of a key, with tombstones, oldest first",
        "Keys",
        parameters=(VALUES,),
        streamed=True,
        answers={200: json_answer("The revisions", "History")},
        error_statuses=(404, 409, 429, 503, 504),
    ),
    Route(
        "batch",
        "POST",
        f"{BUCKET}/batch",
        Verb.BATCH,
        "Read several keys as of one moment, or change them: all or none, or each for itself",
        "Keys",
        parameters=(VALUES,),
        streamed=True,
        repeatable=True,
        counts_items=True,
        answers={
            200: Answer(
                "What was read, or what became of each op",
                {"application/json": BATCH_ANSWER},
                FILTERED,
            )
        },
        error_statuses=(404, 409, 412, 413, 429, 501, 503, 504, 507),
        body={"application/json": BATCH_BODY},
    ),
    *LISTING_ROUTES,
    Route(
        "watch_bucket",
        "GET",
        f"{BUCKET}/watch",
        Verb.WATCH,
        "Watch changes, over a WebSocket or as an event stream (`Accept: text/event-stream`)",
        "Watch",
        parameters=(
            Parameter(
                "key", "A filter, as in lists; up to 64 of them", {"maxLength": 512}, repeated=True
            ),
            _SNAPSHOT,
            Parameter(
                "resume_after",
                "Send every key that changed after this revision first",
                {"pattern": "^[0-9]{1,19}$"},
            ),
            Parameter(
                "bucket_created_at",
                "`created_at` of the bucket that the revision of `resume_after` belongs to",
            ),
            _IGNORE_DELETES,
            _META_ONLY,
            TICKET,
            Parameter("env", "Accepted and ignored"),
        ),
        limited=False,
        endless=True,
        websocket=True,
        answers=_watch_answers("the revision"),
        error_statuses=(409, 426, 429, 503, 504),
    ),
    Route(
        "watch_buckets",
        "GET",
        "/api/v1/kv/watch",
        Verb.WATCH,
        "Watch changes of several buckets over one connection, a WebSocket or an event stream",
        "Watch",
        parameters=(
            Parameter(
                "watch",
                "`BUCKET/FILTER`, or `BUCKET` for all keys of it; up to 64 of them",
                {"maxLength": 713},
                repeated=True,
            ),
            _SNAPSHOT,
            Parameter(
                "resume",
                "Go on after this bookmark: the `bookmark` of a frame or the `id` of an event",
                {"maxLength": 4096},
            ),
            _IGNORE_DELETES,
            _META_ONLY,
            TICKET,
        ),
        limited=False,
        endless=True,
        websocket=True,
        answers=_watch_answers("a bookmark"),
        error_statuses=(409, 426, 429, 503, 504),
    ),
    *BUCKET_ROUTES,
    *AUTH_ROUTES,
    *TOKEN_ROUTES,
    *CONSOLE_ROUTES,
    *FLAG_ROUTES,
    Route(
        "liveness",
        "GET",
        "/health",
        None,
        "Check that the process lives",
        "Health",
        limited=False,
        answers={200: json_answer("The process lives", "HealthStatus")},
    ),
    Route(
        "readiness",
        "GET",
        "/ready",
        None,
        "Check that JetStream answers and the required buckets exist",
        "Health",
        limited=False,
        answers={
            200: json_answer("Ready", "Readiness"),
            503: json_answer("Not ready, or the gateway stops; `issues` says why", "Readiness"),
        },
    ),
    Route(
        "capabilities",
        "GET",
        "/api/v1/capabilities",
        None,
        "List what this server can do",
        "Health",
        limited=False,
        answers={200: json_answer("The capabilities", "Capabilities")},
    ),
    Route(
        "metrics",
        "GET",
        "/metrics",
        Verb.METRICS,
        "Read the metrics of all workers, in Prometheus's text format",
        "Health",
        limited=False,
        answers={200: Answer("The metrics", {"text/plain": TEXT})},
    ),
    Route(
        "openapi",
        "GET",
        "/api/v1/openapi.json",
        Verb.API_DESCRIPTION,
        "Read this document",
        "API description",
        answers={200: Answer("The document", {"application/json": {}})},
    ),
    Route(
        "docs",
        "GET",
        "/docs",
        Verb.API_DESCRIPTION,
        "Read this document as a web page",
        "API description",
        page=True,
        answers={200: Answer("The page", {"text/html": TEXT})},
    ),
)

ROUTER = Router(ROUTES)
"""Looks up paths in this table."""

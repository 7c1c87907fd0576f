"""The routes for many keys of a bucket."""

from jetkv_gateway.http.route_parts import BUCKET, FILTERED, FLAG, TEXT, VALUES, json_answer
from jetkv_gateway.http.router import Answer, Parameter, Route
from jetkv_gateway.kv.access import Verb

__all__ = ["LISTING_ROUTES"]

_FILTER = Parameter(
    "filter",
    "Which keys to list. `*` stands for one token between dots, or for a part of one (`user-*`). A "
    "final `>` stands for all remaining tokens. Without a wildcard, the filter is a key, or a "
    "prefix if it ends in one of `. : / -`.",
    {"pattern": r"^([^>\x00-\x1f\x7f]*|([^>\x00-\x1f\x7f]*\.)?>)$", "maxLength": 512},
)
_PREFIX = Parameter(
    "prefix",
    "Only keys that start with this text, in which no character is a wildcard. Give either this or "
    "`filter`.",
    {"pattern": r"^[^\x00-\x1f\x7f]*$", "maxLength": 512},
)

LISTING_ROUTES: tuple[Route, ...] = (
    Route(
        "list_keys",
        "GET",
        f"{BUCKET}/keys",
        Verb.LIST_KEYS,
        "List the live keys, sorted by their UTF-8 bytes, or read them as JSON lines "
        "(`Accept: application/x-ndjson`)",
        "Keys",
        parameters=(
            _FILTER,
            _PREFIX,
            Parameter(
                "limit",
                "At most so many keys; 1,000 with `include=values`",
                {"pattern": "^([1-9][0-9]{0,3}|10000)$"},
            ),
            Parameter(
                "cursor",
                "`next_cursor` of the page before, with the same filter, prefix and include",
                {"pattern": "^[A-Za-z0-9_-]+$"},
            ),
            Parameter(
                "include",
                "`keys` (the default), `meta` (all but the value), `values`, or `history` (every "
                "stored revision; JSON lines only). The default of JSON lines is `meta`.",
                {"enum": ["keys", "meta", "values", "history"]},
            ),
            VALUES,
        ),
        limited=False,
        scans=True,
        streamed=True,
        answers={
            200: Answer(
                "The keys or their entries",
                {
                    "application/json": {
                        "anyOf": [
                            {"$ref": "#/components/schemas/KeyList"},
                            {"$ref": "#/components/schemas/EntryList"},
                        ]
                    },
                    "application/x-ndjson": TEXT,
                },
                FILTERED,
            )
        },
        error_statuses=(404, 409, 410, 429, 503, 504),
    ),
    Route(
        "delete_keys",
        "DELETE",
        f"{BUCKET}/keys",
        Verb.DELETE_KEYS,
        "Delete many keys, each unless it is written meanwhile; the progress comes as JSON lines "
        "(`Accept: application/x-ndjson`)",
        "Keys",
        parameters=(
            _FILTER,
            _PREFIX,
            Parameter("purge", "Delete the histories, too", FLAG),
            Parameter("dry_run", "Count the keys and delete none", FLAG),
        ),
        limited=False,
        streamed=True,
        answers={
            200: Answer(
                "What was deleted",
                {"application/json": "SweptOut", "application/x-ndjson": TEXT},
                FILTERED,
            )
        },
        error_statuses=(404, 409, 429, 503, 504, 507),
    ),
    Route(
        "compact_bucket",
        "POST",
        f"{BUCKET}/compact",
        Verb.COMPACT,
        "Remove the tombstones of keys without other stored revisions",
        "Keys",
        limited=False,
        answers={200: json_answer("What was removed", "Compacted")},
        error_statuses=(404, 409, 413, 429, 501, 503, 504),
        body={"application/json": "CompactIn"},
    ),
)

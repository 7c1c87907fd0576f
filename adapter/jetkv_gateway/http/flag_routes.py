"""The routes that evaluate feature flags by OFREP (docs/flags.md)."""

from typing import Any

from jetkv_gateway.http.route_parts import FILTERED, OFREP, TEXT
from jetkv_gateway.http.router import Answer, Parameter, Route
from jetkv_gateway.http.token_routes import TICKET
from jetkv_gateway.kv.access import Verb

__all__ = ["FLAG_EVENTS", "FLAG_ROUTES"]

_FLAGS = f"{OFREP}/evaluate/flags"
FLAG_EVENTS = f"{OFREP}/events"
"""The path of the event stream."""

_BODY: dict[str, Any] = {
    "type": "object",
    "properties": {
        "context": {"type": "object", "properties": {"targetingKey": TEXT}},
    },
}
_EVALUATION = {
    "type": "object",
    "properties": {
        "key": TEXT,
        "reason": TEXT,
        "variant": TEXT,
        "value": {"description": "JSON of any type; absent if your code's own default is meant"},
        "metadata": {"type": "object"},
    },
    "required": ["key", "reason", "variant"],
}
_FAILURE = {
    "type": "object",
    "properties": {"key": TEXT, "errorCode": TEXT, "errorDetails": TEXT},
    "required": ["key", "errorCode", "errorDetails"],
}
_STREAM = {
    "type": "object",
    "properties": {
        "type": {"type": "string", "enum": ["sse"]},
        "endpoint": {
            "type": "object",
            "properties": {"requestUri": TEXT},
            "required": ["requestUri"],
        },
        "inactivityDelaySec": {"type": "integer"},
    },
    "required": ["type", "endpoint"],
}
_STALE: dict[str, dict[str, Any]] = {
    "JetKV-Stale": {
        "schema": {"type": "string", "enum": ["true"]},
        "description": "Present while NATS is away: the flags are the last known ones",
    }
}
_ETAG: dict[str, dict[str, Any]] = {
    "ETag": {"schema": TEXT, "description": "Of the flags and the context"}
}

FLAG_ROUTES: tuple[Route, ...] = (
    Route(
        "evaluate_flag",
        "POST",
        f"{_FLAGS}/{{key...}}",
        Verb.EVALUATE,
        "Evaluate a feature flag for a context",
        "Flags",
        steps=True,
        evaluates=True,
        answers={200: Answer("The evaluation", {"application/json": _EVALUATION}, _STALE)},
        error_statuses=(404, 409, 413, 429, 501, 503, 504),
        body={"application/json": _BODY},
    ),
    Route(
        "evaluate_flags",
        "POST",
        _FLAGS,
        Verb.EVALUATE,
        "Evaluate all feature flags that you may read, for a context",
        "Flags",
        parameters=(
            Parameter(
                "flagConfigEtag",
                "The `etag` of an event: evaluate what is at least as new as that change",
            ),
            Parameter("flagConfigLastModified", "Accepted and ignored"),
            Parameter(
                "If-None-Match",
                "Answer 304 if the evaluations are still those of this `ETag`",
                where="header",
            ),
        ),
        evaluates=True,
        answers={
            200: Answer(
                "The evaluations, and where to hear of changes",
                {
                    "application/json": {
                        "type": "object",
                        "properties": {
                            "flags": {
                                "type": "array",
                                "items": {"anyOf": [_EVALUATION, _FAILURE]},
                            },
                            "eventStreams": {"type": "array", "items": _STREAM},
                        },
                        "required": ["flags"],
                    }
                },
                {**_ETAG, **_STALE, **FILTERED},
            ),
            304: Answer("Not modified", headers={**_ETAG, **_STALE, **FILTERED}),
        },
        error_statuses=(409, 413, 429, 501, 503, 504),
        body={"application/json": _BODY},
    ),
    Route(
        "flag_events",
        "GET",
        FLAG_EVENTS,
        Verb.EVALUATE,
        "Hear of changes of feature flags, as an event stream",
        "Flags",
        parameters=(
            Parameter(
                "after",
                "What the evaluation knew that names this stream",
            ),
            Parameter(
                "Last-Event-ID",
                "Send an event for each change after this revision first",
                {"pattern": "^[0-9]{1,19}$"},
                where="header",
            ),
            TICKET,
        ),
        limited=False,
        endless=True,
        evaluates=True,
        answers={
            200: Answer(
                "An event for each change; the `id` is its revision",
                {"text/event-stream": TEXT},
                FILTERED,
            )
        },
        error_statuses=(409, 429, 503, 504),
    ),
)

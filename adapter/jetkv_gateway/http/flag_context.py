"""Reads the body of an evaluation, and the conditions of one (docs/flags.md). Pure."""

from functools import lru_cache
from typing import Any

import orjson

from jetkv.flags import NOBODY, EvaluationContext, EvaluationError
from jetkv_gateway.kv.errors import EvaluationFailed

__all__ = ["BODY_LIMIT", "context_digest_input", "read_context", "still_matches"]

BODY_LIMIT = 64 * 1024
"""The largest body, in bytes."""

_SHORT = 512
"""Bytes of a body that is cached."""

_DEEPEST = 64
_HINT = 'send an object, such as {"context": {"targetingKey": "ada"}}'


def read_context(body: bytes) -> EvaluationContext:
    """Return the context that a body has. Short ones are cached: one user has many flags.

    Raises:
        EvaluationFailed: it has none that can be used.
    """
    return _cached(body) if len(body) <= _SHORT else _read(body)


def _read(body: bytes) -> EvaluationContext:
    try:
        document = orjson.loads(body)
    except ValueError as error:
        raise _invalid(f"the body is not JSON: {error}") from None
    if type(document) is not dict:
        raise _invalid("the body is not an object")
    if body.count(b"{") + body.count(b"[") > _DEEPEST and _is_deep(document):
        raise _invalid(f"the body is nested deeper than {_DEEPEST} levels")
    if "context" not in document:
        return NOBODY
    try:
        return EvaluationContext.of(document["context"])
    except EvaluationError as error:
        raise EvaluationFailed(
            error.message, error_code=str(error.error_code), hint=error.hint
        ) from None


_cached = lru_cache(maxsize=1024)(_read)


def context_digest_input(context: EvaluationContext) -> bytes:
    """Return a context as bytes that are the same however its JSON was written."""
    return orjson.dumps(
        [context.targeting_key, dict(context.attributes)], option=orjson.OPT_SORT_KEYS
    )


def still_matches(header: bytes, etag: bytes) -> bool:
    """Return whether `If-None-Match` has an ETag. Some clients send it without its quotes.

    Args:
        etag: without quotes.
    """
    tags = [one.strip().removeprefix(b"W/").strip(b'"') for one in header.split(b",")]
    return etag in tags


def _invalid(message: str) -> EvaluationFailed:
    return EvaluationFailed(message, error_code="INVALID_CONTEXT", hint=_HINT)


def _is_deep(document: Any) -> bool:
    level: list[Any] = [document]
    for _ in range(_DEEPEST):
        level = [
            inner
            for one in level
            for inner in (one.values() if isinstance(one, dict) else one)
            if isinstance(inner, dict | list)
        ]
        if not level:
            return False
    return True

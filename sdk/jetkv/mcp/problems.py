"""What a model is told if a call fails: what went wrong, and what to do next."""

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from jetkv import errors
from jetkv._core.hints import hint_of

__all__ = ["document_of", "text_of"]

# The SDK's hints name its methods. These name what a model can call.
_HINTS: Mapping[type[errors.JetKVError], str] = {
    errors.BucketNotFoundError: "kv_list_buckets lists the buckets",
    errors.KeyNotFoundError: "kv_list_keys lists the keys that have a value",
    errors.NotFoundError: "the address of this server is not that of a gateway; the user must "
    "correct it",
    errors.AuthenticationError: "the token of this server is missing or wrong; the user must give "
    "it another one",
    errors.PermissionDeniedError: "the token of this server does not allow it; do not try again",
    errors.RevisionMismatchError: "read the key again with kv_get, and use its revision",
    errors.KeyExistsError: "read it with kv_get, or use its revision to replace it",
    errors.CursorExpiredError: "list again, without a cursor",
    errors.OutcomeUnknownError: "read the key with kv_get before you write it again",
    errors.DeadlineExceededError: "try again",
}
_UNREACHABLE = "no gateway answers at the address of this server; the user must start it"


def document_of(error: errors.JetKVError | ValidationError) -> dict[str, Any]:
    """Return an error as JSON: `error`, `code`, `retryable`, and `hint` if there is one."""
    if isinstance(error, ValidationError):
        return {"error": _invalid(error), "code": "invalid_argument", "retryable": False}
    found: dict[str, Any] = {
        "error": error.message,
        "code": error.code,
        "retryable": error.retryable,
    }
    hint = hint_of(error, _HINTS, _UNREACHABLE)
    if hint:
        found["hint"] = hint
    if isinstance(error, errors.RevisionMismatchError) and error.current_revision is not None:
        found["details"] = {"current_revision": error.current_revision}
    return found


def text_of(error: errors.JetKVError) -> str:
    """Return an error as one line."""
    hint = hint_of(error, _HINTS, _UNREACHABLE)
    return f"{error.message}; {hint}" if hint else error.message


def _invalid(error: ValidationError) -> str:
    # No input is repeated: it may be long.
    return "; ".join(
        f"{'.'.join(map(str, one['loc'])) or 'arguments'}: {one['msg']}"
        for one in error.errors(include_url=False, include_input=False)
    )

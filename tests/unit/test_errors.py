"""The error tree (docs/http-api.md#errors): each class by status, code, text and answer."""

import copy
import re
from collections.abc import Iterator
from typing import Any

import orjson
import pytest

from jetkv_gateway.http.call import JSON_LINE
from jetkv_gateway.http.failures import failure
from jetkv_gateway.kv import errors
from jetkv_gateway.kv.errors import (
    BucketExists,
    BucketFull,
    BucketNotFound,
    BucketProtected,
    BucketUnsuitable,
    CannotBeChanged,
    DeadlineExceeded,
    GatewayError,
    InternalError,
    InvalidArgument,
    InvalidBucketName,
    KeyExists,
    KeyNotFound,
    MethodNotAllowed,
    NotFound,
    OutcomeUnknown,
    PermissionDenied,
    PreconditionFailed,
    Resync,
    RevisionMismatch,
    TooManyRequests,
    Unauthenticated,
    Unavailable,
    ValueTooLarge,
    WouldLoseData,
)


def tree(root: type[GatewayError]) -> Iterator[type[GatewayError]]:
    yield root
    for kind in root.__subclasses__():
        yield from tree(kind)


ALL = list(tree(GatewayError))

CODES = {
    400: {"invalid_argument"},
    401: {"unauthenticated"},
    403: {"permission_denied"},
    404: {"not_found"},
    405: {"invalid_argument"},
    408: {"deadline_exceeded"},
    409: {"already_exists", "failed_precondition", "resync"},
    410: {"bucket_deleted", "failed_precondition"},
    412: {"failed_precondition"},
    413: {"invalid_argument"},
    414: {"invalid_argument"},
    417: {"invalid_argument"},
    426: {"invalid_argument"},
    429: {"resource_exhausted", "slow_consumer"},
    431: {"invalid_argument"},
    500: {"internal"},
    501: {"invalid_argument"},
    503: {"unavailable"},
    504: {"deadline_exceeded"},
    507: {"failed_precondition"},
}


# --- every class


@pytest.mark.parametrize("kind", ALL, ids=lambda kind: kind.__name__)
def test_every_error_has_a_code_that_the_contract_gives_to_its_status(
    kind: type[GatewayError],
) -> None:
    assert kind.code in CODES[kind.status]


@pytest.mark.parametrize("kind", ALL, ids=lambda kind: kind.__name__)
def test_every_error_has_one_line_of_text(kind: type[GatewayError]) -> None:
    assert kind.text
    assert kind.text == kind.text.strip()
    assert "\n" not in kind.text


@pytest.mark.parametrize("kind", ALL, ids=lambda kind: kind.__name__)
def test_every_error_says_what_it_is_for(kind: type[GatewayError]) -> None:
    assert kind is GatewayError or (kind.__doc__ or "").startswith("Raised ")


def test_no_two_errors_have_the_same_text_but_for_the_root() -> None:
    texts = [kind.text for kind in ALL if kind is not InternalError]
    assert len(set(texts)) == len(texts)


def test_the_tree_that_is_drawn_is_the_tree_that_exists() -> None:
    assert errors.__doc__ is not None
    drawn: list[tuple[str, str, int]] = []
    parents = ["GatewayError"]
    for line in errors.__doc__.splitlines():
        match = re.match(r"    ((?:│   |    )*)[├└]── (\w+) +(\d{3})\b", line)
        if match is None:
            continue
        depth = len(match[1]) // 4 + 1
        del parents[depth:]
        drawn.append((match[2], parents[-1], int(match[3])))
        parents.append(match[2])
    existing = [(kind.__name__, kind.__mro__[1].__name__, kind.status) for kind in ALL[1:]]
    assert sorted(drawn) == sorted(existing)


def test_the_module_shows_every_error_of_the_tree() -> None:
    assert sorted(errors.__all__) == sorted(kind.__name__ for kind in ALL)


# --- the table of docs/http-api.md#errors


@pytest.mark.parametrize(
    ("error", "status", "code", "text"),
    [
        (BucketNotFound(), 404, "not_found", "bucket not found"),
        (KeyNotFound(), 404, "not_found", "key not found"),
        (NotFound(), 404, "not_found", "route not found"),
        (MethodNotAllowed("GET"), 405, "invalid_argument", "method not allowed"),
        (BucketExists(), 409, "already_exists", "bucket already exists"),
        (BucketUnsuitable("no purge"), 409, "failed_precondition", "no purge"),
        (BucketProtected(), 409, "failed_precondition", "bucket is protected"),
        (CannotBeChanged({}), 409, "failed_precondition", "cannot be changed"),
        (WouldLoseData({}), 409, "failed_precondition", "would lose data"),
        (KeyExists(), 412, "failed_precondition", "key already exists"),
        (RevisionMismatch(), 412, "failed_precondition", "revision mismatch"),
        (PreconditionFailed(), 412, "failed_precondition", "precondition failed"),
        (InvalidBucketName(), 400, "invalid_argument", "invalid bucket name"),
        (InvalidArgument("invalid key: empty"), 400, "invalid_argument", "invalid key: empty"),
        (ValueTooLarge(), 413, "invalid_argument", "value too large"),
        (BucketFull(), 507, "failed_precondition", "bucket is full"),
        (Unauthenticated(), 401, "unauthenticated", "authentication required"),
        (PermissionDenied(), 403, "permission_denied", "permission denied"),
        (TooManyRequests(), 429, "resource_exhausted", "too many requests"),
        (InternalError(), 500, "internal", "internal error"),
        (Unavailable(), 503, "unavailable", "NATS is not available"),
        (DeadlineExceeded(), 504, "deadline_exceeded", "no answer from NATS in time"),
        (
            OutcomeUnknown("read it"),
            504,
            "deadline_exceeded",
            "no answer from NATS in time: the write may or may not have been applied",
        ),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, GatewayError) else None,
)
def test_an_error_is_answered_as_the_contract_says(
    error: GatewayError, status: int, code: str, text: str
) -> None:
    body = orjson.loads(failure(error, b"id-1").body)
    assert (error.status, body["code"], body["error"]) == (status, code, text)
    assert body["request_id"] == "id-1"
    assert str(error) == text


def test_only_what_a_client_may_send_again_as_it_is_is_retryable() -> None:
    assert {kind for kind in ALL if kind.retryable} == {
        TooManyRequests,
        Unavailable,
        DeadlineExceeded,
    }


# --- body and headers


def test_a_bare_error_has_four_fields() -> None:
    assert failure(KeyNotFound(), b"r").body == (
        b'{"error":"key not found","code":"not_found","retryable":false,"request_id":"r"}'
    )


def test_an_error_tells_all_it_knows() -> None:
    error = InvalidArgument("m", hint="h", details={"limit_bytes": 1}, retry_after=2)
    assert orjson.loads(failure(error, b"r").body) == {
        "error": "m",
        "code": "invalid_argument",
        "retryable": False,
        "request_id": "r",
        "hint": "h",
        "details": {"limit_bytes": 1},
        "retry_after": 2,
    }


@pytest.mark.parametrize(
    ("error", "details"),
    [
        (RevisionMismatch(7), {"current_revision": 7}),
        (KeyExists(7), {"current_revision": 7}),
        (RevisionMismatch(), None),
        (ValueTooLarge(1024), {"limit_bytes": 1024}),
        (ValueTooLarge(0), {"limit_bytes": 0}),
        (ValueTooLarge(), None),
        (OutcomeUnknown("GET the key"), {"outcome": "unknown"}),
    ],
    ids=repr,
)
def test_the_facts_of_an_error_are_in_its_details(
    error: GatewayError, details: dict[str, Any] | None
) -> None:
    assert orjson.loads(failure(error, b"r").body).get("details") == details


def test_an_unknown_outcome_says_how_to_check_and_forbids_the_blind_retry() -> None:
    body = orjson.loads(failure(OutcomeUnknown("GET the key and compare"), b"r").body)
    assert body["hint"] == "GET the key and compare"
    assert body["retryable"] is False


@pytest.mark.parametrize(
    "error",
    [BucketProtected(), Resync("a change may be missing"), RevisionMismatch(7), Unavailable()],
    ids=repr,
)
def test_a_copy_of_an_error_says_the_same_and_has_no_traceback(error: GatewayError) -> None:
    with pytest.raises(type(error)):
        raise error
    again = copy.copy(error)
    assert type(again) is type(error)
    assert vars(again) == vars(error)
    assert str(again) == str(error)
    assert again.__traceback__ is None


@pytest.mark.parametrize("kind", [TooManyRequests, Unavailable])
def test_what_may_be_tried_again_says_when(kind: type[TooManyRequests | Unavailable]) -> None:
    error = kind(retry_after=3)
    assert failure(error, b"r").lines == JSON_LINE + b"retry-after: 3\r\n"
    assert orjson.loads(failure(error, b"r").body)["retry_after"] == 3
    assert kind().retry_after == 1


def test_a_missing_credential_is_asked_for() -> None:
    assert failure(Unauthenticated(), b"r").lines == JSON_LINE + b"www-authenticate: Bearer\r\n"


def test_a_wrong_method_is_answered_with_the_right_ones() -> None:
    error = MethodNotAllowed("GET, OPTIONS")
    assert failure(error, b"r").lines == JSON_LINE + b"allow: GET, OPTIONS\r\n"
    assert error.hint == "allowed here: GET, OPTIONS"


@pytest.mark.parametrize("error", [KeyNotFound(), RevisionMismatch(7), OutcomeUnknown("x")])
def test_any_other_error_needs_no_header(error: GatewayError) -> None:
    assert failure(error, b"r").lines == JSON_LINE

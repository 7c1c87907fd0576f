"""The SDK's error tree: drawn, exported, sent on, and made of what the gateway answers."""

import copy
import pickle
import re
from collections.abc import Iterator
from typing import Any

import pytest

import jetkv
from jetkv import errors
from jetkv._core.answers import error_of
from jetkv._core.messages import Answer, Kind, Request
from jetkv.errors import JetKVError
from jetkv_gateway.http.failures import failure
from jetkv_gateway.kv import errors as of_gateway

NOT_ERRORS = {
    "KV",
    "AsyncBucket",
    "AsyncClient",
    "AsyncKV",
    "AsyncMultiWatch",
    "AsyncWatch",
    "Bucket",
    "BucketInfo",
    "BucketWarning",
    "Caller",
    "NewToken",
    "TokenInfo",
    "Change",
    "Client",
    "Codec",
    "Deleted",
    "Entry",
    "EntryMeta",
    "KeyPage",
    "MultiWatch",
    "NEVER",
    "Operation",
    "Permission",
    "Placement",
    "Republish",
    "Retry",
    "Snapshot",
    "TTL",
    "Touched",
    "Update",
    "Watch",
    "__version__",
}
"""The public names beside the errors that are drawn."""


def tree(root: type) -> Iterator[type]:
    yield root
    for kind in root.__subclasses__():
        yield from tree(kind)


ALL: list[type[JetKVError]] = list(tree(JetKVError))
every_error = pytest.mark.parametrize("kind", ALL, ids=lambda kind: kind.__name__)


def drawn() -> list[tuple[str, str, str]]:
    """Return the tree of the docstring as (name, parent, status or nothing)."""
    found: list[tuple[str, str, str]] = []
    parents = ["JetKVError"]
    for line in (errors.__doc__ or "").splitlines():
        match = re.match(r"    ((?:│   |    )*)[├└]── (\w+)(?: +(\d{3})\b)?", line)
        if match is None:
            continue
        depth = len(match[1]) // 4 + 1
        del parents[depth:]
        found.append((match[2], parents[-1], match[3] or ""))
        parents.append(match[2])
    return found


# --- the tree and the names


def test_the_tree_that_is_drawn_is_the_tree_that_exists() -> None:
    existing = [(kind.__name__, kind.__mro__[1].__name__) for kind in ALL[1:]]
    assert sorted((name, parent) for name, parent, _ in drawn()) == sorted(existing)


def test_the_module_shows_every_error_of_the_tree() -> None:
    assert sorted(errors.__all__) == sorted(kind.__name__ for kind in ALL)


@every_error
def test_every_error_is_importable_from_the_package(kind: type[JetKVError]) -> None:
    assert getattr(jetkv, kind.__name__) is kind


PUBLIC = NOT_ERRORS | {"JetKVError"} | {name for name, _, _ in drawn()}


def test_the_public_names_are_these() -> None:
    assert set(jetkv.__all__) == PUBLIC


@pytest.mark.parametrize("name", sorted(PUBLIC))
def test_every_public_name_is_there(name: str) -> None:
    assert getattr(jetkv, name) is not None


@every_error
def test_every_error_says_when_it_is_raised(kind: type[JetKVError]) -> None:
    assert re.match(r"(Raised |Root )", kind.__doc__ or "")


# --- an error's attributes


@every_error
def test_every_error_has_status_code_request_id_and_retryable(kind: type[JetKVError]) -> None:
    error = kind("m")
    assert (error.message, error.hint, error.status, error.request_id) == ("m", None, None, None)
    assert isinstance(error.code, str)
    assert isinstance(error.retryable, bool)
    assert error.details == {}


@every_error
def test_every_error_keeps_what_it_was_given(kind: type[JetKVError]) -> None:
    error = kind("m", hint="h", status=418, code="c", retryable=True, request_id="r")
    assert (error.status, error.code, error.retryable) == (418, "c", True)
    assert str(error) == "m (h) [request r]"


def test_only_what_certainly_did_no_harm_is_retryable_of_itself() -> None:
    assert {kind for kind in ALL if kind("m").retryable} == {
        errors.UnavailableError,
        errors.TooManyRequestsError,
        errors.DeadlineExceededError,
        errors.LockTimeoutError,
    }


@pytest.mark.parametrize("details", [{}, {"current_revision": "7"}, {"current_revision": None}])
def test_a_revision_that_is_not_told_is_not_made_up(details: dict[str, Any]) -> None:
    assert errors.RevisionMismatchError("m", details=details).current_revision is None


def test_a_mismatch_says_the_current_revision() -> None:
    assert errors.RevisionMismatchError("m", details={"current_revision": 7}).current_revision == 7


def test_a_value_too_large_says_the_limit() -> None:
    assert errors.ValueTooLargeError("m", details={"limit_bytes": 0}).limit_bytes == 0


# --- travelling

OWN: dict[type[JetKVError], dict[str, Any]] = {
    errors.ValueDecodeError: {"raw": b"\xff"},
    errors.WatchLostError: {"reason": "resync", "last_revision": 7},
}
"""What a class takes beside what all take."""


def full(kind: type[JetKVError]) -> JetKVError:
    """Return an error with all that it can have."""
    return kind(
        "m",
        hint="h",
        status=418,
        code="c",
        retryable=True,
        request_id="r",
        details={"current_revision": 7, "limit_bytes": 8},
        **OWN.get(kind, {}),
    )


TRAVELS = {
    "pickle": lambda error: pickle.loads(pickle.dumps(error)),
    "old pickle": lambda error: pickle.loads(pickle.dumps(error, 0)),
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
}


@pytest.mark.parametrize("travel", TRAVELS.values(), ids=TRAVELS)
@every_error
def test_an_error_arrives_as_it_left(kind: type[JetKVError], travel: Any) -> None:
    error = full(kind)
    arrived = travel(error)
    assert type(arrived) is kind
    assert vars(arrived) == vars(error)
    assert (str(arrived), arrived.args) == (str(error), error.args)


def test_an_error_arrives_with_what_was_noted_on_it() -> None:
    error = errors.UnavailableError("m")
    error.add_note("while the tests ran")
    assert pickle.loads(pickle.dumps(error)).__notes__ == ["while the tests ran"]


# --- what the gateway says

LOST = {"history": {"current": 5, "wanted": 1}}

SAID: dict[of_gateway.GatewayError, type[JetKVError]] = {
    of_gateway.InternalError(): errors.GatewayError,
    of_gateway.InvalidArgument("invalid key: empty"): errors.InvalidArgumentError,
    of_gateway.InvalidBucketName(): errors.InvalidArgumentError,
    of_gateway.Unauthenticated(): errors.AuthenticationError,
    of_gateway.PermissionDenied("no put in bucket b"): errors.PermissionDeniedError,
    of_gateway.NotFound(): errors.NotFoundError,
    of_gateway.BucketNotFound(): errors.BucketNotFoundError,
    of_gateway.KeyNotFound(): errors.KeyNotFoundError,
    of_gateway.MethodNotAllowed("GET"): errors.InvalidArgumentError,
    of_gateway.BucketExists(): errors.BucketExistsError,
    of_gateway.TokenNotFound(): errors.TokenNotFoundError,
    of_gateway.TokenExists(): errors.TokenExistsError,
    of_gateway.TokenKept(hint="it is the last one"): errors.TokenKeptError,
    of_gateway.BucketUnsuitable("no purge here"): errors.BucketUnsuitableError,
    of_gateway.BucketProtected(): errors.BucketProtectedError,
    of_gateway.CannotBeChanged(LOST): errors.CannotBeChangedError,
    of_gateway.WouldLoseData(LOST): errors.WouldLoseDataError,
    of_gateway.PreconditionFailed(7): errors.PreconditionFailedError,
    # Each write of the SDK has an id of its own, so it never meets this.
    of_gateway.IdempotencyConflict(7): errors.BucketUnsuitableError,
    of_gateway.KeyExists(7): errors.KeyExistsError,
    of_gateway.RevisionMismatch(7): errors.RevisionMismatchError,
    of_gateway.ConditionsFailed([(0, "k", 7)]): errors.ConditionsFailedError,
    of_gateway.CursorExpired(): errors.CursorExpiredError,
    of_gateway.ValueTooLarge(100): errors.ValueTooLargeError,
    of_gateway.AnswerTooLarge(100): errors.ValueTooLargeError,
    of_gateway.TooManyRequests(): errors.TooManyRequestsError,
    of_gateway.UpgradeRequired(): errors.InvalidArgumentError,
    of_gateway.CodingUnsupported(): errors.InvalidArgumentError,
    # What follows, only a client that writes HTTP by hand meets.
    of_gateway.InvalidHandshake("no key"): errors.InvalidArgumentError,
    of_gateway.ExpectationFailed(): errors.InvalidArgumentError,
    of_gateway.EvaluationFailed(): errors.InvalidArgumentError,
    of_gateway.FlagNotFound(): errors.NotFoundError,
    of_gateway.UrlTooLong(): errors.InvalidArgumentError,
    of_gateway.HeadTooLarge(): errors.InvalidArgumentError,
    of_gateway.MethodUnknown(): errors.InvalidArgumentError,
    of_gateway.RequestTooSlow(): errors.DeadlineExceededError,
    of_gateway.Unavailable(): errors.UnavailableError,
    of_gateway.DeadlineExceeded(): errors.DeadlineExceededError,
    of_gateway.OutcomeUnknown("get the key"): errors.OutcomeUnknownError,
    of_gateway.BucketFull(): errors.BucketFullError,
    of_gateway.QuotaExceeded(): errors.BucketFullError,
}
IN_FRAMES_ONLY = set(tree(of_gateway.WatchEnded))
"""Errors that a watch shows in a frame, and no answer has."""

every_answer = pytest.mark.parametrize(
    ("said", "kind"),
    SAID.items(),
    ids=lambda value: getattr(value, "__name__", type(value).__name__),
)
READ = Request("GET", "/x", Kind.READ, "get of 'k' in bucket 'b'")
WRITE = Request("PUT", "/x", Kind.KEYED, "put of 'k' in bucket 'b'", how_to_check="get the key")


def heard(said: of_gateway.GatewayError, request: Request | None = None) -> JetKVError:
    """Return what the SDK makes of an answer of the gateway."""
    if request is None:
        request = WRITE if isinstance(said, of_gateway.OutcomeUnknown) else READ
    headers = {"x-request-id": "r-1"}
    return error_of(Answer(said.status, headers, failure(said, b"r-1").body), request)


def test_every_error_of_the_gateway_is_heard_of_here() -> None:
    abstract = {of_gateway.GatewayError}
    existing = set(tree(of_gateway.GatewayError)) - abstract - IN_FRAMES_ONLY
    assert {type(said) for said in SAID} == existing


@every_answer
def test_every_error_of_the_gateway_has_its_class(
    said: of_gateway.GatewayError, kind: type[JetKVError]
) -> None:
    assert type(heard(said)) is kind


@every_answer
def test_an_error_of_the_gateway_keeps_its_facts(
    said: of_gateway.GatewayError, kind: type[JetKVError]
) -> None:
    error = heard(said)
    assert (error.status, error.code, error.retryable) == (said.status, said.code, said.retryable)
    assert (error.request_id, dict(error.details)) == ("r-1", said.details or {})


@every_answer
def test_an_error_of_the_gateway_says_the_call_and_the_reason(
    said: of_gateway.GatewayError, kind: type[JetKVError]
) -> None:
    text = str(heard(said))
    assert "of 'k' in bucket 'b': " in text
    assert said.message in text
    assert (said.hint or "") in text


@pytest.mark.parametrize("name", [name for name, _, status in drawn() if status])
def test_the_status_that_is_drawn_is_the_one_the_gateway_answers(name: str) -> None:
    status = next(status for found, _, status in drawn() if found == name)
    statuses = {said.status for said, kind in SAID.items() if kind.__name__ == name}
    assert int(status) in statuses


def test_a_write_that_the_gateway_knows_nothing_of_is_unknown_with_a_hint() -> None:
    error = heard(of_gateway.DeadlineExceeded(), WRITE)
    assert type(error) is errors.OutcomeUnknownError
    assert error.hint == "get the key"


@pytest.mark.parametrize(
    ("status", "kind"),
    [(418, errors.InvalidArgumentError), (422, errors.InvalidArgumentError)]
    + [(status, errors.GatewayError) for status in (500, 505, 599)],
)
def test_an_error_of_a_newer_gateway_is_still_one_of_the_tree(
    status: int, kind: type[JetKVError]
) -> None:
    body = b'{"error":"something new","code":"new","retryable":false}'
    error = error_of(Answer(status, {}, body), READ)
    assert type(error) is kind
    assert (error.status, error.code) == (status, "new")
    assert "something new" in str(error)


@pytest.mark.parametrize(
    "body",
    [
        b'{"error":"key not found"}',
        b'{"error":"key not found","code":5,"hint":[],"details":[],"retryable":"yes"}',
        b'{"error":"key not found","code":null,"hint":null,"details":null,"retryable":null}',
    ],
)
def test_an_error_with_odd_fields_is_read_by_its_text(body: bytes) -> None:
    error = error_of(Answer(404, {}, body), READ)
    assert type(error) is errors.KeyNotFoundError
    assert (error.code, error.hint, error.retryable) == ("not_found", None, False)
    assert error.details == {}

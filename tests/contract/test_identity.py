"""Who a caller is and what it may do: /api/v1/auth/whoami and /api/v1/auth/can."""

from collections.abc import Iterator
from urllib.parse import urlencode

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jetkv_gateway.embedded import NatsServer
from jetkv_gateway.http.routes import ROUTER, ROUTES
from jetkv_gateway.kv.access import NEEDS
from tests.support.flags import FLAGS
from tests.support.gateway import running_gateway
from tests.support.http import BUCKETS, Answer, Http
from tests.support.scopes import ScopesAreTokens, may
from tests.support.tokens import new_token, token_line

NAME = "b-that-is-not-there"
B = f"{BUCKETS}/{NAME}"

Question = tuple[str, str | None]
"""A verb, and a key; None asks about all keys."""

ALL = ("read", None)

QUESTIONS: dict[tuple[str, str, str | None], Question] = {
    ("GET", f"{B}/keys/user.1", None): ("read", "user.1"),
    ("GET", f"{B}/history/user.1", None): ("read", "user.1"),
    ("GET", f"{B}/keys", None): ALL,
    ("GET", f"{B}/keys?limit=2", None): ALL,
    ("GET", f"{B}/watch", None): ALL,
    ("GET", f"/api/v1/kv/watch?watch={NAME}", None): ALL,
    ("GET", B, None): ALL,
    ("PUT", f"{B}/keys/user.1", "v"): ("write", "user.1"),
    ("POST", f"{B}/touch/user.1", None): ("write", "user.1"),
    ("DELETE", f"{B}/keys/user.1", None): ("delete", "user.1"),
    ("DELETE", f"{B}/keys/user.1?purge=true", None): ("delete", "user.1"),
    ("DELETE", f"{B}/keys?filter=>", None): ("delete", None),
    ("POST", f"{B}/batch", '{"get":["user.1"]}'): ("read", "user.1"),
    ("POST", f"{B}/batch", '{"ops":[{"op":"put","key":"user.1","text":""}]}'): ("write", "user.1"),
    ("POST", f"{B}/batch", '{"ops":[{"op":"check","key":"user.1","revision":1}]}'): (
        "read",
        "user.1",
    ),
    ("POST", f"{B}/batch", '{"ops":[{"op":"purge","key":"user.1"}]}'): ("delete", "user.1"),
    ("POST", f"{B}/compact", "{}"): ("delete", None),
    # No server of the tests can store five copies, so nothing is created.
    ("POST", BUCKETS, f'{{"name":"{NAME}","replicas":5}}'): ("admin", None),
    ("PUT", f"{B}?dry_run=true", "{}"): ("admin", None),
    ("PATCH", B, "{}"): ("admin", None),
    ("DELETE", B, None): ("admin", None),
    ("POST", f"{FLAGS}/user.1", "{}"): ("read", "user.1"),
    ("POST", FLAGS, "{}"): ALL,
    ("HEAD", "/ofrep/v1/events", None): ALL,
    ("GET", "/metrics", None): ("metrics", None),
}
"""Requests, and the question that has the same answer."""

SCOPES = [
    "read:b*",
    "read:b-that-is-not-there/user.*",
    "*:*/user.1",
    "write:*-not-there",
    "write:b*/user-",
    "delete:*/*",
    "delete:*",
    "delete:b-that-is-not-there/user.1",
    "admin:b*",
    "admin:other",
    "metrics:*",
    "*:other",
    "*:*",
]


@pytest.fixture(scope="module")
def scoped(nats: NatsServer) -> Iterator[Http]:
    with running_gateway(nats.url, authenticator=ScopesAreTokens(), flags_bucket=NAME) as http:
        yield http


def can(http: Http, *scopes: str, **question: str) -> Answer:
    return http.get(f"/api/v1/auth/can?{urlencode(question)}", **may(*scopes))


def test_a_caller_with_scopes_is_told_its_name_and_its_scopes(scoped: Http) -> None:
    answer = scoped.get("/api/v1/auth/whoami", **may("read:b", "write:c/x.*"))
    assert answer.status == 200
    assert answer.json == {
        "name": "read:b;write:c/x.*",
        "method": "token",
        "scopes": ["read:b", "write:c/x.*"],
    }


def test_with_auth_off_everybody_is_anonymous_and_may_do_everything(http: Http) -> None:
    anonymous = {"name": "anonymous", "method": "none", "scopes": ["*:*"]}
    assert http.get("/api/v1/auth/whoami").json == anonymous
    answer = http.get("/api/v1/auth/can?verb=admin&bucket=b")
    assert answer.json == {"allowed": True, "scope": "*:*"}


def test_a_token_that_expires_says_when(nats: NatsServer, tmp_path) -> None:
    token, file = new_token(), tmp_path / "tokens"
    file.write_text(token_line("ann", token, "read:b", expires="2099-01-31T00:00:00Z"))
    with running_gateway(nats.url, auth="tokens", auth_tokens=file) as http:
        answer = http.get("/api/v1/auth/whoami", Authorization=f"Bearer {token}")
        assert http.get("/api/v1/auth/whoami").status == 401
    assert answer.json["expires_at"] == "2099-01-31T00:00:00Z"


def test_a_yes_names_a_scope_and_a_no_says_why(scoped: Http) -> None:
    mine = ("read:b/user.*", "write:b")
    assert can(scoped, *mine, verb="read", bucket="b", key="user.1").json == {
        "allowed": True,
        "scope": "read:b/user.*",
    }
    assert can(scoped, *mine, verb="read", bucket="b").json == {
        "allowed": False,
        "reason": "your scopes allow read on some keys only in bucket b",
    }
    assert can(scoped, *mine, verb="read", bucket="b", key="x").json == {
        "allowed": False,
        "reason": "no scope of yours allows read on this key in bucket b",
    }
    assert can(scoped, *mine, verb="metrics", bucket="*").json == {
        "allowed": False,
        "reason": "no scope of yours allows metrics",
    }


@pytest.mark.parametrize("bucket", ["*", "b", None])
def test_metrics_are_of_no_bucket_and_no_key(scoped: Http, bucket: str | None) -> None:
    question = {"verb": "metrics", "key": "k"} | ({} if bucket is None else {"bucket": bucket})
    assert can(scoped, "metrics:*", **question).json == {"allowed": True, "scope": "metrics:*"}
    assert can(scoped, "*:b", **question).json["allowed"] is False


def test_a_bucket_is_administered_whatever_the_key(scoped: Http) -> None:
    question = {"verb": "admin", "bucket": "b", "key": "k"}
    assert can(scoped, "admin:b", **question).json == {"allowed": True, "scope": "admin:b"}
    assert can(scoped, "*:b/k", **question).json["allowed"] is False


@pytest.mark.parametrize(
    ("question", "rule"),
    [
        ({"bucket": "b"}, "'verb' must be one of"),
        ({"verb": "list", "bucket": "b"}, "'verb' must be one of"),
        ({"verb": "*", "bucket": "b"}, "'verb' must be one of"),
        ({"verb": "read"}, "'bucket' is missing"),
        ({"verb": "read", "bucket": "*"}, "invalid bucket name"),
        ({"verb": "read", "bucket": "b", "key": ""}, "invalid key: empty"),
        ({"verb": "read", "bucket": "b", "key": "a\n"}, "control characters"),
        ({"verb": "read", "bucket": "b", "token": "x"}, "unknown query parameter 'token'"),
    ],
)
def test_a_question_that_breaks_a_rule_is_400(scoped: Http, question: dict, rule: str) -> None:
    answer = can(scoped, "*:*", **question)
    assert answer.status == 400
    assert rule in answer.error


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.sampled_from(SCOPES), min_size=1, max_size=4, unique=True),
    st.sampled_from(list(QUESTIONS)),
)
def test_can_says_what_the_request_itself_will_be_told(
    scoped: Http, scopes: list[str], request: tuple[str, str, str | None]
) -> None:
    verb, key = QUESTIONS[request]
    question = {"verb": verb, "bucket": "*" if verb == "metrics" else NAME}
    if key is not None:
        question["key"] = key
    said = can(scoped, *scopes, **question)
    assert said.status == 200
    method, path, body = request
    answer = scoped.request(method, path, body, **may(*scopes))
    # What shows several keys is refused without any of them, and filtered without some of them.
    whole = answer.status != 403 and "jetkv-filtered" not in answer.headers
    assert said.json["allowed"] == whole
    assert ("scope" in said.json) == said.json["allowed"]
    assert ("reason" in said.json) != said.json["allowed"]


def test_every_route_that_takes_a_scope_is_asked_about_here() -> None:
    asked = set()
    for method, path, _ in QUESTIONS:
        match = ROUTER.find(path.partition("?")[0].encode())
        assert match is not None
        asked.add(match[0].routes[method].name)
    takes_a_scope = {
        route.name for route in ROUTES if route.verb is not None and NEEDS[route.verb].verbs
    }
    assert asked == takes_a_scope

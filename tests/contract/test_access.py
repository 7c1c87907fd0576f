"""Every route asks what its caller may do, and says no before it looks at a bucket."""

import json
from collections.abc import Iterator

import pytest

from jetkv_gateway.embedded import NatsServer
from tests.support.flags import FLAGS
from tests.support.gateway import running_gateway
from tests.support.http import BUCKETS, Answer, Bucket, Http
from tests.support.ports import free_port
from tests.support.scopes import ScopesAreTokens, may
from tests.support.tokens import new_token, token_line

PUBLIC = {
    ("GET", "/health"),
    ("GET", "/ready"),
    ("GET", "/api/v1/capabilities"),
    ("GET", "/console"),
    ("GET", "/console/"),
    ("GET", "/console/{file}"),
}

TICKETS = {("POST", "/api/v1/auth/tickets")}
"""What it takes depends on the URL in the body: see test_tickets.py."""

BUCKET = f"{BUCKETS}/{{bucket}}"
KEY = "a/b c"

ANYBODY = None
"""Routes that take a valid credential and no scope."""

ROUTES: dict[tuple[str, str], str | None] = {
    ("GET", BUCKETS): ANYBODY,
    ("POST", BUCKETS): "admin",
    ("GET", BUCKET): "read in bucket b",
    ("PUT", BUCKET): "admin in bucket b",
    ("PATCH", BUCKET): "admin in bucket b",
    ("DELETE", BUCKET): "admin in bucket b",
    ("GET", f"{BUCKET}/keys"): "read in bucket b",
    ("DELETE", f"{BUCKET}/keys"): "delete in bucket b",
    ("POST", f"{BUCKET}/compact"): "delete in bucket b",
    ("GET", f"{BUCKET}/keys/{{key}}"): "read in bucket b",
    ("HEAD", f"{BUCKET}/keys/{{key}}"): "read in bucket b",
    ("PUT", f"{BUCKET}/keys/{{key}}"): "write in bucket b",
    ("DELETE", f"{BUCKET}/keys/{{key}}"): "delete in bucket b",
    ("POST", f"{BUCKET}/batch"): "read, write or delete in bucket b",
    ("POST", f"{BUCKET}/touch/{{key}}"): "write in bucket b",
    ("GET", "/api/v1/kv/watch"): "read",
    ("GET", f"{BUCKET}/watch"): "read in bucket b",
    ("GET", f"{BUCKET}/history/{{key}}"): "read in bucket b",
    ("GET", "/api/v1/auth/whoami"): ANYBODY,
    ("GET", "/api/v1/auth/can?verb=read&bucket=b"): ANYBODY,
    ("POST", "/api/v1/auth/tokens"): "manage tokens",
    ("GET", "/api/v1/auth/tokens"): "manage tokens",
    ("DELETE", "/api/v1/auth/tokens/{name}"): "manage tokens",
    ("GET", "/api/v1/openapi.json"): ANYBODY,
    ("GET", "/docs"): ANYBODY,
    ("GET", "/metrics"): "metrics",
    ("POST", FLAGS): "read",
    ("POST", f"{FLAGS}/{{key}}"): "read",
    ("GET", "/ofrep/v1/events"): "read",
}
"""Each route, and what a caller without any scope is told."""


@pytest.fixture(scope="module")
def scoped(nats: NatsServer) -> Iterator[Http]:
    """A gateway whose tokens are lists of scopes."""
    with running_gateway(nats.url, authenticator=ScopesAreTokens()) as http:
        yield http


def ask(http: Http, route: tuple[str, str], *scopes: str, base: str = "") -> Answer:
    method, template = route
    path = base + template.replace("{bucket}", "b").replace("{key}", "a/b%20c")
    body = json.dumps({"name": "b"}) if method in ("POST", "PUT") else None
    return http.request(method, path, body, **may(*scopes))


def test_every_route_of_the_document_is_in_the_table_here(http: Http) -> None:
    document = http.get("/api/v1/openapi.json").json
    described = {
        (method.upper(), path)
        for path, item in document["paths"].items()
        for method in item
        if method != "parameters"
    }
    assert (
        described
        == {(method, path.partition("?")[0]) for method, path in ROUTES} | PUBLIC | TICKETS
    )


@pytest.mark.parametrize(("route", "words"), ROUTES.items(), ids=map(" ".join, ROUTES))
@pytest.mark.parametrize("base", ["", "/json"])
def test_a_caller_without_the_scope_is_told_which_one_is_missing(
    scoped: Http, route: tuple[str, str], words: str | None, base: str
) -> None:
    answer = ask(scoped, route, base=base)
    if words is ANYBODY:
        assert answer.status == 200
        return
    assert answer.status == 403
    if route[0] != "HEAD":
        assert answer.error == f"permission denied: {words}"
        assert (answer.json["code"], answer.json["retryable"]) == ("permission_denied", False)
        assert "a/b" not in answer.body.decode()


@pytest.mark.parametrize("route", sorted(PUBLIC), ids=" ".join)
def test_a_public_route_takes_no_credential(scoped: Http, route: tuple[str, str]) -> None:
    method, template = route
    path = template.replace("{file}", "app.js")
    assert scoped.request(method, path, Authorization="Basic nonsense").status == 200


@pytest.mark.parametrize(("route", "words"), ROUTES.items(), ids=map(" ".join, ROUTES))
def test_a_scope_of_another_bucket_or_another_verb_does_not_open_a_route(
    scoped: Http, route: tuple[str, str], words: str | None
) -> None:
    if words is ANYBODY or "in bucket b" not in words:
        return
    needed = words.removesuffix(" in bucket b").replace(" or ", ", ").split(", ")
    others = [one for one in ("read", "write", "delete", "admin") if one not in needed]
    for scopes in (["*:other"], ["*:b2"], [f"{one}:b" for one in others], ["metrics:*"]):
        assert ask(scoped, route, *scopes).status == 403


def test_a_no_is_said_before_the_bucket_is_looked_at(scoped: Http, bucket: Bucket) -> None:
    bucket.put("k", "v")
    nobody = may("read:some-other-bucket")
    told = []
    for name in (bucket.name, f"{bucket.name}-absent"):
        path = f"{BUCKETS}/{name}"
        answers = [
            scoped.get(f"{path}/keys/k", **nobody),
            scoped.put(f"{path}/keys/k", "w", **nobody),
            scoped.put(f"{path}/keys/k", "w", **nobody, If_Match="7"),
            scoped.delete(f"{path}/keys/k", **nobody),
            scoped.delete(f"{path}/keys/k?purge=true", **nobody),
            scoped.get(f"{path}/history/k", **nobody),
            scoped.get(f"{path}/keys", **nobody),
            scoped.get(path, **nobody),
            scoped.delete(path, **nobody),
        ]
        told.append([(one.status, one.error.replace(name, "NAME")) for one in answers])
    assert told[0] == told[1]
    assert {status for status, _ in told[0]} == {403}
    assert bucket.get("k").value == b"v"


def test_a_no_is_said_without_asking_nats() -> None:
    """So a refusal takes as long whether or not there is such a key or bucket."""
    authenticator = ScopesAreTokens("read,write,delete:b/mine")
    nowhere = f"nats://127.0.0.1:{free_port()}"
    with running_gateway(nowhere, authenticator=authenticator, ready=False) as http:
        theirs = f"{BUCKETS}/b/keys/theirs"
        ops = [{"op": "put", "key": "mine", "text": ""}, {"op": "delete", "key": "theirs"}]
        for answer in (
            http.get(theirs),
            http.get(theirs, If_Match="7"),
            http.get(theirs, If_None_Match='"7"'),
            http.get(f"{theirs}?revision=7"),
            http.put(theirs, "v", If_None_Match="*", Idempotency_Key="once"),
            http.delete(theirs, If_Match="7"),
            http.get(f"{BUCKETS}/b/history/theirs"),
            http.post(f"{BUCKETS}/b/batch", {"ops": ops}),
            http.post(f"{BUCKETS}/other/batch", {"get": ["k"]}),
            http.post(f"{BUCKETS}/b/compact", {}),
            http.post(BUCKETS, {"name": "b"}),
            http.get(f"{BUCKETS}/other/keys", Accept="application/x-ndjson"),
            http.delete(f"{BUCKETS}/other/keys?filter=>"),
            http.get("/api/v1/kv/watch?watch=b&watch=other", Accept="text/event-stream"),
        ):
            assert answer.status == 403, answer
        assert http.get(f"{BUCKETS}/b/keys/mine").status == 503


def test_a_watch_over_several_buckets_asks_for_each_of_them(scoped: Http, bucket: Bucket) -> None:
    path = f"/api/v1/kv/watch?watch={bucket.name}&watch=other"
    refused = scoped.get(path, **may(f"read:{bucket.name}"))
    assert (refused.status, refused.error) == (403, "permission denied: read in bucket other")
    # Both may be watched, but this request asks for neither an upgrade nor an event stream.
    assert scoped.get(path, **may(f"read:{bucket.name}", "read:other")).status == 426


def test_the_creation_of_a_bucket_asks_again_once_its_name_is_known(
    scoped: Http, bucket_name: str
) -> None:
    refused = scoped.post(BUCKETS, {"name": bucket_name}, **may("admin:other"))
    assert refused.error == f"permission denied: admin in bucket {bucket_name}"
    assert scoped.post(BUCKETS, {"name": bucket_name}, **may(f"admin:{bucket_name}")).status == 201
    assert scoped.delete(f"{BUCKETS}/{bucket_name}", **may(f"admin:{bucket_name}")).status == 204


def test_one_verb_does_not_stand_for_another(scoped: Http, bucket: Bucket) -> None:
    bucket.put("k", "v")
    reader = may(f"read:{bucket.name}")
    assert scoped.get(bucket.key("k"), **reader).status == 200
    assert scoped.get(f"{bucket.path}/history/k", **reader).status == 200
    assert scoped.put(bucket.key("k"), "w", **reader).status == 403
    assert scoped.delete(bucket.key("k"), **reader).status == 403
    assert scoped.delete(f"{bucket.key('k')}?purge=true", **reader).status == 403
    assert scoped.delete(bucket.path, **reader).status == 403


def test_a_key_outside_the_scope_is_403_whether_or_not_it_exists(
    scoped: Http, bucket: Bucket
) -> None:
    bucket.put("user.1", "mine")
    bucket.put("admin.1", "theirs")
    mine = may(f"*:{bucket.name}/user.*")
    assert scoped.get(bucket.key("user.1"), **mine).status == 200
    told = set()
    for key in ("admin.1", "admin.2", "user.1.2", "user"):
        for path in (bucket.key(key), f"{bucket.path}/history/{key}"):
            answer = scoped.get(path, **mine)
            told.add((answer.status, answer.error, answer.json.get("hint")))
    hint = "GET /api/v1/auth/whoami shows your scopes"
    assert told == {(403, f"permission denied: read in bucket {bucket.name}", hint)}


def test_with_auth_off_a_caller_may_do_everything(http: Http) -> None:
    assert http.get(BUCKETS, Authorization="Bearer whatever").status == 200


def test_a_token_is_taken_and_its_absence_is_401(nats: NatsServer, tmp_path) -> None:
    token = new_token()
    file = tmp_path / "tokens"
    file.write_text(token_line("alice", token))
    with running_gateway(nats.url, auth="tokens", auth_tokens=file) as http:
        assert http.get(BUCKETS, Authorization=f"Bearer {token}").status == 200
        assert http.get(BUCKETS).status == 401

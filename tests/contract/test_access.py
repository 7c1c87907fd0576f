"""Every route asks whether its caller may, and nothing else lets anybody in."""

import json
from collections.abc import Iterator

import pytest

from jetkv_gateway.embedded import NatsServer
from jetkv_gateway.kv.access import Principal, Verb
from tests.support.gateway import running_gateway
from tests.support.http import BUCKETS, Bucket, Http
from tests.support.tokens import new_token, token_line

Question = tuple[str, str | None, str | None]

PUBLIC = {("GET", "/health"), ("GET", "/ready"), ("GET", "/api/v1/capabilities")}

BUCKET = f"{BUCKETS}/{{bucket}}"

ROUTES: dict[tuple[str, str], Question] = {
    ("GET", BUCKETS): ("list buckets", None, None),
    ("POST", BUCKETS): ("create bucket", None, None),
    ("GET", BUCKET): ("bucket info", "b", None),
    ("PUT", BUCKET): ("change bucket", "b", None),
    ("PATCH", BUCKET): ("change bucket", "b", None),
    ("DELETE", BUCKET): ("delete bucket", "b", None),
    ("GET", f"{BUCKET}/keys"): ("list keys", "b", None),
    ("DELETE", f"{BUCKET}/keys"): ("delete", "b", None),
    ("POST", f"{BUCKET}/compact"): ("delete", "b", None),
    ("GET", f"{BUCKET}/keys/{{key}}"): ("read", "b", "a/b c"),
    ("HEAD", f"{BUCKET}/keys/{{key}}"): ("read", "b", "a/b c"),
    ("PUT", f"{BUCKET}/keys/{{key}}"): ("write", "b", "a/b c"),
    ("DELETE", f"{BUCKET}/keys/{{key}}"): ("delete", "b", "a/b c"),
    ("POST", f"{BUCKET}/batch"): ("batch", "b", None),
    ("POST", f"{BUCKET}/touch/{{key}}"): ("write", "b", "a/b c"),
    ("GET", "/api/v1/kv/watch"): ("watch", None, None),
    ("GET", f"{BUCKET}/watch"): ("watch", "b", None),
    ("GET", f"{BUCKET}/history/{{key}}"): ("read", "b", "a/b c"),
    ("GET", "/api/v1/openapi.json"): ("api description", None, None),
    ("GET", "/docs"): ("api description", None, None),
    ("GET", "/metrics"): ("metrics", None, None),
}


class Doorkeeper:
    """A policy that notes each question and says no, but to `allowed` verbs."""

    def __init__(self) -> None:
        self.allowed: set[Verb] = set()
        self.questions: list[Question] = []
        self.callers: set[Principal] = set()

    def __call__(
        self, principal: Principal, verb: Verb, bucket: str | None, key: str | None
    ) -> bool:
        self.callers.add(principal)
        self.questions.append((verb.value, bucket, key))
        return verb in self.allowed


@pytest.fixture(scope="module")
def _closed(nats: NatsServer) -> Iterator[tuple[Http, Doorkeeper]]:
    doorkeeper = Doorkeeper()
    with running_gateway(nats.url, policy=doorkeeper) as http:
        yield http, doorkeeper


@pytest.fixture
def closed(_closed: tuple[Http, Doorkeeper]) -> tuple[Http, Doorkeeper]:
    """A gateway that permits nothing, and what it asked for."""
    _closed[1].questions.clear()
    _closed[1].allowed.clear()
    return _closed


def test_every_route_of_the_document_is_in_the_table_here(http: Http) -> None:
    document = http.get("/api/v1/openapi.json").json
    described = {
        (method.upper(), path)
        for path, item in document["paths"].items()
        for method in item
        if method != "parameters"
    }
    assert described == ROUTES.keys() | PUBLIC


@pytest.mark.parametrize(
    ("route", "question"), ROUTES.items(), ids=[" ".join(route) for route in ROUTES]
)
@pytest.mark.parametrize("base", ["", "/json"])
def test_a_route_asks_and_a_no_is_403(
    closed: tuple[Http, Doorkeeper], route: tuple[str, str], question: Question, base: str
) -> None:
    http, doorkeeper = closed
    method, template = route
    path = base + template.replace("{bucket}", "b").replace("{key}", "a/b%20c")
    body = json.dumps({"name": "b"}) if method in ("POST", "PUT") else None
    answer = http.request(method, path, body)
    assert answer.status == 403
    assert doorkeeper.questions == [question]
    if method != "HEAD":
        verb, bucket, _ = question
        where = f" in bucket {bucket}" if bucket else ""
        assert answer.error == f"permission denied: {verb}{where}"
        assert (answer.json["code"], answer.json["retryable"]) == ("permission_denied", False)
        assert "a/b" not in answer.body.decode()


@pytest.mark.parametrize("route", sorted(PUBLIC), ids=[" ".join(route) for route in sorted(PUBLIC)])
def test_a_public_route_asks_nobody(
    closed: tuple[Http, Doorkeeper], route: tuple[str, str]
) -> None:
    http, doorkeeper = closed
    assert http.request(*route).status == 200
    assert doorkeeper.questions == []


def test_a_no_is_said_before_the_bucket_is_looked_at(
    closed: tuple[Http, Doorkeeper], bucket: Bucket
) -> None:
    http, _ = closed
    bucket.put("k", "v")
    for name in (bucket.name, f"{bucket.name}-absent"):
        shut = Bucket(http, name)
        for answer in (
            shut.get("k"),
            shut.put("k", "w"),
            shut.put("k", "w", If_Match="7"),
            shut.delete("k"),
            shut.delete("k", "?purge=true"),
            shut.history("k"),
            http.get(f"{shut.path}/keys"),
            http.get(shut.path),
            http.delete(shut.path),
        ):
            assert answer.status == 403
            assert answer.error.endswith(f"in bucket {name}")
    assert bucket.get("k").value == b"v"


def test_a_watch_over_several_buckets_asks_for_each_of_them(
    closed: tuple[Http, Doorkeeper], bucket: Bucket
) -> None:
    http, doorkeeper = closed
    doorkeeper.allowed |= {Verb.WATCH}
    assert http.get(f"/api/v1/kv/watch?watch={bucket.name}&watch=other").status == 426
    wanted = [None, bucket.name, "other"]
    assert doorkeeper.questions == [("watch", one, None) for one in wanted]


def test_the_creation_of_a_bucket_asks_again_once_its_name_is_known(
    closed: tuple[Http, Doorkeeper], bucket_name: str
) -> None:
    http, doorkeeper = closed
    doorkeeper.allowed = {Verb.CREATE_BUCKET}
    assert http.post(BUCKETS, {"name": bucket_name}).status == 201
    assert doorkeeper.questions == [
        ("create bucket", None, None),
        ("create bucket", bucket_name, None),
    ]
    doorkeeper.allowed = {Verb.DELETE_BUCKET}
    assert http.delete(f"{BUCKETS}/{bucket_name}").status == 204


def test_one_verb_does_not_stand_for_another(
    closed: tuple[Http, Doorkeeper], bucket: Bucket
) -> None:
    http, doorkeeper = closed
    bucket.put("k", "v")
    doorkeeper.allowed = {Verb.READ}
    shut = Bucket(http, bucket.name)
    assert shut.get("k").status == 200
    assert shut.history("k").status == 200
    assert shut.put("k", "w").status == 403
    assert shut.delete("k").status == 403
    assert http.get(f"{shut.path}/keys").status == 403


def test_a_purge_asks_as_a_delete(closed: tuple[Http, Doorkeeper]) -> None:
    http, doorkeeper = closed
    Bucket(http, "b").delete("k", "?purge=true")
    assert doorkeeper.questions == [("delete", "b", "k")]


def test_with_auth_off_the_caller_is_anonymous(closed: tuple[Http, Doorkeeper]) -> None:
    http, doorkeeper = closed
    http.get(BUCKETS, Authorization="Bearer whatever")
    assert doorkeeper.callers == {Principal("anonymous", "none")}


def test_the_caller_of_a_token_has_its_name(nats: NatsServer, tmp_path) -> None:
    token = new_token()
    file = tmp_path / "tokens"
    file.write_text(token_line("alice", token))
    doorkeeper = Doorkeeper()
    settings = {"auth": "tokens", "auth_tokens": file}
    with running_gateway(nats.url, policy=doorkeeper, **settings) as http:
        assert http.get(BUCKETS, Authorization=f"Bearer {token}").status == 403
        assert http.get(BUCKETS).status == 401
    assert doorkeeper.callers == {Principal("alice", "token")}

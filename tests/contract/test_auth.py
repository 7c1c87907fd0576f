"""Which callers are let in: bearer tokens from a file (docs/http-api.md#authentication)."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from jetkv_gateway.embedded import NatsServer
from tests.support.gateway import running_gateway
from tests.support.http import BUCKETS, Answer, Bucket, Http
from tests.support.raw import Wire
from tests.support.tokens import new_token, token_line
from tests.support.waiting import until


@dataclass
class Guarded:
    """A gateway that wants a token, a token that opens it, and the file the tokens are in."""

    http: Http
    token: str
    file: Path

    def get(self, token: str, path: str = BUCKETS) -> Answer:
        return self.http.get(path, Authorization=f"Bearer {token}")


@contextmanager
def guarded_gateway(nats: NatsServer, folder: Path) -> Iterator[Guarded]:
    token = new_token()
    file = folder / "tokens"
    file.write_text(token_line("alice", token) + "\n")
    with running_gateway(nats.url, auth="tokens", auth_tokens=file) as http:
        yield Guarded(http, token, file)


@pytest.fixture(scope="module")
def guarded(nats: NatsServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    """A shared gateway; its file stays as it is."""
    with guarded_gateway(nats, tmp_path_factory.mktemp("auth")) as guarded:
        yield guarded


@pytest.fixture
def own(nats: NatsServer, tmp_path: Path) -> Iterator[Guarded]:
    """A gateway of the test's own, whose file it may change."""
    with guarded_gateway(nats, tmp_path) as guarded:
        yield guarded


def test_a_known_token_opens_everything(guarded: Guarded, bucket: Bucket) -> None:
    known = Bucket(
        Http(guarded.http.host, guarded.http.port, Authorization=f"Bearer {guarded.token}"),
        bucket.name,
    )
    assert known.put("k", "v").status == 200
    assert known.get("k").value == b"v"
    assert known.keys() == ["k"]
    assert known.delete("k").status == 204
    for path in (BUCKETS, "/api/v1/openapi.json", "/docs"):
        assert guarded.get(guarded.token, path).status == 200


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", BUCKETS),
        ("POST", BUCKETS),
        ("GET", f"{BUCKETS}/b"),
        ("DELETE", f"{BUCKETS}/b"),
        ("GET", f"{BUCKETS}/b/keys"),
        ("GET", f"{BUCKETS}/b/keys/k"),
        ("HEAD", f"{BUCKETS}/b/keys/k"),
        ("PUT", f"{BUCKETS}/b/keys/k"),
        ("DELETE", f"{BUCKETS}/b/keys/k"),
        ("PATCH", f"{BUCKETS}/b/keys/k"),
        ("GET", f"{BUCKETS}/b/history/k"),
        ("GET", f"/json{BUCKETS}/b/keys/k"),
        ("GET", "/api/v1/openapi.json"),
        ("GET", "/docs"),
        ("GET", "/nope"),
        ("GET", "/health/"),
        ("GET", "/health%2F..%2Fdocs"),
    ],
)
@pytest.mark.parametrize("credential", [None, "Bearer nonsense"])
def test_without_a_known_token_all_else_is_401(
    guarded: Guarded, method: str, path: str, credential: str | None
) -> None:
    headers = {} if credential is None else {"Authorization": credential}
    answer = guarded.http.request(method, path, **headers)
    assert answer.status == 401
    assert answer.headers["www-authenticate"] == "Bearer"
    if method != "HEAD":
        assert (answer.error, answer.json["code"]) == ("authentication required", "unauthenticated")
        assert answer.json["retryable"] is False


@pytest.mark.parametrize("credential", [None, "Bearer nonsense"])
def test_the_public_routes_need_no_token(guarded: Guarded, credential: str | None) -> None:
    headers = {} if credential is None else {"Authorization": credential}
    for path in ("/health", "/ready", "/api/v1/capabilities", "/json/health"):
        assert guarded.http.get(path, **headers).status == 200
    for path in (BUCKETS, f"{BUCKETS}/b/keys/k", "/docs"):
        assert guarded.http.request("OPTIONS", path, **headers).status == 204
    assert guarded.http.get("/api/v1/capabilities").json["auth_required"] is True


def test_a_refused_write_stores_nothing(guarded: Guarded, bucket: Bucket) -> None:
    path = bucket.key("k")
    assert guarded.http.put(path, "v", Authorization="Bearer nonsense").status == 401
    assert guarded.http.delete(bucket.path).status == 401
    assert bucket.info()["values"] == 0


@pytest.mark.parametrize("form", ["Bearer {}", "bearer {}", "BEARER  {} "])
def test_the_scheme_may_be_written_in_any_case(guarded: Guarded, form: str) -> None:
    credential = form.format(guarded.token)
    assert guarded.http.get(BUCKETS, Authorization=credential).status == 200


@pytest.mark.parametrize(
    "form",
    [
        "",
        "Bearer",
        "Bearer ",
        "{}",
        "Basic {}",
        "Token {}",
        "Bearer{}",
        "Bearer: {}",
        "Bearer {}x",
        "Bearer {},{}",
        "Bearer é",
        "Bearer x {}",
    ],
)
def test_a_credential_in_another_form_is_401(guarded: Guarded, form: str) -> None:
    credential = form.replace("{}", guarded.token)
    assert guarded.http.get(BUCKETS, Authorization=credential).status == 401


def test_the_hash_in_the_file_is_no_token(guarded: Guarded) -> None:
    line = guarded.file.read_text().strip()
    for part in (line, line.partition(":")[2], "alice"):
        assert guarded.get(part).status == 401


def test_a_token_in_the_query_is_no_credential(guarded: Guarded) -> None:
    assert guarded.http.get(f"{BUCKETS}?token={guarded.token}").status == 401


def test_a_credential_given_twice_is_401(guarded: Guarded) -> None:
    line = f"Authorization: Bearer {guarded.token}"
    with Wire(guarded.http) as wire:
        assert wire.request("GET", BUCKETS, line).status == 200
        assert wire.request("GET", BUCKETS, line, line).status == 401


# --- the file


def test_a_new_token_works_once_the_file_has_it(own: Guarded) -> None:
    token = new_token()
    assert own.get(token).status == 401
    with own.file.open("a") as file:
        file.write("\n# a comment, and an empty line\n\n" + token_line("bob", token))
    until(lambda: own.get(token).status == 200, "the new token works")
    assert own.get(own.token).status == 200


def test_a_token_is_refused_once_the_file_has_it_no_more(own: Guarded) -> None:
    other = new_token()
    own.file.write_text(token_line("carol", other))
    until(lambda: own.get(own.token).status == 401, "the old token is refused")
    assert own.get(other).status == 200


def warning(guarded: Guarded) -> str:
    """What `/ready` warns of; nobody comes in meanwhile."""
    answer = guarded.http.get("/ready")
    assert answer.status == 200
    text: str = answer.json["warnings"].get("auth", "")
    return text


@pytest.mark.parametrize("damage", [None, "alice:secret", "alice", "\x00"])
def test_a_damaged_file_leaves_the_tokens_in_force_and_warns(
    own: Guarded, damage: str | None
) -> None:
    if damage is None:
        own.file.unlink()
    else:
        own.file.write_text(damage)
    until(lambda: warning(own), "it warns", 3)
    assert warning(own) == (
        "the token file cannot be used; the tokens read before stay in force; see the log"
    )
    assert own.get(own.token).status == 200


def test_the_warning_ends_with_the_damage(own: Guarded) -> None:
    good = own.file.read_text()
    own.file.write_text("damaged")
    until(lambda: warning(own), "it warns")
    own.file.write_text(good)
    until(lambda: not warning(own), "it warns no more")


@contextmanager
def everything_logged(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Catch what the gateway and its server log, which they keep from the root logger."""
    loggers = [logging.getLogger(name) for name in ("jetkv", "uvicorn")]
    for logger in loggers:
        logger.addHandler(caplog.handler)
        logger.setLevel(logging.DEBUG)
    try:
        yield
    finally:
        for logger in loggers:
            logger.removeHandler(caplog.handler)


def test_no_token_and_no_value_is_ever_logged(
    nats: NatsServer, bucket: Bucket, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    token, wrong = new_token(), new_token()
    file = tmp_path / "tokens"
    file.write_text(token_line("alice", token))
    settings = {"auth": "tokens", "auth_tokens": file, "log_level": "debug"}
    with running_gateway(nats.url, **settings) as http, everything_logged(caplog):
        for credential in (token, wrong):
            headers = {"Authorization": f"Bearer {credential}"}
            http.put(bucket.key("k"), "a-secret-value", **headers)
            http.get(bucket.key("k") + "?token=" + credential, **headers)
            http.get("/nope", **headers)
            http.request("BREW", BUCKETS, **headers)
        file.write_text("damaged")
        until(lambda: http.get(BUCKETS) and "must be name:sha256" in caplog.text, "a log line")
    for secret in (token, wrong, "a-secret-value"):
        assert secret not in caplog.text

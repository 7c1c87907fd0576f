"""Callers that present a JWT (docs/access.md#jwt). The issuer changes its keys now and then."""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from jetkv_gateway.embedded import NatsServer
from jetkv_gateway.settings import SettingsError, load
from tests.support.gateway import running_gateway
from tests.support.http import BUCKETS, Answer, Bucket, Http
from tests.support.issuer import AUDIENCE, ISSUER, Issuer, published
from tests.support.tokens import new_token, token_line
from tests.support.waiting import until

WHOAMI = "/api/v1/auth/whoami"


@dataclass
class Guarded:
    """A gateway that takes JWTs of an issuer, and tokens of a file."""

    http: Http
    issuer: Issuer
    token: str

    def get(self, credential: bytes | str, path: str) -> Answer:
        text = credential if isinstance(credential, str) else credential.decode()
        return self.http.get(path, Authorization=f"Bearer {text}")


@pytest.fixture(scope="module")
def guarded(nats: NatsServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    issuer, token = Issuer(first="ES256"), new_token()
    file = tmp_path_factory.mktemp("jwt") / "tokens"
    file.write_text(token_line("bob", token))
    with (
        published(issuer) as url,
        running_gateway(
            nats.url,
            auth="tokens,jwt",
            auth_tokens=file,
            jwt_issuer=ISSUER,
            jwt_audience=AUDIENCE,
            jwt_keys=url,
        ) as http,
    ):
        yield Guarded(http, issuer, token)


def test_a_jwt_opens_what_its_scopes_cover(guarded: Guarded, bucket: Bucket) -> None:
    token = guarded.issuer.token("first", f"read:{bucket.name}")
    path = f"{BUCKETS}/{bucket.name}/keys/k"
    assert guarded.get(token, path).status == 404
    refused = guarded.http.request("PUT", path, "v", Authorization=f"Bearer {token.decode()}")
    assert (refused.status, refused.json["error"]) == (
        403,
        f"permission denied: write in bucket {bucket.name}",
    )


def test_a_jwt_says_who_its_caller_is(guarded: Guarded) -> None:
    answer = guarded.get(guarded.issuer.token("first", "read:b", "openid"), WHOAMI).json
    assert (answer["name"], answer["method"], answer["scopes"]) == ("alice", "jwt", ["read:b"])
    assert answer["expires_at"]


def test_a_jwt_without_scopes_of_ours_gets_403(guarded: Guarded, bucket: Bucket) -> None:
    token = guarded.issuer.token("first", "openid")
    assert guarded.get(token, f"{BUCKETS}/{bucket.name}/keys/k").status == 403


def test_a_token_works_beside_jwts(guarded: Guarded) -> None:
    assert guarded.get(guarded.token, WHOAMI).json["name"] == "bob"


@pytest.mark.parametrize("text", ["jkv_x", "a.b.c", "eyJ.eyJ.eyJ", "x"])
def test_another_text_is_no_credential(guarded: Guarded, text: str) -> None:
    assert guarded.get(text, WHOAMI).status == 401


def test_a_jwt_of_another_issuer_gets_401(guarded: Guarded) -> None:
    stranger = Issuer(first="ES256")
    answer = guarded.get(stranger.token("first", "*:*"), WHOAMI)
    assert (answer.status, answer.json["hint"]) == (401, "the signature of this JWT is wrong")


def test_a_new_key_of_the_issuer_is_known_within_seconds(guarded: Guarded) -> None:
    guarded.issuer.add("second", "EdDSA")
    token = guarded.issuer.token("second", "read:b")
    until(lambda: guarded.get(token, WHOAMI).status == 200, "the gateway asked for the keys again")


def test_strangers_do_not_make_the_gateway_ask_for_keys_again_and_again(guarded: Guarded) -> None:
    asked, began = guarded.issuer.asked, time.monotonic()
    for number in range(100):
        stranger = Issuer(**{f"k{number}": "EdDSA"})
        assert guarded.get(stranger.token(f"k{number}"), WHOAMI).status == 401
    # One request in five seconds; and one that the first of these may have started.
    assert guarded.issuer.asked - asked <= 1 + (time.monotonic() - began) / 5


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({}, "--auth jwt needs jwt_issuer, jwt_audience, jwt_keys"),
        ({"jwt_keys": "http://example.org/keys"}, "use https"),
        ({"jwt_keys": "https://[example.org/keys"}, "this is no address"),
        ({"jwt_keys": "https://user:secret@example.org/keys"}, "has no login"),
        ({"jwt_leeway": 11}, "jwt_leeway"),
    ],
    ids=str,
)
def test_settings_that_cannot_be_right_are_refused(settings: dict[str, object], words: str) -> None:
    with pytest.raises(SettingsError, match=words):
        load({"auth": "jwt", **settings}, None).check_auth()


def test_keys_in_a_file_are_read_again_when_it_changes(nats: NatsServer, tmp_path: Path) -> None:
    issuer, file = Issuer(first="ES256"), tmp_path / "keys.json"
    file.write_bytes(issuer.key_set())
    with running_gateway(
        nats.url, auth="jwt", jwt_issuer=ISSUER, jwt_audience=AUDIENCE, jwt_keys=str(file)
    ) as http:
        own = Guarded(http, issuer, "")
        assert own.get(issuer.token("first"), WHOAMI).status == 200
        issuer.add("second", "RS256")
        token = issuer.token("second")
        assert own.get(token, WHOAMI).status == 401
        file.write_bytes(issuer.key_set())
        until(lambda: own.get(token, WHOAMI).status == 200, "the file was read again")

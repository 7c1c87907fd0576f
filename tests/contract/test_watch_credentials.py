"""Whose handshake of a watch is accepted: tokens, and the origins of pages."""

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from jetkv_gateway.embedded import NatsServer
from tests.support.gateway import running_gateway
from tests.support.handshakes import assert_refused, bearer, handshake, offering
from tests.support.http import Bucket, Http
from tests.support.native import Native
from tests.support.raw import Wire
from tests.support.scopes import ScopesAreTokens
from tests.support.tokens import new_token, token_line
from tests.support.watching import UPGRADE, watch_path

APP = "https://app.example"
EVIL = "https://evil.example"


@dataclass
class Guarded:
    """A gateway that wants a token, and a token that opens it."""

    http: Http
    token: str


@pytest.fixture(scope="module")
def guarded(nats: NatsServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    token = new_token()
    file = tmp_path_factory.mktemp("watch-auth") / "tokens"
    file.write_text(token_line("alice", token) + "\n")
    with running_gateway(nats.url, auth="tokens", auth_tokens=file) as http:
        yield Guarded(http, token)


def test_a_token_in_the_authorization_header_opens(guarded: Guarded, bucket: Bucket) -> None:
    line = f"Authorization: Bearer {guarded.token}"
    assert handshake(guarded.http, bucket.name, "", line).status == 101


@pytest.mark.parametrize("token_first", [True, False])
def test_a_token_among_the_subprotocols_opens_and_is_not_echoed(
    guarded: Guarded, bucket: Bucket, token_first: bool
) -> None:
    offered = ["ironflow.v1", bearer(guarded.token)]
    line = offering(*(reversed(offered) if token_first else offered))
    answer = handshake(guarded.http, bucket.name, "", line)
    assert (answer.status, answer.headers["sec-websocket-protocol"]) == (101, "ironflow.v1")
    assert bearer(guarded.token) not in str(answer.headers)


def test_a_token_alone_among_the_subprotocols_opens(guarded: Guarded, bucket: Bucket) -> None:
    answer = handshake(guarded.http, bucket.name, "", offering(bearer(guarded.token)))
    assert answer.status == 101
    assert "sec-websocket-protocol" not in answer.headers


@pytest.mark.parametrize(
    "lines",
    [
        [],
        ["Authorization: Bearer nonsense"],
        ["Authorization: Basic nonsense"],
        [offering("ironflow.v1")],
        [offering("ironflow.v1", bearer("nonsense"))],
        [offering("ironflow.v1", "ironflow.auth.bearer.")],
        [offering("ironflow.v1", "ironflow.auth.bearer.no-base64-!!")],
        [offering("ironflow.v1", "ironflow.auth.bearer.x")],
        [offering("ironflow.v1", "ironflow.auth.bearer._w")],
    ],
)
def test_without_a_known_token_it_is_401_before_the_upgrade(
    guarded: Guarded, bucket: Bucket, lines: list[str]
) -> None:
    answer = handshake(guarded.http, bucket.name, "", *lines)
    assert_refused(answer, 401, "unauthenticated")
    assert answer.error == "authentication required"
    assert answer.headers["www-authenticate"] == "Bearer"


def test_a_bearer_subprotocol_that_is_the_bare_token_is_401(
    guarded: Guarded, bucket: Bucket
) -> None:
    line = offering("ironflow.v1", f"ironflow.auth.bearer.{guarded.token}")
    assert_refused(handshake(guarded.http, bucket.name, "", line), 401, "unauthenticated")


@pytest.mark.parametrize(("in_header", "status"), [("right", 101), ("wrong", 401)])
def test_a_header_wins_over_a_subprotocol(
    guarded: Guarded, bucket: Bucket, in_header: str, status: int
) -> None:
    tokens = {"right": guarded.token, "wrong": "nonsense"}
    other = tokens["wrong" if in_header == "right" else "right"]
    lines = [
        f"Authorization: Bearer {tokens[in_header]}",
        offering("ironflow.v1", bearer(other)),
    ]
    assert handshake(guarded.http, bucket.name, "", *lines).status == status


def test_a_caller_without_access_learns_nothing_of_buckets_and_rules(guarded: Guarded) -> None:
    for name, query in (("no-such", ""), ("a.b", ""), ("no-such", "?x=1")):
        assert_refused(handshake(guarded.http, name, query), 401, "unauthenticated")


@pytest.mark.parametrize(
    "line",
    [
        "Authorization: Bearer nonsense",
        "Authorization: nonsense",
        offering("ironflow.auth.bearer.!!"),
        offering(bearer("nonsense")),
    ],
)
def test_with_auth_off_a_credential_is_ignored(bucket: Bucket, line: str) -> None:
    assert handshake(bucket.http, bucket.name, "", line).status == 101


def test_a_caller_that_may_not_read_is_403_before_the_upgrade(
    nats: NatsServer, bucket: Bucket
) -> None:
    with running_gateway(nats.url, authenticator=ScopesAreTokens("write:*")) as http:
        answer = handshake(http, bucket.name, "?key=secret")
    assert_refused(answer, 403, "permission_denied")
    assert answer.error == f"permission denied: read in bucket {bucket.name}"


@pytest.fixture(scope="module")
def open_to_app(nats: NatsServer) -> Iterator[Http]:
    with running_gateway(nats.url, cors_origins=[APP]) as http:
        yield http


@pytest.mark.parametrize("origin", [EVIL, "null", "", "http://localhost:5173", f"{APP}.evil"])
async def test_a_page_of_another_origin_is_403_and_nothing_is_opened(
    bucket: Bucket, native: Native, origin: str
) -> None:
    line = f"Origin: {origin}"
    answer = await asyncio.to_thread(handshake, bucket.http, bucket.name, "", line)
    assert_refused(answer, 403, "permission_denied")
    assert (await native.state(bucket.name))["consumer_count"] == 0


@pytest.mark.parametrize(
    "lines",
    [
        ("Sec-Fetch-Site: cross-site", "Sec-Fetch-Mode: websocket"),
        ("Sec-Fetch-Site: cross-site", "Sec-Fetch-Mode: websocket", f"Origin: {EVIL}"),
    ],
)
def test_a_page_of_another_site_is_403_before_the_upgrade(
    bucket: Bucket, lines: tuple[str, ...]
) -> None:
    assert_refused(handshake(bucket.http, bucket.name, "", *lines), 403, "permission_denied")


def test_a_page_whose_name_was_pointed_here_is_403_before_the_upgrade(bucket: Bucket) -> None:
    with Wire(bucket.http) as wire:
        head = [
            f"GET {watch_path(bucket.name)} HTTP/1.1",
            "Host: evil.example",
            "Origin: http://evil.example",
            *UPGRADE,
            "",
            "",
        ]
        wire.send("\r\n".join(head).encode())
        answer = wire.answer()
    assert_refused(answer, 403, "permission_denied")
    assert answer.error == "permission denied: host evil.example is not allowed"


def test_a_page_of_the_own_host_is_let_in(bucket: Bucket) -> None:
    http = bucket.http
    line = f"Origin: http://{http.host}:{http.port}"
    assert handshake(http, bucket.name, "", line).status == 101


def test_a_page_of_an_allowed_origin_is_let_in(open_to_app: Http, bucket: Bucket) -> None:
    assert handshake(open_to_app, bucket.name, "", f"Origin: {APP}").status == 101
    refused = handshake(open_to_app, bucket.name, "", f"Origin: {EVIL}")
    assert_refused(refused, 403, "permission_denied")


def test_on_loopback_only_a_loopback_name_will_do(nats: NatsServer, bucket: Bucket) -> None:
    with running_gateway(nats.url, loopback_host=True) as http, Wire(http) as wire:
        assert handshake(http, bucket.name).status == 101
        head = [f"GET {watch_path(bucket.name)} HTTP/1.1", "Host: evil.example", *UPGRADE, "", ""]
        wire.send("\r\n".join(head).encode())
        assert_refused(wire.answer(), 403, "permission_denied")

"""Callers present a login of NATS, and NATS decides what they may do (docs/access.md)."""

import asyncio
import base64
import gc
import json
import os
import signal
import socket
import string
from collections.abc import Iterator
from pathlib import Path

import pytest

from jetkv.testing import LocalNats
from tests.support.gateway import running_gateway
from tests.support.http import BUCKETS, Answer, Http
from tests.support.jwt import Operator
from tests.support.ports import free_ports
from tests.support.waiting import until
from tests.support.watching import watching

WHOAMI = "/api/v1/auth/whoami"

CONFIG = """
accounts {
  A {
    jetstream: enabled
    users: [
      { user: gateway, password: gw }
      { user: alice, password: in-a }
      { user: reader, password: r,
        permissions: {
          publish: { deny: ["$KV.b.>", "$JS.API.STREAM.CREATE.>", "$JS.API.STREAM.DELETE.>"] } } }
      { user: deaf, password: d, permissions: { subscribe: { deny: ["_INBOX.>"] } } }
    ]
  }
  B { jetstream: enabled, users: [ { user: bob, password: in-b } ] }
}
"""


def basic(user: str, password: str) -> dict[str, str]:
    text = base64.b64encode(f"{user}:{password}".encode()).decode()
    return {"Authorization": f"Basic {text}"}


IN_A, IN_B, READER = basic("alice", "in-a"), basic("bob", "in-b"), basic("reader", "r")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalNats]:
    with LocalNats(tmp_path_factory.mktemp("logins"), config=CONFIG) as server:
        yield server


@pytest.fixture(scope="module")
def http(server: LocalNats) -> Iterator[Http]:
    with running_gateway(
        server.url, auth="nats", nats_user="gateway", nats_password="gw", buckets="b"
    ) as http:
        yield http


def with_another_end(jwt: str) -> str:
    """The same JWT, whose last letter differs in the bits that no byte of the signature has."""
    letters = string.ascii_uppercase + string.ascii_lowercase + string.digits + "-_"
    return jwt[:-1] + letters[letters.index(jwt[-1]) ^ 1]


def leave(http: Http, login: dict[str, str]) -> None:
    """Send a request, and close the connection at once."""
    with socket.create_connection((http.host, http.port)) as connection:
        head = f"GET {WHOAMI} HTTP/1.1\r\nHost: h\r\nAuthorization: {login['Authorization']}"
        connection.sendall(f"{head}\r\n\r\n".encode())


def change_password(server: LocalNats, config: Path) -> None:
    config.write_text(config.read_text().replace("password: in-a", "password: other"))
    assert server.pid is not None
    os.kill(server.pid, signal.SIGHUP)


def put(http: Http, key: str, value: str, login: dict[str, str], bucket: str = "b") -> Answer:
    return http.request("PUT", f"{BUCKETS}/{bucket}/keys/{key}", value, **login)


def get(http: Http, key: str, login: dict[str, str], bucket: str = "b") -> Answer:
    return http.get(f"{BUCKETS}/{bucket}/keys/{key}?values=raw", **login)


def test_a_login_of_nats_reads_and_writes(http: Http) -> None:
    assert put(http, "k", "v", IN_A).status == 200
    assert get(http, "k", IN_A).body == b"v"
    answer = http.get(WHOAMI, **IN_A).json
    assert (answer["name"], answer["method"]) == ("alice", "nats")


def test_each_account_has_its_own_buckets(http: Http) -> None:
    assert get(http, "k", IN_B).status == 404
    created = http.request("POST", BUCKETS, json.dumps({"name": "mine"}), **IN_B)
    assert created.status == 201
    assert put(http, "k", "of b", IN_B, "mine").status == 200
    assert get(http, "k", IN_A, "mine").status == 404
    assert [one["name"] for one in http.get(BUCKETS, **IN_B).json["buckets"]] == ["mine"]


@pytest.mark.parametrize(
    "credential",
    [
        basic("alice", "wrong"),
        basic("nobody", "x"),
        basic("alice", ""),
        basic("", "in-a"),
        basic("", ""),
        {"Authorization": "Basic !"},
        {"Authorization": "Bearer some-token"},
        {"Authorization": "Bearer"},
        {},
    ],
    ids=str,
)
def test_a_login_that_nats_refuses_is_401(http: Http, credential: dict[str, str]) -> None:
    assert http.get(WHOAMI, **credential).status == 401


def test_another_secret_of_the_same_user_does_not_get_the_open_connection(http: Http) -> None:
    assert http.get(WHOAMI, **IN_A).status == 200
    assert http.get(WHOAMI, **basic("alice", "in-a ")).status == 401


def test_what_nats_forbids_is_403_and_says_what_not_where(http: Http) -> None:
    assert put(http, "seen", "v", IN_A).status == 200
    assert get(http, "seen", READER).body == b"v"
    for refused in (
        put(http, "seen", "other", READER),
        http.request("DELETE", f"{BUCKETS}/b/keys/seen", **READER),
        http.request("POST", BUCKETS, json.dumps({"name": "more"}), **READER),
        http.request("DELETE", f"{BUCKETS}/b", **READER),
    ):
        assert (refused.status, refused.json["code"]) == (403, "permission_denied")
        assert "$" not in refused.body.decode()
    assert get(http, "seen", IN_A).body == b"v"


def test_a_login_that_may_not_receive_replies_is_403(http: Http) -> None:
    answer = http.get(f"{BUCKETS}/b/keys/k", **basic("deaf", "d"))
    assert (answer.status, answer.json["code"]) == (403, "permission_denied")


def test_what_is_the_gateways_own_stays_closed(http: Http) -> None:
    assert http.get("/metrics", **IN_A).status == 403
    assert http.get("/api/v1/auth/tokens", **IN_A).status == 403
    body = json.dumps({"name": "x", "allow": ["*:*"]})
    assert http.request("POST", "/api/v1/auth/tokens", body, **IN_A).status == 403


def test_listings_of_two_accounts_at_once_are_each_their_own(http: Http) -> None:
    for login in (IN_A, IN_B):
        http.request("POST", BUCKETS, json.dumps({"name": "twice"}), **login)
    assert put(http, "a", "v", IN_A, "twice").status == 200
    assert put(http, "b", "v", IN_B, "twice").status == 200
    for _ in range(20):
        assert http.get(f"{BUCKETS}/twice/keys", **IN_A).json["keys"] == ["a"]
        assert http.get(f"{BUCKETS}/twice/keys", **IN_B).json["keys"] == ["b"]


def test_an_unused_connection_ends_and_comes_back(server: LocalNats) -> None:
    with running_gateway(
        server.url,
        auth="nats",
        nats_user="gateway",
        nats_password="gw",
        nats_login_idle_seconds=1,
        max_nats_logins=1,
    ) as http:
        # There is room for one login: each of these ends the connection of the other.
        for _ in range(3):
            assert http.get(WHOAMI, **IN_A).status == 200
            assert http.get(WHOAMI, **IN_B).status == 200
        for login in (IN_A, IN_B):
            assert http.get(f"{BUCKETS}/none", **login).status == 404


def test_a_wrong_login_ends_no_connection_of_others(tmp_path: Path) -> None:
    (port,) = free_ports(1)
    config = f'{CONFIG}\nhttp: "127.0.0.1:{port}"'
    monitor = Http("127.0.0.1", port)

    def connection() -> int:
        found = monitor.get("/connz?auth=true").json["connections"]
        (cid,) = [one["cid"] for one in found if one["authorized_user"] == "alice"]
        return int(cid)

    with (
        LocalNats(tmp_path / "nats", config=config) as server,
        running_gateway(
            server.url, auth="nats", nats_user="gateway", nats_password="gw", max_nats_logins=1
        ) as http,
    ):
        assert http.get(WHOAMI, **IN_A).status == 200
        before = connection()
        for number in range(3):
            assert http.get(WHOAMI, **basic("alice", f"wrong {number}")).status == 401
        assert http.get(WHOAMI, **IN_A).status == 200
        assert connection() == before


def test_logins_that_are_too_long_keep_nobody_from_logging_in(
    server: LocalNats, caplog: pytest.LogCaptureFixture
) -> None:
    with running_gateway(server.url, auth="nats", nats_user="gateway", nats_password="gw") as http:
        for number in range(24):
            leave(http, basic("x" * 5000, str(number)))
        assert http.get(WHOAMI, **IN_A).status == 200
    gc.collect()
    assert not [one.message for one in caplog.records if one.name == "asyncio"]


def test_an_account_at_its_limit_keeps_no_other_from_logging_in(tmp_path: Path) -> None:
    users = ", ".join(f"{{ user: c{number}, password: c }}" for number in range(25))
    full = f"C {{ jetstream: enabled, limits {{ max_connections: 1 }}, users: [ {users} ] }}"
    with (
        LocalNats(tmp_path / "nats", config=CONFIG.replace("  B {", f"  {full}\n  B {{")) as server,
        running_gateway(server.url, auth="nats", nats_user="gateway", nats_password="gw") as http,
    ):
        assert http.get(WHOAMI, **basic("c24", "c")).status == 200
        for number in range(24):
            leave(http, basic(f"c{number}", "c"))
        assert http.get(WHOAMI, **IN_B).status == 200


def test_a_token_of_nats_is_a_login(tmp_path: Path) -> None:
    with (
        LocalNats(tmp_path / "nats", config="authorization { token: s3cret }") as server,
        running_gateway(server.url, auth="nats", nats_token="s3cret") as http,
    ):
        assert http.get(WHOAMI, Authorization="Bearer s3cret").json["method"] == "nats"
        assert http.get(WHOAMI, Authorization="Bearer s3cre").status == 401


def test_a_jwt_that_needs_no_signature_is_a_login(tmp_path: Path) -> None:
    operator, other = Operator(jetstream=True), Operator(jetstream=True)
    creds = tmp_path / "creds"
    creds.write_text(operator.credentials())
    with (
        LocalNats(tmp_path / "nats", config=operator.config) as server,
        running_gateway(server.url, auth="nats", nats_creds=creds) as http,
    ):
        bearer = operator.bearer("carol")
        answer = http.get(WHOAMI, Authorization=f"Bearer {bearer}")
        assert (answer.status, answer.json["name"]) == (200, "carol")
        assert http.get(WHOAMI, Authorization=f"Bearer {other.bearer('carol')}").status == 401
        # NATS takes it with other last bits, too, as if it were another login.
        assert http.get(WHOAMI, Authorization=f"Bearer {with_another_end(bearer)}").status == 401
        # This one needs a signature, which nobody can send over HTTP.
        signed = operator.credentials("dave").splitlines()[1]
        assert http.get(WHOAMI, Authorization=f"Bearer {signed}").status == 401


def test_a_nats_without_logins_lets_nobody_in(tmp_path: Path) -> None:
    with (
        LocalNats(tmp_path / "nats") as server,
        running_gateway(server.url, auth="nats") as http,
    ):
        assert http.get(WHOAMI, **IN_A).status == 503


def test_a_watch_ends_when_nats_does_not_accept_its_login_any_more(tmp_path: Path) -> None:
    server = LocalNats(tmp_path / "nats", config=CONFIG)
    with (
        server,
        running_gateway(
            server.url, auth="nats", nats_user="gateway", nats_password="gw", buckets="b"
        ) as http,
    ):

        async def watch() -> None:
            async with watching(http, "b", additional_headers=IN_A) as watcher:
                assert put(http, "k", "v", IN_A).status == 200
                assert (await watcher.next())["key"] == "k"
                change_password(server, tmp_path / "nats" / "nats-server.conf")
                frames = await watcher.until(lambda frame: frame.get("type") == "error", 15)
                assert frames[-1]["code"] == "permission_denied"

        asyncio.run(watch())
        until(lambda: http.get(WHOAMI, **IN_A).status == 401, "the login is refused")

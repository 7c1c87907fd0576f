"""Flags of callers that present a login of NATS: those of their own account (docs/access.md)."""

import base64
from collections.abc import Iterator

import pytest

from jetkv.testing import LocalNats
from tests.support.flags import FLAGS, evaluate
from tests.support.gateway import running_gateway
from tests.support.http import BUCKETS, Http
from tests.support.ports import free_ports
from tests.support.waiting import until

BUCKET = "feature-flags"

CONFIG = """
accounts {
  A {
    jetstream: enabled
    users: [
      { user: gateway, password: gw }
      { user: alice, password: a }
      { user: blind, password: c,
        permissions: { publish: { deny: ["$JS.API.CONSUMER.CREATE.KV_feature-flags.>",
          "$JS.API.CONSUMER.CREATE.KV_feature-flags"] } } }
    ]
  }
  B { jetstream: enabled, users: [ { user: bob, password: b } ] }
}
"""


def basic(user: str, password: str) -> dict[str, str]:
    text = base64.b64encode(f"{user}:{password}".encode()).decode()
    return {"Authorization": f"Basic {text}"}


ALICE, BOB, BLIND = basic("alice", "a"), basic("bob", "b"), basic("blind", "c")


@pytest.fixture(scope="module")
def monitor() -> Http:
    """The monitoring port of the nats-server."""
    (port,) = free_ports(1)
    return Http("127.0.0.1", port)


@pytest.fixture(scope="module")
def http(tmp_path_factory: pytest.TempPathFactory, monitor: Http) -> Iterator[Http]:
    config = f'{CONFIG}\nhttp: "127.0.0.1:{monitor.port}"'
    settings = {"auth": "nats", "nats_user": "gateway", "nats_password": "gw", "buckets": BUCKET}
    with (
        LocalNats(tmp_path_factory.mktemp("logins"), config=config) as nats,
        running_gateway(nats.url, nats_login_idle_seconds=1, **settings) as http,
    ):
        assert http.put(f"{BUCKETS}/{BUCKET}/keys/on", "true", **ALICE).status == 200
        yield http


def test_each_account_has_its_own_flags(http: Http) -> None:
    assert evaluate(http, f"{FLAGS}/on", **ALICE).json["value"] is True
    assert evaluate(http, f"{FLAGS}/on", **BOB).json["errorCode"] == "FLAG_NOT_FOUND"


def test_what_nats_forbids_is_403(http: Http) -> None:
    answer = evaluate(http, f"{FLAGS}/on", **BLIND)
    assert (answer.status, answer.json["errorCode"]) == (403, "GENERAL")


def test_no_stream_is_named_since_a_login_has_no_tickets(http: Http) -> None:
    answer = evaluate(http, FLAGS, **ALICE)
    assert answer.json.keys() == {"flags"}
    opened = http.request("HEAD", "/ofrep/v1/events", **ALICE)
    assert opened.status == 200


def test_flags_are_read_again_after_the_connection_of_a_login_has_ended(
    http: Http, monitor: Http
) -> None:
    def connections() -> int:
        found = monitor.get("/connz?auth=true").json["connections"]
        return len([one for one in found if one["authorized_user"] == "alice"])

    for value in (1, 2):
        assert http.put(f"{BUCKETS}/{BUCKET}/keys/size", str(value), **ALICE).status == 200
        assert evaluate(http, f"{FLAGS}/size", **ALICE).json["value"] == value
        until(lambda: connections() == 0, "an unused connection ends, flags or not")

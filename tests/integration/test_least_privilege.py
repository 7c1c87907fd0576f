"""The users of deploy/nats: what a gateway can do with each, and what other users cannot do."""

import asyncio
import json
import os
import subprocess
import uuid
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import nats.errors
import pytest
from nats.aio.client import Client as NatsClient

from jetkv.testing import LocalNats
from jetkv_gateway.check.permissions import NEEDS, Need
from jetkv_gateway.embedded import find_nats_server
from tests.support.gateway import running_gateway
from tests.support.http import BUCKETS, Bucket, Http
from tests.support.permissions import FOLDER, permissions, users
from tests.support.tokens import new_token, stored_token, token_line
from tests.support.waiting import soon

USERS = {
    "gateway": "gateway.conf",
    "keys": "gateway-keys.conf",
    "reader": "gateway-read-only.conf",
    "app": "others.conf",
}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalNats]:
    with LocalNats(tmp_path_factory.mktemp("nats"), config=users(**USERS)) as server:
        yield server


@pytest.fixture(autouse=True)
def things(server: LocalNats) -> None:
    """Buckets and keys that are there before each test."""
    with running_gateway(server.url, buckets="b doomed") as http:
        for key in ("k", "deleted", "purged"):
            Bucket(http, "b").put(key, "v")
        http.delete(f"{BUCKETS}/new")


def gateway_as(server: LocalNats, user: str, **settings: Any) -> Any:
    login = {"nats_user": user, "nats_password": "p"}
    return running_gateway(server.url, **{**login, **settings})


def statuses(http: Http) -> dict[str, int]:
    """What a gateway answers to one request of each kind."""
    bucket = Bucket(http, "b")
    deletion = f"{bucket.path}/keys?prefix=gone/"
    changed = json.dumps({"description": uuid.uuid4().hex})
    return {
        "put": bucket.put("p", "v").status,
        "get": bucket.get("k").status,
        "get any replica": bucket.get("k", "?consistency=eventual").status,
        "delete": bucket.delete("deleted").status,
        "purge": bucket.delete("purged", "?purge=true").status,
        "list": http.get(f"{bucket.path}/keys?include=meta").status,
        "history": bucket.history("k").status,
        "batch get": http.post(f"{bucket.path}/batch", {"get": ["k"]}).status,
        "delete many": http.delete(deletion).status,
        "info": http.get(bucket.path).status,
        "list buckets": http.get(BUCKETS).status,
        "create bucket": http.post(BUCKETS, {"name": "new"}).status,
        "change bucket": http.request("PATCH", bucket.path, changed).status,
        "delete bucket": http.delete(f"{BUCKETS}/doomed").status,
    }


READS = {"get", "get any replica", "list", "history", "batch get", "info", "list buckets"}
BUCKETS_ALONE = {"create bucket", "change bucket", "delete bucket"}


def test_the_gateways_user_may_do_all_that_the_gateway_does(server: LocalNats) -> None:
    with gateway_as(server, "gateway", nats_inbox_prefix="_INBOX_JETKV") as http:
        refused = {name: status for name, status in statuses(http).items() if status >= 400}
    assert refused == {}


def test_without_the_administration_of_buckets_everything_else_works(server: LocalNats) -> None:
    with gateway_as(server, "keys") as http:
        refused = {name: status for name, status in statuses(http).items() if status >= 400}
    assert refused == dict.fromkeys(BUCKETS_ALONE, 403)


def test_a_user_who_only_reads_can_neither_write_nor_administrate(server: LocalNats) -> None:
    with gateway_as(server, "reader") as http:
        found = statuses(http)
    assert {name for name, status in found.items() if status < 400} - {"delete many"} == READS
    assert {found[name] for name in found.keys() - READS - {"delete many"}} == {403}


@pytest.mark.parametrize("user", ["gateway", "keys", "reader"])
def test_tokens_of_the_bucket_work_with_each_user(
    server: LocalNats, tmp_path: Path, user: str
) -> None:
    token = stored_token(server.url, f"caller-of-{user}", "read:b")
    with gateway_as(server, user, auth="tokens") as http:
        bearer = {"Authorization": f"Bearer {token}"}
        assert http.get(f"{BUCKETS}/b/keys/k", **bearer).status == 200
        assert http.put(f"{BUCKETS}/b/keys/k", "v", **bearer).status == 403


def test_tokens_of_a_file_work_for_a_user_who_only_reads(server: LocalNats, tmp_path: Path) -> None:
    token, file = new_token(), tmp_path / "tokens"
    file.write_text(token_line("file", token))
    with gateway_as(server, "reader", auth="tokens", auth_tokens=file) as http:
        answer = http.get(f"{BUCKETS}/b/keys/k", Authorization=f"Bearer {token}")
        assert answer.status == 200


@pytest.mark.parametrize("need", NEEDS, ids=[need.subject for need in NEEDS])
def test_the_file_has_each_subject_that_check_tries(need: Need) -> None:
    subject = need.subject.replace("KV_*", "*")
    wanted = "$KV.>" if subject.startswith("$KV") else f"$JS.API.{subject}"
    assert f'"{wanted}"' in permissions("gateway.conf")


# --- others


async def _refusals(server: LocalNats) -> dict[str, str]:
    """Try each way to the gateway's tokens as another user, and return what was not refused."""
    refusals: list[str] = []

    async def on_error(error: Exception) -> None:
        refusals.append(str(error).lower())

    client = NatsClient()
    await client.connect(server.url, user="app", password="p", error_cb=on_error)
    stream, subject = "JETKV_TOKENS", "$JETKV.tokens.KV_.token.evil"
    copy = {"name": "COPY", "sources": [{"name": stream}]}
    consumer = {"stream_name": stream, "config": {"deliver_subject": "mine"}}
    requests: dict[str, dict[str, Any]] = {
        subject: {"name": "evil"},
        f"$JS.API.STREAM.INFO.{stream}": {},
        f"$JS.API.STREAM.DELETE.{stream}": {},
        f"$JS.API.STREAM.PURGE.{stream}": {},
        f"$JS.API.STREAM.UPDATE.{stream}": {"name": stream},
        f"$JS.API.STREAM.SNAPSHOT.{stream}": {"deliver_subject": "mine"},
        f"$JS.API.STREAM.MSG.GET.{stream}": {"seq": 1},
        f"$JS.API.STREAM.MSG.DELETE.{stream}": {"seq": 1},
        f"$JS.API.DIRECT.GET.{stream}": {"seq": 1},
        f"$JS.API.DIRECT.GET.{stream}.$JETKV.tokens.KV_.ticket-key": {},
        f"$JS.API.CONSUMER.CREATE.{stream}": consumer,
        f"$JS.API.CONSUMER.CREATE.{stream}.mine": consumer,
        f"$JS.API.CONSUMER.CREATE.{stream}.mine.$JETKV.>": consumer,
        f"$JS.API.CONSUMER.DURABLE.CREATE.{stream}.mine": consumer,
        f"$JS.API.CONSUMER.LIST.{stream}": {},
        "$JS.API.STREAM.CREATE.COPY": copy,
        "$JS.API.STREAM.UPDATE.KV_b": {**copy, "name": "KV_b"},
        "$JS.API.STREAM.RESTORE.COPY": {"config": copy},
    }
    # A server with a domain takes these, too.
    requests |= {
        name.replace("$JS.API.", "$JS.hub.API."): body
        for name, body in requests.items()
        if name.startswith("$JS.API.")
    }
    allowed = {}
    for name, body in requests.items():
        try:
            answer = await client.request(name, json.dumps(body).encode(), timeout=0.1)
            allowed[name] = answer.data.decode()
        except (TimeoutError, nats.errors.TimeoutError):
            pass
    for name in ("$JETKV.>", "$JS.API.>", "$JS.EVENT.>", "_INBOX_JETKV.>"):
        await client.subscribe(name)
        requests[name] = {}
    await client.flush()

    def unrefused() -> set[str]:
        unanswered = requests.keys() - allowed.keys()
        return {name for name in unanswered if not any(f'"{name.lower()}"' in r for r in refusals)}

    # The client reports a refusal some time after it has got it.
    with suppress(AssertionError):
        await soon(lambda: not unrefused(), "everything is refused")
    allowed.update(dict.fromkeys(unrefused(), "no refusal"))
    await client.close()
    return allowed


@pytest.mark.long
async def test_no_other_user_gets_at_the_tokens_of_the_gateway(server: LocalNats) -> None:
    await asyncio.to_thread(stored_token, server.url, "first", "*:*")
    assert await _refusals(server) == {}


async def test_other_users_can_use_the_buckets(server: LocalNats) -> None:
    client = NatsClient()
    await client.connect(server.url, user="app", password="p")
    bucket = await client.jetstream().key_value("b")
    await bucket.put("of-app", b"v")
    found = await bucket.get("of-app")
    assert found.value == b"v"
    await client.close()


def test_the_example_is_a_configuration_that_a_server_takes() -> None:
    checked = subprocess.run(
        [find_nats_server(), "-t", "-c", FOLDER / "nats-server.conf"],
        env={**os.environ, "GATEWAY_PASSWORD": "a1", "APP_PASSWORD": "b2"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert checked.returncode == 0, checked.stderr


def test_a_gateway_that_only_reads_has_tokens_before_there_is_a_key_for_tickets(
    tmp_path: Path,
) -> None:
    with LocalNats(tmp_path / "nats", config=users(**USERS)) as server:
        token = stored_token(server.url, "caller", "read:b")
        with gateway_as(server, "reader", auth="tokens") as http:
            bearer = {"Authorization": f"Bearer {token}"}
            assert http.get("/api/v1/auth/whoami", **bearer).status == 200
            body = '{"url":"/api/v1/kv/buckets/b/watch"}'
            answer = http.request("POST", "/api/v1/auth/tickets", body, **bearer)
            assert (answer.status, answer.json["code"]) == (503, "unavailable")

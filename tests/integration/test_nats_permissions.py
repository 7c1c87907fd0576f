"""What the gateway's NATS user may subscribe to: a missing permission is named, and at once."""

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from jetkv.testing import LocalNats
from jetkv_gateway.check import EXIT_UNUSABLE, check
from jetkv_gateway.settings import load
from tests.support.gateway import running_gateway
from tests.support.http import Bucket, Http
from tests.support.link import connecting
from tests.support.waiting import soon, until
from tests.support.watching import updates, watching

AS_GATEWAY = {"nats_user": "gateway", "nats_password": "p"}


def user(permissions: str) -> str:
    return (
        "authorization { users: [ "
        f"{{ user: gateway, password: p, permissions: {{ {permissions} }} }} ] }}"
    )


def _nats_issue(http: Http) -> str:
    issue: str = http.get("/ready").json["issues"].get("nats", "")
    return issue


NO_INBOX = {
    "nothing": 'subscribe: { deny: ">" }',
    "another prefix": 'subscribe: { allow: ["_GATEWAY.>"] }',
    "no replies": 'subscribe: { deny: ["_INBOX.*.*"] }',
    "no deliveries": 'subscribe: { deny: ["_INBOX.*"] }',
}


@pytest.mark.parametrize("permissions", NO_INBOX.values(), ids=NO_INBOX)
def test_a_user_who_may_not_subscribe_to_replies_is_not_ready_with_the_permission(
    tmp_path: Path, permissions: str
) -> None:
    with (
        LocalNats(tmp_path, config=user(permissions)) as server,
        running_gateway(server.url, ready=False, **AS_GATEWAY) as http,
    ):
        assert "may not subscribe to _INBOX.>" in _nats_issue(http), "it has started, so it knows"
        start = time.monotonic()
        answer = Bucket(http, "b").put("k", "v")
        assert answer.status == 503
        assert time.monotonic() - start < 2, "nobody waits for a reply that cannot come"


async def test_check_names_the_permission_and_does_not_wait_for_it(tmp_path: Path) -> None:
    with LocalNats(tmp_path, config=user('subscribe: { deny: ">" }')) as server:
        report = await check(load({"nats_url": server.url, **AS_GATEWAY}, None), patience=60)
    assert report.exit_code == EXIT_UNUSABLE
    assert (
        "may not subscribe to _INBOX.>: grant it, or set nats_inbox_prefix"
        in report.missing[0].text
    )


async def test_check_names_a_permission_to_publish(tmp_path: Path) -> None:
    with LocalNats(tmp_path, config=user('publish: { deny: ["$JS.API.>"] }')) as server:
        report = await check(load({"nats_url": server.url, **AS_GATEWAY}, None))
    assert report.exit_code == EXIT_UNUSABLE
    assert "may not publish to $JS.API.INFO" in report.missing[0].text


async def test_a_permission_that_is_taken_away_meanwhile_is_named_and_missed_until_it_is_back(
    tmp_path: Path,
) -> None:
    with LocalNats(tmp_path, config=user("")) as server:
        config = tmp_path / "nats-server.conf"
        granted = config.read_text()
        async with connecting(server.url, **AS_GATEWAY) as connection:
            assert await connection.wait_connected(5), connection.last_error
            config.write_text(granted.replace(user(""), user('subscribe: { deny: ">" }')))
            os.kill(server.pid, signal.SIGHUP)
            await soon(
                lambda: "may not subscribe to _INBOX.>" in (connection.last_error or ""),
                "it says what is missing",
            )
            assert not connection.connected
            config.write_text(granted)
            os.kill(server.pid, signal.SIGHUP)
            assert await connection.wait_connected(5), connection.last_error


# Another prefix.


@pytest.fixture
def narrow(tmp_path: Path) -> Iterator[Http]:
    """A gateway whose user may subscribe to nothing but what begins with `_GATEWAY.`."""
    config = user('subscribe: { allow: ["_GATEWAY.>"] }')
    settings = {"nats_inbox_prefix": "_GATEWAY", "buckets": "b", **AS_GATEWAY}
    with (
        LocalNats(tmp_path, config=config) as server,
        running_gateway(server.url, **settings) as http,
    ):
        until(lambda: http.get("/ready").status == 200, "the bucket is there")
        yield http


async def test_everything_works_below_an_inbox_prefix_of_ones_own(narrow: Http) -> None:
    bucket = Bucket(narrow, "b")
    assert bucket.put("k", "v").status == 200
    assert bucket.get("k").value == b"v"
    assert bucket.keys() == ["k"]
    assert [entry["operation"] for entry in bucket.history("k").json["entries"]] == ["put"]
    async with watching(narrow, "b", "?snapshot=true") as watcher:
        assert updates(await watcher.take(1)) == [("k", "put", 1)]

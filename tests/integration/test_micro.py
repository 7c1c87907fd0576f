"""The gateway as a NATS micro service (ADR-32), seen by other programs on the same NATS."""

import asyncio
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.micro import add_service

from jetkv.testing import LocalNats
from jetkv_gateway.jetstream.micro import semantic_version
from tests.support.gateway import running_gateway
from tests.support.http import BUCKETS, Bucket, Http
from tests.support.native import native_client
from tests.support.waiting import soon, until

# As semver.org suggests it, which ADR-32 asks for.
SEMVER = re.compile(
    r"(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)"
    r"(?:-((?:0|[1-9]\d*|\d*[a-zA-Z-][0-9a-zA-Z-]*)(?:\.(?:0|[1-9]\d*|\d*[a-zA-Z-][0-9a-zA-Z-]*))*))?"
)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalNats]:
    with LocalNats(tmp_path_factory.mktemp("nats")) as server:
        yield server


@pytest.fixture(scope="module")
def gateway(server: LocalNats) -> Iterator[Http]:
    """A gateway that shows itself, and has a bucket `b`."""
    with running_gateway(server.url, nats_service=True, buckets="b") as http:
        until(lambda: http.get(f"{BUCKETS}/b").status == 200, "the bucket is there")
        yield http


async def ask(client: Client, subject: str, count: int = 1) -> list[dict[str, Any]]:
    """Ask all services, and return that many answers."""
    inbox = client.new_inbox()
    answers = await client.subscribe(inbox)
    await client.publish(subject, reply=inbox)
    found = [json.loads((await answers.next_msg(5)).data) for _ in range(count)]
    await answers.unsubscribe()
    return found


def endpoints(stats: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {one["name"]: one for one in stats["endpoints"]}


@pytest.mark.parametrize("verb", ["PING", "INFO", "STATS"])
async def test_it_answers_by_kind_by_name_and_by_id(
    server: LocalNats, gateway: Http, verb: str
) -> None:
    async with native_client(server.url) as native:
        (everybody,) = await ask(native.client, f"$SRV.{verb}")
        (named,) = await ask(native.client, f"$SRV.{verb}.jetkv")
        (one,) = await ask(native.client, f"$SRV.{verb}.jetkv.{everybody['id']}")
    assert everybody["id"] == named["id"] == one["id"]
    assert everybody["type"] == f"io.nats.micro.v1.{verb.lower()}_response"
    assert everybody["name"] == "jetkv"
    assert SEMVER.fullmatch(everybody["version"])
    assert all(isinstance(text, str) for text in everybody["metadata"].values())


def shape(value: Any) -> Any:
    """The fields of an answer and the types of their values."""
    if isinstance(value, dict):
        free = ("metadata", "data")  # each service has its own
        return {name: shape(part) for name, part in value.items() if name not in free}
    if isinstance(value, list):
        return [shape(value[0])]
    return type(value).__name__


@pytest.mark.parametrize("verb", ["PING", "INFO", "STATS"])
async def test_its_answers_have_the_form_of_those_of_a_service_in_nats_py(
    server: LocalNats, gateway: Http, verb: str
) -> None:
    async def handler(request: Any) -> None:
        await request.respond(b"")

    async with native_client(server.url) as native:
        service = await add_service(native.client, name="other", version="1.0.0", description="d")
        await service.add_endpoint(name="e", handler=handler, queue_group="q")
        (theirs,) = await ask(native.client, f"$SRV.{verb}.other")
        (ours,) = await ask(native.client, f"$SRV.{verb}.jetkv")
        await service.stop()
    assert shape(ours) == shape(theirs)
    if verb == "STATS":
        assert [one["data"] for one in ours["endpoints"]] == [{}, {}]


async def test_it_counts_requests_errors_and_their_time(server: LocalNats, gateway: Http) -> None:
    bucket = Bucket(gateway, "b")
    async with native_client(server.url) as native:
        (stats,) = await ask(native.client, "$SRV.STATS.jetkv")
        before = endpoints(stats)
        bucket.put("k", "v")
        for _ in range(3):
            bucket.get("k")
        bucket.get("none")
        gateway.get("/health")
        (stats,) = await ask(native.client, "$SRV.STATS.jetkv")
        after = endpoints(stats)
    reads = after["read"]["num_requests"] - before["read"]["num_requests"]
    writes = after["write"]["num_requests"] - before["write"]["num_requests"]
    assert (reads, writes) == (4, 1), "the API's; a missing key is no error"
    assert after["read"]["num_errors"] == before["read"]["num_errors"]
    assert after["read"]["processing_time"] > before["read"]["processing_time"]
    assert (
        after["read"]["average_processing_time"]
        == after["read"]["processing_time"] // after["read"]["num_requests"]
    )


async def test_an_answer_of_500_and_more_is_an_error_and_names_no_key(tmp_path: Path) -> None:
    with (
        LocalNats(tmp_path) as server,
        running_gateway(server.url, nats_service=True, buckets="b") as http,
    ):
        bucket = Bucket(http, "b")
        until(lambda: bucket.put("k", "v").status == 200, "the bucket is there")
        server.stop()
        until(lambda: bucket.get("secret-key").status == 503, "NATS is gone")
        server.start()
        until(lambda: bucket.get("k").status == 200, "NATS is back")
        async with native_client(server.url) as native:
            (stats,) = await ask(native.client, "$SRV.STATS.jetkv")
    read = endpoints(stats)["read"]
    assert read["num_errors"] >= 1
    assert read["last_error"].startswith("GET /api/v1/kv/buckets/{bucket}/keys/{key...}: 503")
    assert "secret-key" not in json.dumps(stats)


async def test_every_gateway_is_visible_and_only_where_it_is_switched_on(
    server: LocalNats, gateway: Http
) -> None:
    with (
        running_gateway(server.url, nats_service=True) as _,
        running_gateway(server.url) as _,
    ):
        async with native_client(server.url) as native:
            answers: list[Msg] = []

            async def note(message: Msg) -> None:
                answers.append(message)

            inbox = native.client.new_inbox()
            await native.client.subscribe(inbox, cb=note)
            await native.client.publish("$SRV.PING.jetkv", reply=inbox)
            await soon(lambda: len(answers) >= 2, "both answer")
            await native.settled()
    assert len({json.loads(answer.data)["id"] for answer in answers}) == len(answers) == 2


@pytest.mark.parametrize(
    "reply", ["$KV.b.stolen", "$JS.API.STREAM.PURGE.KV_b", "orders.new", "$SRV.PING.jetkv"]
)
async def test_nobody_makes_it_publish_anywhere_but_to_an_inbox(
    server: LocalNats, gateway: Http, reply: str
) -> None:
    bucket = Bucket(gateway, "b")
    bucket.put("kept", "v")
    async with native_client(server.url) as native:
        await native.make_stream({"name": "ORDERS", "subjects": ["orders.>"]})
        before = await native.state("b")
        await native.client.publish("$SRV.INFO.jetkv", reply=reply)
        # Its answer to this one comes behind whatever it did with the one before.
        await ask(native.client, "$SRV.PING.jetkv")
        assert (await native.state("b"))["last_seq"] == before["last_seq"]
        assert (await native.api("STREAM.INFO.ORDERS"))["state"]["messages"] == 0
    assert bucket.get("kept").value == b"v"


async def test_no_request_of_the_service_reaches_data(server: LocalNats, gateway: Http) -> None:
    async with native_client(server.url) as native:
        (info,) = await ask(native.client, "$SRV.INFO.jetkv")
        for endpoint in info["endpoints"]:
            headers = {"KV-Operation": "DEL"}
            with pytest.raises(Exception, match="no responders"):
                await native.client.request(endpoint["subject"], b"{}", headers=headers)


async def test_it_answers_once_after_each_reconnect(tmp_path: Path) -> None:
    with LocalNats(tmp_path) as server, running_gateway(server.url, nats_service=True) as http:
        server.stop()
        until(lambda: http.get("/ready").status == 503, "NATS is gone")
        server.start()
        until(lambda: http.get("/ready").status == 200, "NATS is back")
        async with native_client(server.url) as native:
            (first,) = await ask(native.client, "$SRV.PING.jetkv")
            inbox = native.client.new_inbox()
            answers = await native.client.subscribe(inbox)
            await native.client.publish(f"$SRV.PING.jetkv.{first['id']}", reply=inbox)
            await answers.next_msg(5)
            await ask(native.client, "$SRV.PING.jetkv")
            assert answers.pending_msgs == 0


async def test_a_user_who_may_not_subscribe_to_it_serves_all_the_same(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    config = (
        "authorization { users: [ { user: gateway, password: p, "
        'permissions: { subscribe: { deny: ["$SRV.>"] } } }, { user: other, password: p } ] }'
    )
    settings = {
        "nats_user": "gateway",
        "nats_password": "p",
        "nats_service": True,
        "log_level": "warning",
    }
    with (
        LocalNats(tmp_path, config=config) as server,
        running_gateway(server.url, buckets="b", **settings) as http,
    ):
        bucket = Bucket(http, "b")
        until(lambda: bucket.put("k", "v").status == 200, "it serves")
        async with native_client(server.url, user="other", password="p") as native:
            with pytest.raises(Exception, match="no responders"):
                await native.client.request("$SRV.PING.jetkv", timeout=2)
    assert capfd.readouterr().err.count("may not subscribe to $SRV.") == 1


@pytest.mark.parametrize(
    ("version", "semver"),
    [
        ("1.2.3", "1.2.3"),
        ("1.2", "1.2.0"),
        ("1.2.3rc1", "1.2.3-rc1"),
        ("1.2.3.dev4+g1234", "1.2.3-dev4-g1234"),
        ("0+unknown", "0.0.0"),
    ],
)
def test_its_version_is_a_semantic_one(version: str, semver: str) -> None:
    assert semantic_version(version) == semver
    assert SEMVER.fullmatch(semver)


async def test_many_questions_at_once_are_answered_without_stopping_the_gateway(
    server: LocalNats, gateway: Http
) -> None:
    async with native_client(server.url) as native:
        replies = await asyncio.gather(
            *(native.client.request("$SRV.STATS.jetkv", timeout=10) for _ in range(500))
        )
    assert len(replies) == 500
    assert Bucket(gateway, "b").put("k", "v").status == 200

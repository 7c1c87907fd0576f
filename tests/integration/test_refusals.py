"""Which requests get an answer that NATS forbids them: only those that it certainly refused."""

import asyncio
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from jetkv_gateway.embedded import NatsServer
from jetkv_gateway.jetstream.requests import (
    Multiplexer,
    NoResponders,
    NotPermitted,
    RequestTimeout,
)
from tests.support.gateway import running_gateway
from tests.support.http import Bucket
from tests.support.link import connected, passage
from tests.support.native import Native, native_client
from tests.support.reloading import reload
from tests.support.waiting import soon

GATEWAY = "users: [ { user: gateway, password: p, permissions: { publish: { deny: [%s] } } }, "
OTHERS = "{ user: other, password: p } ]"


def _server(folder: Path, *denied: str) -> NatsServer:
    users = GATEWAY % ", ".join(f'"{subject}"' for subject in denied) + OTHERS
    return NatsServer(folder, config=f"authorization {{ {users} }}")


@asynccontextmanager
async def _both(server: NatsServer) -> AsyncIterator[tuple[Multiplexer, Native]]:
    """The gateway's requests, and a client that nothing is denied to."""
    async with (
        connected(server.url, user="gateway", password="p") as connection,
        native_client(server.url, user="other", password="p") as native,
    ):
        yield connection.mux, native


def test_a_forbidden_key_takes_no_write_to_another_that_differs_by_case_with_it(
    tmp_path: Path,
) -> None:
    at_once, turns = 32, 12
    settings = {"nats_user": "gateway", "nats_password": "p", "buckets": "b,history=64"}
    with (
        _server(tmp_path, "$KV.b.SECRET") as server,
        running_gateway(server.url, **settings) as http,
        ThreadPoolExecutor(at_once) as pool,
    ):
        bucket = Bucket(http, "b")

        def write(number: int) -> tuple[str, int]:
            key = "SECRET" if number % 2 else "secret"
            return key, bucket.put(key, str(number)).status

        told = set(pool.map(write, range(at_once * turns)))
        assert told == {("SECRET", 403), ("secret", 200)}
        assert bucket.get("secret").json["revision"] == at_once * turns // 2
        assert bucket.get("SECRET").status == 404


async def test_many_refused_at_once_are_all_told_so_at_once(tmp_path: Path) -> None:
    with _server(tmp_path, "no.>") as server:
        async with _both(server) as (mux, _):
            asked = [mux.request(f"no.{number % 3}", timeout=30) for number in range(300)]
            async with asyncio.timeout(5):
                told = await asyncio.gather(*asked, return_exceptions=True)
            assert {type(error) for error in told} == {NotPermitted}


async def test_a_request_that_was_permitted_when_it_was_sent_is_not_told_that_it_was_refused(
    tmp_path: Path,
) -> None:
    with _server(tmp_path, "something") as server:
        async with _both(server) as (mux, native):
            heard = await native.client.subscribe("s.x")
            await native.settled()
            permitted = asyncio.create_task(mux.request("s.x", timeout=30))
            asked = await heard.next_msg(5)
            reload(server, tmp_path, '"something"', '"s.x"')
            with pytest.raises(RequestTimeout):  # one of two was refused, and nobody knows which
                await mux.request("s.x", timeout=0.3)
            with pytest.raises(NotPermitted):  # the first one cannot be meant any more
                await mux.request("s.x", timeout=30)
            await asked.respond(b"done")
            assert (await permitted).data == b"done"


async def test_a_refusal_of_a_request_that_nobody_waits_for_any_more_is_nobody_elses(
    tmp_path: Path,
) -> None:
    with _server(tmp_path, "s.x") as server:
        async with (
            passage(server.port) as way,
            connected(way.url, user="gateway", password="p") as connection,
            native_client(server.url, user="other", password="p") as native,
        ):
            heard = await native.client.subscribe("s.x")
            await native.settled()
            log = tmp_path / "nats-server.log"
            way.gate.clear()
            refused = asyncio.create_task(connection.mux.request("s.x", timeout=30))
            await soon(lambda: "Publish Violation" in log.read_text(), "it is refused")
            refused.cancel()
            reload(server, tmp_path, '"s.x"', '"s.z"')
            permitted = asyncio.create_task(connection.mux.request("s.x", timeout=30))
            asked = await heard.next_msg(5)
            way.gate.set()  # the complaint comes, and one waits on its subject
            with pytest.raises(NoResponders):
                await connection.mux.request("nobody", timeout=30)
            await asked.respond(b"done")
            assert (await permitted).data == b"done"


async def test_a_subject_that_the_server_has_to_quote_ends_by_its_deadline(tmp_path: Path) -> None:
    with _server(tmp_path, "q.>") as server:
        async with _both(server) as (mux, _):
            with pytest.raises(RequestTimeout):
                await mux.request('q."', timeout=0.3)
            with pytest.raises(NotPermitted):
                await mux.request("q.é", timeout=30)


async def test_a_sender_that_does_not_wait_can_heed_a_refusal(tmp_path: Path) -> None:
    with _server(tmp_path, "no.next") as server:
        async with _both(server) as (mux, _):
            refused = asyncio.Event()
            mux.on_denied("no.next", refused.set)
            await mux.send("no.next", b"", "nowhere")
            async with asyncio.timeout(5):
                await refused.wait()
            mux.on_denied("no.next", None)


async def test_one_subscription_too_many_does_not_end_the_connection(tmp_path: Path) -> None:
    limits = "limits { max_subs: 2 }, users: [ { user: gateway, password: p } ]"
    with NatsServer(tmp_path, config=f"accounts {{ A {{ {limits} }} }}") as server:
        async with connected(server.url, user="gateway", password="p") as connection:
            mux = connection.mux
            for _ in range(2):
                await mux.subscribe(lambda *_: None)
            log = tmp_path / "nats-server.log"
            await soon(lambda: "subscriptions exceeded" in log.read_text(), "it has complained")
            with pytest.raises(NoResponders):
                await mux.request("nobody", timeout=5)
            assert connection.mux is mux

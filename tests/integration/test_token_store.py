"""The bucket of tokens: out of reach of the API, followed by every gateway, and its bad days."""

import asyncio
import base64
import json
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from jetkv.testing import LocalNats
from jetkv_gateway.kv.errors import GatewayError
from tests.support.cluster import Member, cluster_config, running_cluster
from tests.support.gateway import running_gateway
from tests.support.guarded import TOKENS, Guarded
from tests.support.http import BUCKETS, Http
from tests.support.native import Native, native_client
from tests.support.ports import free_ports
from tests.support.tokens import new_token, stored_token, token_line
from tests.support.waiting import eventually, until

STREAM = "JETKV_TOKENS"
SUBJECTS = "$JETKV.tokens.KV_"


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


async def state(native: Native, stream: str = STREAM) -> dict[str, Any]:
    info = await native.api(f"STREAM.INFO.{stream}")
    return {**info["state"], "created": info["created"], **info["config"]}


async def three_replicas(native: Native) -> None:
    """Wait until the stream has three replicas that are up to date."""

    async def has_grown() -> bool:
        info = await native.api(f"STREAM.INFO.{STREAM}")
        followers = info["cluster"].get("replicas", [])
        # A replica that is behind does not count for a majority yet.
        return len(followers) == 2 and all(one["current"] for one in followers)

    await eventually(has_grown, "it has three replicas", 60)


@pytest.fixture
def root(own_nats: LocalNats) -> str:
    own_nats.start()
    return stored_token(own_nats.url, "root", "*:*")


@pytest.mark.parametrize("prefix", ["", "JETKV_"])
async def test_no_name_leads_to_the_bucket_of_tokens(
    own_nats: LocalNats, root: str, prefix: str
) -> None:
    names = [STREAM, f"../{STREAM}", "TOKENS", "tokens", "JETKV", f"KV_/../{STREAM}", "$JETKV", "*"]
    names += [STREAM + "%00", "%2e%2e%2f" + STREAM, STREAM.lower(), f"{STREAM}_{prefix}"]
    with running_gateway(own_nats.url, auth="off", bucket_prefix=prefix) as http:
        async with native_client(own_nats.url) as native:
            before = await state(native)
            for name in names:
                path = f"{BUCKETS}/{name}"
                for method, where in (
                    ("GET", path),
                    ("GET", f"{path}/keys"),
                    ("GET", f"{path}/keys/token.root"),
                    ("PUT", f"{path}/keys/token.root"),
                    ("DELETE", f"{path}/keys/token.root"),
                    ("DELETE", f"{path}/keys?filter=>"),
                    ("GET", f"{path}/history/token.root"),
                    ("PATCH", path),
                    ("DELETE", path),
                ):
                    body = "{}" if method in ("PUT", "PATCH") else None
                    answer = await asyncio.to_thread(http.request, method, where, body)
                    assert answer.status in (400, 404), (method, where, answer)
                await asyncio.to_thread(http.post, BUCKETS, {"name": name})
            listed = (await asyncio.to_thread(http.get, BUCKETS)).json["buckets"]
            for bucket in listed:
                assert (await native.api(f"STREAM.INFO.KV_{prefix}{bucket['name']}"))["config"]
            assert await state(native) == before, "nothing has touched it"


@pytest.mark.parametrize(
    "destination",
    ["$JETKV.tokens.KV_.token.evil", "$JETKV.>", "*.tokens.KV_.token.x", ">", "$JS.API.>", "_x"],
)
def test_no_bucket_republishes_into_the_tokens(
    own_nats: LocalNats, root: str, destination: str
) -> None:
    with running_gateway(own_nats.url) as http:
        answer = http.post(BUCKETS, {"name": "b", "republish": {"destination": destination}})
        assert answer.status in (400, 403)


async def test_only_hashes_are_stored(own_nats: LocalNats, root: str) -> None:
    with running_gateway(own_nats.url, auth="tokens") as http:
        guarded = Guarded([http], root)
        token = await asyncio.to_thread(guarded.create, "app", "read:b")
        async with native_client(own_nats.url) as native:
            last = (await state(native))["last_seq"]
            stored = b""
            for sequence in range(1, last + 1):
                reply = await native.api(f"STREAM.MSG.GET.{STREAM}", {"seq": sequence})
                if "message" in reply:
                    stored += base64.b64decode(reply["message"].get("data", ""))
    assert b'"app"' in stored
    for secret in (root, token):
        assert secret.encode() not in stored
        assert secret[4:36].encode() not in stored


async def test_each_prefix_has_tokens_of_its_own(own_nats: LocalNats, root: str) -> None:
    with running_gateway(own_nats.url, auth="tokens", bucket_prefix="APP_") as http:
        assert (await asyncio.to_thread(http.get, BUCKETS, **bearer(root))).status == 401
    async with native_client(own_nats.url) as native:
        assert (await state(native, f"{STREAM}_APP_"))["subjects"] == ["$JETKV.tokens.KV_APP_.>"]


async def test_a_record_that_is_no_token_is_refused_and_the_others_work(
    own_nats: LocalNats, root: str
) -> None:
    token = new_token()
    good = {"name": "app", "sha256": "00" * 32, "scopes": ["read:b"]}
    bad: list[object] = [
        b"",
        b"{",
        b"null",
        b"[]",
        {},
        {**good, "sha256": "00"},
        {**good, "sha256": 5},
        {**good, "scopes": []},
        {**good, "scopes": ["fly:b"]},
        {**good, "scopes": None},
        {**good, "expires_at": "soon"},
        {**good, "expires_at": 10**400},
        {**good, "expires_at": 1e300},
        {**good, "expires_at": -1},
        {**good, "requests_per_second": 1e400},
        b'{"name":"app","sha256":"' + b"00" * 32 + b'","scopes":["read:b"],"expires_at":NaN}',
        b"[" * 100_000,
    ]
    with running_gateway(own_nats.url, auth="tokens") as http:
        async with native_client(own_nats.url) as native:
            for number, record in enumerate(bad):
                value = record if isinstance(record, bytes) else json.dumps(record).encode()
                await native.publish(f"{SUBJECTS}.token.bad{number}", value)
            await native.publish(f"{SUBJECTS}.used.root", b"often")
            await native.publish(f"{SUBJECTS}.used.root", b"1e400")
            await native.publish(f"{SUBJECTS}.anything", b"x")
        guarded = Guarded([http], root)
        await asyncio.to_thread(guarded.create, "good", "read:b")
        names = [one["name"] for one in guarded.ask("GET", TOKENS).json["tokens"]]
        assert names == ["good", "root"]
        assert http.get(BUCKETS, **bearer(token)).status == 401


async def test_a_bucket_that_is_deleted_lets_nobody_in_and_is_made_again(
    own_nats: LocalNats, root: str, tmp_path: Path
) -> None:
    own, file = new_token(), tmp_path / "tokens"
    file.write_text(token_line("own", own))
    with running_gateway(own_nats.url, auth="tokens", auth_tokens=file) as http:
        assert http.get(BUCKETS, **bearer(root)).status == 200
        async with native_client(own_nats.url) as native:
            await native.api(f"STREAM.DELETE.{STREAM}")
        until(lambda: http.get(BUCKETS, **bearer(root)).status == 401, "it is refused", 8)
        guarded = Guarded([http], own)
        until(lambda: guarded.ask("GET", TOKENS).status == 200, "the bucket is there again", 8)
        token = await asyncio.to_thread(guarded.create, "new", "read:b")
        assert http.get(BUCKETS, **bearer(token)).status == 200


def test_while_nats_is_away_tokens_stay_in_force_for_a_limited_time(
    own_nats: LocalNats, root: str, tmp_path: Path
) -> None:
    own, file = new_token(), tmp_path / "tokens"
    file.write_text(token_line("own", own))
    settings = {"auth": "tokens", "auth_tokens": file, "token_stale_seconds": 3}
    whoami = "/api/v1/auth/whoami"
    with running_gateway(own_nats.url, **settings) as http:
        assert http.get(whoami, **bearer(root)).status == 200
        own_nats.pause()
        try:
            until(lambda: "auth" in http.get("/ready").json["warnings"], "it warns", 8)
            until(lambda: http.get(whoami, **bearer(root)).status == 503, "it is refused", 8)
            refused = http.get(whoami, **bearer(root))
            assert refused.json["code"] == "unavailable"
            assert "retry-after" in refused.headers
            ready = http.get("/ready")
            assert ready.status == 503
            assert "tokens of the bucket" in ready.json["issues"]["tokens"]
            assert http.get(whoami, **bearer(own)).status == 200, "the file is there"
            assert http.get(whoami, **bearer("nonsense")).status == 401
            assert http.get(whoami).status == 401
        finally:
            own_nats.resume()
        until(lambda: http.get(whoami, **bearer(root)).status == 200, "it works again", 10)
        until(lambda: http.get("/ready").status == 200, "it is ready again")


def test_a_gateway_that_starts_without_nats_is_not_ready_and_tells_tokens_to_wait(
    own_nats: LocalNats, root: str
) -> None:
    own_nats.stop()
    with running_gateway(own_nats.url, ready=False, auth="tokens") as http:
        answer = http.get(BUCKETS, **bearer(root))
        assert (answer.status, answer.json["retryable"]) == (503, True)
        assert "tokens" in http.get("/ready").json["issues"]
        own_nats.start()
        until(lambda: http.get(BUCKETS, **bearer(root)).status == 200, "it is known", 10)


# --- in a cluster


async def first_token(url: str) -> str:
    """Store the first token. JetStream of a new cluster needs some seconds before it answers."""
    made: list[str] = []
    names = (f"root{number}" for number in range(100))

    async def store() -> bool:
        try:
            made.append(await asyncio.to_thread(stored_token, url, next(names), "*:*"))
        except GatewayError:
            return False
        return True

    await eventually(store, "the cluster keeps a token", 60)
    return made[0]


@pytest.mark.long
async def test_the_bucket_gets_three_replicas_when_the_cluster_has_three_servers(
    tmp_path: Path,
) -> None:
    ports = free_ports(3)
    with ExitStack() as stack:
        members = [
            # The third one is not known to the others before it joins.
            Member(
                tmp_path,
                f"n{number}",
                cluster_config(f"n{number}", port, ports if number == 2 else ports[:2]),
                "",
            )
            for number, port in enumerate(ports)
        ]
        for member in members[:2]:
            stack.callback(member.stop)
            member.start()
        urls = ",".join(member.url for member in members[:2])
        root = await first_token(urls)
        http = stack.enter_context(running_gateway(urls, auth="tokens"))
        async with native_client(members[0].url) as native:
            assert (await state(native))["num_replicas"] == 1
            stack.callback(members[2].stop)
            members[2].start()
            await three_replicas(native)
        guarded = Guarded([http], root)
        members[1].stop()
        until(
            lambda: (
                guarded.ask("POST", TOKENS, {"name": "a", "allow": ["read:b"]}).status in (201, 409)
            ),
            "two of three are enough",
            30,
        )


@pytest.fixture(scope="module")
def members(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Member]]:
    with running_cluster(tmp_path_factory.mktemp("cluster")) as servers:
        yield servers


@pytest.mark.long
async def test_a_change_is_known_in_gateways_on_every_server_of_a_cluster(
    members: list[Member],
) -> None:
    root = await first_token(members[0].url)
    with ExitStack() as stack:
        gateways: list[Http] = [
            stack.enter_context(running_gateway(member.url, auth="tokens")) for member in members
        ]
        guarded = Guarded(gateways, root)
        async with native_client(members[0].url) as native:
            # A write that meets the election of its new leader gets no answer.
            await three_replicas(native)
        for turn in range(5):
            token = await asyncio.to_thread(guarded.create, f"app{turn}", "read:b")
            for at in range(3):
                until(
                    lambda at=at, token=token: (
                        guarded.ask("GET", BUCKETS, token=token, at=at).status == 200
                    ),
                    "it is known",
                    2,
                )
            assert guarded.ask("DELETE", f"{TOKENS}/app{turn}", at=turn % 3).status == 204
            for at in range(3):
                until(
                    lambda at=at, token=token: (
                        guarded.ask("GET", BUCKETS, token=token, at=at).status == 401
                    ),
                    "it is refused",
                    2,
                )


@pytest.mark.long
async def test_a_gateway_that_is_cut_off_with_a_minority_stops_to_accept_tokens(
    tmp_path: Path,
) -> None:
    with running_cluster(tmp_path, advertise=False) as members:
        root = await first_token(members[0].url)
        settings = {"auth": "tokens", "token_stale_seconds": 4}
        whoami = "/api/v1/auth/whoami"
        with running_gateway(members[0].url, **settings) as http:
            async with native_client(members[0].url) as native:

                async def has_grown() -> bool:
                    return bool((await state(native))["num_replicas"] == 3)

                await eventually(has_grown, "it has three replicas", 60)
            assert http.get(whoami, **bearer(root)).status == 200
            for member in members[1:]:
                member.pause()
            try:
                until(lambda: http.get(whoami, **bearer(root)).status == 503, "it stops", 40)
            finally:
                for member in members[1:]:
                    member.resume()
            until(lambda: http.get(whoami, **bearer(root)).status == 200, "it works again", 40)

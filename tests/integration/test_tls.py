"""TLS to NATS: what is asked for is there before a credential is sent, or nothing is sent."""

import asyncio
import json
import os
from pathlib import Path

import nkeys
import pytest

from jetkv.testing import LocalNats
from jetkv_gateway.check import EXIT_UNUSABLE, check
from jetkv_gateway.settings import load
from tests.support.gateway import running_gateway
from tests.support.http import Bucket, Http
from tests.support.link import connecting
from tests.support.ports import free_ports
from tests.support.tls import Certificates, TlsFirstNats, secure_url, stripped
from tests.support.waiting import soon, until

PASSWORD = "correct-horse"
LOGIN = f'authorization {{ user: gateway, password: "{PASSWORD}" }}'
AS_GATEWAY = {"nats_user": "gateway", "nats_password": PASSWORD}
NO_TLS = "the server offers no TLS"


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return Certificates(tmp_path_factory.mktemp("certificates"))


async def refuses(url: str, reason: str, **settings: object) -> None:
    """Make sure that there is no connection, and that it is known why."""
    async with connecting(url, **settings) as connection:
        await soon(lambda: reason in (connection.last_error or ""), f"it says {reason!r}")
        assert not connection.connected


async def works(url: str, **settings: object) -> None:
    async with connecting(url, **settings) as connection:
        assert await connection.wait_connected(10), connection.last_error
        assert (await connection.mux.request("$JS.API.INFO", timeout=5)).data


# Where TLS is asked for, and not offered.


def test_tls_is_refused_before_the_password_is_sent_where_somebody_takes_it_out_of_the_offer(
    tmp_path: Path, certificates: Certificates
) -> None:
    config = f"{certificates.server_config()}\nallow_non_tls: true\n{LOGIN}"
    with LocalNats(tmp_path, config=config) as server, stripped(server.port) as stripper:
        url = f"tls://localhost:{stripper.port}"
        with running_gateway(url, ready=False, nats_tls_ca=certificates.ca, **AS_GATEWAY) as http:
            until(lambda: NO_TLS in _ready_issue(http), "it says what is wrong")
            until(lambda: stripper.calls >= 2, "it has tried again")
            assert Bucket(http, "b").put("k", "v").status == 503
        assert stripper.heard == b""


def _ready_issue(http: Http) -> str:
    answer = http.get("/ready")
    assert answer.status == 503, answer
    issue: str = answer.json["issues"].get("nats", "")
    return issue


@pytest.mark.parametrize(
    "settings",
    [
        {"nats_tls_ca": "ca"},
        {"nats_tls_cert": "cert", "nats_tls_key": "key"},
        {"nats_tls_hostname": "localhost"},
    ],
    ids=lambda settings: "+".join(settings),
)
async def test_a_tls_setting_demands_tls_of_an_address_with_nats_too(
    certificates: Certificates, nats: LocalNats, settings: dict[str, str]
) -> None:
    cert, key = certificates.issue("gateway", file="client")
    files = {"ca": certificates.ca, "cert": cert, "key": key}
    given = {name: files.get(value, value) for name, value in settings.items()}
    await refuses(nats.url, NO_TLS, **given)


async def test_one_address_with_tls_demands_it_of_all_of_them(nats: LocalNats) -> None:
    (port,) = free_ports(1)
    await refuses(f"tls://localhost:{port},{nats.url}", NO_TLS)


async def test_a_server_that_leaves_tls_to_its_clients_is_taken_at_its_word(
    tmp_path: Path, certificates: Certificates
) -> None:
    config = f"{certificates.server_config()}\nallow_non_tls: true\nhttp: 127.0.0.1:-1"
    with LocalNats(tmp_path, config=config) as server:
        async with connecting(secure_url(server), nats_tls_ca=certificates.ca) as connection:
            assert await connection.wait_connected(10), connection.last_error
            assert await asyncio.to_thread(_tls_of_clients, server) == [True]
        await works(server.url)


def _tls_of_clients(server: LocalNats) -> list[bool]:
    """Whether the clients of a server use TLS, as it says itself."""
    port = next(
        line.rpartition(":")[2]
        for line in server._log.read_text().splitlines()
        if "Starting http monitor" in line
    )
    clients = json.loads(Http("127.0.0.1", int(port)).get("/connz").body)["connections"]
    return [bool(client.get("tls_version")) for client in clients]


async def test_check_says_that_tls_is_missing_and_does_not_wait_for_it(nats: LocalNats) -> None:
    report = await check(
        load({"nats_url": nats.url.replace("nats://", "tls://")}, None), patience=60
    )
    assert report.exit_code == EXIT_UNUSABLE
    assert NO_TLS in report.missing[0].text


# Where it is offered.


async def test_a_certificate_counts_only_from_the_given_ca_and_for_the_name_of_the_address(
    tmp_path: Path, certificates: Certificates
) -> None:
    other = Certificates(tmp_path / "other")
    with LocalNats(tmp_path / "nats", config=certificates.server_config()) as server:
        await works(secure_url(server), nats_tls_ca=certificates.ca)
        await refuses(secure_url(server), "certificate is refused", nats_tls_ca=other.ca)
        await refuses(secure_url(server), "is its CA in nats_tls_ca?")
        by_address = secure_url(server, host="127.0.0.1")
        await refuses(by_address, "it is for another name", nats_tls_ca=certificates.ca)
        await works(by_address, nats_tls_ca=certificates.ca, nats_tls_hostname="localhost")
        await refuses(
            secure_url(server),
            "it is for another name",
            nats_tls_ca=certificates.ca,
            nats_tls_hostname="elsewhere",
        )


async def test_a_client_certificate_is_shown_and_its_absence_is_named(
    tmp_path: Path, certificates: Certificates
) -> None:
    config = certificates.server_config(more=f'ca_file: "{certificates.ca}", verify: true')
    cert, key = certificates.issue("gateway", file="client")
    with LocalNats(tmp_path, config=config) as server:
        await works(
            secure_url(server),
            nats_tls_ca=certificates.ca,
            nats_tls_cert=cert,
            nats_tls_key=key,
        )
        await refuses(secure_url(server), "(nats_tls_cert)", nats_tls_ca=certificates.ca)


# Before the server says anything.


@pytest.fixture
def tls_first(tmp_path: Path, certificates: Certificates):
    config = certificates.server_config(more="handshake_first: true")
    with TlsFirstNats(tmp_path / "tls-first", config=f"{config}\n{LOGIN}") as server:
        yield server


async def test_tls_can_begin_before_the_server_says_anything(
    tls_first: TlsFirstNats, certificates: Certificates
) -> None:
    settings = {"nats_tls_ca": certificates.ca, **AS_GATEWAY}
    await works(secure_url(tls_first), nats_tls_first=True, **settings)
    await works(secure_url(tls_first, "nats"), nats_tls_first=True, **settings)
    await refuses(secure_url(tls_first), "does the server want TLS first", **settings)


async def test_a_nats_context_with_a_handshake_first_and_an_inbox_prefix_works(
    tls_first: TlsFirstNats,
    certificates: Certificates,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    contexts = tmp_path / "nats" / "context"
    contexts.mkdir(parents=True)
    context = {
        "url": secure_url(tls_first),
        "ca": str(certificates.ca),
        "tls_first": True,
        "inbox_prefix": "_MINE",
        "user": "gateway",
        "password": PASSWORD,
    }
    (contexts / "prod.json").write_text(json.dumps(context))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    report = await check(load({"context": "prod"}, None))
    assert (report.exit_code, report.tls, report.inbox_prefix) == (0, True, "_MINE")


async def test_a_server_that_begins_in_plain_text_is_told_from_one_that_begins_with_tls(
    nats: LocalNats,
) -> None:
    await refuses(nats.url, "unset nats_tls_first", nats_tls_first=True)


# WebSockets.


@pytest.fixture
def websocket(tmp_path: Path, certificates: Certificates):
    (port,) = free_ports(1)
    config = f'websocket {{ listen: "127.0.0.1:{port}"\n{certificates.server_config()} }}'
    with LocalNats(tmp_path / "websocket", config=config):
        yield port


# nats-py names its deadline to aiohttp in a form that will go.
@pytest.mark.filterwarnings("ignore:parameter 'timeout' of type 'float':DeprecationWarning")
async def test_a_secure_websocket_checks_the_certificate_for_the_name_that_is_set(
    websocket: int, certificates: Certificates
) -> None:
    ca = {"nats_tls_ca": certificates.ca}
    await works(f"wss://localhost:{websocket}", **ca)
    await refuses(f"wss://localhost:{websocket}", "is its CA in nats_tls_ca?")
    await refuses(f"wss://127.0.0.1:{websocket}", "it is for another name", **ca)
    await works(f"wss://127.0.0.1:{websocket}", nats_tls_hostname="localhost", **ca)
    await refuses(
        f"wss://localhost:{websocket}", "it is for another name", nats_tls_hostname="x", **ca
    )


# A login that the server has to ask for.


@pytest.mark.parametrize("setting", ["nats_creds", "nats_nkey"])
async def test_a_signature_that_nobody_asks_for_is_no_login(
    nats: LocalNats, tmp_path: Path, setting: str
) -> None:
    file = tmp_path / "login"
    seed = nkeys.encode_seed(os.urandom(32), nkeys.PREFIX_BYTE_USER).decode()
    file.write_text(
        f"-----BEGIN NATS USER JWT-----\na.b.c\n------END NATS USER JWT------\n"
        f"-----BEGIN USER NKEY SEED-----\n{seed}\n------END USER NKEY SEED------\n"
    )
    await refuses(nats.url, "asks for no signature", **{setting: file})

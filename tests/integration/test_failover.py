"""From server to server: what the gateway knew of the last one holds for the next one."""

import asyncio
import logging
import os
import signal
from pathlib import Path

import nkeys
import pytest

from jetkv.testing import LocalNats
from jetkv_gateway.jetstream.connection import Connection
from jetkv_gateway.jetstream.requests import NoResponders
from tests.support.cluster import Member, cluster_config, running_cluster
from tests.support.gateway import running_gateway
from tests.support.http import Bucket
from tests.support.jwt import Operator
from tests.support.link import connecting
from tests.support.ports import free_ports
from tests.support.tls import Certificates, secure_url
from tests.support.waiting import soon, until

NO_JETSTREAM = "jetstream: disabled"
PASSWORD = "a/b?c#d@e%41:f,g"
ENCODED = "a%2Fb%3Fc%23d%40e%2541%3Af%2Cg"


async def stands_at(connection: Connection, *servers: LocalNats) -> None:
    """Wait until the connection is with one of the servers."""
    ports = {server.port for server in servers}
    await soon(
        lambda: connection.connected and connection.server_info["port"] in ports,
        f"it is connected to one of {ports}; {connection.last_error}",
    )


def knows(connection: Connection) -> set[int]:
    return {server.port for server in connection._servers._all}


# The name in the certificate, and the login.


def test_one_address_of_a_cluster_with_tls_and_a_login_is_enough_when_that_server_dies(
    tmp_path: Path,
) -> None:
    certificates = Certificates(tmp_path / "certificates")
    config = (
        f"{certificates.server_config('localhost')}\n"
        f"authorization {{ user: \"us:er\", password: '{PASSWORD}' }}"
    )
    with running_cluster(tmp_path, config=config) as members:
        url = f"tls://us%3Aer:{ENCODED}@localhost:{members[0].port}"
        settings = {"nats_tls_ca": certificates.ca, "request_timeout": 1.5}
        with running_gateway(url, buckets="b,replicas=3", **settings) as http:
            bucket = Bucket(http, "b")
            until(lambda: bucket.put("k", "before").status == 200, "the bucket is there", 20)
            members[0].kill()
            until(lambda: bucket.put("k", "after").status == 200, "the gateway has moved", 20)
            assert bucket.get("k").value == b"after"


async def test_a_member_whose_certificate_is_for_its_ip_address_alone_is_good_too(
    tmp_path: Path,
) -> None:
    certificates = Certificates(tmp_path / "certificates")
    config = f"{certificates.server_config('localhost')}\n{NO_JETSTREAM}"
    with running_cluster(tmp_path, 2, config=config) as members:
        members[1].stop()
        own = certificates.server_config("127.0.0.1")
        with members[1].otherwise(f"{own}\n{NO_JETSTREAM}"):
            url = secure_url(members[0])
            async with connecting(url, nats_tls_ca=certificates.ca) as connection:
                await stands_at(connection, members[0])
                await soon(lambda: members[1].port in knows(connection), "it knows of the other")
                members[0].kill()
                await stands_at(connection, members[1])


async def test_a_member_that_offers_no_tls_is_left_out_where_the_address_demands_it(
    tmp_path: Path,
) -> None:
    certificates = Certificates(tmp_path / "certificates")
    config = f"{certificates.server_config('localhost')}\n{NO_JETSTREAM}"
    with running_cluster(tmp_path, 2, config=config) as members:
        members[1].stop()
        with members[1].otherwise(NO_JETSTREAM):
            url = secure_url(members[0])
            async with connecting(url, nats_tls_ca=certificates.ca) as connection:
                await stands_at(connection, members[0])
                await soon(lambda: members[1].port in knows(connection), "it knows of the other")
                members[0].kill()
                await soon(
                    lambda: "the server offers no TLS" in (connection.last_error or ""),
                    "it has tried the other",
                )
                assert not connection.connected


@pytest.mark.parametrize(
    ("login", "prefix"),
    [
        (f"user: u, password: '{PASSWORD}'", f"u:{ENCODED}"),
        (f"token: '{PASSWORD}'", ENCODED),
        ("user: u, password: 'plain'", "u:plain"),
    ],
    ids=["user and password", "token", "nothing to encode"],
)
async def test_a_login_in_an_address_is_decoded_and_good_for_every_member(
    tmp_path: Path, login: str, prefix: str
) -> None:
    config = f"authorization {{ {login} }}\n{NO_JETSTREAM}"
    with running_cluster(tmp_path, 2, config=config) as members:
        url = members[0].url.replace("nats://", f"nats://{prefix}@")
        async with connecting(url) as connection:
            await stands_at(connection, members[0])
            await soon(lambda: members[1].port in knows(connection), "it knows of the other")
            members[0].kill()
            await stands_at(connection, members[1])


async def test_a_user_in_the_address_goes_with_a_password_of_the_settings(tmp_path: Path) -> None:
    config = f"authorization {{ user: u, password: '{PASSWORD}' }}\n{NO_JETSTREAM}"
    with LocalNats(tmp_path, config=config) as server:
        url = server.url.replace("nats://", "nats://u@")
        async with connecting(url, nats_password=PASSWORD) as connection:
            await stands_at(connection, server)


# Members that come and go.


async def test_members_that_join_and_leave_meanwhile_are_known(tmp_path: Path) -> None:
    routes = free_ports(3)
    late = Member(tmp_path, "late", cluster_config("late", routes[2], routes), NO_JETSTREAM)
    with running_cluster(tmp_path / "first", 1, config=NO_JETSTREAM, ports=routes[:1]) as (first,):
        async with connecting(first.url) as connection:
            await stands_at(connection, first)
            assert knows(connection) == {first.port}
            with late:
                await soon(lambda: late.port in knows(connection), "it knows of the new one")
                late.stop()
                await soon(lambda: late.port not in knows(connection), "it has forgotten it")
                late.start()
                await soon(lambda: late.port in knows(connection), "it knows of it again")
                first.kill()
                await stands_at(connection, late)


async def test_a_server_that_is_about_to_stop_is_left_without_an_error(tmp_path: Path) -> None:
    config = f"{NO_JETSTREAM}\nlame_duck_duration: 30s\nlame_duck_grace_period: 10s"
    with running_cluster(tmp_path, 2, config=config) as members:
        async with connecting(members[0].url) as connection:
            await stands_at(connection, members[0])
            await soon(lambda: members[1].port in knows(connection), "it knows of the other")
            ended = asyncio.Event()

            async def ask() -> int:
                asked = 0
                while not ended.is_set():
                    with pytest.raises(NoResponders):
                        await connection.mux.request("nobody.listens", timeout=5)
                    asked += 1
                return asked

            async with asyncio.TaskGroup() as group:
                askers = [group.create_task(ask()) for _ in range(4)]
                before = connection.mux
                os.kill(members[0].pid, signal.SIGUSR2)
                await stands_at(connection, members[1])
                await soon(lambda: before.lost, "the old connection is closed")
                ended.set()
            assert all(asker.result() > 10 for asker in askers)
            assert members[0].running, "it has not even stopped yet"
            members[0].kill()  # it would take its time


async def test_a_lone_server_that_is_about_to_stop_is_used_until_it_does(
    own_nats: LocalNats,
) -> None:
    own_nats.start()
    async with connecting(own_nats.url) as connection:
        await stands_at(connection, own_nats)
        before = connection.mux
        os.kill(own_nats.pid, signal.SIGUSR2)
        await soon(lambda: connection.server_info.get("ldm"), "it has said so")
        assert connection.mux is before
        with pytest.raises(NoResponders):  # its JetStream has stopped already, requests have not
            await before.request("nobody.listens", timeout=5)
        own_nats.kill()
        await soon(lambda: not connection.connected, "it has ended")
        own_nats.start()
        await stands_at(connection, own_nats)


# Files that are renewed meanwhile.


async def test_a_renewed_ca_counts_from_the_next_connection_on(tmp_path: Path) -> None:
    old = Certificates(tmp_path / "old")
    new = Certificates(tmp_path / "new")
    trusted = tmp_path / "trusted.pem"
    trusted.write_bytes(old.ca.read_bytes())
    server = LocalNats(tmp_path / "nats", config=old.server_config())
    with server:
        async with connecting(secure_url(server), nats_tls_ca=trusted) as connection:
            await stands_at(connection, server)
            server.stop()
            renewed = LocalNats(tmp_path / "nats", port=server.port, config=new.server_config())
            with renewed:
                await soon(
                    lambda: "certificate is refused" in (connection.last_error or ""),
                    "it does not trust the new one",
                )
                trusted.write_bytes(new.ca.read_bytes())
                await stands_at(connection, renewed)


async def test_a_certificate_that_is_broken_for_a_moment_leaves_the_last_good_one_in_force(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    certificates = Certificates(tmp_path)
    cert, key = certificates.issue("gateway", file="client")
    config = certificates.server_config(more=f'ca_file: "{certificates.ca}", verify: true')
    files = {"nats_tls_ca": certificates.ca, "nats_tls_cert": cert, "nats_tls_key": key}
    with LocalNats(tmp_path / "nats", config=config) as server:
        async with connecting(secure_url(server), **files) as connection:
            await stands_at(connection, server)
            with caplog.at_level(logging.WARNING, "jetkv.nats"):
                for broken in (b"", b"-----BEGIN CERTIFICATE-----\n", None):
                    if broken is None:
                        cert.unlink()
                    else:
                        cert.write_bytes(broken)
                    server.kill()
                    await soon(lambda: not connection.connected, "it has ended")
                    server.start()
                    await stands_at(connection, server)
            kept = [
                text for text in caplog.messages if "the last valid content stays in use" in text
            ]
            assert len(kept) == 3, caplog.messages


def windows(text: str) -> bytes:
    return text.replace("\n", "\r\n").encode()


@pytest.mark.parametrize(
    "written",
    [
        str.encode,
        windows,
        lambda text: b"\xef\xbb\xbf" + windows(text),
        lambda text: text.rstrip().encode(),
        lambda text: text.replace("\n", "\n\n").encode(),
    ],
    ids=["nsc", "CRLF", "BOM", "no last line end", "empty lines"],
)
async def test_a_credentials_file_is_read_as_other_clients_read_it(tmp_path: Path, written) -> None:
    operator = Operator()
    file = tmp_path / "gateway.creds"
    file.write_bytes(written(operator.credentials()))
    with LocalNats(tmp_path / "nats", config=operator.config) as server:
        async with connecting(server.url, nats_creds=file) as connection:
            await stands_at(connection, server)


async def test_a_renewed_credentials_file_counts_from_the_next_connection_on(
    tmp_path: Path,
) -> None:
    operator, other = Operator(), Operator()
    file = tmp_path / "gateway.creds"
    file.write_text(other.credentials())
    with LocalNats(tmp_path / "nats", config=operator.config) as server:
        async with connecting(server.url, nats_creds=file) as connection:
            await soon(lambda: connection.last_error, "it was refused")
            assert "authorization" in connection.last_error.lower()
            file.write_text(operator.credentials())
            await stands_at(connection, server)


@pytest.mark.parametrize("text", ["{seed}\r\n", "# of the gateway\n{seed}\n{public}\n", " {seed}"])
async def test_a_file_with_an_nkey_seed_may_have_more_in_it(tmp_path: Path, text: str) -> None:
    seed = nkeys.encode_seed(os.urandom(32), nkeys.PREFIX_BYTE_USER)
    public = nkeys.from_seed(bytearray(seed)).public_key.decode()
    file = tmp_path / "gateway.nk"
    file.write_bytes(text.format(seed=seed.decode(), public=public).encode())
    config = f"authorization {{ users: [{{ nkey: {public} }}] }}\n{NO_JETSTREAM}"
    with LocalNats(tmp_path / "nats", config=config) as server:
        async with connecting(server.url, nats_nkey=file) as connection:
            await stands_at(connection, server)

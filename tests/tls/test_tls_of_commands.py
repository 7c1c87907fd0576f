"""`jetkv serve` and `jetkv dev` with a certificate."""

import signal
from pathlib import Path

import pytest

from jetkv.testing import LocalNats
from tests.cli.conftest import Process, finish, start
from tests.support.http import BUCKETS, Http
from tests.support.https import Connection, client_context
from tests.support.tls import Certificates
from tests.support.waiting import until

__all__ = ["finish", "start"]


def https(process: Process, authority: Certificates) -> Http:
    """A client of the gateway, whose address is in the output."""
    found = process.wait_for(r"https://(?:127\.0\.0\.1|localhost):(\d+)", 60)
    client = Http("127.0.0.1", int(found[1]), tls=client_context(authority))
    until(lambda: client.get("/ready").status == 200, "the gateway is ready", 60)
    return client


def variables(files: tuple[Path, Path]) -> dict[str, str]:
    return {"JETKV_TLS_CERT": str(files[0]), "JETKV_TLS_KEY": str(files[1])}


@pytest.mark.parametrize("workers", ["1", "2"])
@pytest.mark.long
def test_sighup_brings_a_new_certificate_and_drops_nothing(
    start, nats: LocalNats, authority: Certificates, files, tmp_path: Path, workers: str
) -> None:
    process = start(
        *("serve", "--auth", "off", "--port", "0", "--nats-url", nats.url, "--workers", workers),
        **variables(files),
    )
    client = https(process, authority)
    with Connection(client) as first:
        assert first.get(BUCKETS) == 200
        for old, new in zip(
            files, authority.issue("127.0.0.1", file=f"hup-{tmp_path.name}"), strict=True
        ):
            old.write_bytes(new.read_bytes())
        process.popen.send_signal(signal.SIGHUP)

        def all_are_new() -> bool:
            serials = set()
            for _ in range(8):
                with Connection(client) as connection:
                    serials.add(connection.serial)
            return first.serial not in serials

        until(all_are_new, "new connections get the new certificate")
        assert first.get(BUCKETS) == 200
    assert process.stop() == 0
    assert "Traceback" not in process.output


def test_dev_serves_https_with_a_certificate(start, authority: Certificates, files) -> None:
    process = start("dev", "--port", "0", "--nats-port", "0", **variables(files))
    client = https(process, authority)
    assert client.get(BUCKETS).status == 200
    assert f"curl 'https://localhost:{client.port}/" in process.output


def test_a_certificate_that_is_not_there_is_one_clear_line(finish, tmp_path: Path) -> None:
    cert = str(tmp_path / "none.pem")
    code, output = finish("serve", "--auth", "off", "--port", "0", JETKV_TLS_CERT=cert)
    assert code == 4
    assert output.startswith("jetkv: cannot use the files of tls_cert, tls_key and tls_client_ca")
    assert len(output.splitlines()) == 1

from collections.abc import Iterator
from pathlib import Path

import pytest

from jetkv.testing import LocalNats
from tests.support.gateway import running_gateway
from tests.support.http import Http
from tests.support.https import client_context
from tests.support.tls import Certificates


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    """The CA of the tests."""
    return Certificates(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="session", params=["uvloop", "asyncio"])
def https(
    request: pytest.FixtureRequest, nats: LocalNats, authority: Certificates
) -> Iterator[Http]:
    """A gateway that speaks TLS, on each of the event loops."""
    cert, key = authority.issue("127.0.0.1", file=f"gateway-{request.param}")
    with running_gateway(
        nats.url,
        tls=client_context(authority),
        loop=request.param,
        tls_cert=cert,
        tls_key=key,
        buckets="tls",
    ) as client:
        yield client


@pytest.fixture
def files(tmp_path: Path, authority: Certificates) -> tuple[Path, Path]:
    """A certificate of a test's own for 127.0.0.1, and its key."""
    cert, key = authority.issue("127.0.0.1", file=tmp_path.name)
    own = tmp_path / "cert.pem", tmp_path / "key.pem"
    own[0].write_bytes(cert.read_bytes())
    own[1].write_bytes(key.read_bytes())
    return own

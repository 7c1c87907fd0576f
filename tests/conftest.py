"""One nats-server and one gateway for all tests that break neither; a bucket for each test."""

import os
import uuid
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from jetkv.testing import LocalNats
from tests.support.gateway import running_gateway
from tests.support.http import BUCKETS, Bucket, Http
from tests.support.native import Native, native_client
from tests.support.permissions import RESTRICTED, users
from tests.support.secrecy import leaks

_TESTS = Path(__file__).parent


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--ttl-seed", type=int, help="Repeat the writes of tests/integration/test_ttl_model.py."
    )


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Start the slowest files first; `tools/slowest.py` records which these are."""
    lines = (_TESTS / "slowest.tsv").read_text().splitlines()
    places = {line.partition("\t")[2]: place for place, line in enumerate(lines)}
    root = _TESTS.parent
    items.sort(key=lambda item: places.get(str(item.path.relative_to(root)), len(places)))


@pytest.fixture(scope="session", autouse=True)
def no_credential_in_logs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """No gateway that the tests have run has written a token to a log or an audit log."""
    yield
    assert leaks(tmp_path_factory.getbasetemp()) == []


@pytest.fixture(scope="session")
def nats(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalNats]:
    """A shared nats-server, of the version that JETKV_NATS_SERVER names, else the newest.

    The gateways of the tests log in with the permissions of deploy/nats/gateway.conf.
    """
    config = users(gateway="gateway.conf")
    with LocalNats(tmp_path_factory.mktemp("nats"), config=config) as server:
        RESTRICTED.add(server.url)
        yield server


@pytest.fixture
async def version(nats: LocalNats) -> tuple[int, int]:
    """The version of the shared nats-server, such as (2, 12)."""
    async with native_client(nats.url) as client:
        return client.version


@pytest.fixture(scope="session")
def http(nats: LocalNats) -> Iterator[Http]:
    """A shared gateway on the shared nats-server."""
    with running_gateway(nats.url) as client:
        yield client


@pytest.fixture
def bucket_name() -> str:
    return f"t-{uuid.uuid4().hex[:12]}"


@pytest.fixture
def make_bucket(http: Http) -> Iterator:
    """Create buckets with settings; they are gone after the test."""
    made: list[Bucket] = []

    def make(**settings: object) -> Bucket:
        name = f"t-{uuid.uuid4().hex[:12]}"
        answer = http.post(BUCKETS, {"name": name, **settings})
        assert answer.status == 201, answer
        made.append(Bucket(http, name))
        return made[-1]

    yield make
    for bucket in made:
        if http.delete(bucket.path).status == 409:
            http.request("PATCH", bucket.path, '{"protected":false}')
            http.delete(bucket.path)


@pytest.fixture
def bucket(make_bucket) -> Bucket:
    """A bucket with default settings."""
    return make_bucket()


@pytest.fixture
async def native(nats: LocalNats) -> AsyncIterator[Native]:
    """A NATS client on the shared nats-server, beside the gateway."""
    async with native_client(nats.url) as client:
        yield client


@pytest.fixture
def own_nats(tmp_path: Path) -> Iterator[LocalNats]:
    """A nats-server of the test's own, to kill, pause and restart; not started yet."""
    server = LocalNats(tmp_path / "own-nats")
    yield server
    server.resume()
    server.stop()


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith(("JETKV_", "OTEL_")) and name != "JETKV_NATS_SERVER":
            monkeypatch.delenv(name)

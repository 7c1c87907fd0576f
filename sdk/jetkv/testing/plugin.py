"""The pytest plugin: a running NATS and gateway, and a bucket for each test (docs/testing.md).

pytest loads this module in every run where jetkv is installed. So the fixtures import what they
need themselves.
"""

import os
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from jetkv import AsyncClient, Bucket, Client
    from jetkv.testing.buckets import MakeBucket
    from jetkv.testing.handles import ServerHandle
    from jetkv.testing.local import Setting
    from jetkv.testing.servers import Servers

__all__ = [
    "PLAN",
    "Plan",
    "jetkv_async_client",
    "jetkv_bucket",
    "jetkv_bucket_name",
    "jetkv_client",
    "jetkv_gateway",
    "jetkv_make_bucket",
    "jetkv_nats",
    "jetkv_settings",
    "jetkv_token",
    "jetkv_url",
]

_PROVIDERS = ("local", "container")


@dataclass(frozen=True)
class Plan:
    """How to run the servers. If an image is None, the container class chooses it."""

    provider: str
    nats_image: str | None
    gateway_image: str | None


PLAN = pytest.StashKey[Plan]()


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("jetkv", "jetkv: a gateway and NATS for tests")
    group.addoption(
        "--jetkv",
        choices=_PROVIDERS,
        help="Run NATS and the gateway as processes of this machine or in containers.",
    )
    group.addoption("--jetkv-nats-image", metavar="IMAGE", help="The image of NATS.")
    group.addoption("--jetkv-gateway-image", metavar="IMAGE", help="The image of the gateway.")
    parser.addini("jetkv_provider", "As --jetkv.", default=_PROVIDERS[0])
    parser.addini("jetkv_nats_image", "As --jetkv-nats-image.", default="")
    parser.addini("jetkv_gateway_image", "As --jetkv-gateway-image.", default="")


def pytest_configure(config: pytest.Config) -> None:
    provider = config.getoption("--jetkv") or config.getini("jetkv_provider")
    if provider not in _PROVIDERS:
        raise pytest.UsageError(f"jetkv_provider must be local or container, not {provider!r}")
    # Reads the environment now, because tests may clear it later.
    config.stash[PLAN] = Plan(provider, _image(config, "nats"), _image(config, "gateway"))
    if _has_asyncio(config):
        config.pluginmanager.import_plugin("jetkv.testing.asyncio_fixtures")


def _has_asyncio(config: pytest.Config) -> bool:
    # The first name is its entry point; the second is for `-p` without entry points.
    return any(map(config.pluginmanager.hasplugin, ("asyncio", "pytest_asyncio.plugin")))


def _image(config: pytest.Config, server: str) -> str | None:
    return (
        config.getoption(f"--jetkv-{server}-image")
        or os.environ.get(f"JETKV_TEST_{server.upper()}_IMAGE")
        or config.getini(f"jetkv_{server}_image")
        or None
    )


@pytest.fixture(scope="session")
def jetkv_settings() -> Mapping[str, "Setting"]:
    """The gateway's settings; override it, for example with `{"request_timeout": 1}`."""
    return {}


@pytest.fixture(scope="session")
def jetkv_token() -> str | None:
    """The token that the gateway requires and the clients send; None by default. Override it."""
    return None


@pytest.fixture(scope="session")
def _jetkv_session(
    pytestconfig: pytest.Config,
    tmp_path_factory: pytest.TempPathFactory,
    jetkv_token: str | None,
    jetkv_settings: Mapping[str, "Setting"],
) -> Iterator["Servers"]:
    from jetkv.testing.servers import container_servers, local_servers

    plan = pytestconfig.stash[PLAN]
    if plan.provider == "local":
        folder = tmp_path_factory.mktemp("jetkv")
        running = local_servers(folder, token=jetkv_token, settings=jetkv_settings)
    else:
        running = container_servers(
            plan.nats_image, plan.gateway_image, token=jetkv_token, settings=jetkv_settings
        )
    with running as servers:
        yield servers


@pytest.fixture
def _jetkv_servers(_jetkv_session: "Servers") -> Iterator["Servers"]:
    """The servers, repaired before and after each test."""
    _jetkv_session.repair()
    yield _jetkv_session
    _jetkv_session.repair()
    _jetkv_session.lent = False


@pytest.fixture
def jetkv_nats(_jetkv_servers: "Servers") -> "ServerHandle":
    """NATS, to pause, kill, stop and restart. After the test it is repaired."""
    _jetkv_servers.lent = True
    return _jetkv_servers.nats


@pytest.fixture
def jetkv_gateway(_jetkv_servers: "Servers") -> "ServerHandle":
    """The gateway, to pause, kill, stop and restart. After the test it is repaired."""
    _jetkv_servers.lent = True
    return _jetkv_servers.gateway


@pytest.fixture(scope="session")
def jetkv_url(_jetkv_session: "Servers") -> str:
    """The base URL of the running gateway."""
    return _jetkv_session.gateway.url


@pytest.fixture
def jetkv_client(jetkv_url: str, jetkv_token: str | None) -> Iterator["Client"]:
    """A client of the gateway."""
    from jetkv import Client

    with Client(jetkv_url, token=jetkv_token, proxy="") as client:
        yield client


@pytest.fixture
def jetkv_async_client(request: pytest.FixtureRequest) -> "AsyncClient":
    """An async client of the gateway, in the event loop of pytest-asyncio or anyio."""
    if "anyio_backend" in request.fixturenames:
        name = "_jetkv_anyio_client"
    elif _has_asyncio(request.config):
        name = "_jetkv_asyncio_client"
    else:
        pytest.fail(
            "jetkv_async_client needs a plugin for async tests: pip install pytest-asyncio, "
            "or pip install anyio and mark the test with pytest.mark.anyio",
            pytrace=False,
        )
    client: AsyncClient = request.getfixturevalue(name)
    return client


@pytest.fixture
async def _jetkv_anyio_client(
    jetkv_url: str, jetkv_token: str | None
) -> AsyncIterator["AsyncClient"]:
    from jetkv import AsyncClient

    async with AsyncClient(jetkv_url, token=jetkv_token, proxy="") as client:
        yield client


@pytest.fixture
def jetkv_bucket_name() -> str:
    """A name that no bucket has. No bucket is created."""
    from jetkv.testing.buckets import fresh_name

    return fresh_name()


@pytest.fixture
def jetkv_make_bucket(
    _jetkv_servers: "Servers", jetkv_client: "Client", jetkv_token: str | None
) -> Iterator["MakeBucket"]:
    """A function that creates buckets with settings. They are deleted after the test."""
    from jetkv import Client
    from jetkv.testing.buckets import MakeBucket

    make = MakeBucket(jetkv_client)
    yield make
    _jetkv_servers.repair()
    # The test may have closed its client.
    with Client(_jetkv_servers.gateway.url, token=jetkv_token, proxy="") as client:
        make.remove_made(client)


@pytest.fixture
def jetkv_bucket(jetkv_make_bucket: "MakeBucket") -> "Bucket[Any]":
    """A new bucket for JSON values. It is deleted after the test."""
    return jetkv_make_bucket()

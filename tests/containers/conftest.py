"""The image of deploy/Dockerfile and a NATS, in containers of a real Docker engine.

These tests run only where they are asked for by path, `make test-containers`, since they need an
engine and an image; `.ci/containers` makes both. Which images is read here, before any test
clears the variables that name them.
"""

import os
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from jetkv.testing.containers import (
    GATEWAY_IMAGE_VARIABLE,
    NATS_IMAGE_VARIABLE,
    JetKVContainer,
    NatsContainer,
)
from tests.support.http import Http

HERE = Path(__file__).parent

IMAGE = os.environ.get(GATEWAY_IMAGE_VARIABLE)
_NATS_IMAGE = os.environ.get(NATS_IMAGE_VARIABLE)
DEV_IMAGE = os.environ.get("JETKV_TEST_DEV_IMAGE", "jetkv:dev")


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    start = config.invocation_params.dir
    asked = [(start / argument.partition("::")[0]).resolve() for argument in config.args]
    return None if any(path.is_relative_to(HERE) for path in asked) else True


def client(gateway: JetKVContainer, **headers: str) -> Http:
    """A client of a gateway in a container."""
    address = urlsplit(gateway.url)
    assert address.hostname is not None
    assert address.port is not None
    return Http(address.hostname, address.port, **headers)


@pytest.fixture
def images(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the environment says of images, where a test's own handles read it."""
    for variable, image in ((GATEWAY_IMAGE_VARIABLE, IMAGE), (NATS_IMAGE_VARIABLE, _NATS_IMAGE)):
        if image is not None:
            monkeypatch.setenv(variable, image)


@pytest.fixture(scope="session")
def nats() -> Iterator[NatsContainer]:
    """A NATS for all tests that break nothing; also that of the fixture `native`."""
    with NatsContainer(_NATS_IMAGE) as server:
        yield server


@pytest.fixture(scope="session")
def gateway(nats: NatsContainer) -> Iterator[JetKVContainer]:
    """A gateway for all tests that break nothing."""
    with JetKVContainer(IMAGE, nats=nats) as server:
        yield server


@pytest.fixture(scope="session")
def http(gateway: JetKVContainer) -> Http:
    """A client of the shared gateway; also that of the fixture `bucket`."""
    return client(gateway)


@pytest.fixture
def own(_no_settings_from_outside: None, images: None) -> Iterator[JetKVContainer]:
    """A gateway and a NATS of the test's own, to break."""
    with JetKVContainer() as server:
        yield server

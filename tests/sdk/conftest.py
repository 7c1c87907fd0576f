"""Three APIs, both clients, and an address where no server listens."""

import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, ExitStack

import pytest

from tests.sdk.api import Api
from tests.sdk.apis import APIS, open_api
from tests.support.clients import BOTH, MakeClient
from tests.support.gateway import running_gateway
from tests.support.http import BUCKETS, Http
from tests.support.ports import free_port


@pytest.fixture(params=BOTH)
def make(request: pytest.FixtureRequest) -> MakeClient:
    return BOTH[request.param]


@pytest.fixture
def nobody() -> Iterator[str]:
    """An address where a connection is refused, for as long as the test runs."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{held.getsockname()[1]}"


@pytest.fixture(params=APIS)
async def api(request: pytest.FixtureRequest, http: Http) -> AsyncIterator[Api]:
    async with AsyncExitStack() as stack:
        yield await open_api(stack, request.param, http)


@pytest.fixture
def new_bucket(http: Http, bucket_name: str) -> Iterator[str]:
    """The name of a bucket that a test creates itself; it is gone afterwards."""
    yield bucket_name
    http.delete(f"{BUCKETS}/{bucket_name}")


@pytest.fixture
def port() -> int:
    return free_port()


class Restartable:
    """A gateway that can be away for a while, at the same address."""

    def __init__(self, nats_url: str, port: int) -> None:
        self._nats_url = nats_url
        self._port = port
        self._running = ExitStack()

    def start(self) -> None:
        self.http = self._running.enter_context(running_gateway(self._nats_url, port=self._port))

    def stop(self) -> None:
        self._running.close()


@pytest.fixture
def gateway(nats, port) -> Iterator[Restartable]:
    server = Restartable(nats.url, port)
    server.start()
    yield server
    server.stop()

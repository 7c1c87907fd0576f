"""Beside the shared gateway: a cluster, a server that stands alone, and a bucket on each."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from jetkv.testing import LocalNats
from jetkv_gateway.embedded import NatsServer
from tests.support.cluster import running_cluster
from tests.support.direct_reads import SOLO
from tests.support.gateway import running_gateway
from tests.support.http import BUCKETS, Bucket, Http
from tests.support.native import Native, native_client


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[NatsServer]]:
    """A shared cluster of three nats-servers; no test stops one of them."""
    with running_cluster(tmp_path_factory.mktemp("cluster")) as members:
        yield members


@pytest.fixture(scope="session")
def replicated(cluster: list[NatsServer]) -> Iterator[Bucket]:
    """A bucket of three replicas, through a gateway on the cluster."""
    # A cluster that has just started sometimes never answers its first request.
    settings = {"buckets": "replicated,replicas=3,history=5", "request_timeout": 1.5}
    with running_gateway(cluster[0].url, **settings) as http:
        yield Bucket(http, "replicated")


@pytest.fixture
def long_bucket(http: Http) -> Iterator[Bucket]:
    """A bucket with the longest name there can be."""
    bucket = Bucket(http, "n" * 200)
    assert http.post(BUCKETS, {"name": bucket.name}).status == 201
    yield bucket
    http.delete(bucket.path)


@pytest.fixture
def solo(tmp_path: Path) -> Iterator[LocalNats]:
    """A server that stands alone."""
    with LocalNats(tmp_path / "solo", config=SOLO) as server:
        yield server


@pytest.fixture
def solo_bucket(solo: LocalNats) -> Iterator[Bucket]:
    """A bucket on it that its gateway knows, with the key `k`."""
    with running_gateway(solo.url, buckets="b,history=5") as http:
        bucket = Bucket(http, "b")
        assert bucket.put("k", "v").status == 200
        yield bucket


@pytest.fixture
async def solo_native(solo: LocalNats) -> AsyncIterator[Native]:
    async with native_client(solo.url) as native:
        yield native

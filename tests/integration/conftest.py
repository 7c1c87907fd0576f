"""Beside the shared gateway: NATS without it, and a cluster."""

from collections.abc import Iterator

import pytest

from jetkv_gateway.embedded import NatsServer
from tests.support.cluster import running_cluster
from tests.support.gateway import running_gateway
from tests.support.http import BUCKETS, Bucket, Http


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

"""What `make dev` gives, for the examples of the docs."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from jetkv.testing import LocalNats
from tests.support.gateway import running_gateway
from tests.support.http import Http


@pytest.fixture
def dev(tmp_path: Path) -> Iterator[Http]:
    """What `make dev` gives: a fresh nats-server and a bucket `demo`."""
    with (
        LocalNats(tmp_path / "nats") as nats,
        running_gateway(nats.url, buckets=["demo"]) as http,
    ):
        yield http

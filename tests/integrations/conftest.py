"""Adapters for other libraries, on the shared gateway, and those libraries' own tests.

These tests run only where they are asked for by path, `make test-integrations`, since they need
what requirements/integrations.txt names, and the sdists of some of it.
"""

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from jetkv import Client
from tests.integrations.peers import COUNTS
from tests.support.http import BUCKETS, Http

HERE = Path(__file__).parent


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    start = config.invocation_params.dir
    asked = [(start / argument.partition("::")[0]).resolve() for argument in config.args]
    return None if any(path.is_relative_to(HERE) for path in asked) else True


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Send the counts of a worker of pytest-xdist to the process that prints them."""
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["counts"] = list(COUNTS)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Take the counts of a worker of pytest-xdist that ends."""
    COUNTS.extend(getattr(node, "workeroutput", {}).get("counts", ()))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print how many tests of each library passed."""
    for line in COUNTS:
        terminalreporter.write_line(f"== {line}")


@pytest.fixture
def client(http: Http) -> Iterator[Client]:
    with Client(http.url) as client:
        yield client


@pytest.fixture
def new_bucket(http: Http, bucket_name: str) -> Iterator[str]:
    """The name of a bucket that the code under test creates; it is gone afterwards."""
    yield bucket_name
    http.delete(f"{BUCKETS}/{bucket_name}")


class Said(logging.Filter):
    """What our adapters log. A filter, since a gateway in this process takes away handlers."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[tuple[str, str]] = []

    def filter(self, record: logging.LogRecord) -> bool:
        self.lines.append((record.levelname, record.getMessage()))
        return True


@pytest.fixture
def said() -> Iterator[Said]:
    logger = logging.getLogger("jetkv.integrations")
    level = logger.level
    said = Said()
    logger.addFilter(said)
    logger.setLevel(logging.INFO)
    yield said
    logger.setLevel(level)
    logger.removeFilter(said)

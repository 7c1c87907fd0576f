"""The modules that docs/architecture.md names are those that a request and a change pass."""

import asyncio
import re
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import pytest

import jetkv_gateway
from jetkv.testing import LocalNats
from tests.support.gateway import running_gateway
from tests.support.http import BUCKETS, Answer, Bucket
from tests.support.watching import watching

SOURCES = f"{Path(jetkv_gateway.__file__).parent}/"
PAGE = Path(__file__).parents[2] / "docs" / "architecture.md"

Module = str


def lists() -> list[list[Module]]:
    """The numbered lists of the page's section, each as the files that it names."""
    section = PAGE.read_text().split("## How a request and a watch flow")[1].split("\n## ")[0]
    found: list[list[Module]] = []
    for number, module in re.findall(r"^(\d+)\. `([^`]+)`", section, re.MULTILINE):
        if number == "1":
            found.append([])
        found[-1].append(module)
    return found


GET, PUT, TO_FEED, TO_SESSION, TO_WATCHER = lists()


def modules_of(frame: FrameType | None) -> list[Module]:
    """The gateway's files on a stack, from the outside in; one that stands twice in a row, once."""
    found: list[Module] = []
    while frame is not None:
        name = frame.f_code.co_filename
        if name.startswith(SOURCES) and found[-1:] != [name.removeprefix(SOURCES)]:
            found.append(name.removeprefix(SOURCES))
        frame = frame.f_back
    return found[::-1]


class Visitor:
    """Notes the modules on the stack whenever a function is entered, in threads begun under it."""

    def __init__(self) -> None:
        self._wanted: tuple[str, str] | None = None
        self.seen: list[list[Module]] = []

    def __call__(self, frame: FrameType, event: str, _argument: object) -> None:
        code = frame.f_code
        wanted = self._wanted
        if event != "call" or wanted is None or code.co_name != wanted[1]:
            return
        if code.co_filename.endswith(wanted[0]):
            self.seen.append(modules_of(frame))

    @contextmanager
    def at(self, file: str, function: str) -> Iterator[list[list[Module]]]:
        """Note what stands on the stack at each entry of a function; the list fills meanwhile."""
        self.seen = []
        self._wanted = file, function
        try:
            yield self.seen
        finally:
            self._wanted = None


@pytest.fixture(scope="module")
def visited(nats: LocalNats) -> Iterator[tuple[Visitor, Bucket]]:
    """A gateway with a visitor in its thread, and a bucket that it knows already."""
    visitor = Visitor()
    threading.setprofile(visitor)
    try:
        with running_gateway(nats.url) as http:
            name = f"t-{uuid.uuid4().hex[:12]}"
            assert http.post(BUCKETS, {"name": name}).status == 201
            bucket = Bucket(http, name)
            assert bucket.put("k", "v").status == 200
            yield visitor, bucket
            http.delete(bucket.path)
    finally:
        threading.setprofile(None)


@pytest.mark.parametrize(
    ("request_of", "modules"),
    [
        (lambda bucket: bucket.get("k"), GET),
        (lambda bucket: bucket.put("k", "w"), PUT),
    ],
    ids=["GET", "PUT"],
)
def test_a_request_stands_in_the_modules_of_the_page_when_it_leaves_for_nats(
    visited: tuple[Visitor, Bucket], request_of: Callable[[Bucket], Answer], modules: list[Module]
) -> None:
    visitor, bucket = visited
    with visitor.at("jetstream/wire.py", "publish") as seen:
        assert request_of(bucket).status == 200
    assert modules in seen
    assert len(set(modules)) == len(modules), "it turns back into no module"


def test_the_gateway_sees_a_head_before_anything_waits(visited: tuple[Visitor, Bucket]) -> None:
    visitor, bucket = visited
    with visitor.at("http/gateway.py", "begin") as seen:
        assert bucket.get("k").status == 200
    assert seen == [[GET[0], GET[3]]]
    assert PUT[:4] == GET[:4]


def test_a_put_crosses_ten_modules_at_most() -> None:
    assert len(PUT) <= 10


@pytest.mark.parametrize(
    ("file", "function", "modules"),
    [
        ("jetstream/feed.py", "_take", TO_FEED),
        ("watch/session.py", "add_live", TO_SESSION),
        ("serving/websockets.py", "write", TO_WATCHER),
    ],
)
async def test_a_change_passes_the_modules_of_the_page_in_three_legs(
    visited: tuple[Visitor, Bucket], file: str, function: str, modules: list[Module]
) -> None:
    visitor, bucket = visited
    async with watching(bucket.http, bucket.name) as watcher:
        with visitor.at(file, function) as seen:
            assert (await asyncio.to_thread(bucket.put, "k", "x")).status == 200
            await watcher.next()
    assert modules in seen

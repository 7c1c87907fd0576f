"""Faults of every kind on a real cluster, once, in a history that all promises are judged by.

Three nats-servers, R3, two gateways with two workers each. The faults strike one after the other,
or together, in an order that is given, at times and places that a seed gives:
`JETKV_CLUSTER_SEED` repeats one. A history that fails is kept; see CONTRIBUTING.md.
"""

import asyncio
import gc
import os
import random
import uuid
from collections.abc import Iterator
from contextlib import suppress

import aiohttp
import pytest

from tests.cluster.checks import CHECKS, breaches
from tests.cluster.faults import FAULTS, short
from tests.cluster.history import History
from tests.cluster.nodes import Nodes, running_nodes
from tests.cluster.report import keep, lines
from tests.cluster.run import run
from tests.cluster.traffic import session
from tests.support.http import BUCKETS

pytestmark = pytest.mark.long

_SEED = int(os.environ.get("JETKV_CLUSTER_SEED") or random.SystemRandom().randrange(2**32))
_DEADLINE = 180.0
_STALE_SECONDS = 20.0
_NOISE = 600


class Reads:
    """What was read right after a write was acked, by consistency: how often, and how often old."""

    def __init__(self) -> None:
        self.count = {"strong": 0, "eventual": 0}
        self.stale = {"strong": 0, "eventual": 0}


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> tuple[History, Reads]:
    """One run with all faults, and reads of both kinds on the same cluster before it."""

    async def all_of_it() -> tuple[History, Reads]:
        async with (
            asyncio.timeout(_DEADLINE),
            running_nodes(tmp_path_factory.mktemp("nodes")) as nodes,
        ):
            reads = await _read_after_writes(nodes)
            return await run(nodes, short(), _SEED), reads

    history, reads = asyncio.run(all_of_it())
    # nats-py leaves sockets behind where connecting is given up. What Python says of each is to be
    # said here and not in the middle of whatever comes next.
    gc.collect()
    for line in lines(history):
        print(line)
    return history, reads


@pytest.fixture(scope="module")
def history(ran: tuple[History, Reads]) -> History:
    return ran[0]


@pytest.fixture(scope="module")
def found(history: History) -> Iterator[dict[str, list[str]]]:
    """The breaches by check; a history that has any is kept, and so is where."""
    found = breaches(history)
    if found:
        print(f"kept: python -m tests.cluster check {keep(history)}")
    return found


def test_every_kind_of_fault_strikes() -> None:
    struck = {name for fault in short() for name in fault.name.split(" + ")}
    variants = {"follower frozen 8-12 s"}
    assert struck == {fault.name for fault in FAULTS} - variants


@pytest.mark.parametrize("check", CHECKS)
def test_under_every_fault_what_is_promised_holds(check: str, found: dict[str, list[str]]) -> None:
    assert found.get(check, []) == [], f"seed {_SEED}"


def test_the_run_was_worth_judging(history: History) -> None:
    assert len(history.operations) > 1500
    assert any(op.outcome == "unknown" for op in history.operations)
    assert sum(len(chain.updates) for chain in history.chains) > 3000
    assert all(chain.sessions for chain in history.chains)
    transfers = [one for one in history.batches if one.kind == "transfer"]
    assert sum(one.outcome == "ok" for one in transfers) > 100
    assert {one.outcome for one in transfers} >= {"ok", "conflict"}


def test_only_an_eventual_read_may_be_older_than_an_acked_write(
    ran: tuple[History, Reads],
) -> None:
    reads = ran[1]
    assert reads.stale["eventual"] > 0, f"none of {reads.count['eventual']} was old"
    assert reads.count["strong"] > 0
    assert reads.stale["strong"] == 0


async def _read_after_writes(nodes: Nodes) -> Reads:
    """Read what was acked while one server halted, at the moment it goes on, until it was old.

    A server that is asked for a replica's value asks its own replica, so the reading gateway's
    server must not be the leader. What was written meanwhile keeps it behind for some time.
    """
    await nodes.make_bucket(f"reads-{uuid.uuid4().hex[:8]}")
    follower = nodes.members[2]
    while await nodes.leader() is follower:
        await nodes.api(f"STREAM.LEADER.STEPDOWN.KV_{nodes.bucket}")
    reads = Reads()
    key = f"{BUCKETS}/{nodes.bucket}/keys/k"
    with suppress(TimeoutError):
        async with (
            asyncio.timeout(_STALE_SECONDS),
            nodes.native(nodes.members[0]) as native,
            session(8) as http,
        ):
            while not reads.stale["eventual"]:
                follower.pause()
                try:
                    for number in range(_NOISE):
                        await native.client.publish(f"$KV.{nodes.bucket}.n{number}", b"x" * 30_000)
                    async with http.put(nodes.gateways[0].url + key, data=b"v") as answer:
                        assert answer.status == 200, await answer.text()
                        revision = (await answer.json())["revision"]
                finally:
                    follower.resume()
                await asyncio.gather(
                    *(_read(http, nodes.gateways[1].url + key, revision, reads) for _ in range(40))
                )
    return reads


async def _read(http: aiohttp.ClientSession, url: str, revision: int, reads: Reads) -> None:
    for consistency in reads.count:
        async with http.get(f"{url}?consistency={consistency}") as answer:
            assert answer.status == 200, await answer.text()
            reads.count[consistency] += 1
            reads.stale[consistency] += (await answer.json())["revision"] < revision

"""The faults: each strikes once, holds, and mends what it broke before it returns."""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

from tests.cluster.history import SLOW_NETWORK
from tests.cluster.nodes import Nodes, authorization
from tests.support.cluster import Member
from tests.support.waiting import eventually

__all__ = ["FAULTS", "Fault", "named", "short", "together"]

Strike = Callable[[Nodes, random.Random], Awaitable[None]]


@dataclass(frozen=True)
class Fault:
    """One kind of fault; `kills_worker`: watches of one worker end without a word."""

    name: str
    strike: Strike
    kills_worker: bool = False


async def _follower(nodes: Nodes, chance: random.Random) -> Member:
    leader = await nodes.leader()
    return chance.choice([member for member in nodes.members if member is not leader])


@asynccontextmanager
async def _killed(*members: Member) -> AsyncIterator[None]:
    for member in members:
        await asyncio.to_thread(member.kill)
    try:
        yield
    finally:
        await asyncio.gather(*(asyncio.to_thread(member.start) for member in members))


@asynccontextmanager
async def _frozen(*members: Member) -> AsyncIterator[None]:
    for member in members:
        member.pause()
    try:
        yield
    finally:
        for member in members:
            member.resume()


async def leader_is_killed(nodes: Nodes, chance: random.Random) -> None:
    async with _killed(await nodes.leader()):
        await asyncio.sleep(chance.uniform(0.5, 6))


async def follower_is_killed(nodes: Nodes, chance: random.Random) -> None:
    async with _killed(await _follower(nodes, chance)):
        await asyncio.sleep(chance.uniform(0.5, 2))


async def worker_is_killed(nodes: Nodes, chance: random.Random) -> None:
    """The parent starts another one."""
    gateway = chance.choice(nodes.gateways)
    before = set(gateway.workers())
    gateway.kill_worker(chance)

    async def replaced() -> bool:
        now = set(gateway.workers())
        return len(now) == len(before) and now != before

    await eventually(replaced, "another worker is there", 10)


async def leader_freezes(nodes: Nodes, chance: random.Random) -> None:
    """Too short for an election to be sure."""
    async with _frozen(await nodes.leader()):
        await asyncio.sleep(chance.uniform(3.5, 4.5))


async def leader_freezes_for_long(nodes: Nodes, chance: random.Random) -> None:
    """Another leader is elected; the old one wakes up and does not know it yet."""
    async with _frozen(await nodes.leader()):
        await asyncio.sleep(chance.uniform(8, 12))


async def follower_freezes(nodes: Nodes, chance: random.Random) -> None:
    async with _frozen(await _follower(nodes, chance)):
        await asyncio.sleep(chance.uniform(3.5, 4.5))


async def follower_freezes_for_long(nodes: Nodes, chance: random.Random) -> None:
    async with _frozen(await _follower(nodes, chance)):
        await asyncio.sleep(chance.uniform(8, 12))


async def quorum_is_lost(nodes: Nodes, chance: random.Random) -> None:
    """Two of three are gone; what was sent meanwhile may land when they are back."""
    lost = chance.sample(nodes.members, 2)
    broken = _killed if chance.random() < 0.5 else _frozen
    async with broken(*lost):
        await asyncio.sleep(chance.uniform(3, 5))


async def leader_steps_down(nodes: Nodes, chance: random.Random) -> None:
    for _ in range(3):
        await nodes.api(f"STREAM.LEADER.STEPDOWN.KV_{nodes.bucket}")
        await asyncio.sleep(chance.uniform(0.2, 0.6))


async def consumers_are_deleted(nodes: Nodes, chance: random.Random) -> None:
    """Those of the watches, behind the gateways' backs."""
    for _ in range(2):
        names = (await nodes.api(f"CONSUMER.NAMES.KV_{nodes.bucket}"))["consumers"] or []
        for name in names:
            await nodes.api(f"CONSUMER.DELETE.KV_{nodes.bucket}.{name}")
        await asyncio.sleep(chance.uniform(0.2, 0.5))


async def credentials_change(nodes: Nodes, chance: random.Random) -> None:
    """One server comes back and knows nobody's password, then comes back as it was."""
    member = chance.choice(nodes.members)
    other = member.otherwise(authorization("second"))
    await asyncio.to_thread(member.stop)
    try:
        await asyncio.to_thread(other.start)
        await asyncio.sleep(chance.uniform(1.5, 2.5))
    finally:
        await asyncio.to_thread(other.stop)
        await asyncio.to_thread(member.start)


async def network_is_slow(nodes: Nodes, chance: random.Random) -> None:
    for proxy in nodes.proxies:
        proxy.delay = chance.uniform(0.05, 0.3)
    await asyncio.sleep(chance.uniform(2, 3))
    for proxy in nodes.proxies:
        proxy.mend()


async def network_is_half_open(nodes: Nodes, chance: random.Random) -> None:
    """What stands is dead and nobody is told; new connections work."""
    for proxy in nodes.proxies:
        proxy.swallow()
    await asyncio.sleep(chance.uniform(4, 6))
    for proxy in nodes.proxies:
        proxy.mend()


async def network_is_cut(nodes: Nodes, chance: random.Random) -> None:
    for proxy in nodes.proxies:
        proxy.refuse()
    await asyncio.sleep(chance.uniform(0.5, 1.5))
    for proxy in nodes.proxies:
        proxy.mend()


FAULTS = [
    Fault("leader killed", leader_is_killed),
    Fault("follower killed", follower_is_killed),
    Fault("worker killed", worker_is_killed, kills_worker=True),
    Fault("leader frozen 4 s", leader_freezes),
    Fault("leader frozen 8-12 s", leader_freezes_for_long),
    Fault("follower frozen 4 s", follower_freezes),
    Fault("follower frozen 8-12 s", follower_freezes_for_long),
    Fault("quorum lost", quorum_is_lost),
    Fault("leader steps down", leader_steps_down),
    Fault("consumers deleted", consumers_are_deleted),
    Fault("credentials changed", credentials_change),
    Fault(SLOW_NETWORK, network_is_slow),
    Fault("network half-open", network_is_half_open),
    Fault("network cut", network_is_cut),
]


def together(*faults: Fault) -> Fault:
    """Return the fault that strikes with all of some at once."""

    async def strike(nodes: Nodes, chance: random.Random) -> None:
        async with asyncio.TaskGroup() as group:
            for fault in faults:
                group.create_task(fault.strike(nodes, random.Random(chance.random())))

    return Fault(
        " + ".join(fault.name for fault in faults),
        strike,
        any(fault.kills_worker for fault in faults),
    )


def short() -> list[Fault]:
    """Return every kind of fault in the order of the short run, what can be overlapped together."""
    return [
        named("leader killed"),
        together(named("follower killed"), named("network cut")),
        named("leader frozen 4 s"),
        together(named("leader frozen 8-12 s"), named("worker killed")),
        together(named("follower frozen 4 s"), named("consumers deleted")),
        named("quorum lost"),
        together(named("credentials changed"), named(SLOW_NETWORK)),
        together(named("leader steps down"), named("network half-open")),
    ]


def named(name: str) -> Fault:
    """Return a fault by its name.

    Raises:
        ValueError: there is none; the text lists them.
    """
    for fault in FAULTS:
        if fault.name == name:
            return fault
    raise ValueError(f"no fault {name!r}; there are {[fault.name for fault in FAULTS]}")

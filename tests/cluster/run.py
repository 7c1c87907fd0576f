"""One run: a bucket, traffic, watchers, faults one after the other, and what it all left."""

import asyncio
import base64
import random
import time
import uuid
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress

from tests.cluster.faults import Fault
from tests.cluster.history import Batch, History, Operation, Strike
from tests.cluster.nodes import Nodes
from tests.cluster.probes import Probes
from tests.cluster.traffic import Client, Keys, Traffic, session
from tests.cluster.transfers import open_accounts, transfer
from tests.support.native import Native
from tests.support.waiting import soon
from tests.watch.promises import Stored, Update
from tests.watch.recorder import EVENT_STREAM, WEB_SOCKET, Recorder

__all__ = ["run"]

CLIENTS = 12
_TRANSFERRING = 4
_SLOTS = 6
_QUIET_SECONDS = 0.5
_SETTLE_SECONDS = 30.0
_CATCH_UP_SECONDS = 20.0
_AT_ONCE = 250


async def run(nodes: Nodes, faults: Sequence[Fault], seed: int) -> History:
    """Strike with each fault in turn while clients work, and return what they all saw."""
    chance = random.Random(seed)
    await nodes.make_bucket(f"run-{uuid.uuid4().hex[:8]}")
    history = History(nodes.bucket, seed)
    recorders = [
        Recorder(lambda: nodes.gateways[0].http, nodes.bucket, WEB_SOCKET, "g0", since=0),
        Recorder(lambda: nodes.gateways[1].http, nodes.bucket, WEB_SOCKET, "g1", since=0),
        Recorder(lambda: nodes.gateways[1].http, nodes.bucket, EVENT_STREAM, "g1", since=0),
    ]
    try:
        async with asyncio.timeout(_CATCH_UP_SECONDS):
            for recorder in recorders:
                await recorder.opened()
        traffic = Traffic(nodes.bucket, Keys(_SLOTS, random.Random(chance.random())))
        traffic.idempotency = await _honours_idempotency(nodes)
        async with _probes(nodes) as probes:
            async with (
                _clients(nodes, traffic, chance),
                _transfers(nodes, history.batches, chance),
            ):
                for fault in faults:
                    await _strike(nodes, fault, chance, probes, history)
                    if history.trouble:
                        break
                await asyncio.sleep(1)
            history.samples = probes.samples
        with suppress(AssertionError):
            # Where it is not, the run has said so.
            await nodes.whole()
        await _read_all(nodes, traffic, chance)
        history.operations = traffic.operations
        history.stored = await _stored(nodes)
        await _catch_up(nodes, recorders, history)
    finally:
        await asyncio.gather(*(recorder.finish() for recorder in recorders), return_exceptions=True)
    history.chains = [chain for recorder in recorders for chain in recorder.chains]
    return history


async def _honours_idempotency(nodes: Nodes) -> bool:
    async with (
        session() as http,
        http.get(f"{nodes.gateways[0].url}/api/v1/capabilities") as answer,
    ):
        return "idempotency" in (await answer.json())["features"]


@asynccontextmanager
async def _probes(nodes: Nodes) -> AsyncIterator[Probes]:
    probes = Probes(nodes.bucket)
    async with AsyncExitStack() as stack:
        for gateway in nodes.gateways:
            await stack.enter_async_context(probes.gateway(gateway.number, gateway.url))
        for yardstick in nodes.yardsticks:
            await stack.enter_async_context(probes.native(yardstick))
        yield probes


@asynccontextmanager
async def _clients(nodes: Nodes, traffic: Traffic, chance: random.Random) -> AsyncIterator[None]:
    stopped = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        for number in range(CLIENTS):
            gateway = nodes.gateways[number % len(nodes.gateways)]
            own = random.Random(chance.random())
            client = Client(f"c{number}", gateway.number, gateway.url, traffic, own)
            group.create_task(client.run(stopped))
        try:
            yield
        finally:
            stopped.set()


@asynccontextmanager
async def _transfers(
    nodes: Nodes, batches: list[Batch], chance: random.Random
) -> AsyncIterator[None]:
    """Move money between accounts, through both gateways."""
    bucket = f"{nodes.bucket}-accounts"
    await open_accounts(nodes.gateways[1].url, bucket)
    stopped = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        for number in range(_TRANSFERRING):
            url = nodes.gateways[number % len(nodes.gateways)].url
            own = random.Random(chance.random())
            group.create_task(transfer(f"t{number}", url, bucket, batches, own, stopped))
        try:
            yield
        finally:
            stopped.set()


async def _strike(
    nodes: Nodes, fault: Fault, chance: random.Random, probes: Probes, history: History
) -> None:
    for yardstick in nodes.yardsticks:
        await yardstick.go_home()
    await _all_well(nodes, probes, f"all is well before {fault.name}")
    start = time.monotonic_ns()
    await fault.strike(nodes, chance)
    end = time.monotonic_ns()
    history.strikes.append(Strike(fault.name, start, end, fault.kills_worker))
    try:
        await nodes.whole()
        await _all_well(nodes, probes, f"all is well after {fault.name}")
    except AssertionError as error:
        history.trouble.append(str(error))
    history.settled.append(time.monotonic_ns())


async def _all_well(nodes: Nodes, probes: Probes, what: str) -> None:
    """Wait until everybody has succeeded again, and give it half a second more."""
    moment = time.monotonic_ns()
    sources = {f"g{gateway.number}" for gateway in nodes.gateways}
    sources |= {yardstick.name for yardstick in nodes.yardsticks}
    await soon(lambda: probes.well_since(moment, sources), what, _SETTLE_SECONDS)
    await asyncio.sleep(_QUIET_SECONDS)


async def _read_all(nodes: Nodes, traffic: Traffic, chance: random.Random) -> None:
    """Read every key through both gateways; what is read belongs to the history."""

    async def read(number: int) -> list[Operation]:
        gateway = nodes.gateways[number]
        client = Client(f"last-{number}", number, gateway.url, traffic, chance)
        async with session() as http:
            return [await client.do(http, "get", key) for key in traffic.keys.all()]

    for number in range(len(nodes.gateways)):
        await read(number)


async def _stored(nodes: Nodes) -> Stored:
    """Read all that the leader holds."""
    async with nodes.native() as native:
        last = (await native.state(nodes.bucket))["last_seq"]
        updates: dict[int, Update] = {}
        for first in range(1, last + 1, _AT_ONCE):
            numbers = range(first, min(first + _AT_ONCE, last + 1))
            found = await asyncio.gather(
                *(_stored_update(native, nodes.bucket, number) for number in numbers)
            )
            updates |= {update.revision: update for update in found if update is not None}
        return Stored(updates, last)


async def _stored_update(native: Native, bucket: str, revision: int) -> Update | None:
    reply = await native.api(f"STREAM.MSG.GET.KV_{bucket}", {"seq": revision})
    if "error" in reply:
        assert reply["error"]["err_code"] == 10037, reply
        return None
    message = reply["message"]
    key = message["subject"].removeprefix(f"$KV.{bucket}.")
    removed = b"KV-Operation" in base64.b64decode(message.get("hdrs", ""))
    return Update(revision, key, "delete" if removed else "put", message.get("data", ""))


async def _catch_up(nodes: Nodes, recorders: Sequence[Recorder], history: History) -> None:
    created_at = (await nodes.stream())["created"]
    for recorder in recorders:
        try:
            await soon(
                lambda recorder=recorder: recorder.has_reached(created_at, history.stored.last),
                "the watcher has it all",
                _CATCH_UP_SECONDS,
            )
        except Exception as error:  # noqa: BLE001 - whatever ended a watcher is a finding
            history.trouble.append(f"{recorder.name}: {error!r}")

"""Each fault is struck once, and what was seen is judged by each promise."""

import asyncio
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from jetkv_gateway.embedded import NatsServer
from tests.cli.conftest import Process
from tests.support.http import Http
from tests.support.waiting import until
from tests.watch.faults import FAULTS
from tests.watch.scenario import Evidence, Fault, Scenario, run


@pytest.fixture(scope="module", params=FAULTS, ids=[fault.name for fault in FAULTS])
def evidence(
    request: pytest.FixtureRequest,
    nats: NatsServer,
    http: Http,
    tmp_path_factory: pytest.TempPathFactory,
) -> Evidence:
    """What watchers saw of a fault."""
    fault: Fault = request.param
    return asyncio.run(_struck(fault, nats, http, tmp_path_factory.mktemp("fault")))


async def _struck(fault: Fault, nats: NatsServer, http: Http, folder: Path) -> Evidence:
    with ExitStack() as stack:
        if fault.own_nats:
            nats = NatsServer(folder / "nats")
            stack.callback(nats.stop)
            nats.start()
        shared = None
        if fault.workers:
            shared = stack.enter_context(_running_process(fault.workers, nats.url, folder))
        elif fault.settings is None:
            shared = http
        scenario = Scenario(fault, nats, shared, folder / "nats")
        if shared is None:
            stack.callback(scenario.stop_gateway)
            await asyncio.to_thread(scenario.start_gateway)
        return await run(scenario)


@contextmanager
def _running_process(workers: int, nats_url: str, folder: Path) -> Iterator[Http]:
    arguments = ["serve", "--auth", "off", "--port", "0", "--workers", str(workers)]
    process = Process([*arguments, "--nats-url", nats_url], folder / "jetkv.log", {})
    try:
        http = process.http()
        ready: set[str] = set()

        def all_are_ready() -> bool:
            answer = http.get("/ready")
            if answer.status == 200:
                ready.add(answer.headers["x-request-id"].partition("-")[0])
            return len(ready) == workers

        until(all_are_ready, f"{workers} workers are ready", 20)
        yield http
    finally:
        process.stop()

"""Gateways change from the version before to this one and back, one by one, while clients work.

Both versions serve the same buckets side by side, each with several workers, and clients with the
SDK of either version call them.
"""

import json
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

import jetkv
from jetkv.testing import LocalNats
from tests.cli.conftest import ENVIRONMENT, START_SECONDS
from tests.support.figures import figures
from tests.support.http import Http
from tests.support.ports import free_ports
from tests.support.waiting import until
from tests.upgrade import traffic
from tests.upgrade.balancer import balanced
from tests.upgrade.old import old_python

pytestmark = pytest.mark.long

REQUESTS = 300
"""Requests that each gateway has to serve beside the other before the next change."""


class Gateway:
    """A gateway with two workers, by the program of either version."""

    def __init__(self, python: Path, nats_url: str, port: int, log: Path) -> None:
        self.http = Http("127.0.0.1", port)
        self._log = log
        arguments = ["serve", "--auth", "off", "--nats-url", nats_url, "--port", str(port)]
        with log.open("wb") as output:
            self._process = subprocess.Popen(
                [python.with_name("jetkv"), *arguments, "--workers", "2"],
                stdout=output,
                stderr=output,
                env={**ENVIRONMENT, "JETKV_BUCKETS": " ".join(traffic.BUCKETS)},
            )
        until(self._is_ready, "the gateway is ready", START_SECONDS)

    def _is_ready(self) -> bool:
        assert self._process.poll() is None, self._log.read_text()
        try:
            return self.http.get("/ready").status == 200
        except OSError:
            return False

    @property
    def served(self) -> float:
        found = figures(self.http)
        return sum(found[sample] for sample in found if sample[0] == "jetkv_http_requests_total")

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()

    def stop(self) -> None:
        self._process.terminate()
        assert self._process.wait(30) == 0, self._log.read_text()
        assert "Traceback" not in self._log.read_text()


class Clients:
    """The clients of `traffic.py`, with the SDK of a Python."""

    def __init__(self, python: Path, name: str, balancer: str, gateways: list[str]) -> None:
        self._process = subprocess.Popen(
            [python, traffic.__file__, name, balancer, *gateways],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=ENVIRONMENT,
        )
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == "running\n"

    def kill(self) -> None:
        self._process.kill()
        self._process.communicate()

    def finish(self) -> dict[str, Any]:
        output, _ = self._process.communicate(timeout=90)
        assert self._process.returncode == 0
        report: dict[str, Any] = json.loads(output)
        return report


@pytest.fixture
def nats(tmp_path: Path) -> Iterator[LocalNats]:
    with LocalNats(tmp_path / "nats") as server:
        yield server


def test_an_upgrade_and_a_downgrade_under_load_lose_no_write_no_change_and_no_answer(
    nats: LocalNats, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    old, new = old_python(), Path(sys.executable)
    ports = free_ports(2)
    urls = [f"http://127.0.0.1:{port}" for port in ports]
    with ExitStack() as stack:

        def started(python: Path, side: int) -> Gateway:
            log = tmp_path / f"gateway-{side}-{len(list(tmp_path.iterdir()))}.log"
            gateway = Gateway(python, nats.url, ports[side], log)
            stack.callback(gateway.kill)
            return gateway

        gateways = [started(old, side) for side in (0, 1)]
        balancer = stack.enter_context(balanced(*ports))
        with jetkv.Client(balancer) as client:
            listed = client.kv().bucket("one")
            for number in range(traffic.LISTED):
                listed.put(f"listed/{number}", number)

        clients = []
        for name, python in (("old", old), ("new", new)):
            clients.append(Clients(python, name, balancer, urls))
            stack.callback(clients[-1].kill)
        steps = [(0, new), (1, new), (0, old), (1, old)]
        for side, python in steps:
            _until_both_served(gateways)
            gateways[side].stop()
            gateways[side] = started(python, side)
        _until_both_served(gateways)
        reports = [each.finish() for each in clients]

        for name, report in zip(("old", "new"), reports, strict=True):
            with capsys.disabled():
                print(f"\n{name} SDK: {report['done']}, {report['statuses']}")
            assert report["faults"] == []
            assert set(report["statuses"]) == {"200"}
            assert report["done"]["lists"] > 5
            assert report["done"]["repeated requests"] > 300
            assert report["done"]["changes in a watch of 1"] > 500
            assert report["done"]["changes in a watch of 2"] > 1000
        with jetkv.Client(balancer) as client:
            _check_stored(client, reports)


def _until_both_served(gateways: list[Gateway]) -> None:
    """Wait until both have served for a while, side by side."""
    before = [gateway.served for gateway in gateways]

    def both() -> bool:
        return all(
            gateway.served - count >= REQUESTS
            for gateway, count in zip(gateways, before, strict=True)
        )

    until(both, "both gateways have served", 60)


def _check_stored(client: jetkv.Client, reports: list[dict[str, Any]]) -> None:
    counted = sum((Counter(report["counted"]) for report in reports), Counter())
    counters = client.kv().bucket("one")
    assert {name: counters.get(f"counter-{name}").value for name in counted} == counted
    for bucket in traffic.BUCKETS:
        stored = {entry.key: entry.value for entry in client.kv().bucket(bucket).entries()}
        for report in reports:
            wanted = report["stored"][bucket]
            assert {key: stored.get(key) for key in wanted} == wanted

"""The compose files, read by Docker Compose itself. `.ci/containers` starts both for real."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from jetkv_gateway.environment import unknown_variables
from jetkv_gateway.settings import Settings
from tests.deploy.conftest import DEPLOY

COMPOSE = Path(sys.executable).parent / "docker-compose"
FILES = ["compose.yaml", "compose.cluster.yaml"]
Services = dict[str, dict[str, Any]]


def services(name: str) -> Services:
    done = subprocess.run(
        [COMPOSE, "--profile", "*", "-f", DEPLOY / name, "config", "--format", "json"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == "", "no warning"
    found: Services = json.loads(done.stdout)["services"]
    return found


@pytest.fixture(params=FILES)
def each(request: pytest.FixtureRequest) -> Services:
    return services(request.param)


def test_compose_takes_the_file_and_warns_of_nothing(each: Services) -> None:
    assert {"gateway", "gateway-1"} & set(each)


def test_every_port_is_published_on_loopback_alone(each: Services) -> None:
    hosts = {port["host_ip"] for service in each.values() for port in service.get("ports", [])}
    assert hosts == {"127.0.0.1"}


def test_every_service_is_read_only_without_capabilities_to_start_with(each: Services) -> None:
    for name, service in each.items():
        assert service["read_only"] is True, name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name


def test_gateways_get_only_settings_that_they_know(each: Services) -> None:
    for service in each.values():
        given = service.get("environment") or {}
        assert unknown_variables(given, Settings.model_fields) == []


def test_gateways_have_the_time_that_a_stop_takes(each: Services) -> None:
    graces = [s["stop_grace_period"] for name, s in each.items() if name.startswith("gateway")]
    assert set(graces) == {"25s"}


def test_every_file_that_is_mounted_is_there(each: Services) -> None:
    for service in each.values():
        for volume in service.get("volumes", []):
            if volume["type"] == "bind":
                assert Path(volume["source"]).exists(), volume["source"]


def test_only_gateways_and_servers_are_in_the_network_of_nats() -> None:
    inside = {
        name
        for name, s in services("compose.cluster.yaml").items()
        if "nats" in s.get("networks", {})
    }
    assert inside == {"nats-1", "nats-2", "nats-3", "gateway-1", "gateway-2"}

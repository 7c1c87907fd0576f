"""`JETKV_*` variables that mean nothing."""

import re
from pathlib import Path

import pytest

from jetkv_gateway.configuration.sources import names
from jetkv_gateway.environment import unknown_variables
from jetkv_gateway.settings import Settings

ROOT = Path(__file__).parents[2]


def unknown(**variables: str) -> list[str]:
    return unknown_variables(variables, names(Settings))


@pytest.mark.parametrize(
    ("name", "closest"),
    [
        ("JETKV_NAT_URL", "JETKV_NATS_URL"),
        ("JETKV_NATS_PASWORD", "JETKV_NATS_PASSWORD"),
        ("JETKV_WORKER", "JETKV_WORKERS"),
        ("JETKV_BUCKET", "JETKV_BUCKETS"),
        ("jetkv_request_timout", "JETKV_REQUEST_TIMEOUT"),
    ],
)
def test_a_misspelt_setting_is_named_with_the_closest_one(name: str, closest: str) -> None:
    assert unknown(**{name: "secret"}) == [
        f"{name} is no setting and does nothing; did you mean {closest}?"
    ]


def test_what_is_like_no_setting_is_named_alone() -> None:
    assert unknown(JETKV_COLOUR="red") == ["JETKV_COLOUR is no setting and does nothing"]


def test_settings_and_variables_of_other_programs_are_known() -> None:
    variables = {f"JETKV_{name.upper()}": "x" for name in Settings.model_fields}
    assert unknown(**variables, jetkv_workers="2", NATS_URL="x", PATH="x", XJETKV_A="x") == []


NOT_READ = {
    # `jetkv kv watch --exec` sets them for the program that it starts.
    *("JETKV_BUCKET", "JETKV_KEY", "JETKV_OPERATION", "JETKV_REASON", "JETKV_REVISION"),
    *("JETKV_EXPIRES_AT", "JETKV_VALUE"),
    "JETKV_TOKENS",  # a stream
}


def test_every_variable_that_the_project_reads_is_known() -> None:
    """As they stand in code, docs and compose files; those of tests in the tests themselves."""
    texts = [
        path.read_text(errors="replace")
        for folder in ("adapter", "sdk", "deploy", "docs")
        for path in (ROOT / folder).rglob("*")
        if path.is_file() and path.suffix in (".py", ".md", ".yaml", "")
    ]
    names = set(re.findall(r"\bJETKV_[A-Z][A-Z_]*[A-Z]\b", "\n".join(texts))) - NOT_READ
    assert {"JETKV_NATS_URL", "JETKV_CONFIG", "JETKV_NATS_SERVER", "JETKV_IMAGE"} <= names
    assert unknown(**dict.fromkeys(names, "x")) == []


# Of the Services jetkv, jetkv-metrics and jetkv-nats, as the kubelet makes them.
LINKS = {
    "JETKV_SERVICE_HOST": "10.96.0.12",
    "JETKV_SERVICE_PORT": "9123",
    "JETKV_SERVICE_PORT_HTTP": "9123",
    "JETKV_PORT": "tcp://10.96.0.12:9123",
    "JETKV_PORT_9123_TCP": "tcp://10.96.0.12:9123",
    "JETKV_PORT_9123_TCP_PROTO": "tcp",
    "JETKV_PORT_9123_TCP_PORT": "9123",
    "JETKV_PORT_9123_TCP_ADDR": "10.96.0.12",
    "JETKV_METRICS_SERVICE_HOST": "10.96.0.13",
    "JETKV_METRICS_SERVICE_PORT": "9123",
    "JETKV_METRICS_PORT": "tcp://10.96.0.13:9123",
    "JETKV_METRICS_PORT_9123_TCP_ADDR": "10.96.0.13",
    "JETKV_NATS_PORT": "udp://10.96.0.14:4222",
    "JETKV_NATS_PORT_4222_UDP": "udp://10.96.0.14:4222",
    "JETKV_NATS_SERVICE_PORT_CLIENT": "4222",
}


@pytest.mark.parametrize("name", LINKS)
def test_what_kubernetes_sets_for_a_service_is_not_warned_of(name: str) -> None:
    assert unknown(**{name: LINKS[name]}) == []


def test_a_port_that_is_no_link_is_somebodys_mistake() -> None:
    (line,) = unknown(JETKV_NATS_PORT="4222")
    assert line.startswith("JETKV_NATS_PORT is no setting and does nothing")

"""The alerts of deploy/monitoring: each fires when it should, and at no other time."""

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.deploy.conftest import DEPLOY

RULES = DEPLOY / "monitoring" / "rules" / "jetkv.yml"
RUNBOOKS = DEPLOY.parent / "docs" / "runbooks.md"
KEY = "/api/v1/kv/buckets/{bucket}/keys/{key...}"
MINUTES = 120
Series = dict[str, str]


def series(name: str, **labels: str) -> str:
    given = {"job": "jetkv", "instance": "a", **labels}
    texts = [f'{label}="{value}"' for label, value in given.items()]
    return f"{name}{{{','.join(texts)}}}"


def requests(method: str, status: str) -> str:
    return series("jetkv_http_requests_total", method=method, route=KEY, status=status)


def times(name: str, slow: bool, **labels: str) -> Series:
    """Return a histogram of 100 requests a minute, of which ten may take longer than 0.5 s."""
    within = {"0.01": 90 if slow else 100, "0.5": 90 if slow else 100, "1": 100, "+Inf": 100}
    return {
        series(f"{name}_bucket", **labels, le=le): f"0+{count}x{MINUTES}"
        for le, count in within.items()
    }


def http_times(slow: bool) -> Series:
    name = "jetkv_http_request_duration_seconds"
    return times(name, slow, method="GET", route=KEY)


def nats_times(slow: bool) -> Series:
    return times("jetkv_nats_request_duration_seconds", slow, operation="publish")


def counting(name: str, **labels: str) -> Series:
    return {series(name, **labels): f"0+1x{MINUTES}"}


def once(name: str, **labels: str) -> Series:
    return {series(name, **labels): f"0x50 1x{MINUTES}"}


HEALTHY: Series = {
    series("up"): f"1x{MINUTES}",
    requests("GET", "200"): f"0+6000x{MINUTES}",
    requests("PUT", "200"): f"0+600x{MINUTES}",
    **{requests("GET", status): f"0x{MINUTES}" for status in ("401", "429", "503", "507")},
    **http_times(slow=False),
    **nats_times(slow=False),
    series("jetkv_nats_request_duration_seconds_count", operation="get"): f"0+6000x{MINUTES}",
    series("jetkv_nats_connected"): f"1x{MINUTES}",
    series("jetkv_event_loop_lag_seconds"): f"0.01x{MINUTES}",
    series("jetkv_watch_lag_revisions"): f"3x{MINUTES}",
    series("jetkv_build_info", version="1.0.0"): f"1x{MINUTES}",
    # A server's answer that is an error, such as "no such key", is nothing to worry about.
    series("jetkv_nats_errors_total", kind="jetstream"): f"0+3000x{MINUTES}",
    **{
        series(f"jetkv_{name}_total"): f"0x{MINUTES}"
        for name in (
            "nats_reconnects",
            "unknown_outcomes",
            "watch_slow_consumers",
            "feed_rebuilds",
        )
    },
}
"""A gateway with 110 requests a second, for two hours; a value a minute."""

FIRES: dict[str, tuple[Series, set[str]]] = {
    "JetkvGatewayDown": ({series("up", instance="b"): f"1x30 0x{MINUTES}"}, set()),
    "JetkvAllGatewaysDown": ({series("up"): f"1x30 0x{MINUTES}"}, {"JetkvGatewayDown"}),
    # For ten minutes, a seventh of all requests.
    "JetkvErrorsFast": ({requests("GET", "503"): "0x50 0+1000x50"}, set()),
    "JetkvErrorsSlow": ({requests("GET", "503"): f"0+60x{MINUTES}"}, set()),
    "JetkvSlow": (http_times(slow=True), set()),
    "JetkvNatsSlow": (nats_times(slow=True), set()),
    "JetkvNatsAway": ({series("jetkv_nats_connected"): f"1x50 0x{MINUTES}"}, set()),
    "JetkvNatsUnsteady": (counting("jetkv_nats_reconnects_total"), set()),
    "JetkvNatsErrors": (
        {series("jetkv_nats_errors_total", kind="timeout"): f"0+120x{MINUTES}"},
        set(),
    ),
    "JetkvUnknownOutcomes": (once("jetkv_unknown_outcomes_total"), set()),
    "JetkvBucketFull": ({requests("GET", "507"): f"0x50 1x{MINUTES}"}, set()),
    "JetkvConflicts": (
        {series("jetkv_conflicts_total", kind="revision_mismatch"): f"0+300x{MINUTES}"},
        set(),
    ),
    "JetkvSlowConsumers": (counting("jetkv_watch_slow_consumers_total"), set()),
    "JetkvWatchLag": ({series("jetkv_watch_lag_revisions"): f"5000x{MINUTES}"}, set()),
    "JetkvFeedRebuilds": (counting("jetkv_feed_rebuilds_total"), set()),
    "JetkvRefuses": ({requests("GET", "429"): f"0+600x{MINUTES}"}, set()),
    "JetkvEventLoopBusy": ({series("jetkv_event_loop_lag_seconds"): f"0.5x{MINUTES}"}, set()),
    "JetkvAccessRefused": ({requests("GET", "401"): f"0+120x{MINUTES}"}, set()),
    "JetkvVersionsDiffer": (
        {series("jetkv_build_info", instance="b", version="1.1.0"): f"1x{MINUTES}"},
        set(),
    ),
}
"""What is changed of the above, and which alerts fire besides."""


def alerts() -> dict[str, dict[str, Any]]:
    groups = yaml.safe_load(RULES.read_text())["groups"]
    rules = [rule for group in groups for rule in group["rules"] if "alert" in rule]
    found = {rule["alert"]: rule for rule in rules}
    assert len(found) == len(rules)
    return found


def promtool(*arguments: str) -> None:
    done = subprocess.run(
        ["promtool", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout


def check_firing(folder: Path, changed: Series, expected: set[str], minute: int = 60) -> None:
    test = {
        "rule_files": [str(RULES)],
        "evaluation_interval": "1m",
        "tests": [
            {
                "interval": "1m",
                "input_series": [
                    {"series": name, "values": values}
                    for name, values in {**HEALTHY, **changed}.items()
                ],
                "promql_expr_test": [
                    {
                        "expr": 'count by (alertname) (ALERTS{alertstate="firing"})',
                        "eval_time": f"{minute}m",
                        "exp_samples": [
                            {"labels": f'{{alertname="{name}"}}', "value": 1}
                            for name in sorted(expected)
                        ],
                    }
                ],
            }
        ],
    }
    file = folder / "test.yml"
    file.write_text(yaml.safe_dump(test))
    promtool("test", "rules", str(file))


def test_prometheus_takes_the_rules() -> None:
    promtool("check", "rules", str(RULES))


def test_none_fires_while_all_is_well(tmp_path: Path) -> None:
    for minute in (10, 60, MINUTES):
        check_firing(tmp_path, {}, set(), minute)


@pytest.mark.parametrize("name", FIRES)
def test_an_alert_fires_for_its_cause_alone(tmp_path: Path, name: str) -> None:
    changed, besides = FIRES[name]
    minute = 100 if name == "JetkvVersionsDiffer" else 60
    check_firing(tmp_path, changed, {name, *besides}, minute)


def test_every_alert_is_tested_above() -> None:
    assert set(FIRES) == set(alerts())


def test_every_alert_has_a_runbook_and_says_how_urgent_it_is() -> None:
    sections = re.findall(r"^## (Jetkv\w+)$", RUNBOOKS.read_text(), re.MULTILINE)
    assert sections == list(alerts()), "in the order of the rules"
    for name, rule in alerts().items():
        assert rule["labels"]["severity"] in ("page", "ticket"), name
        assert rule["annotations"]["runbook"] == f"docs/runbooks.md#{name.lower()}"
        assert rule["annotations"]["summary"].endswith(".")

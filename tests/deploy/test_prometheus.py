"""A real Prometheus on a real gateway: every query of rules and dashboard has an answer."""

import json
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlencode
from urllib.request import urlopen

import pytest
import yaml

from jetkv.testing import LocalNats
from tests.deploy.conftest import DEPLOY
from tests.support.gateway import running_gateway
from tests.support.http import Bucket, Http
from tests.support.ports import free_port
from tests.support.waiting import until

RULES = DEPLOY / "monitoring" / "rules" / "jetkv.yml"
DASHBOARD = json.loads(
    (DEPLOY / "monitoring" / "grafana" / "dashboards" / "jetkv.json").read_text()
)
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
QUERIES = {
    f"{panel['title']} {target['refId']}": target["expr"]
    for panel in PANELS
    for target in panel["targets"]
}
ALL = [rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]]
SECONDS = 60


class Prometheus:
    """A Prometheus that scrapes a gateway each second."""

    def __init__(self, url: str) -> None:
        self.url = url

    def query(self, expression: str) -> list[dict[str, Any]]:
        with urlopen(f"{self.url}/api/v1/query?{urlencode({'query': expression})}") as answer:
            result: list[dict[str, Any]] = json.load(answer)["data"]["result"]
            return result

    def firing(self) -> set[str]:
        found = self.query('ALERTS{alertstate="firing"}')
        return {one["metric"]["alertname"] for one in found}


@contextmanager
def prometheus_on(http: Http, folder: Path) -> Iterator[Prometheus]:
    """Start Prometheus with the alerts of this repository, which wait for nothing here."""
    (folder / "rules.yml").write_text(re.sub(r"\n *for: .*", "", RULES.read_text()))
    (folder / "prometheus.yml").write_text(
        yaml.safe_dump(
            {
                "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
                "rule_files": ["rules.yml"],
                "scrape_configs": [
                    {
                        "job_name": "jetkv",
                        "static_configs": [{"targets": [http.url.removeprefix("http://")]}],
                    }
                ],
            }
        )
    )
    port = free_port()
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [
                "prometheus",
                f"--config.file={folder / 'prometheus.yml'}",
                f"--storage.tsdb.path={folder / 'data'}",
                f"--web.listen-address=127.0.0.1:{port}",
            ],
            stdout=log,
            stderr=log,
        )
    found = Prometheus(f"http://127.0.0.1:{port}")

    def scraped_thrice() -> bool:
        assert process.poll() is None, (folder / "log").read_text()
        try:
            (count,) = found.query('count_over_time(up{job="jetkv"}[1m])')
        except (OSError, ValueError):
            return False
        return int(count["value"][1]) >= 3

    try:
        until(scraped_thrice, "Prometheus has scraped three times", SECONDS)
        yield found
    finally:
        process.terminate()
        process.wait(20)


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    """One that has seen reads, writes, conflicts and errors."""
    folder = tmp_path_factory.mktemp("prometheus")
    with (
        LocalNats(folder / "nats") as nats,
        running_gateway(nats.url, buckets="b") as http,
        prometheus_on(http, folder) as found,
    ):
        bucket = Bucket(http, "b")
        # What is counted between two scrapes has a rate.
        for n in range(3):
            bucket.put(f"k{n}", b"v")
            http.get(bucket.key(f"k{n}"))
            http.get(bucket.key("absent"))
            bucket.put(f"k{n}", b"v", **{"If-None-Match": "*"})
            http.get("/api/v1/kv/buckets")
            seen = time.time()
            until(
                lambda seen=seen: (
                    float(found.query("timestamp(jetkv_build_info)")[0]["value"][1]) > seen
                ),
                "it has scraped again",
                SECONDS,
            )
        yield found


@pytest.mark.parametrize("query", QUERIES.values(), ids=QUERIES)
def test_every_panel_shows_something(prometheus: Prometheus, query: str) -> None:
    plain = query.replace("$__rate_interval", "1m").replace("$instance", ".*")
    assert "$" not in plain
    assert prometheus.query(plain), plain


@pytest.mark.parametrize("rule", ALL, ids=lambda rule: rule.get("alert") or rule["record"])
def test_every_rule_reads_series_that_there_are(
    prometheus: Prometheus, rule: dict[str, Any]
) -> None:
    # A condition that does not hold has no result, so look at the series alone.
    for name in re.findall(r"\bjetkv_\w+", rule["expr"]):
        assert prometheus.query(name), name
    prometheus.query(rule["expr"])


def test_no_alert_fires_while_all_is_well(prometheus: Prometheus) -> None:
    assert prometheus.firing() == set()


def test_an_alert_fires_its_runbook_finds_the_cause_and_it_ends(tmp_path: Path) -> None:
    with (
        LocalNats(tmp_path / "nats") as nats,
        running_gateway(nats.url, buckets="b") as http,
        prometheus_on(http, tmp_path) as prometheus,
    ):
        assert prometheus.firing() == set()
        nats.stop()
        until(lambda: "JetkvNatsAway" in prometheus.firing(), "the alert fires", SECONDS)
        # What the runbook says of it, and its three commands.
        assert Bucket(http, "b").put("k", b"v").status == 503
        assert "not connected" in http.get("/ready").json["issues"]["nats"]
        jetkv = Path(sys.executable).with_name("jetkv")
        check = [str(jetkv), "check", "--nats-url", nats.url]
        found = subprocess.run(check, capture_output=True, text=True, timeout=60, check=False)
        assert found.returncode != 0
        assert f"no connection to {nats.url}" in found.stdout
        assert "jetkv_nats_connected 0" in http.get("/metrics").body.decode()
        nats.start()
        until(lambda: "JetkvNatsAway" not in prometheus.firing(), "it ends", SECONDS)
        assert http.get("/ready").status == 200


def test_panels_do_not_overlap_and_say_what_they_show() -> None:
    ids = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(ids) == len(set(ids))
    taken: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        place = panel["gridPos"]
        cells = {
            (place["x"] + x, place["y"] + y) for x in range(place["w"]) for y in range(place["h"])
        }
        assert not cells & taken, panel["title"]
        assert max(x for x, _ in cells) < 24
        taken |= cells
    for panel in PANELS:
        assert panel["description"].endswith("."), panel["title"]
        assert panel["fieldConfig"]["defaults"]["unit"], panel["title"]
        assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}

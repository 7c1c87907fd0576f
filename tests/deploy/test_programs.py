"""Prometheus, Caddy and Traefik as docs/programs.md sets them up: unchanged, on a real gateway."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import urlopen

import pytest

from jetkv.testing import LocalNats
from tests.deploy.conftest import DEPLOY
from tests.support.gateway import running_gateway
from tests.support.http import Bucket, Http
from tests.support.ports import free_ports
from tests.support.tokens import new_token, token_line
from tests.support.waiting import until

PAGE = (DEPLOY.parent / "docs" / "programs.md").read_text()
TRAEFIK = str(Path(sys.executable).with_name("traefik"))
SECONDS = 60
JSON = "application/json"


def example(heading: str, language: str, place: int = 0) -> str:
    """Return a block of code below a heading of the page."""
    section = PAGE.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    return re.findall(rf"^```{language}\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)[place]


class Stand:
    """A gateway with the bucket `config`, and a token for each program."""

    def __init__(self, http: Http, token: str, tokens: dict[str, str]) -> None:
        self.http = http
        self.bucket = Bucket(Http(http.host, http.port, Authorization=f"Bearer {token}"), "config")
        self.tokens = tokens

    def put(self, key: str, value: str, content_type: str = JSON) -> None:
        answer = self.bucket.put(key, value, Content_Type=content_type)
        assert answer.status == 200, answer

    def setting(self, text: str, token: str = "") -> str:
        """Return a setting of the page for this gateway, with a program's token."""
        return text.replace("http://localhost:9123", self.http.url).replace("jkv_…", token)


PROGRAMS = {"prometheus": "nodes.json", "caddy": "caddy.json", "traefik": "traefik.yml"}


@pytest.fixture(scope="module")
def stand(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stand]:
    folder = tmp_path_factory.mktemp("stand")
    tokens = {name: new_token() for name in ("admin", *PROGRAMS)}
    lines = [token_line("admin", tokens["admin"])]
    for name, key in PROGRAMS.items():
        lines.append(token_line(name, tokens[name], f"read:config/{key}"))
    (folder / "tokens").write_text("\n".join(lines) + "\n")
    with (
        LocalNats(folder / "nats") as nats,
        running_gateway(
            nats.url, auth="tokens", auth_tokens=folder / "tokens", buckets="config,history=10"
        ) as http,
    ):
        yield Stand(http, tokens["admin"], tokens)


@contextmanager
def running(folder: Path, *command: str, **environment: str) -> Iterator[Callable[[], str]]:
    """Run a program, and yield what returns its output so far."""
    output = folder / "output"
    with output.open("wb") as log:
        process = subprocess.Popen(
            command,
            stdout=log,
            stderr=log,
            cwd=folder,
            env={**os.environ, "HOME": str(folder), **environment},
        )

    def said() -> str:
        assert process.poll() is None, output.read_text()
        return output.read_text()

    try:
        yield said
    finally:
        process.terminate()
        try:
            process.wait(20)
        finally:
            process.kill()


def body(url: str) -> str:
    """Return what a server says, or why it does not."""
    try:
        with urlopen(url, timeout=10) as answer:
            text: str = answer.read().decode()
            return text
    except (URLError, OSError) as error:
        return f"no answer: {error}"


@contextmanager
def prometheus(stand: Stand, folder: Path) -> Iterator[str]:
    (folder / "prometheus.token").write_text(stand.tokens["prometheus"])
    setting = stand.setting(example("Prometheus", "yaml")).replace(": 15s", ": 1s")
    (folder / "prometheus.yml").write_text(setting)
    (port,) = free_ports(1)
    command = (
        "prometheus",
        "--config.file=prometheus.yml",
        "--storage.tsdb.path=data",
        f"--web.listen-address=127.0.0.1:{port}",
    )
    with running(folder, *command) as said:
        url = f"http://127.0.0.1:{port}"
        until(lambda: said() and body(f"{url}/-/ready").startswith("Prom"), "it is ready", SECONDS)
        yield url


def targets(url: str) -> dict[str, str]:
    """Return the zone of each target of Prometheus, by its address."""
    document: dict[str, Any] = json.loads(body(f"{url}/api/v1/targets?state=active"))
    found = [one["discoveredLabels"] for one in document["data"]["activeTargets"]]
    return {one["__address__"]: one.get("zone", "") for one in found}


def failures(url: str) -> float:
    metrics = body(f"{url}/metrics")
    (count,) = re.findall(r"^prometheus_sd_http_failures_total (\S+)", metrics, re.MULTILINE)
    return float(count)


def test_prometheus_follows_its_targets(stand: Stand, tmp_path: Path) -> None:
    stand.put("nodes.json", '[{"targets":["127.0.0.1:9"]}]')
    with prometheus(stand, tmp_path) as url:
        until(lambda: targets(url) == {"127.0.0.1:9": ""}, "it has the target", SECONDS)
        stand.put("nodes.json", '[{"targets":["127.0.0.2:9"],"labels":{"zone":"a"}}]')
        until(lambda: targets(url) == {"127.0.0.2:9": "a"}, "it has the other one", SECONDS)
        assert failures(url) == 0
        stand.put("nodes.json", "[]")
        until(lambda: targets(url) == {}, "it has none", SECONDS)


def test_prometheus_keeps_its_targets_without_the_key(stand: Stand, tmp_path: Path) -> None:
    stand.put("nodes.json", '[{"targets":["127.0.0.1:9"]}]')
    with prometheus(stand, tmp_path) as url:
        until(lambda: targets(url) == {"127.0.0.1:9": ""}, "it has the target", SECONDS)
        stand.bucket.delete("nodes.json")
        until(lambda: failures(url) >= 2, "it has asked in vain twice", SECONDS)
        assert targets(url) == {"127.0.0.1:9": ""}


def test_prometheus_wants_the_type_that_the_page_says(stand: Stand, tmp_path: Path) -> None:
    stand.put("nodes.json", '[{"targets":["127.0.0.1:9"]}]', "text/plain")
    with prometheus(stand, tmp_path) as url:
        until(lambda: failures(url) >= 1, "it has refused the value", SECONDS)
        assert targets(url) == {}


def test_caddy_follows_its_configuration(stand: Stand, tmp_path: Path) -> None:
    admin, port = free_ports(2)
    start = json.loads(stand.setting(example("Caddy", "json").replace('"15s"', '"1s"')))
    start["admin"]["listen"] = f"127.0.0.1:{admin}"
    (tmp_path / "start.json").write_text(json.dumps(start))

    def answering(text: str) -> str:
        route = {"handle": [{"handler": "static_response", "body": text}]}
        server = {
            "listen": [f"127.0.0.1:{port}"],
            "routes": [route],
            "automatic_https": {"disable": True},
        }
        return json.dumps({**start, "apps": {"http": {"servers": {"shop": server}}}})

    stand.put("caddy.json", answering("one"))
    with running(
        tmp_path,
        *("caddy", "run", "--config", "start.json"),
        JETKV_TOKEN=stand.tokens["caddy"],
        XDG_CONFIG_HOME=str(tmp_path),
        XDG_DATA_HOME=str(tmp_path),
    ) as said:
        url = f"http://127.0.0.1:{port}"
        until(lambda: said() and body(url) == "one", "it answers as the value says", SECONDS)
        for text in ("two", "three"):
            stand.put("caddy.json", answering(text))
            until(lambda text=text: body(url) == text, f"it answers {text!r}", SECONDS)
        stand.bucket.delete("caddy.json")
        until(lambda: "404" in said(), "it has asked in vain", SECONDS)
        assert body(url) == "three"


def test_traefik_follows_its_routes(stand: Stand, tmp_path: Path) -> None:
    (port,) = free_ports(1)
    setting = stand.setting(example("Traefik", "yaml"), stand.tokens["traefik"])
    setting = setting.replace(":8000", f":{port}").replace(": 5s", ": 1s")
    quiet = "global:\n  checkNewVersion: false\n"  # it would ask on the internet
    (tmp_path / "traefik.yml").write_text(setting + quiet)
    routes = example("Traefik", "yaml", 1).replace("http://10.0.0.1:8080", stand.http.url)
    stand.put("traefik.yml", routes, "application/yaml")
    with running(tmp_path, TRAEFIK, "--configFile=traefik.yml") as said:
        url = f"http://127.0.0.1:{port}/health"
        until(
            lambda: said() is not None and '"status"' in body(url),
            "it leads to the service",
            SECONDS,
        )
        stand.put("traefik.yml", routes.replace("`/`", "`/other`"), "application/yaml")
        until(lambda: "404" in body(url), "the route leads elsewhere", SECONDS)
        stand.put("traefik.yml", routes, "application/yaml")
        until(lambda: '"status"' in body(url), "it is back", SECONDS)
        stand.bucket.delete("traefik.yml")
        until(lambda: "404" in said(), "it has asked in vain", SECONDS)
        assert '"status"' in body(url)

"""Health, readiness, capabilities (docs/http-api.md#health-and-metrics).

See also test_unavailable.
"""

from datetime import UTC, datetime, timedelta

import pytest

from jetkv_gateway import __version__
from tests.support.http import Http

PUBLIC = ["/health", "/ready", "/api/v1/capabilities"]


def test_health_says_ok_with_version_and_time(http: Http) -> None:
    answer = http.get("/health")
    assert answer.status == 200
    assert answer.headers["content-type"] == "application/json"
    assert set(answer.json) == {"status", "version", "timestamp"}
    assert (answer.json["status"], answer.json["version"]) == ("ok", __version__)
    age = datetime.now(UTC) - datetime.fromisoformat(answer.json["timestamp"])
    assert abs(age) < timedelta(minutes=1)


def test_ready_says_ready_without_issues(http: Http) -> None:
    answer = http.get("/ready")
    assert answer.status == 200
    assert answer.json == {"status": "ready", "issues": {}, "warnings": {}}


def test_capabilities_name_what_clients_look_for(http: Http) -> None:
    answer = http.get("/api/v1/capabilities")
    assert answer.status == 200
    assert answer.json.keys() == {"transports", "features", "version", "auth_required"}
    assert "http" in answer.json["transports"]
    assert "kv" in answer.json["features"]
    assert answer.json["version"] == __version__
    assert answer.json["auth_required"] is False


@pytest.mark.parametrize("path", ["/health", "/ready"])
def test_a_probe_may_use_head(http: Http, path: str) -> None:
    answer = http.request("HEAD", path)
    assert (answer.status, answer.body) == (200, b"")


@pytest.mark.parametrize("path", PUBLIC)
def test_a_credential_is_ignored_with_auth_off(http: Http, path: str) -> None:
    assert http.get(path, Authorization="Bearer nonsense").status == 200


@pytest.mark.parametrize("path", PUBLIC)
def test_the_paths_are_taken_exactly(http: Http, path: str) -> None:
    for other in (f"{path}/", f"/{path}", path.upper(), f"{path}%20"):
        assert http.get(other).status == 404

"""The unit of deploy/systemd, checked by systemd's own tools."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from jetkv_gateway.environment import unknown_variables
from jetkv_gateway.settings import Settings
from tests.deploy.conftest import DEPLOY

UNIT = DEPLOY / "systemd" / "jetkv.service"
MOST_EXPOSURE = 1.5  # of 10, for a service that serves the network; the tool's word for it is OK


def analyze(*arguments: str) -> str:
    done = subprocess.run(
        ["systemd-analyze", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


@pytest.fixture
def unit(tmp_path: Path) -> Path:
    """The unit as installed: its program exists."""
    copy = tmp_path / UNIT.name
    copy.write_text(UNIT.read_text().replace("/opt/jetkv/bin/jetkv", sys.executable))
    return copy


def test_systemd_takes_every_line_of_it(unit: Path) -> None:
    assert analyze("verify", str(unit)) == ""


def test_the_service_can_do_little_beyond_its_work(unit: Path) -> None:
    said = analyze("security", "--offline=true", str(unit))
    exposure = re.search(r"exposure level for jetkv.service: ([\d.]+)", said)
    assert exposure is not None
    assert float(exposure[1]) <= MOST_EXPOSURE


def test_the_watchdog_waits_for_longer_than_a_stop_takes() -> None:
    values = dict(re.findall(r"^(\w+)=(.*)$", UNIT.read_text(), re.MULTILINE))
    assert values["Type"] == "notify"
    assert int(values["WatchdogSec"]) > 21
    assert int(values["TimeoutStopSec"]) > 21


def test_the_file_of_settings_names_only_settings() -> None:
    lines = (DEPLOY / "systemd" / "jetkv.env").read_text().splitlines()
    named = {line.lstrip("# ").partition("=")[0] for line in lines if "JETKV_" in line}
    assert named
    assert unknown_variables(dict.fromkeys(named, ""), Settings.model_fields) == []

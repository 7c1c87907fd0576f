"""The workflows for GitHub: what they may do, and that they run what runs elsewhere, too."""

import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.release.conftest import ROOT

FOLDER = ROOT / ".github" / "workflows"
FILES = sorted(FOLDER.glob("*.yml"))
Workflow = dict[str, Any]


def read(name: str) -> Workflow:
    found: Workflow = yaml.safe_load((FOLDER / name).read_text())
    return found


def steps(workflow: Workflow) -> Iterator[dict[str, Any]]:
    for job in workflow["jobs"].values():
        yield from job.get("steps", [])


def commands(workflow: Workflow) -> list[list[str]]:
    return [
        shlex.split(line)
        for step in steps(workflow)
        for line in step.get("run", "").splitlines()
        if line
    ]


every_file = pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)


@every_file
def test_github_knows_every_key(file: Path) -> None:
    program = Path(sys.executable).with_name("check-jsonschema")
    done = subprocess.run(
        [program, "--builtin-schema", "vendor.github-workflows", file],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout


def test_ci_runs_what_runs_everywhere() -> None:
    (run,) = [job for job in read("ci.yml")["jobs"].values() if job["name"] == ".ci/run"]
    said = [step["run"] for step in run["steps"] if "run" in step]
    assert said[-1] == "bash .ci/run"
    # Where it runs, the container has the oldest Python that is supported.
    assert run["container"]["image"].startswith("python:3.11-")


@every_file
def test_every_command_is_one_of_this_repository(file: Path) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for command in commands(read(file.name)):
        match command:
            case ["make", target]:
                assert target in targets
            case ["bash" | "python", script, *_]:
                assert (ROOT / script).is_file()


def test_the_pythons_of_both_jobs_are_those_that_the_metadata_names() -> None:
    jobs = read("ci.yml")["jobs"]
    metadata = (ROOT / "pyproject.toml").read_text()
    named = re.findall(r":: Python :: (3\.\d+)", metadata)
    assert [named[0], *jobs["python"]["strategy"]["matrix"]["python"], named[-1]] == named


@every_file
def test_an_action_is_named_by_a_commit_and_no_job_has_more_rights_than_it_asks_for(
    file: Path,
) -> None:
    workflow = read(file.name)
    assert workflow["permissions"] == {"contents": "read"}
    for step in steps(workflow):
        if "uses" in step:
            assert re.fullmatch(r"[\w-]+/[\w-]+@[0-9a-f]{40}", step["uses"])
        if str(step.get("uses")).startswith("actions/checkout@"):
            assert step["with"]["persist-credentials"] is False
    for name, job in workflow["jobs"].items():
        assert job.get("timeout-minutes") or "uses" in job, name


@every_file
def test_nothing_that_somebody_else_may_name_is_pasted_into_a_command(file: Path) -> None:
    for step in steps(read(file.name)):
        assert "${{" not in step.get("run", ""), step


def test_nothing_is_published_before_all_tests_have_passed() -> None:
    jobs = read("release.yml")["jobs"]
    assert jobs["ci"]["uses"] == "./.github/workflows/ci.yml"

    def needs(name: str) -> set[str]:
        given = jobs[name].get("needs", [])
        direct = {given} if isinstance(given, str) else set(given)
        return direct.union(*map(needs, direct))

    assert all("ci" in needs(name) for name in jobs if name != "ci")


def test_packages_are_published_without_a_password_and_with_their_origin() -> None:
    jobs = read("release.yml")["jobs"]
    assert jobs["publish"]["permissions"] == {"id-token": "write"}
    (publish,) = [step for step in jobs["publish"]["steps"] if "pypi-publish" in step["uses"]]
    assert "with" not in publish
    attested = [name for name, job in jobs.items() if "attest-build-provenance" in str(job)]
    assert attested == ["packages", "image"]


@every_file
def test_no_registry_is_named(file: Path) -> None:
    names = re.findall(r"\b[\w-]+(?:\.[\w-]+)*\.(?:io|org|com|dev)\b", file.read_text())
    assert names == []

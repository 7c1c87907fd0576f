"""The sdist and the wheel hold all that they should, and install and run by themselves."""

import json
import tarfile
import zipfile
from email.parser import HeaderParser
from pathlib import Path

import pytest

from jetkv import __version__
from tests.release.conftest import ROOT, run

USED = ROOT / "tests" / "release" / "used.py"
WHEEL = f"jetkv-{__version__}-py3-none-any.whl"
SDIST = f"jetkv-{__version__}.tar.gz"
LIST = f"jetkv-{__version__}.cdx.json"


def wheel_metadata(dist: Path) -> HeaderParser:
    with zipfile.ZipFile(dist / WHEEL) as archive:
        text = archive.read(f"jetkv-{__version__}.dist-info/METADATA").decode()
    return HeaderParser().parsestr(text)


def test_the_version_of_the_sdk_names_what_is_made(dist: Path) -> None:
    assert {path.name for path in dist.iterdir()} == {WHEEL, SDIST, LIST}
    assert wheel_metadata(dist)["Version"] == __version__


def test_the_wheel_that_is_built_from_the_sdist_has_every_module(dist: Path) -> None:
    with zipfile.ZipFile(dist / WHEEL) as archive:
        built = {name for name in archive.namelist() if ".dist-info/" not in name}
    there = {
        str(path.relative_to(folder))
        for folder in (ROOT / "adapter", ROOT / "sdk")
        for path in folder.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts and ".egg-info" not in str(path)
    }
    assert built == there


def test_the_sdist_has_what_a_build_and_a_reader_need_and_no_tests(dist: Path) -> None:
    with tarfile.open(dist / SDIST) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {"pyproject.toml", "README.md", "LICENSE", "CHANGELOG.md", "docs/index.md"} <= names
    assert {name.partition("/")[0] for name in names} & {"tests", "tools", "deploy"} == set()


def test_the_metadata_names_every_python_that_is_tested(dist: Path) -> None:
    classifiers = wheel_metadata(dist).get_all("Classifier") or []
    named = {line.rpartition(" ")[2] for line in classifiers if ":: Python :: 3." in line}
    assert named == {"3.11", "3.12", "3.13", "3.14"}


def test_the_list_of_packages_has_the_gateway_and_what_it_needs_and_nothing_else(
    dist: Path,
) -> None:
    listed = json.loads((dist / LIST).read_text())
    assert listed["bomFormat"] == "CycloneDX"
    assert (listed["metadata"]["component"]["name"]) == "jetkv"
    found = {component["name"]: component["version"] for component in listed["components"]}
    assert {"uvicorn", "nats-py", "pydantic", "aiohttp"} <= set(found)
    assert not {"pytest", "pip", "cyclonedx-bom"} & set(found)
    pins = dict(
        line.partition(";")[0].strip().split("==")
        for line in (ROOT / "requirements" / "run.txt").read_text().splitlines()
    )
    assert {name: version for name, version in pins.items() if name in found}.items() <= (
        found.items()
    )


@pytest.mark.parametrize("kind", [WHEEL, SDIST])
def test_it_installs_into_an_empty_environment_and_runs(
    dist: Path, tmp_path: Path, python: list[str], kind: str
) -> None:
    environment = tmp_path / "venv"
    run(*python, "-m", "venv", environment)
    run(
        *python[:-1],
        environment / "bin" / "python",
        *("-m", "pip", "install", "-q", f"{dist / kind}[gateway,embedded]"),
    )
    printed = run(*python[:-1], environment / "bin" / "python", "-W", "error", USED)
    version, sdk, gateway = printed.split()[-3:]
    assert (sdk, gateway) == (__version__, __version__)
    # Later than the newest that the metadata names is good news, and belongs there then.
    assert version.rpartition(".")[0] in {"3.11", "3.12", "3.13", "3.14"}

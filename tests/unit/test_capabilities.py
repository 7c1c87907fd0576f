"""What a server can do is read off the stream's own host, and only there."""

import re
from pathlib import Path

import pytest

from jetkv_gateway.jetstream import capabilities
from jetkv_gateway.jetstream.capabilities import (
    OLDEST,
    Capability,
    Host,
    host_of,
    host_of_version,
    since,
    too_old,
)

SOURCES = Path(capabilities.__file__).parent.parent


def reply(level: str, version: str) -> dict[str, object]:
    return {"config": {"metadata": {"_nats.level": level, "_nats.ver": version, "team": "a"}}}


@pytest.mark.parametrize(
    ("answer", "host"),
    [
        (reply("1", "2.11.11"), Host(1, (2, 11, 11))),
        (reply("5", "2.15.0-dev"), Host(5, (2, 15, 0))),
        (reply("3", ""), Host(3, (0, 0, 0))),
        (reply("none", "2.12.8"), OLDEST),
        (reply("²", "2.12.8"), OLDEST),
        ({"config": {"metadata": {"team": "a"}}}, OLDEST),
        ({"config": {}}, OLDEST),
        ({"config": {"metadata": None}}, OLDEST),
    ],
)
def test_a_host_is_read_off_the_metadata_that_its_leader_adds(
    answer: dict[str, dict[str, object]], host: Host
) -> None:
    assert host_of(answer) == host


@pytest.mark.parametrize("capability", Capability)
def test_a_capability_begins_at_a_level(capability: Capability) -> None:
    able = [Host(level, (2, 10 + level, 0)).can(capability) for level in range(8)]
    assert able == sorted(able), "no level loses it again"
    assert not able[0]
    assert able[-1]
    assert re.fullmatch(r"2\.\d+(\.\d+)?", since(capability))


@pytest.mark.parametrize(
    ("text", "level"),
    [("2.10.25", 0), ("2.11.11", 1), ("2.12.8", 2), ("v2.14.0-RC.1", 4), ("3.0.0", 5), ("dev", 0)],
)
def test_a_version_alone_says_the_least_level(text: str, level: int) -> None:
    assert host_of_version(text).level == level


@pytest.mark.parametrize("version", [(2, 10, 0), (2, 10, 25), (2, 15, 1), (3, 0, 0)])
def test_a_supported_server_is_not_too_old(version: tuple[int, int, int]) -> None:
    assert too_old(version) is None


@pytest.mark.parametrize("version", [(2, 9, 25), (1, 40, 0), (0, 0, 0)])
def test_a_server_that_is_too_old_is_told_so_with_the_oldest(version: tuple[int, int, int]) -> None:
    said = ".".join(map(str, version))
    assert too_old(version) == f"nats-server {said} is too old: 2.10 is the oldest"


COMPARISON = re.compile(
    r"""(version|\blevel)\w*(\[[^]]*\]|\.\w+)?\s*([<>]=?|[=!]=)(?!\s*")  # version[:2] < ...
    |(?<![-=])([<>]=?|[=!]=)\s*[\w.]*(version|\.level)\b  # ... <= link.version
    |([<>]=?|[=!]=)\s*\(2,\s?\d  # ... >= (2, 11)
    """,
    re.VERBOSE,
)


@pytest.mark.parametrize(
    "line",
    [
        "if connection.server_version[:2] < OLDEST_SERVER:",
        "if js.version >= (2, 11):",
        "if server_version.minor > 10:",
        "return _MARKERS_SINCE <= connection.server_version",
        "can = host.level >= 1",
        "if 1 <= host.level:",
        "modern = numbers >= (2,11)",
    ],
)
def test_a_comparison_of_versions_is_known_in_each_form(line: str) -> None:
    assert COMPARISON.search(line)


OTHER_VERSIONS = {
    "trace_context.py",  # of W3C's header
    "jwt_logins.py",  # of a key set
    "standing.py",  # of what an authenticator knows
}
"""Modules that know no server, and compare versions of something else."""


def test_no_other_module_compares_versions() -> None:
    """A version that is compared elsewhere is that of the wrong server sooner or later."""
    found = [
        f"{path.name}: {line.strip()}"
        for path in SOURCES.rglob("*.py")
        if path.name != "capabilities.py" and path.name not in OTHER_VERSIONS
        for line in path.read_text().splitlines()
        if COMPARISON.search(line) and "sys.version_info" not in line  # that of Python is ours
    ]
    assert found == []

"""What a server can do is read off the stream's own host, and only there."""

import re
from pathlib import Path

import pytest

from jetkv_gateway.jetstream import capabilities
from jetkv_gateway.jetstream.capabilities import OLDEST, Capability, Host, host_of, since

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


def test_no_other_module_compares_versions() -> None:
    """A version that is compared elsewhere is that of the wrong server sooner or later."""
    comparison = re.compile(r"version\w*\s*[<>]=?|[<>]=?\s*\(2, ?1\d")
    found = [
        f"{path.name}: {line.strip()}"
        for path in SOURCES.rglob("*.py")
        if path.name != "capabilities.py"
        for line in path.read_text().splitlines()
        if comparison.search(line)
    ]
    assert found == []

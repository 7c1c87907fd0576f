"""`jetkv bucket apply`, on a gateway of its own: it looks at all buckets."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from jetkv.testing import LocalNats
from tests.cli.data import Cli
from tests.cli.terminal import terminal
from tests.support.gateway import running_gateway
from tests.support.http import BUCKETS, Bucket, Http

TOML = """
[[buckets]]
name = "sessions"
ttl_seconds = 1800
metadata = {team = "web"}

[[buckets]]
name = "users"
history = 2
"""
YAML = """
buckets:
  sessions:
    ttl_seconds: 1800
    metadata: {team: web}
  users: {history: 2}
"""
JSON = json.dumps(
    [
        {"name": "sessions", "ttl_seconds": 1800, "metadata": {"team": "web"}},
        {"name": "users", "history": 2},
    ]
)


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Http]:
    with (
        LocalNats(tmp_path_factory.mktemp("nats")) as nats,
        running_gateway(nats.url) as http,
    ):
        yield http


@pytest.fixture
def cli(gateway: Http, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Cli]:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    yield Cli(gateway.url)
    for found in gateway.get(BUCKETS).json["buckets"]:
        gateway.request("PATCH", f"{BUCKETS}/{found['name']}", '{"protected":false}')
        gateway.delete(f"{BUCKETS}/{found['name']}")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "buckets.toml"
    path.write_text(TOML)
    return path


@pytest.mark.parametrize(("name", "text"), [("b.toml", TOML), ("b.yaml", YAML), ("b.json", JSON)])
def test_buckets_become_what_the_file_says(
    cli: Cli, gateway: Http, tmp_path: Path, name: str, text: str
) -> None:
    file = tmp_path / name
    file.write_text(text)
    gateway.post(BUCKETS, {"name": "users", "description": "people"})
    assert cli("bucket", "apply", file, "--yes").text == (
        "+ bucket sessions will be created\n"
        "    ttl_seconds = 30m\n"
        '    metadata    = {"team": "web"}\n'
        "\n"
        "~ bucket users will be changed\n"
        "    history = 1 -> 2\n"
        "\n"
        "Plan: 1 to create, 1 to change, 0 to delete.\n"
    )
    assert Bucket(gateway, "sessions").info()["ttl_seconds"] == 1800
    users = Bucket(gateway, "users").info()
    assert (users["history"], users["description"]) == (2, "people")
    assert cli("bucket", "apply", file).text == "Nothing to change in 2 buckets.\n"


def test_a_dry_run_changes_nothing_and_can_say_that_there_are_changes(cli: Cli, file: Path) -> None:
    plan = cli("bucket", "apply", file, "--dry-run", "--json").json
    assert [(step["bucket"], step["action"]) for step in plan["steps"]] == [
        ("sessions", "create"),
        ("users", "create"),
    ]
    assert cli.try_("bucket", "apply", file, "--dry-run", "--exit-code").code == 20
    assert cli("bucket", "ls").lines == []
    cli("bucket", "apply", file, "--yes")
    assert cli.try_("bucket", "apply", file, "--dry-run", "--exit-code").code == 0


def test_it_asks(cli: Cli, file: Path) -> None:
    assert cli.try_("bucket", "apply", file).code == 2
    with terminal(cli, "bucket", "apply", file) as shown:
        shown.wait_for("Make these changes? [y/N] ")
        shown.type("n\n")
        assert shown.ended() == 18
    assert cli("bucket", "ls").lines == []


def test_prune_deletes_the_others_and_only_if_told_so(cli: Cli, gateway: Http, file: Path) -> None:
    for name in ("empty", "full"):
        gateway.post(BUCKETS, {"name": name})
    Bucket(gateway, "full").put("k", b"v")
    ended = cli("bucket", "apply", file, "--yes")
    assert "left alone: empty, full" in ended.text
    assert cli("bucket", "ls").lines == ["empty", "full", "sessions", "users"]
    ended = cli.try_("bucket", "apply", file, "--yes", "--prune")
    assert (ended.code, "--allow-data-loss" in ended.err) == (15, True)
    assert "with 1 stored revision\n" in ended.text
    assert cli("bucket", "ls").lines == ["empty", "full", "sessions", "users"]
    cli("bucket", "apply", file, "--yes", "--prune", "--allow-data-loss")
    assert cli("bucket", "ls").lines == ["sessions", "users"]


def test_a_change_that_loses_data_needs_a_flag(cli: Cli, gateway: Http, file: Path) -> None:
    gateway.post(BUCKETS, {"name": "users", "history": 5})
    users = Bucket(gateway, "users")
    for value in ("1", "2", "3"):
        users.put("k", value)
    ended = cli.try_("bucket", "apply", file, "--yes")
    assert "history = 5 -> 2  # removes stored data" in ended.text
    assert ended.code == 15
    assert cli("bucket", "ls").lines == ["users"]
    cli("bucket", "apply", file, "--yes", "--allow-data-loss")
    assert users.info()["history"] == 2


def test_what_nats_cannot_change_stops_everything(cli: Cli, gateway: Http, file: Path) -> None:
    gateway.post(BUCKETS, {"name": "users"})
    file.write_text(f'{TOML}storage = "memory"\n')
    ended = cli.try_("bucket", "apply", file, "--yes")
    assert "! bucket users cannot be made so" in ended.text
    assert "storage = file -> memory" in ended.text
    assert (ended.code, "nothing was changed" in ended.err) == (15, True)
    assert cli("bucket", "ls").lines == ["users"]


def test_a_protected_bucket_is_not_pruned(cli: Cli, gateway: Http, file: Path) -> None:
    gateway.post(BUCKETS, {"name": "kept", "protected": True})
    assert cli.try_("bucket", "apply", file, "--yes", "--prune").code == 15
    assert cli("bucket", "ls").lines == ["kept"]


def test_a_list_of_buckets_is_a_file_to_apply(cli: Cli, gateway: Http, tmp_path: Path) -> None:
    gateway.post(BUCKETS, {"name": "a", "ttl_seconds": 60, "metadata": {"x": "y"}})
    file = tmp_path / "buckets.json"
    file.write_bytes(cli("bucket", "ls", "--json").out)
    before = Bucket(gateway, "a").info()
    gateway.delete(f"{BUCKETS}/a")
    cli("bucket", "apply", file, "--yes")
    after = Bucket(gateway, "a").info()
    assert before | {"created_at": ""} == after | {"created_at": ""}


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("b.toml", "[[bucket]]\nname='a'\n", "it needs `buckets`"),
        ("b.toml", "[[buckets]]\nhistory=1\n", "it needs `buckets`"),
        ("b.toml", "buckets = 1\n", "it needs `buckets`"),
        ("b.toml", "[[buckets", "b.toml"),
        ("b.toml", "[[buckets]]\nname='a'\n[[buckets]]\nname='a'\n", "twice"),
        ("b.toml", "[[buckets]]\nname='a'\n[other]\n", "unknown field other"),
        ("b.toml", "[[buckets]]\nname='a'\nttl=5\n", "ttl"),
        ("b.toml", "[[buckets]]\nname='a'\nsince=2026-01-01\n", "since"),
        ("b.toml", "[[buckets]]\nname='a b'\n", "invalid bucket name"),
        ("b.yaml", "buckets: [", "no YAML"),
        ("b.yaml", "!!python/object:os.system {}", "no YAML"),
        ("b.yaml", "buckets: {a: 1}", "it needs `buckets`"),
        ("b.json", "{", "b.json"),
        ("b.txt", "", "must end in .toml, .yaml or .json"),
    ],
)
def test_a_file_of_another_form_is_refused_in_one_line(
    cli: Cli, tmp_path: Path, name: str, text: str, says: str
) -> None:
    file = tmp_path / name
    file.write_text(text)
    code, line = cli.fails("bucket", "apply", file, "--yes")
    assert (code, says in line) == (2, True), line
    assert cli("bucket", "ls").lines == []


def test_a_file_that_is_not_there_is_named(cli: Cli, tmp_path: Path) -> None:
    code, line = cli.fails("bucket", "apply", tmp_path / "none.toml")
    assert (code, "none.toml cannot be read: No such file" in line) == (19, True)

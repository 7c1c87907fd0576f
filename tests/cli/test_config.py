"""`jetkv config`: the settings in force and their sources. `--context` on a real server."""

import json
import re
from pathlib import Path

import pytest

from jetkv_gateway.embedded.server import NatsServer as Server
from jetkv_gateway.settings import Settings
from tests.docs.test_examples import blocks

PASSWORD = 'authorization { user: "app", password: "secret" }'


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A folder for `XDG_CONFIG_HOME`."""
    (tmp_path / "xdg" / "nats" / "context").mkdir(parents=True)
    return tmp_path / "xdg"


def write(home: Path, name: str, **fields: object) -> None:
    (home / "nats" / "context" / f"{name}.json").write_text(json.dumps(fields))


def line(output: str, name: str) -> str:
    """The value and the source that the table has for a setting."""
    found = re.search(rf"^  {name} +(.*?) *$", output, re.MULTILINE)
    assert found is not None, output
    return re.sub(" +", " ", found[1])


def test_config_shows_each_setting_and_its_source(run, home: Path, tmp_path: Path) -> None:
    write(home, "prod", url="nats://u:in-url@n1:4222", user="ada", password="in-context")
    settings = tmp_path / "jetkv.toml"
    settings.write_text('workers = 3\nauth = "off"\nmax_share = 0.5')
    code, output = run(
        *("config", "--config", str(settings), "--context", "prod", "--bucket", "a,history=3"),
        XDG_CONFIG_HOME=str(home),
        JETKV_PORT="9200",
        JETKV_MAX_SHARE="0.75",
    )
    assert code == 0, output
    assert line(output, "port") == "9200 variable JETKV_PORT"
    assert line(output, "workers") == f"3 file {settings}"
    assert line(output, "max_share") == "0.75 variable JETKV_MAX_SHARE"
    assert line(output, "buckets") == "a,history=3 flag --bucket"
    assert line(output, "nats_url") == "nats://n1:4222 context prod"
    assert line(output, "nats_password") == "******** context prod"
    assert line(output, "host") == "127.0.0.1 default"
    assert "in-url" not in output
    assert "in-context" not in output


def test_config_as_json_has_every_setting_and_no_secret(run, home: Path, tmp_path: Path) -> None:
    secret = tmp_path / "password"
    secret.write_text("in-file")
    code, output = run(
        *("config", "--auth", "off", "--nats-user", "a", "--nats-password-file", str(secret)),
        "--json",
    )
    document = json.loads(output)
    assert (code, document["warnings"], document["problems"]) == (0, [], [])
    assert document["settings"].keys() == Settings.model_fields.keys()
    assert document["settings"]["auth"] == {"value": ["off"], "source": "flag", "name": "--auth"}
    assert document["settings"]["nats_password"] == {
        "value": "********",
        "source": "flag",
        "name": "--nats-password-file",
        "secret": True,
    }
    assert document["settings"]["nats_token"]["value"] is None
    assert "in-file" not in output


def test_config_says_why_serve_would_not_start(run, home: Path) -> None:
    write(home, "prod", colour="red")
    code, output = run(
        *("config", "--nats-creds", "/none.creds", "--context", "prod"),
        XDG_CONFIG_HOME=str(home),
        JETKV_NAT_URL="x",
    )
    assert code == 4
    assert "problem: choose who may call" in output
    assert "problem: no such file: /none.creds" in output
    assert "warning: JETKV_NAT_URL is no setting and does nothing" in output
    assert "warning: colour of the context 'prod' has no effect" in output


def test_config_reads_the_files_that_serve_needs(run, tmp_path: Path) -> None:
    tokens = tmp_path / "tokens"
    tokens.write_text("no line of a token")
    code, output = run(
        *("config", "--auth", "tokens", "--auth-tokens", str(tokens)),
        *("--tls-cert", "/none.pem"),
    )
    problems = re.findall(r"^problem: (.*)$", output, re.MULTILINE)
    assert (code, len(problems)) == (4, 2)
    assert "/none.pem" in problems[0]
    assert "line 1" in problems[1]


def test_a_context_is_all_that_check_needs(run, home: Path, tmp_path: Path) -> None:
    with Server(tmp_path / "nats", config=PASSWORD) as server:
        write(home, "prod", url=server.url, user="app", password="secret")
        (home / "nats" / "context.txt").write_text("prod")
        where = {"XDG_CONFIG_HOME": str(home)}
        assert run("check", "--context", "prod", **where)[0] == 0
        assert run("check", JETKV_CONTEXT=".", **where)[0] == 0
        assert run("check", "--context", "prod", JETKV_NATS_PASSWORD="no", **where)[0] == 4
        assert run("check", "--context", "prod", "--nats-user", "app", **where)[0] == 5


def test_dev_takes_no_context_since_its_nats_is_its_own(run, home: Path) -> None:
    # A port that no server can have ends it before it starts.
    code, output = run("dev", "--port", "70000", JETKV_CONTEXT="none", XDG_CONFIG_HOME=str(home))
    assert (code, output.startswith("jetkv: port: ")) == (4, True)


def test_the_examples_of_the_page_of_configuration_work(
    run, home: Path, nats: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = Path(__file__).parents[2] / "docs" / "configuration.md"
    (settings,) = blocks(page, "toml")
    (config,) = [text for text in blocks(page, "sh") if "jetkv config" in text]
    (check,) = [text for text in blocks(page, "sh") if "--context" in text]
    monkeypatch.chdir(tmp_path)
    Path("jetkv.toml").write_text(settings)
    write(home, "prod", url=nats.url)
    code, output = run(*config.split()[1:])
    assert (code, "file jetkv.toml" in output) == (0, True)
    code, output = run(*check.split()[1:], XDG_CONFIG_HOME=str(home))
    assert (code, output.splitlines()[0]) == (0, "found")

"""The command line as a whole: its commands and options, and what a plain install says."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from jetkv_gateway.configuration.about import described, flag_of
from jetkv_gateway.embedded.server import NatsServer as Server
from jetkv_gateway.settings import Settings

PASSWORD = 'authorization { user: "app", password: "secret" }'
COMMANDS = ("dev", "serve", "check", "token")


def words(output: str) -> str:
    """The words of a help text, without its frames."""
    return " ".join(re.sub("[^\\x20-\\x7e]", " ", output).split())


@pytest.mark.parametrize("flag", ["--help", *(f"{command} --help" for command in COMMANDS)])
def test_help_is_there(run, flag: str) -> None:
    code, output = run(*flag.split())
    assert code == 0
    assert "Usage" in output


def test_help_shows_defaults_that_are_words(run) -> None:
    _, output = run("serve", "--help")
    for default in ("nats://127.0.0.1:4222", "_INBOX", "the limit of open files"):
        assert default in words(output), default


def test_serve_has_a_flag_for_each_setting_and_none_for_a_secret(run) -> None:
    _, output = run("serve", "--help", COLUMNS="200")
    shown = set(re.findall(r"--[a-z-]+", output))
    flags = {flag_of(name, about) for name, _, about in described(Settings.model_fields)}
    secrets = {"--nats-password", "--nats-token", "--audit-hash-key"}
    # Of what is on by default, the help shows the flag that turns it off.
    shown |= {flag.replace("--no-", "--") for flag in shown}
    assert flags - shown == secrets | {""}
    assert {f"{secret}-file" for secret in secrets} <= shown


def test_check_has_no_flags_of_what_it_does_not_test(run) -> None:
    _, output = run("check", "--help", COLUMNS="200")
    shown = set(re.findall(r"--[a-z-]+", output))
    assert {"--nats-url", "--nats-creds", "--bucket-prefix"} <= shown
    assert shown.isdisjoint({"--port", "--cors-origin", "--max-watches"})


def test_a_flag_turns_off_what_a_variable_turns_on(run) -> None:
    on = {"JETKV_PROXY_PROTOCOL": "true"}
    code, output = run("config", "--auth", "off", **on)
    assert (code, "proxy_protocol needs trusted_proxies" in output) == (4, True)
    code, output = run("config", "--auth", "off", "--no-proxy-protocol", **on)
    assert code == 0
    assert re.search(r"proxy_protocol +false +flag --no-proxy-protocol", output)


def test_a_secret_is_read_from_a_file(run, tmp_path: Path) -> None:
    secret = tmp_path / "password"
    secret.write_text("secret\n")
    with Server(tmp_path / "nats", config=PASSWORD) as server:
        login = ("check", "--nats-url", server.url, "--nats-user", "app")
        assert run(*login, "--nats-password-file", str(secret))[0] == 0
        assert run(*login, JETKV_NATS_PASSWORD_FILE=str(secret))[0] == 0
        settings = tmp_path / "jetkv.toml"
        settings.write_text(f'nats_password_file = "{secret}"')
        assert run(*login, "--config", str(settings))[0] == 0


def test_a_login_in_an_address_of_the_command_line_is_warned_of(finish) -> None:
    address = "nats://gateway:topsecret@127.0.0.1:1"
    _, output = finish("serve", "--auth", "off", "--nats-creds", "/none", "--nats-url", address)
    assert "can read the login in --nats-url" in output
    assert "topsecret" not in output
    _, output = finish("serve", "--auth", "off", "--nats-creds", "/none", JETKV_NATS_URL=address)
    assert "can read the login" not in output


def test_a_secret_is_no_flag(run) -> None:
    code, output = run("check", "--nats-password", "p")
    assert code == 2
    assert "--nats-password-file" in output


@pytest.mark.parametrize(
    ("missing", "command"),
    [
        ("typer", "dev"),
        ("orjson", "dev"),
        ("uvicorn", "dev"),
        ("nats", "serve"),
        ("nats", "token"),
    ],
)
def test_a_plain_install_says_in_one_line_which_extra_is_missing(
    missing: str, command: str
) -> None:
    code = f"import sys; sys.modules[{missing!r}] = None\nfrom jetkv.cli.main import main\nmain()"
    ended = subprocess.run(
        [sys.executable, "-c", code, command, "--port", "0"], capture_output=True, text=True
    )
    assert ended.returncode == 1
    (line,) = ended.stderr.splitlines()
    assert line.startswith(f"jetkv: {missing} is not installed; ")
    assert 'pip install "jetkv[gateway]"' in line


def test_without_the_gateway_its_commands_are_listed_with_their_extra() -> None:
    code = "import sys; sys.modules['nats'] = None\nfrom jetkv.cli.main import main\nmain()"
    ended = subprocess.run([sys.executable, "-c", code, "--help"], capture_output=True, text=True)
    assert ended.returncode == 0
    assert 'serve Needs the extra: pip install "jetkv[gateway]".' in words(ended.stdout)


def test_the_console_script_has_the_commands_of_the_gateway() -> None:
    script = Path(sys.executable).with_name("jetkv")
    ended = subprocess.run([script, "--help"], capture_output=True, text=True)
    assert ended.returncode == 0
    assert all(re.search(rf"\b{command}\b", ended.stdout) for command in COMMANDS)

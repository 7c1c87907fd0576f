"""Which gateway a command talks to, and with which token."""

from pathlib import Path

import pytest

from jetkv.cli.exits import CommandError, Exit
from jetkv.cli.profiles import Connection, connection

PROFILES = """
default = "local"

[profiles.local]
url = "http://local:1"

[profiles.prod]
url = "https://prod:2"
token = "jkv_prod"
timeout = 3

[profiles.file]
url = "https://file:3"
token_file = "{token}"
"""


class Home:
    """A folder with profiles and a token, and how commands connect there."""

    def __init__(self, folder: Path) -> None:
        self.file = folder / "jetkv" / "profiles.toml"
        self.file.parent.mkdir()
        self.token = folder / "token"
        self.token.write_text("jkv_of_the_file\n")
        self.file.write_text(PROFILES.format(token=self.token))
        for file in (self.file, self.token):
            file.chmod(0o600)
        self.environment = {"XDG_CONFIG_HOME": str(folder)}
        self.warnings: list[str] = []

    def connect(self, **flags: object) -> tuple[str, str | None]:
        found = self.connection(**flags)
        return found.url, found.token

    def connection(self, **flags: object) -> Connection:
        given: dict = flags
        return connection(self.environment, warn=self.warnings.append, **given)

    def refused(self, **flags: object) -> tuple[Exit, str]:
        with pytest.raises(CommandError) as refused:
            self.connection(**flags)
        return refused.value.code, f"{refused.value} {refused.value.hint}"


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path)


def test_the_default_profile_counts_if_nothing_else_is_said(home: Home) -> None:
    assert home.connect() == ("http://local:1", None)
    home.environment["JETKV_PROFILE"] = "prod"
    assert home.connect() == ("https://prod:2", "jkv_prod")
    assert home.connection().timeout == 3
    assert home.connection(timeout=5.0).timeout == 5


def test_without_profiles_it_is_the_gateway_of_this_machine(tmp_path: Path) -> None:
    assert connection({"XDG_CONFIG_HOME": str(tmp_path)}).url == "http://localhost:9123"


def test_a_flag_counts_more_than_the_environment_and_this_more_than_the_default(
    home: Home,
) -> None:
    home.environment["JETKV_URL"] = "http://environment:4"
    assert home.connect() == ("http://environment:4", None)
    assert home.connect(profile="prod") == ("https://prod:2", "jkv_prod")
    assert home.connect(url="http://flag:5") == ("http://flag:5", None)
    assert home.refused(url="http://flag:5", profile="prod")[0] is Exit.USAGE


def test_a_token_goes_only_to_the_gateway_that_it_stands_beside(home: Home) -> None:
    assert home.connect(profile="file") == ("https://file:3", "jkv_of_the_file")
    home.environment["JETKV_PROFILE"] = "prod"
    assert home.connect(url="http://flag:5") == ("http://flag:5", None)
    home.environment["JETKV_TOKEN"] = "jkv_environment"
    assert home.connect(url="http://flag:5") == ("http://flag:5", "jkv_environment")
    assert home.connect(profile="local") == ("http://local:1", None)
    assert home.connect(profile="prod") == ("https://prod:2", "jkv_prod")


def test_a_token_file_is_named_by_a_flag_or_a_variable(home: Home) -> None:
    home.environment["JETKV_TOKEN_FILE"] = str(home.token)
    assert home.connect(url="http://u")[1] == "jkv_of_the_file"
    other = home.token.with_name("other")
    other.write_text("jkv_other")
    other.chmod(0o600)
    assert home.connect(url="http://u", token_file=other)[1] == "jkv_other"
    assert home.warnings == []


def test_a_token_that_others_can_read_is_warned_about(home: Home) -> None:
    home.token.chmod(0o640)
    home.connect(token_file=home.token)
    assert home.warnings == [
        f"{home.token} has a token, and others can read it: chmod 600 {home.token}"
    ]
    home.file.chmod(0o644)
    home.connect(profile="prod")
    assert f"chmod 600 {home.file}" in home.warnings[1]
    home.connect(profile="local")
    assert len(home.warnings) == 2


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[profiles.x]\n", "has no url"),
        ("[profiles.x]\nurl = 1\n", "wrong type"),
        ("[profiles.x]\nurl = 'u'\ntokens = 't'\n", "unknown field 'tokens'"),
        ("[profiles.x]\nurl = 'u'\nca_file = '/nowhere'\n", "/nowhere cannot be used"),
        ("[profiles.x]\nurl = 'u'\ntoken_file = '/nowhere'\n", "/nowhere cannot be read"),
        ("[profile.x]\nurl = 'u'\n", "may have `default`"),
        ("[profiles.y]\nurl = 'u'\n", "it has: y"),
        ("profiles = 1\n", "may have `default`"),
        ("[", "is no TOML"),
    ],
)
def test_a_profile_that_cannot_be_used_is_named(home: Home, text: str, says: str) -> None:
    home.file.write_text(text)
    code, line = home.refused(profile="x")
    assert (code in (Exit.USAGE, Exit.LOCAL), says in line) == (True, True), line


@pytest.mark.parametrize("text", ["", "two words", "jkv_a\njkv_b\n"])
def test_a_token_file_has_one_token(home: Home, text: str) -> None:
    home.token.write_text(text)
    assert home.refused(token_file=home.token)[0] is Exit.USAGE


def test_a_connection_does_not_show_its_token(home: Home) -> None:
    assert "jkv_prod" not in repr(home.connection(profile="prod"))

"""NATS contexts: the files of the `nats` command line as settings."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from jetkv_gateway.configuration.sources import Origin
from jetkv_gateway.settings import SettingsError, load

Write = Callable[..., Path]

# A file as `nats context add` writes it: each field is there, most of them are empty.
FULL = {
    "description": "the cluster",
    "url": "nats://n1:4222,nats://n2:4222",
    "socks_proxy": "",
    "token": "",
    "user": "ada",
    "password": "pw",
    "creds": "",
    "nkey": "",
    "cert": "",
    "key": "",
    "ca": "",
    "nsc": "",
    "jetstream_domain": "hub",
    "jetstream_api_prefix": "",
    "jetstream_event_prefix": "",
    "inbox_prefix": "_INBOX_ada",
    "user_jwt": "",
    "color_scheme": "",
    "tls_first": True,
}


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Write:
    """Write a context; the only ones that there are."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    contexts = tmp_path / "nats" / "context"
    contexts.mkdir(parents=True)

    def write(name: str, **fields: Any) -> Path:
        path = contexts / f"{name}.json"
        path.write_text(json.dumps(fields))
        return path

    return write


def refusal(**flags: Any) -> str:
    with pytest.raises(SettingsError) as refused:
        load(flags, None)
    return str(refused.value)


def test_a_context_gives_the_settings_of_the_connection(write: Write) -> None:
    write("prod", **FULL)
    settings = load({"context": "prod"}, None)
    options = settings.nats_options()
    assert options.servers == ("nats://n1:4222", "nats://n2:4222")
    assert (options.user, options.password) == ("ada", "pw")
    assert (options.tls_first, options.inbox_prefix) == (True, "_INBOX_ada")
    assert settings.nats_domain == "hub"
    assert settings.warnings == ()


def test_a_context_is_read_only_when_asked_for(write: Write, tmp_path: Path) -> None:
    write("prod", **FULL)
    (tmp_path / "nats" / "context.txt").write_text("prod\n")
    assert load({}, None).nats_user is None
    assert load({"context": "."}, None).nats_user == "ada"


def test_the_variable_names_a_context(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    write("prod", **FULL)
    monkeypatch.setenv("JETKV_CONTEXT", "prod")
    assert load({}, None).nats_user == "ada"


def test_a_file_names_a_context(write: Write, tmp_path: Path) -> None:
    write("prod", **FULL)
    config = tmp_path / "jetkv.toml"
    config.write_text('context = "prod"\nnats_domain = "leaf"')
    settings = load({}, config)
    assert (settings.nats_user, settings.nats_domain) == ("ada", "leaf")


def test_each_setting_wins_over_the_context(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    write("prod", **FULL)
    monkeypatch.setenv("JETKV_NATS_INBOX_PREFIX", "_MINE")
    settings = load(
        {"context": "prod", "nats_url": "nats://other:4222", "nats_tls_first": False}, None
    )
    assert settings.nats_options().servers == ("nats://other:4222",)
    assert (settings.nats_tls_first, settings.nats_inbox_prefix) == (False, "_MINE")
    assert settings.nats_user == "ada"
    assert settings.origin("nats_url") == Origin("flag", "--nats-url")
    assert settings.origin("nats_user") == Origin("context", "prod")
    assert settings.origin("nats_inbox_prefix") == Origin("variable", "JETKV_NATS_INBOX_PREFIX")
    assert settings.origin("port") == Origin("default")


@pytest.mark.parametrize(
    "login",
    [
        {"nats_token": "t"},
        {"nats_user": "bob"},
        {"nats_creds": "/bob.creds"},
        {"nats_url": "nats://bob:b@n1:4222"},
        {"nats_url": "nats://token@n1:4222"},
    ],
)
def test_a_login_replaces_that_of_the_context_as_a_whole(
    write: Write, login: dict[str, str]
) -> None:
    write("prod", **FULL)
    settings = load({"context": "prod", **login}, None)
    settings.check_login()
    assert settings.nats_user == login.get("nats_user")
    assert settings.nats_password is None


def test_a_certificate_replaces_the_key_pair_of_the_context(write: Write) -> None:
    write("prod", cert="/a.pem", key="/a.key", ca="/ca.pem")
    settings = load({"context": "prod", "nats_tls_cert": "/b.pem"}, None)
    assert (settings.nats_tls_cert, settings.nats_tls_key) == (Path("/b.pem"), None)
    assert settings.nats_tls_ca == Path("/ca.pem")


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("~/ada.creds", "/home/ada/ada.creds"),
        ("$KEYS/ada.creds", "/keys/ada.creds"),
        ("${KEYS}/ada.creds", "/keys/ada.creds"),
        ("file:///etc/a%20b.creds", "/etc/a b.creds"),
        ("ada.creds", "ada.creds"),
    ],
)
def test_paths_are_read_as_the_nats_command_line_reads_them(
    write: Write, monkeypatch: pytest.MonkeyPatch, text: str, path: str
) -> None:
    monkeypatch.setenv("HOME", "/home/ada")
    monkeypatch.setenv("KEYS", "/keys")
    write("prod", creds=text)
    assert load({"context": "prod"}, None).nats_creds == Path(path)


def test_a_secret_can_be_in_a_variable(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PW", "secret")
    write("prod", user="ada", password="env://PW")
    assert load({"context": "prod"}, None).nats_options().password == "secret"
    monkeypatch.delenv("PW")
    assert refusal(context="prod") == "password of the context 'prod' is in PW, which is not set"


@pytest.mark.parametrize(
    "field",
    ["nsc", "socks_proxy", "user_jwt", "user_seed", "windows_cert_store", "windows_cert_match"],
)
def test_what_would_make_another_connection_is_refused(write: Write, field: str) -> None:
    write("prod", **{**FULL, field: "secret"})
    text = refusal(context="prod")
    assert text.startswith(f"the context 'prod' has {field}, which jetkv does not know: ")
    assert "secret" not in text


@pytest.mark.parametrize(
    ("field", "value"),
    [("password", "op://vault/x"), ("creds", "nsc://o/a/u"), ("nkey", "data:;base64,c2VjcmV0")],
)
def test_a_reference_that_only_the_nats_command_line_reads_is_refused(
    write: Write, field: str, value: str
) -> None:
    write("prod", **{field: value})
    text = refusal(context="prod")
    kind = value.partition(":")[0]
    assert f"{field} of the context 'prod' is a reference to {kind}" in text
    assert "c2VjcmV0" not in text


def test_an_unknown_field_is_named_in_a_warning(write: Write) -> None:
    write("prod", colour="red", empty="", url="nats://n1:4222")
    assert load({"context": "prod"}, None).warnings == (
        "colour of the context 'prod' has no effect: jetkv does not know it",
    )


@pytest.mark.parametrize(
    ("fields", "domain"),
    [
        ({"jetstream_api_prefix": "$JS.hub.API"}, "hub"),
        ({"jetstream_api_prefix": "$JS.hub.API", "jetstream_domain": "hub"}, "hub"),
        ({"jetstream_api_prefix": "$JS.API"}, ""),
    ],
)
def test_the_api_prefix_of_a_domain_is_that_domain(
    write: Write, fields: dict[str, str], domain: str
) -> None:
    write("prod", **fields)
    assert load({"context": "prod"}, None).nats_domain == domain


@pytest.mark.parametrize(
    "fields",
    [
        {"jetstream_api_prefix": "imported.API"},
        {"jetstream_api_prefix": "$JS.hub.API", "jetstream_domain": "leaf"},
    ],
)
def test_another_api_prefix_is_refused(write: Write, fields: dict[str, str]) -> None:
    write("prod", **fields)
    assert "jetkv can use a JetStream domain" in refusal(context="prod")


@pytest.mark.parametrize("name", ["../prod", "a/b", "a\\b", "..", ""])
def test_a_name_never_leads_out_of_the_folder(write: Write, name: str) -> None:
    write("prod", **FULL)
    if name:
        assert "cannot be the name of a context" in refusal(context=name)
    else:
        assert load({"context": name}, None).nats_user is None


def test_an_unknown_context_is_refused_with_those_that_there_are(write: Write) -> None:
    write("a", **FULL)
    write("b", **FULL)
    assert refusal(context="c").startswith("no context 'c' in ")
    assert refusal(context="c").endswith("; there are a, b")
    assert "no context is selected" in refusal(context=".")


def test_a_broken_file_is_refused_without_its_content(write: Write) -> None:
    path = write("prod")
    path.write_text('{"password": "secret", }')
    assert refusal(context="prod") == f"{path} is not valid JSON"
    path.write_text("[]")
    assert refusal(context="prod") == f"{path} is not a JSON object"
    path.write_text('{"url": 1}')
    assert refusal(context="prod") == "url of the context 'prod' must be a text"

"""Secrets in files: `nats_password_file` for `nats_password`, from each source."""

from pathlib import Path

import pytest

from jetkv_gateway.settings import Settings, SettingsError, load


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    path = tmp_path / "password"
    path.write_text("s3cret\n")
    return path


def password(settings: Settings) -> str | None:
    return settings.nats_options().password


def refusal(path: Path) -> str:
    with pytest.raises(SettingsError) as refused:
        load({"nats_password_file": path}, None)
    return str(refused.value)


@pytest.mark.parametrize("ending", ["", "\n", "\r\n"])
def test_the_end_of_the_line_is_no_part_of_the_secret(secret: Path, ending: str) -> None:
    secret.write_bytes(f"s3 cret{ending}".encode())
    assert password(load({"nats_password_file": secret}, None)) == "s3 cret"


def test_a_variable_wins_over_the_file_that_a_settings_file_names(
    secret: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tmp_path / "jetkv.toml"
    config.write_text(f'nats_password_file = "{secret}"')
    assert password(load({}, config)) == "s3cret"
    assert load({}, config).nats_options().password_file == secret
    monkeypatch.setenv("JETKV_NATS_PASSWORD", "of the variable")
    assert password(load({}, config)) == "of the variable"
    assert load({}, config).nats_options().password_file is None


def test_a_secret_and_its_file_contradict_each_other(
    secret: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JETKV_NATS_PASSWORD", "p")
    monkeypatch.setenv("JETKV_NATS_PASSWORD_FILE", str(secret))
    with pytest.raises(SettingsError, match="give only one of nats_password and nats_password_f"):
        load({}, None)


def test_a_file_that_holds_no_secret_is_refused_without_its_content(secret: Path) -> None:
    secret.write_bytes(b"\xff\xfe secret")
    assert refusal(secret) == f"nats_password_file: cannot use {secret}: it is not UTF-8"
    secret.write_text("\n")
    assert refusal(secret) == f"nats_password_file: cannot use {secret}: it is empty"
    secret.write_text("secret" * 20_000)
    assert refusal(secret).endswith("it has more than 65536 bytes")
    secret.unlink()
    assert refusal(secret).endswith("no such file")

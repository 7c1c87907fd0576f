"""Where settings come from: flags, variables, a TOML file.

Each source takes a secret also as the name of a file that contains it: `nats_password_file` for
`nats_password`. So no secret has to stand in a list of processes or in a variable.
"""

from pathlib import Path
from typing import Any, get_args

from pydantic import SecretStr
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    InitSettingsSource,
    TomlConfigSettingsSource,
)

from jetkv_gateway.environment import PREFIX, is_service_link

__all__ = ["Environment", "Flags", "TomlFile", "names", "secrets"]

_MAX_SECRET_BYTES = 64 * 1024


def secrets(settings: type[BaseSettings]) -> list[str]:
    """Return the names of the settings that are secrets."""
    return [
        name
        for name, field in settings.model_fields.items()
        if SecretStr in (field.annotation, *get_args(field.annotation))
    ]


def names(settings: type[BaseSettings]) -> list[str]:
    """Return the names that a source may use: the settings, and the files of secrets."""
    return [*settings.model_fields, *(f"{name}_file" for name in secrets(settings))]


class Flags(InitSettingsSource):
    """The command line."""

    def __call__(self) -> dict[str, Any]:
        return _with_secrets(self.settings_cls, super().__call__())


class Environment(EnvSettingsSource):
    """The variables `JETKV_*`."""

    def __call__(self) -> dict[str, Any]:
        values = super().__call__()
        # If there is a Service named jetkv, Kubernetes sets JETKV_PORT=tcp://10.0.0.1:9123.
        if is_service_link("JETKV_PORT", str(values.get("port", ""))):
            del values["port"]
        for name in secrets(self.settings_cls):
            if file := self.env_vars.get(f"{PREFIX}{name}_file".lower()):
                values[f"{name}_file"] = file
        return _with_secrets(self.settings_cls, values)


class TomlFile(TomlConfigSettingsSource):
    """The file of `--config`."""

    def __call__(self) -> dict[str, Any]:
        return _with_secrets(self.settings_cls, super().__call__())


def _with_secrets(settings: type[BaseSettings], values: dict[str, Any]) -> dict[str, Any]:
    """Replace the names of files by the secrets in them.

    Raises:
        ValueError: a file cannot be used, or a secret is given twice.
    """
    for name in secrets(settings):
        file = values.pop(f"{name}_file", None)
        if file is None:
            continue
        if name in values:
            raise ValueError(f"give only one of {name} and {name}_file")
        values[name] = _read_secret(name, Path(file))
    return values


def _read_secret(name: str, file: Path) -> str:
    try:
        # Reading a pipe would block.
        if not file.is_file():
            raise ValueError(f"{name}_file: no such file: {file}")
        with file.open("rb") as opened:
            content = opened.read(_MAX_SECRET_BYTES + 1)
        text = content.decode()
    except OSError as error:
        raise ValueError(f"{name}_file: cannot read {file}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ValueError(f"{name}_file: {file} is not UTF-8") from error
    if len(content) > _MAX_SECRET_BYTES:
        raise ValueError(f"{name}_file: {file} has more than {_MAX_SECRET_BYTES} bytes")
    # An editor ends the last line; a secret that ends so is not known.
    text = text.removesuffix("\n").removesuffix("\r")
    if not text:
        raise ValueError(f"{name}_file: {file} is empty")
    return text

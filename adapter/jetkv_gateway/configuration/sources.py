"""Where settings come from: flags, variables, a TOML file, a NATS context.

Each of the first three takes a secret also as the name of a file that contains it, such as
`nats_password_file` for `nats_password`. So no secret has to be an argument or a variable.
"""

from contextlib import suppress
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, get_args

from pydantic import SecretStr
from pydantic.fields import FieldInfo
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    InitSettingsSource,
    PydanticBaseSettingsSource,
    TomlConfigSettingsSource,
)

from jetkv_gateway.configuration import nats_context
from jetkv_gateway.configuration.about import described, flag_of
from jetkv_gateway.configuration.nats_login import LOGIN, addresses
from jetkv_gateway.environment import PREFIX, is_service_link
from jetkv_gateway.jetstream.credentials import SecretError, read_secret
from jetkv_gateway.jetstream.servers import Login, parse_server

__all__ = [
    "Environment",
    "Flags",
    "Loading",
    "NatsContextSource",
    "Origin",
    "TomlFile",
    "loading",
    "names",
    "secrets",
]


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


class Origin(NamedTuple):
    """Where a setting comes from.

    Attributes:
        kind: flag, variable, file, context or default.
        name: of the flag, variable, file or context.
    """

    kind: str
    name: str = ""


@dataclass(slots=True)
class Loading:
    """What the sources share while settings are read.

    Attributes:
        file: the TOML file.
        origins: by setting.
        warnings: lines for the operator.
        secret_files: the files that secrets come from, by setting.
    """

    file: Path | None = None
    origins: dict[str, Origin] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    secret_files: dict[str, Path] = field(default_factory=dict)

    def taken(self, origin: Origin, values: dict[str, Any]) -> dict[str, Any]:
        """Note the origin of settings that no source before had."""
        for name in values:
            self.origins.setdefault(name, origin)
        return values


loading: ContextVar[Loading] = ContextVar("loading")


class Flags(InitSettingsSource):
    """The command line."""

    def __call__(self) -> dict[str, Any]:
        given = super().__call__()
        values = _with_secrets(self.settings_cls, dict(given))
        now = loading.get()
        for name, _, about in described(self.settings_cls.model_fields):
            for written in (name, f"{name}_file"):
                if written in given:
                    flag = flag_of(written, about)
                    if given[written] is False:
                        flag = f"--no-{flag.removeprefix('--')}"
                    now.taken(Origin("flag", flag), {name: None})
        return values


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
        variables = {
            name.removesuffix("_file") if name not in self.settings_cls.model_fields else name: name
            for name in values
        }
        values = _with_secrets(self.settings_cls, values)
        now = loading.get()
        for name, variable in variables.items():
            now.taken(Origin("variable", f"{PREFIX}{variable.upper()}"), {name: None})
        return values


class TomlFile(TomlConfigSettingsSource):
    """The file of `--config`."""

    def __call__(self) -> dict[str, Any]:
        now = loading.get()
        values = _with_secrets(self.settings_cls, super().__call__())
        return now.taken(Origin("file", str(now.file)), values)


class NatsContextSource(PydanticBaseSettingsSource):
    """The NATS context that the setting `context` names. All other sources win over it."""

    def get_field_value(
        self,
        field: FieldInfo,  # noqa: ARG002 - the interface has it
        field_name: str,
    ) -> tuple[Any, str, bool]:
        """Not used: the context is read as a whole."""
        return None, field_name, False

    def __call__(self) -> dict[str, Any]:
        given = self.current_state
        if not given.get("context"):
            return {}
        context = nats_context.read(str(given["context"]))
        # Parts of two logins, or of two key pairs, do not belong together.
        dropped = set(LOGIN) if _has_login(given) else set()
        if given.keys() & _KEY_PAIR:
            dropped |= _KEY_PAIR
        now = loading.get()
        now.warnings.extend(context.warnings)
        values = {name: value for name, value in context.settings.items() if name not in dropped}
        return now.taken(Origin("context", context.name), values)


_KEY_PAIR = {"nats_tls_cert", "nats_tls_key"}


def _has_login(given: dict[str, Any]) -> bool:
    if given.keys() & set(LOGIN):
        return True
    # An invalid address is reported with its setting later.
    with suppress(ValueError):
        return any(
            parse_server(address).login != Login()
            for address in addresses(str(given.get("nats_url", "")))
        )
    return False


def _with_secrets(settings: type[BaseSettings], values: dict[str, Any]) -> dict[str, Any]:
    """Replace the names of files by the secrets in them. Note the files that count.

    Call it before the origins of `values` are noted.

    Raises:
        ValueError: a file cannot be used, or a secret is given twice.
    """
    now = loading.get()
    for name in secrets(settings):
        given = values.pop(f"{name}_file", None)
        if given is None:
            continue
        if name in values:
            raise ValueError(f"give only one of {name} and {name}_file")
        file = Path(given)
        try:
            values[name] = read_secret(file)
        except (SecretError, OSError) as error:
            reason = error.strerror if isinstance(error, OSError) else str(error)
            raise ValueError(f"{name}_file: cannot use {file}: {reason}") from error
        if name not in now.origins:
            now.secret_files[name] = file
    return values

"""What commands share: their ends, and the start of the log."""

import logging
import logging.config
import os
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from jetkv_gateway import private_apis
from jetkv_gateway.check import EXIT_INPUT
from jetkv_gateway.configuration.sources import names
from jetkv_gateway.environment import unknown_variables
from jetkv_gateway.settings import Settings, SettingsError, load
from jetkv_gateway.telemetry.logs import logging_for

__all__ = ["EXIT_INPUT", "Config", "fail", "read_settings", "remarks", "start_logging"]

_log = logging.getLogger("jetkv")

_EXIT_FAILED = 1
_SHOWN = (
    "everybody on this machine can read the login in --nats-url in the list of processes; use the "
    "variable JETKV_NATS_URL or nats_password_file"
)

Config = Annotated[
    Path | None,
    typer.Option("--config", envvar="JETKV_CONFIG", help="TOML file with settings."),
]


def fail(error: object, code: int) -> NoReturn:
    """End the program with a line on standard error."""
    typer.echo(f"jetkv: {error}", err=True)
    raise typer.Exit(code)


def read_settings(flags: dict[str, Any], config: Path | None) -> Settings:
    """Return the settings, or end the program with the reason why there are none."""
    try:
        settings = load(flags, config)
    except SettingsError as error:
        fail(error, EXIT_INPUT)
    if "nats_url" in flags and any(
        server.login.password or server.login.token for server in settings.nats_servers
    ):
        # There is no flag for a secret, but an address may contain one.
        typer.echo(f"warning: {_SHOWN}", err=True)
    return settings


def start_logging(settings: Settings) -> None:
    """Set up the log, and say what is wrong with this environment."""
    logging.config.dictConfig(logging_for(settings.log_level, settings.log_format))
    try:
        private_apis.check()
    except private_apis.PrivateApiMissing as error:
        fail(error, _EXIT_FAILED)
    for line in remarks(settings):
        _log.warning("%s", line)


def remarks(settings: Settings) -> list[str]:
    """Return a line for each thing that was given and has no effect."""
    return [*unknown_variables(os.environ, names(Settings)), *settings.warnings]

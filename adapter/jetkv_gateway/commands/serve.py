"""`jetkv serve`: the gateway for a NATS that exists."""

import functools
import logging
from typing import Any

import typer

from jetkv_gateway import __version__
from jetkv_gateway.app import factory, server_options
from jetkv_gateway.auth.token_file import TokenFileError
from jetkv_gateway.callers import authenticator_for
from jetkv_gateway.commands.common import (
    EXIT_INPUT,
    Config,
    fail,
    read_settings,
    start_logging,
)
from jetkv_gateway.commands.options import with_settings
from jetkv_gateway.configuration.about import Panel
from jetkv_gateway.serving.options import CannotStart
from jetkv_gateway.serving.processes import run
from jetkv_gateway.serving.server import listen
from jetkv_gateway.settings import Settings
from jetkv_gateway.telemetry.logs import JsonFormatter, LogFormat

__all__ = ["serve"]

_log = logging.getLogger("jetkv")


@with_settings(*Panel)
def serve(flags: dict[str, Any], config: Config = None) -> None:
    """Run the gateway for your NATS.

    Every setting can also be a variable, such as JETKV_NATS_URL,
    or a line of the --config file: see docs/configuration.md.
    """
    settings = read_settings(flags, config)
    start_logging(settings)
    try:
        settings.check_auth()
        settings.check_address(settings.host)
        settings.check_login()
        settings.bucket_specs()
        settings.nats_options()
        authenticator = authenticator_for(settings)
        options = server_options(settings)
        scheme = "http" if options.tls is None else "https"
        with listen(settings.host, settings.port) as server_socket:
            name = server_socket.getsockname()
            code = run(
                factory(settings, authenticator),
                options,
                server_socket,
                lambda: _say_start(
                    settings,
                    f"jetkv {__version__} serves {scheme}://{name[0]}:{name[1]}, "
                    f"auth {','.join(settings.auth or ())}, workers {settings.workers}",
                ),
                # A replacement worker starts with the tokens that the main process has read, even
                # if the file has become unusable since. Workers log what they read, so the main
                # process need not.
                refresh=functools.partial(authenticator.refresh, quiet=True),
            )
    except (CannotStart, TokenFileError) as error:
        fail(error, EXIT_INPUT)
    raise typer.Exit(code)


def _say_start(settings: Settings, text: str) -> None:
    """Say that the gateway serves, whatever the level of the log is."""
    if settings.log_format is LogFormat.JSON:
        typer.echo(
            JsonFormatter().format(_log.makeRecord("jetkv", logging.INFO, "", 0, text, (), None)),
            err=True,
        )
    else:
        typer.echo(text, err=True)

"""`jetkv check`: tests whether the gateway can work with this NATS."""

import asyncio
import os
from typing import Annotated, Any

import typer

from jetkv_gateway.check import check as run_check
from jetkv_gateway.commands.common import EXIT_INPUT, Config, fail, read_settings
from jetkv_gateway.commands.options import with_settings
from jetkv_gateway.configuration.about import Panel
from jetkv_gateway.configuration.sources import names
from jetkv_gateway.environment import unknown_variables
from jetkv_gateway.settings import Settings, SettingsError

__all__ = ["check"]


@with_settings(Panel.NATS, Panel.BUCKETS, names=("ready_buckets", "auth", "token_bucket"))
def check(
    flags: dict[str, Any],
    json: Annotated[bool, typer.Option("--json", help="Print the whole report as JSON.")] = False,
    config: Config = None,
) -> None:
    """Test whether the gateway can work with your NATS.

    Says what it has found, what is missing, and what will not work without it. It changes nothing.
    Exit codes: 0 it can, 3 NATS is not reachable, 4 a setting cannot be used,
    5 NATS refuses the credentials, 6 this NATS cannot be used.
    """
    settings = read_settings(flags, config)
    try:
        report = asyncio.run(run_check(settings))
    except SettingsError as error:
        fail(error, EXIT_INPUT)
    report.remarks += unknown_variables(os.environ, names(Settings))
    typer.echo(report.as_json() if json else report.as_table())
    raise typer.Exit(report.exit_code)

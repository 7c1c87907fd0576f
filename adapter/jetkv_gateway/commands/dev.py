"""`jetkv dev`: the gateway with its own nats-server."""

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from jetkv_gateway.commands.common import (
    EXIT_INPUT,
    Config,
    fail,
    read_settings,
    start_logging,
)
from jetkv_gateway.commands.options import with_settings
from jetkv_gateway.configuration.about import Panel
from jetkv_gateway.configuration.bucket_setting import BucketSetting
from jetkv_gateway.dev import run_dev
from jetkv_gateway.embedded import NatsServerError
from jetkv_gateway.http.origins import LOOPBACK
from jetkv_gateway.serving.options import CannotStart
from jetkv_gateway.settings import AuthMode

__all__ = ["dev"]


@with_settings(Panel.TELEMETRY, names=("port", "buckets"))
def dev(
    flags: dict[str, Any],
    data_dir: Annotated[Path, typer.Option(help="Folder that keeps the data between runs.")] = Path(
        ".jetkv"
    ),
    nats_port: Annotated[
        int | None,
        typer.Option(
            min=0,
            max=65535,
            help="Port of the embedded nats-server on 127.0.0.1; 0 takes a free one. "
            "Default: the port of the last start.",
        ),
    ] = None,
    sync_interval: Annotated[
        str,
        typer.Option(
            help="How often the embedded nats-server syncs its files to disk: `always`, or a time "
            "such as 2m, which is faster and can lose that much if the machine loses power.",
        ),
    ] = "always",
    config: Config = None,
) -> None:
    """Run the gateway with its own nats-server, on loopback, without authentication.

    Creates the bucket `demo` and those of --bucket. Ctrl-C stops both.
    """
    fixed = {
        "workers": 1,
        "auth": AuthMode.OFF,
        "cors_origins": [LOOPBACK],
        "context": "",  # its login and TLS are for another NATS
    }
    settings = read_settings(flags | fixed, config)
    if not settings.insecure:
        # An address that is meant for `jetkv serve` must not open this gateway to a network.
        settings = settings.model_copy(update={"host": "127.0.0.1", "loopback_host": True})
    start_logging(settings)
    try:
        if "demo" not in (bucket.spec.name for bucket in settings.wanted_buckets()):
            buckets = [BucketSetting.parse("demo"), *settings.buckets]
            settings = settings.model_copy(update={"buckets": buckets})
        code = run_dev(settings, data_dir, nats_port, sync_interval, _say)
    except (CannotStart, NatsServerError) as error:
        fail(error, EXIT_INPUT)
    raise typer.Exit(code)


def _say(text: str) -> None:
    typer.echo(text)
    sys.stdout.flush()

"""`jetkv check`: tests whether the gateway can work with this NATS."""

import asyncio
from typing import Annotated, Any

import typer

from jetkv_gateway.check import Report
from jetkv_gateway.check import check as run_check
from jetkv_gateway.commands.common import EXIT_INPUT, Config, fail, read_settings, remarks
from jetkv_gateway.commands.options import with_settings
from jetkv_gateway.configuration.about import Panel
from jetkv_gateway.settings import Settings, SettingsError

__all__ = ["check"]


@with_settings(Panel.NATS, names=("bucket_prefix",))
def check(
    flags: dict[str, Any],
    json: Annotated[bool, typer.Option("--json", help="Print the whole report as JSON.")] = False,
    config: Config = None,
) -> None:
    """Test whether the gateway can work with your NATS.

    Exit codes: 0 it can, 3 NATS is not reachable, 4 a setting cannot be used,
    5 NATS refuses the credentials, 6 this NATS cannot be used.
    """
    settings = read_settings(flags, config)
    for line in remarks(settings):
        typer.echo(f"warning    {line}", err=True)
    try:
        report = asyncio.run(run_check(settings))
    except SettingsError as error:
        fail(error, EXIT_INPUT)
    typer.echo(report.as_json() if json else _report(report, settings))
    raise typer.Exit(report.exit_code)


def _report(report: Report, settings: Settings) -> str:
    lines = []
    if report.server:
        servers = ", ".join(server.url for server in settings.nats_servers)
        lines.append(f"NATS       {servers}, nats-server {report.server}")
    if report.limits:
        used = ", ".join(f"{name} {value}" for name, value in report.used.items())
        limits = ", ".join(
            f"{name} {value}" for name, value in report.limits.items() if value not in (-1, False)
        )
        lines += [
            f"JetStream  {used}; limits: {limits or 'none'}",
            f"values     up to {report.max_value_bytes} bytes",
            f"cluster    {_cluster(report.clusters)}",
            f"buckets    {len(report.buckets)}: {', '.join(report.buckets) or 'none'}",
        ]
    if report.expiry_markers:
        lines.append(
            f"markers    {', '.join(report.expiry_markers)}: a key that expires leaves a marker, "
            "which nats-py's kv, older nats.go and nats.js and the nats CLI 0.2 read as a live, "
            "empty value; for readers like these, make buckets with expiry_markers false"
        )
    lines += [
        f"warning    {bucket}: {warning.code}: {warning.message}"
        for bucket, warnings in report.warnings.items()
        for warning in warnings
    ]
    lines += [f"missing    {text}" for text in report.missing]
    lines.append("works" if report.exit_code == 0 else "does not work")
    return "\n".join(lines)


def _cluster(names: list[str] | None) -> str:
    if names is None:
        return "not known before there is a bucket"
    return ", ".join(names) or "none, the server stands alone"

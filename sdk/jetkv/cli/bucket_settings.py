"""The settings of a bucket as options of `jetkv bucket create` and `set`."""

import json
import re
from typing import Annotated, Any, Literal

import typer

from jetkv.cli.exits import CommandError, Exit
from jetkv.cli.values import duration

__all__ = ["Settings", "settings"]

Settings = dict[str, Any]
"""Settings by their names in the HTTP API."""

_SIZE = re.compile(r"(\d{1,18})\s*([KMGT])?(?:i?B)?", re.ASCII | re.IGNORECASE)
_FACTORS = {"": 1, "K": 1024, "M": 1024**2, "G": 1024**3, "T": 1024**4}
_PANEL = "Settings"

_Text = Annotated[str | None, typer.Option(help="A text for people.", rich_help_panel=_PANEL)]


def settings(
    ttl: Annotated[
        str | None,
        typer.Option(
            help="How long after its write a value expires: 30s, 5m, 1h30m, 7d, or never.",
            rich_help_panel=_PANEL,
        ),
    ] = None,
    history: Annotated[
        int | None,
        typer.Option(help="Revisions kept of each key, 1 to 64.", rich_help_panel=_PANEL),
    ] = None,
    description: _Text = None,
    max_value_size: Annotated[
        str | None,
        typer.Option(
            help="Largest value: bytes, or 64K, 1M; 0 for no limit.", rich_help_panel=_PANEL
        ),
    ] = None,
    max_bytes: Annotated[
        str | None,
        typer.Option(
            help="Largest size of the bucket: bytes, or 10M, 2G; 0 for no limit.",
            rich_help_panel=_PANEL,
        ),
    ] = None,
    storage: Annotated[
        Literal["file", "memory"] | None,
        typer.Option(help="Where NATS keeps it.", rich_help_panel=_PANEL),
    ] = None,
    replicas: Annotated[
        int | None,
        typer.Option(help="Servers that store it, 1 to 5.", rich_help_panel=_PANEL),
    ] = None,
    compression: Annotated[
        Literal["none", "s2"] | None,
        typer.Option(help="Compression of its files.", rich_help_panel=_PANEL),
    ] = None,
    placement: Annotated[
        str | None,
        typer.Option(
            metavar="JSON",
            help='Servers that may store it: \'{"cluster":"eu","tags":["ssd"]}\'; {} for any.',
            rich_help_panel=_PANEL,
        ),
    ] = None,
    republish: Annotated[
        str | None,
        typer.Option(
            metavar="JSON",
            help='Where NATS publishes its messages again: \'{"destination":"news"}\'; {} for '
            "nowhere.",
            rich_help_panel=_PANEL,
        ),
    ] = None,
    metadata: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=TEXT", help="A text of your own. Repeatable.", rich_help_panel=_PANEL
        ),
    ] = None,
    expiry_markers: Annotated[
        bool | None,
        typer.Option(help="Whether watches report keys that expire.", rich_help_panel=_PANEL),
    ] = None,
    key_ttl: Annotated[
        bool | None,
        typer.Option(help="Whether a value can have its own TTL.", rich_help_panel=_PANEL),
    ] = None,
    batches: Annotated[
        bool | None,
        typer.Option(help="Whether several keys can be written as one.", rich_help_panel=_PANEL),
    ] = None,
    protected: Annotated[
        bool | None,
        typer.Option(help="Whether it cannot be deleted.", rich_help_panel=_PANEL),
    ] = None,
) -> Settings:
    """Return the settings that were given, as the HTTP API names them.

    Raises:
        CommandError: one of them cannot be read.
    """
    found: dict[str, Any] = {
        "description": description,
        "ttl_seconds": None if ttl is None else _seconds(ttl),
        "history": history,
        "max_value_size": _bytes("--max-value-size", max_value_size),
        "max_bytes": _bytes("--max-bytes", max_bytes),
        "storage": storage,
        "replicas": replicas,
        "compression": compression,
        "placement": _object("--placement", placement),
        "republish": _object("--republish", republish),
        "metadata": dict(map(_pair, metadata)) if metadata else None,
        "expiry_markers": expiry_markers,
        "key_ttl": key_ttl,
        "batches": batches,
        "protected": protected,
    }
    return {name: value for name, value in found.items() if value is not None}


def _seconds(text: str) -> int:
    if text.strip().lower() == "never":
        return 0
    try:
        return int(duration(text).total_seconds())
    except ValueError as error:
        raise CommandError(f"--ttl: {error}, or never", Exit.USAGE) from error


def _bytes(option: str, text: str | None) -> int | None:
    if text is None:
        return None
    found = _SIZE.fullmatch(text.strip())
    if found is None:
        raise CommandError(
            f"{option}: {text!r} is no size: write 1048576, 64K, 10M or 2G", Exit.USAGE
        )
    count, unit = found.groups()
    return int(count) * _FACTORS[(unit or "").upper()]


def _object(option: str, text: str | None) -> dict[str, Any] | None:
    if text is None:
        return None
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise CommandError(f"{option} must be a JSON object: {error}", Exit.USAGE) from error
    if not isinstance(found, dict):
        raise CommandError(f"{option} must be a JSON object, not {text}", Exit.USAGE)
    return found


def _pair(text: str) -> tuple[str, str]:
    name, separator, value = text.partition("=")
    if not name or not separator:
        raise CommandError(f"--metadata {text!r} must be NAME=TEXT", Exit.USAGE)
    return name, value

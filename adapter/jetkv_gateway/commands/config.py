"""`jetkv config`: the settings in force, and where each comes from."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any

import orjson
import typer
from pydantic import BaseModel

from jetkv_gateway.app import server_options
from jetkv_gateway.auth.token_file import TokenFileError
from jetkv_gateway.callers import authenticator_for
from jetkv_gateway.commands.common import EXIT_INPUT, Config, read_settings, remarks
from jetkv_gateway.commands.options import with_settings
from jetkv_gateway.configuration.about import About, Panel, described
from jetkv_gateway.configuration.sources import secrets
from jetkv_gateway.serving.options import CannotStart
from jetkv_gateway.settings import Settings

__all__ = ["config"]

_HIDDEN = "********"


@with_settings(*Panel)
def config(
    flags: dict[str, Any],
    json: Annotated[bool, typer.Option("--json", help="Print the settings as JSON.")] = False,
    config: Config = None,
) -> None:
    """Show the settings in force, and where each one comes from.

    Give it the flags of `jetkv serve`. Secrets are hidden. It connects to nothing.
    Exit code 4: `jetkv serve` would not start with these settings.
    """
    settings = read_settings(flags, config)
    warnings, problems = remarks(settings), list(_problems(settings))
    if json:
        document = {
            "settings": {name: _entry(settings, name) for name in Settings.model_fields},
            "warnings": warnings,
            "problems": problems,
        }
        typer.echo(orjson.dumps(document, option=orjson.OPT_INDENT_2).decode())
    else:
        typer.echo(_table(settings))
        for line in warnings:
            typer.echo(f"warning: {line}", err=True)
        for line in problems:
            typer.echo(f"problem: {line}", err=True)
    raise typer.Exit(EXIT_INPUT if problems else 0)


def _problems(settings: Settings) -> Iterator[str]:
    """Yield why `jetkv serve` would not start, as far as files and settings tell."""
    checks: list[Callable[[], object]] = [
        settings.check_auth,
        settings.check_login,
        settings.bucket_specs,
        settings.check_nats_files,
        lambda: server_options(settings),
    ]
    if settings.auth is not None:
        checks.append(lambda: authenticator_for(settings))
    found: list[str] = []
    for check in checks:
        try:
            check()
        except (CannotStart, TokenFileError) as error:
            found.append(str(error))
    yield from dict.fromkeys(found)


def _entry(settings: Settings, name: str) -> dict[str, Any]:
    origin = settings.origin(name)
    entry: dict[str, Any] = {"value": _value(settings, name), "source": origin.kind}
    if origin.name:
        entry["name"] = origin.name
    if name in secrets(Settings):
        entry["secret"] = True
    return entry


def _value(settings: Settings, name: str) -> Any:
    value = getattr(settings, name)
    if name in secrets(Settings):
        return None if value is None else _HIDDEN
    if name == "nats_url":
        return ",".join(server.url for server in settings.nats_servers)
    return _plain(value)


def _plain(value: Any) -> Any:
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json", include=value.model_fields_set)
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return str(value) if isinstance(value, Path) else value


def _table(settings: Settings) -> str:
    fields = [(name, about) for name, _, about in described(Settings.model_fields)]
    shown = {name: _shown(settings, name, about) for name, about in fields}
    width = max(map(len, shown))
    value_width = min(max(map(len, shown.values())), 44)
    lines: list[str] = []
    for panel in Panel:
        lines += ["", panel.value] if lines else [panel.value]
        for name, about in fields:
            if about.panel is panel:
                source = " ".join(filter(None, settings.origin(name)))
                lines.append(f"  {name:{width}}  {shown[name]:{value_width}}  {source}")
    return "\n".join(lines)


def _shown(settings: Settings, name: str, about: About) -> str:
    value = _value(settings, name)
    if value in (None, "", []):
        return f"({about.default})" if about.default else "-"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, list):
        return ", ".join(map(_item, value))
    return str(value)


def _item(value: Any) -> str:
    if not isinstance(value, dict):
        return str(value)
    rest = [f"{key}={_json(part)}" for key, part in value.items() if key != "name"]
    return ",".join([value["name"], *rest])


def _json(value: Any) -> str:
    return value if isinstance(value, str) else orjson.dumps(value).decode()

"""The gateway's commands, which the entry point `gateway` of the group `jetkv.commands` adds.

Exit codes: 0 done, 1 failed, 2 wrong usage, 3 NATS is not reachable, 4 a setting cannot be used,
5 NATS refuses the credentials, 6 this NATS cannot be used.
"""

from typing import NoReturn

import typer

__all__ = ["register"]

_PANEL = "Gateway"

_NAMES = ("dev", "serve", "check", "config", "token")


def register(app: typer.Typer) -> None:
    """Add the commands. In an install without the gateway's extra, each says what is missing."""
    try:
        from jetkv_gateway.commands import check, config, dev, serve, token
    except ModuleNotFoundError as error:
        if error.name is not None and error.name.startswith("jetkv"):
            raise
        _register_placeholders(app, (error.name or str(error)).partition(".")[0])
        return
    app.command(rich_help_panel=_PANEL)(dev.dev)
    app.command(rich_help_panel=_PANEL)(serve.serve)
    app.command(rich_help_panel=_PANEL)(check.check)
    app.command(rich_help_panel=_PANEL)(config.config)
    app.add_typer(token.app, name="token", rich_help_panel=_PANEL)


def _register_placeholders(app: typer.Typer, missing: str) -> None:
    def say() -> NoReturn:
        typer.echo(
            f"jetkv: {missing} is not installed; the gateway needs an extra: "
            'pip install "jetkv[gateway]", or "jetkv[gateway,embedded]" for `jetkv dev`',
            err=True,
        )
        raise typer.Exit(1)

    anything = {"allow_extra_args": True, "ignore_unknown_options": True}
    for name in _NAMES:
        app.command(
            name,
            help='Needs the extra: pip install "jetkv\\[gateway]".',
            add_help_option=False,
            context_settings=anything,
            rich_help_panel=_PANEL,
        )(say)

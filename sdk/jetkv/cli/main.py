"""The console script. It adds the commands of other packages, such as the gateway's `serve`.

These come from entry points of the group `jetkv.commands`. Each loads a function that takes a
`typer.Typer` and adds commands to it. In an install without typer, it names the missing extra.
"""

import sys
from collections.abc import Callable, Mapping
from importlib.metadata import entry_points
from typing import Any

__all__ = ["main", "run"]

GROUP = "jetkv.commands"


def main() -> None:
    """Run `jetkv`."""
    run({point.name: point.load for point in entry_points(group=GROUP)})


def run(plugins: Mapping[str, Callable[[], Any]]) -> None:
    """Run `jetkv` with the commands of plugins.

    Args:
        plugins: by name; each loads the function that adds its commands. It is not called before
            a command that is not the SDK's own is asked for.
    """
    try:
        from jetkv.cli.root import command
    except ModuleNotFoundError as error:
        if error.name is not None and error.name.startswith("jetkv"):
            raise
        missing = (error.name or str(error)).partition(".")[0]
        sys.exit(
            f"jetkv: {missing} is not installed; the command line needs an extra: "
            'pip install "jetkv[gateway]" for the gateway, "jetkv[gateway,embedded]" for '
            '`jetkv dev`, or "jetkv[cli]" for the commands that work with data'
        )
    command(plugins)(prog_name="jetkv")

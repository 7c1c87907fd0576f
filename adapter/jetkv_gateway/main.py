"""The console script. It works in a plain install, too: there it says what is missing."""

import sys

__all__ = ["main"]


def main() -> None:
    """Run `jetkv`."""
    try:
        from jetkv_gateway.cli import app
    except ModuleNotFoundError as error:
        if error.name is not None and error.name.startswith("jetkv"):
            raise
        missing = (error.name or str(error)).partition(".")[0]
        sys.exit(
            f"jetkv: {missing} is not installed; the gateway needs an extra: "
            'pip install "jetkv[gateway]", or "jetkv[gateway,embedded]" for `jetkv dev`'
        )
    app()

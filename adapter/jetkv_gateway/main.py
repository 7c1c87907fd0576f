"""The console script. In an install without the gateway's extra, it names the missing package."""

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

"""`jetkv` with the gateway's commands alone, for installs whose entry points are not known."""

from jetkv.cli.main import run

__all__ = ["main"]


def main() -> None:
    """Run `jetkv`."""
    run({"gateway": _load})


def _load() -> object:
    from jetkv_gateway.commands import register

    return register

"""NATS users with the permissions of deploy/nats, and no more."""

from pathlib import Path

__all__ = ["AS_GATEWAY", "RESTRICTED", "permissions", "users"]

FOLDER = Path(__file__).parents[2] / "deploy" / "nats"

AS_GATEWAY = {"nats_user": "gateway", "nats_password": "p"}
RESTRICTED: set[str] = set()
"""The addresses of servers on which the gateways of the tests log in as `AS_GATEWAY`."""


def permissions(file: str) -> str:
    """The permissions of a file of deploy/nats."""
    return (FOLDER / file).read_text()


def users(**files: str) -> str:
    """The configuration of a server with these users, each with the permissions of a file.

    Clients without a login may do everything.
    """
    more = "\n".join(
        f"{{ user: {name}, password: p, permissions {{\n{permissions(file)}\n}} }}"
        for name, file in files.items()
    )
    return (
        "no_auth_user: tests\n"
        f"authorization {{ users: [\n{{ user: tests, password: p }}\n{more}\n] }}"
    )

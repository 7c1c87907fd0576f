"""Finds `JETKV_*` variables that are not settings, so that misspelled ones are reported."""

import difflib
import re
from collections.abc import Iterable, Mapping

__all__ = ["STARTED_BY", "is_service_link", "unknown_variables"]

PREFIX = "JETKV_"

STARTED_BY = "JETKV_STARTED_BY"
"""Set by `make dev`, so that hints name its options."""

_OTHERS = frozenset(
    {
        "JETKV_CONFIG",
        "JETKV_NATS_SERVER",
        STARTED_BY,
        # Used by compose.yaml, the test kit and the project's own tests.
        "JETKV_BASE",
        "JETKV_IMAGE",
        "JETKV_TEST_DEV_IMAGE",
        "JETKV_TEST_GATEWAY_IMAGE",
        "JETKV_TEST_NATS_IMAGE",
        "JETKV_TEST_TOKEN_LINE",
        "JETKV_CLUSTER_SEED",
        "JETKV_CI_BASE",
        "JETKV_CI_WITHOUT_CONTAINERS",
        # Used by clients for the gateway's address and their token.
        "JETKV_URL",
        "JETKV_TOKEN",
        "JETKV_TOKEN_FILE",
        "JETKV_PROFILE",
        "JETKV_MCP_BEARER_TOKEN",
    }
)

# Kubernetes sets these for each Service of the namespace whose name is `jetkv` or begins with
# `jetkv-`: https://kubernetes.io/docs/concepts/services-networking/service/#environment-variables
_SERVICE = re.compile(
    r"JETKV_(?:\w+_)?(?:SERVICE_HOST|SERVICE_PORT(?:_\w+)?"
    r"|PORT_\d+_(?:TCP|UDP|SCTP)(?:_(?:PROTO|PORT|ADDR))?)"
)
_SERVICE_PORT = re.compile(r"JETKV_(?:\w+_)?PORT")
_LINK = re.compile(r"(?:tcp|udp|sctp)://")


def is_service_link(name: str, value: str) -> bool:
    """Return whether Kubernetes has set a variable for a Service."""
    if _SERVICE.fullmatch(name) is not None:
        return True
    return _SERVICE_PORT.fullmatch(name) is not None and _LINK.match(value) is not None


def unknown_variables(environment: Mapping[str, str], settings: Iterable[str]) -> list[str]:
    """Return a line for each unknown `JETKV_*` variable, without its value.

    Args:
        settings: the names of all settings.
    """
    known = {f"{PREFIX}{name.upper()}" for name in settings} | _OTHERS
    lines = []
    for variable, value in sorted(environment.items()):
        name = variable.upper()  # names of settings are not case-sensitive
        if not name.startswith(PREFIX) or name in known or is_service_link(name, value):
            continue
        # Compare without the common prefix, which would make all names similar.
        rests = sorted(one.removeprefix(PREFIX) for one in known)
        closest = difflib.get_close_matches(name.removeprefix(PREFIX), rests, n=1, cutoff=0.75)
        hint = f"; did you mean {PREFIX}{closest[0]}?" if closest else ""
        lines.append(f"{variable} is no setting and does nothing{hint}")
    return lines

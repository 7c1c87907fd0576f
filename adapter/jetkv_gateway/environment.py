"""`JETKV_*` variables that are no setting: a misspelt one would pass in silence."""

import difflib
import re
from collections.abc import Iterable, Mapping

__all__ = ["STARTED_BY", "is_service_link", "unknown_variables"]

PREFIX = "JETKV_"

STARTED_BY = "JETKV_STARTED_BY"
"""Set by `make dev`, so that a hint names what was typed."""

_OTHERS = frozenset(
    {
        "JETKV_CONFIG",
        "JETKV_NATS_SERVER",
        "JETKV_SHARED_METRICS",
        STARTED_BY,
        # Of compose.yaml, the test kit and the project's own tests.
        "JETKV_BASE",
        "JETKV_IMAGE",
        "JETKV_TEST_GATEWAY_IMAGE",
        "JETKV_TEST_NATS_IMAGE",
        "JETKV_TEST_TOKEN_LINE",
        "JETKV_CLUSTER_SEED",
        "JETKV_CI_BASE",
        "JETKV_CI_WITHOUT_CONTAINERS",
        # What programs that call a gateway name its address and their token by.
        "JETKV_URL",
        "JETKV_TOKEN",
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
    """Return whether Kubernetes made a variable for a Service."""
    if _SERVICE.fullmatch(name) is not None:
        return True
    return _SERVICE_PORT.fullmatch(name) is not None and _LINK.match(value) is not None


def unknown_variables(environment: Mapping[str, str], settings: Iterable[str]) -> list[str]:
    """Return a line for each `JETKV_*` variable that means nothing, without its value.

    Args:
        settings: the names of all settings.
    """
    known = {f"{PREFIX}{name.upper()}" for name in settings} | _OTHERS
    lines = []
    for variable, value in sorted(environment.items()):
        name = variable.upper()  # settings are read in any case
        if not name.startswith(PREFIX) or name in known or is_service_link(name, value):
            continue
        # Without what they all begin with, which makes any two of them alike.
        rests = sorted(one.removeprefix(PREFIX) for one in known)
        closest = difflib.get_close_matches(name.removeprefix(PREFIX), rests, n=1, cutoff=0.75)
        hint = f"; did you mean {PREFIX}{closest[0]}?" if closest else ""
        lines.append(f"{variable} is no setting and does nothing{hint}")
    return lines

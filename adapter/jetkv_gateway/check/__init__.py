"""`jetkv check`: tests whether the gateway can work with this NATS."""

from jetkv_gateway.check.report import (
    EXIT_AUTH,
    EXIT_INPUT,
    EXIT_OK,
    EXIT_RETRY,
    EXIT_UNUSABLE,
    Report,
)
from jetkv_gateway.check.run import check

__all__ = [
    "EXIT_AUTH",
    "EXIT_INPUT",
    "EXIT_OK",
    "EXIT_RETRY",
    "EXIT_UNUSABLE",
    "Report",
    "check",
]

"""What the command line says of a setting: its panel, its help, its flag."""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from pydantic.fields import FieldInfo

__all__ = ["About", "Panel", "described", "flag_of"]


class Panel(StrEnum):
    """The groups of options that `--help` shows, as in docs/configuration.md."""

    SERVING = "Serving"
    TELEMETRY = "Logs, metrics and traces"
    ACCESS = "Access"
    BUCKETS = "Buckets"
    LIMITS = "Limits of a worker"
    NATS = "NATS"


@dataclass(frozen=True, slots=True)
class About:
    """Stands in the annotation of a setting.

    Attributes:
        help: one or two short sentences. The default is added from the field.
        flag: the name of the flag, if it is not that of the setting. Empty: there is no flag.
        default: says what happens without the setting, if its default is no plain value.
    """

    panel: Panel
    help: str
    flag: str | None = None
    default: str | None = None


def described(fields: dict[str, FieldInfo]) -> Iterator[tuple[str, FieldInfo, About]]:
    """Yield each setting that has an `About`, panel by panel."""
    for panel in Panel:
        for name, field in fields.items():
            for one in field.metadata:
                if isinstance(one, About) and one.panel is panel:
                    yield name, field, one


def flag_of(name: str, about: About) -> str:
    """Return the flag of a setting, such as `--nats-url`, or an empty text."""
    return f"--{name.replace('_', '-')}" if about.flag is None else about.flag

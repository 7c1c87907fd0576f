"""Which traces are recorded, by the standard variables of OpenTelemetry. Pure.

https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/
"""

from collections.abc import Mapping
from dataclasses import dataclass

__all__ = ["SAMPLERS", "Sampling"]

SAMPLERS = (
    *("always_on", "always_off", "traceidratio"),
    *("parentbased_always_on", "parentbased_always_off", "parentbased_traceidratio"),
)
_DEFAULT = "parentbased_always_on"
_IDS = 1 << 64


@dataclass(frozen=True, slots=True)
class Sampling:
    """Decides about a trace by its id, as OpenTelemetry's own samplers do.

    So all services with the same ratio record the same traces.

    Attributes:
        bound: a trace without a parent is recorded if the low 64 bits of its id are less.
        follows_parent: whether a trace with a parent is recorded if its parent is.
        problem: what cannot be used of the variables, as a line for the log, or "".
    """

    bound: int = _IDS
    follows_parent: bool = True
    problem: str = ""

    def records(self, trace_id: int, parent_sampled: bool | None) -> bool:
        """Return whether to record the spans of a request.

        Args:
            trace_id: the whole id, or its low 64 bits.
            parent_sampled: whether the caller's span is recorded, None without one.
        """
        if parent_sampled is not None and self.follows_parent:
            return parent_sampled
        return (trace_id & (_IDS - 1)) < self.bound

    @property
    def bound_digits(self) -> bytes:
        """A trace without a parent is recorded if the last 16 digits of its id sort before this."""
        return b"%016x" % self.bound if self.bound < _IDS else b"g"

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> "Sampling":
        """Read `OTEL_TRACES_SAMPLER` and `OTEL_TRACES_SAMPLER_ARG`.

        What cannot be used is ignored with a `problem`, as the specification wants it.
        """
        name = environment.get("OTEL_TRACES_SAMPLER", "").strip().lower() or _DEFAULT
        given = environment.get("OTEL_TRACES_SAMPLER_ARG", "").strip()
        problem = ""
        if name not in SAMPLERS:
            problem = f"OTEL_TRACES_SAMPLER={name}: use one of {', '.join(SAMPLERS)}; {_DEFAULT} is"
            name = _DEFAULT
        rate = 1.0
        if name.endswith("traceidratio") and given:
            try:
                rate = float(given)
            except ValueError:
                rate = -1.0
            if not 0 <= rate <= 1:
                problem = f"OTEL_TRACES_SAMPLER_ARG={given}: must be a number from 0 to 1; 1 is"
                rate = 1.0
        elif name.endswith("always_off"):
            rate = 0.0
        if problem:
            problem += " used"
        return cls(round(rate * _IDS), name.startswith("parentbased_"), problem)

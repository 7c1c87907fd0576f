"""What a claim of a command came to."""

from dataclasses import dataclass, field
from typing import Any

from jetkv.recipes._lease import Hold

__all__ = ["Claim"]


@dataclass(frozen=True, slots=True)
class Claim:
    """The outcome of `claim(id)`.

    Attributes:
        id: of the command.
        won: it is yours to do, and to `finalize` or `release`.
        done: somebody did it before; `result` is what they finalized it with.
        result: JSON, None where it is not done.
    """

    id: str
    won: bool
    done: bool = False
    result: Any = None
    _hold: Hold | None = field(default=None, repr=False)
    _owned: Any = field(default=None, repr=False, compare=False)

"""What a claim of a command, or a run of it, came to."""

from dataclasses import dataclass, field
from typing import Any

from jetkv.recipes._lease import Hold

__all__ = ["Claim", "Run"]


@dataclass(frozen=True, slots=True)
class Claim:
    """The outcome of `claim(id)`.

    Attributes:
        id: of the command.
        won: it is yours to do, and to `finalize` or `release`.
        done: somebody did it before; `result` is what they finalized it with.
        result: JSON, None where it is not done.
        holder: who won it, as far as is known: a host name and a process id, or what it was given.
    """

    id: str
    won: bool
    done: bool = False
    result: Any = None
    holder: str | None = None
    _hold: Hold | None = field(default=None, repr=False)
    _owned: Any = field(default=None, repr=False, compare=False)


@dataclass(frozen=True, slots=True)
class Run:
    """The outcome of `run_once(id, fn)`.

    Attributes:
        id: of what was to run.
        ran: this call ran it.
        done: it has run, here or elsewhere; `result` is what it returned. When it is neither, it
            runs now, or whoever ran it crashed: `holder` says who that is.
        result: as returned here; as JSON reads back where it ran elsewhere; None until it is done.
        holder: who runs it, or ran it.
    """

    id: str
    ran: bool
    done: bool
    result: Any = None
    holder: str | None = None

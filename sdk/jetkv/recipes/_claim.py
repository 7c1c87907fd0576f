"""The results of `CommandDedup.claim` and `CommandDedup.run_once`."""

from dataclasses import dataclass, field
from typing import Any

from jetkv.recipes._lease import Ownership

__all__ = ["Claim", "Run"]


@dataclass(frozen=True, slots=True)
class Claim:
    """The result of `claim(id)`.

    Attributes:
        id: the command's id.
        won: whether you may do the command. Call `finalize` or `release` afterwards.
        done: whether the command is done; `result` is then the winner's result.
        result: a JSON value; None unless the command is done.
        holder: who won the claim, if known: a host name and a process id, or the dedup's `holder`.
    """

    id: str
    won: bool
    done: bool = False
    result: Any = None
    holder: str | None = None
    # For `finalize` and `release` of the recipe that made the claim.
    _ownership: Ownership | None = field(default=None, repr=False)
    _claimed_key: Any = field(default=None, repr=False, compare=False)


@dataclass(frozen=True, slots=True)
class Run:
    """The result of `run_once(id, fn)`.

    Attributes:
        id: the id.
        ran: whether this call ran the function.
        done: whether the function has run, here or elsewhere. If it has not, it is running now, or
            the process that ran it has crashed: see `holder`.
        result: what the function returned, as JSON reads back if it ran elsewhere; None unless
            `done`.
        holder: who runs or ran the function: a host name and a process id.
    """

    id: str
    ran: bool
    done: bool
    result: Any = None
    holder: str | None = None

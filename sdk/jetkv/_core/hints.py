"""What to do about an error, in the words of a program that shows it: a command, or a tool."""

from collections.abc import Mapping

from jetkv.errors import JetKVError, UnavailableError

__all__ = ["hint_of"]


def hint_of(
    error: JetKVError, hints: Mapping[type[JetKVError], str], unreachable: str
) -> str | None:
    """Return what to do about an error, or None.

    Args:
        error: its own hint names calls of the SDK; it is returned if `hints` has none.
        hints: by kind of error; the most special kind counts.
        unreachable: the hint if no gateway answers.
    """
    if isinstance(error, UnavailableError) and error.status is None:
        return unreachable
    for kind in type(error).__mro__:
        if kind in hints:
            return hints[kind]
    return error.hint

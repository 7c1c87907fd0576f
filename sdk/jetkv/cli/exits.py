"""The exit codes of the commands that work over HTTP, and what to do about each kind of error.

The gateway's own commands (`jetkv serve`, `check` and others) use 1 to 6, so these begin at 10.
docs/cli.md lists them for users.
"""

import re
from collections.abc import Mapping
from enum import IntEnum

from jetkv import errors
from jetkv._core.hints import hint_of

__all__ = ["CommandError", "Exit", "exit_of", "line_of"]


class Exit(IntEnum):
    """How a command ended."""

    DONE = 0
    DEFECT = 1
    USAGE = 2
    NOT_FOUND = 10
    CONFLICT = 11
    DENIED = 12
    UNAVAILABLE = 13
    UNKNOWN_OUTCOME = 14
    REFUSED = 15
    NOT_A_GATEWAY = 16
    MISSED_CHANGES = 17
    DECLINED = 18
    LOCAL = 19
    CHANGES = 20
    INTERRUPTED = 130
    BROKEN_PIPE = 141


class CommandError(Exception):
    """Raised by a command that cannot go on for a reason of its own.

    Attributes:
        code: the exit code.
        hint: what to do, or None.
    """

    def __init__(self, message: str, code: Exit, hint: str | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.hint = hint


_BY_KIND: Mapping[type[errors.JetKVError], Exit] = {
    errors.InvalidArgumentError: Exit.USAGE,
    errors.AuthenticationError: Exit.DENIED,
    errors.PermissionDeniedError: Exit.DENIED,
    errors.NotFoundError: Exit.NOT_FOUND,
    errors.BucketExistsError: Exit.CONFLICT,
    errors.TokenExistsError: Exit.CONFLICT,
    errors.TokenKeptError: Exit.REFUSED,
    errors.PreconditionFailedError: Exit.CONFLICT,
    errors.BucketUnsuitableError: Exit.REFUSED,
    errors.ValueTooLargeError: Exit.REFUSED,
    errors.BucketFullError: Exit.REFUSED,
    errors.CursorExpiredError: Exit.MISSED_CHANGES,
    errors.WatchLostError: Exit.MISSED_CHANGES,
    errors.UnavailableError: Exit.UNAVAILABLE,
    errors.DeadlineExceededError: Exit.UNAVAILABLE,
    errors.OutcomeUnknownError: Exit.UNKNOWN_OUTCOME,
    errors.UnexpectedAnswerError: Exit.NOT_A_GATEWAY,
}

# The SDK's hints name its calls and arguments. These say the same in terms of commands.
_HINTS: Mapping[type[errors.JetKVError], str] = {
    errors.NotFoundError: "check the path in --url, JETKV_URL or the profile",
    errors.AuthenticationError: "set JETKV_TOKEN or JETKV_TOKEN_FILE, or name a --token-file",
    errors.BucketNotFoundError: "`jetkv bucket ls` lists the buckets",
    errors.KeyNotFoundError: "`jetkv kv ls BUCKET` lists the keys",
    errors.KeyExistsError: "`kv put` replaces it, `kv update --revision` does so if it is the "
    "revision that you have seen",
    errors.BucketExistsError: "`jetkv bucket set` changes it",
    errors.BucketProtectedError: "`jetkv bucket set NAME --no-protected` allows it",
    errors.WouldLoseDataError: "--allow-data-loss makes the change all the same",
    errors.CursorExpiredError: "the bucket was deleted, or created again, meanwhile: start again",
    errors.DeadlineExceededError: "try again, or give it more time with --timeout; `kv ls "
    "--stream` suits large buckets",
    errors.OutcomeUnknownError: "it may have been applied, or may be applied later: read it again "
    "before you repeat the command",
    errors.UnexpectedAnswerError: "check --url, JETKV_URL or the profile: it must be the address "
    "of a gateway, such as http://localhost:9123",
}
_OPTIONS = {"JetKV-TTL-Seconds": "--ttl"}
"""What the gateway's errors name, and what it is here."""
_UNREACHABLE = "check --url, JETKV_URL or the profile, and whether the gateway runs"

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]+")


def exit_of(error: Exception) -> Exit:
    """Return the exit code of an error."""
    if isinstance(error, CommandError):
        return error.code
    for kind in type(error).__mro__:
        if kind in _BY_KIND:
            return _BY_KIND[kind]
    return Exit.DEFECT


def line_of(error: Exception) -> str:
    """Return one line that says what went wrong and what to do."""
    if isinstance(error, errors.JetKVError):
        message, hint = error.message, hint_of(error, _HINTS, _UNREACHABLE)
        if error.request_id and exit_of(error) is Exit.DEFECT:
            message = f"{message} [request {error.request_id}]"
    else:
        message = str(error)
        hint = error.hint if isinstance(error, CommandError) else None
    line = f"{message}; {hint}" if hint else message
    for name, option in _OPTIONS.items():
        line = line.replace(name, option)
    # An answer may hold anything, and a terminal would obey its control characters.
    return _CONTROL.sub(" ", line).strip()

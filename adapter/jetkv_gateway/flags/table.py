"""The flags of a bucket, each parsed once for each change. No I/O.

A flag whose value does not depend on the context has its answer ready as bytes, so that such an
evaluation is a look-up.
"""

import json
from collections.abc import Iterable
from typing import Any, NamedTuple

import orjson

from jetkv.flags import (
    ABSENT,
    Evaluation,
    EvaluationContext,
    EvaluationError,
    Flag,
    FlagParseError,
    evaluate,
    parse_flag,
)
from jetkv_gateway.kv.errors import BucketUnsuitable, EvaluationFailed
from jetkv_gateway.kv.model import Change
from jetkv_gateway.kv.timestamps import nanoseconds_of

__all__ = ["NO_BUCKET", "FlagTable", "NamedFlag", "Place", "place_of"]

MAX_FLAGS = 10_000
MAX_BYTES = 8 * 1024 * 1024
MAX_FLAG_BYTES = 256 * 1024
_PLACE_PARTS = 2
_SHOWN = 8
"""Evaluations of a flag whose JSON is kept."""


class Place(NamedTuple):
    """A point in the history of a bucket. A later one compares greater.

    Attributes:
        bucket: when the bucket was created, in nanoseconds since 1970; 0 if there is none. It tells
            a bucket from a later one of the same name.
        revision: each change up to this revision is known.
    """

    bucket: int
    revision: int

    @property
    def text(self) -> str:
        """What a provider sends back to be sure that it sees this place."""
        return f"{self.bucket:x}-{self.revision}"


NO_BUCKET = Place(0, 0)


def place_of(text: str | None) -> Place | None:
    """Return the place that a text stands for; None if it is the text of another server."""
    parts = (text or "").split("-")
    if len(parts) != _PLACE_PARTS or not all(part.isascii() and part.isalnum() for part in parts):
        return None
    try:
        return Place(int(parts[0], 16), int(parts[1]))
    except ValueError:
        return None


class NamedFlag:
    """One flag.

    Attributes:
        name: its key.
        size: of its value, in bytes.
        expires_at: when it expires, in seconds since 1970; None if it does not.
        answer: its evaluation as JSON, if that is the same for every context.
    """

    __slots__ = ("_failure", "_flag", "_shown", "answer", "expires_at", "name", "size")

    def __init__(self, change: Change) -> None:
        self.name = change.key
        self.size = len(change.value)
        self.expires_at: float | None = None
        if change.expires_at is not None:
            self.expires_at = nanoseconds_of(change.expires_at) / 1e9
        self.answer: bytes | None = None
        self._flag: Flag | None = None
        self._failure: tuple[str, str, str | None] | None = None
        self._shown: list[tuple[Evaluation, bytes]] = []
        try:
            if self.size > MAX_FLAG_BYTES:
                raise FlagParseError(f"the value of the flag is over {MAX_FLAG_BYTES} bytes")
            flag = parse_flag(self.name, change.value)
            if flag.constant is None:
                self._flag = flag
            else:
                self.answer = _as_json(self.name, flag.constant)
        except EvaluationError as error:
            self._failure = _parts(error)

    def evaluate(self, context: EvaluationContext) -> bytes:
        """Return the evaluation for a context, as a JSON object.

        Raises:
            EvaluationFailed: the flag has no value for this context.
        """
        if self.answer is not None:
            return self.answer
        if self._flag is None:
            assert self._failure is not None, "it has one of the three"
            raise _failed(self._failure)
        try:
            found = evaluate(self._flag, context)
            for evaluation, shown in self._shown:
                if evaluation is found:
                    return shown
            answer = _as_json(self.name, found)
        except EvaluationError as error:
            raise _failed(_parts(error)) from None
        if len(self._shown) < _SHOWN:
            # A rollout has two evaluations, and a definition one for each variant: the same
            # objects.
            self._shown.append((found, answer))
        return answer


class FlagTable:
    """The flags of one bucket.

    Args:
        bucket: as in `Place`.

    Attributes:
        place: the changes that are in the table.
        flags: by name.
        created_at: of the bucket; None if there is none.
    """

    def __init__(self, bucket: int = 0, created_at: str | None = None) -> None:
        self.place = Place(bucket, 0)
        self.created_at = created_at
        self.flags: dict[str, NamedFlag] = {}
        self._sorted: list[NamedFlag] | None = None
        self._bytes = 0

    def apply(self, change: Change) -> None:
        """Take in a change.

        Raises:
            BucketUnsuitable: the bucket has more flags, or larger ones, than one table may have.
        """
        before = self.flags.pop(change.key, None)
        if before is not None:
            self._bytes -= before.size
        if change.live:
            flag = self.flags[change.key] = NamedFlag(change)
            self._bytes += flag.size
            if len(self.flags) > MAX_FLAGS or self._bytes > MAX_BYTES:
                raise BucketUnsuitable(
                    f"the bucket of flags has over {MAX_FLAGS} keys, or {MAX_BYTES} bytes",
                    hint="keep flags in a bucket of their own, and name it by flags_bucket",
                )
        self._sorted = None
        self.reach(change.revision)

    def reach(self, revision: int) -> None:
        """Note that each change up to a revision is in the table."""
        if revision > self.place.revision:
            self.place = Place(self.place.bucket, revision)

    def find(self, name: str, now: float) -> NamedFlag | None:
        """Return a flag that has not expired."""
        flag = self.flags.get(name)
        if flag is None or (flag.expires_at is not None and flag.expires_at <= now):
            return None
        return flag

    def all(self, now: float) -> Iterable[NamedFlag]:
        """Return the flags that have not expired, sorted by name."""
        found = self._sorted
        if found is None:
            found = self._sorted = [self.flags[name] for name in sorted(self.flags)]
        return [flag for flag in found if flag.expires_at is None or flag.expires_at > now]


def _parts(error: EvaluationError) -> tuple[str, str, str | None]:
    return str(error.error_code), error.message, error.hint


def _failed(parts: tuple[str, str, str | None]) -> EvaluationFailed:
    code, message, hint = parts
    return EvaluationFailed(message, error_code=code, hint=hint)


def _as_json(name: str, evaluation: Evaluation) -> bytes:
    """Return an evaluation as OFREP has it.

    Raises:
        EvaluationError: the value cannot be JSON.
    """
    fields: dict[str, Any] = {
        "key": name,
        "reason": evaluation.reason.value,
        "variant": evaluation.variant,
    }
    if evaluation.value is not ABSENT:
        fields["value"] = evaluation.value
    if evaluation.metadata:
        fields["metadata"] = evaluation.metadata
    try:
        return orjson.dumps(fields)
    except TypeError:
        # It takes neither integers of over 64 bits nor deep nesting.
        try:
            return json.dumps(fields, ensure_ascii=False, separators=(",", ":")).encode()
        except (TypeError, ValueError, RecursionError) as error:
            raise FlagParseError(f"the value of the flag cannot be shown: {error}") from None

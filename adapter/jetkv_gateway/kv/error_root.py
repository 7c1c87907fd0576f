"""The base class of all errors. `kv.errors` has the whole tree."""

from collections.abc import Mapping
from typing import Any, ClassVar, Self

__all__ = ["GatewayError"]


class GatewayError(Exception):
    """The base class of all errors.

    Attributes:
        message: the text of the answer's `error` field.
        hint: what the caller can do next, or None.
        details: machine-readable facts, JSON-serialisable.
        retry_after: seconds after which a retry makes sense, or None.
    """

    status: ClassVar[int] = 500
    code: ClassVar[str] = "internal"
    retryable: bool = False
    text: ClassVar[str] = "internal error"
    close_code: ClassVar[int] = 1011

    def __init__(
        self,
        message: str | None = None,
        *,
        hint: str | None = None,
        details: Mapping[str, Any] | None = None,
        retry_after: int | None = None,
    ) -> None:
        self.message = message or self.text
        self.hint = hint
        self.details = dict(details) if details else None
        self.retry_after = retry_after
        super().__init__(self.message)

    def __copy__(self) -> Self:
        """Return an equal error without a traceback.

        Raise and change only a copy of an error that others hold too: each raise adds its frames to
        the traceback, so the object would keep everything that all those requests were working on.
        """
        cls = type(self)
        twin = cls.__new__(cls, *self.args)
        twin.__dict__.update(self.__dict__)
        return twin

"""Errors about the evaluation of feature flags (docs/flags.md#errors).

They belong to the tree in `kv.errors`; import them from there.
"""

from typing import ClassVar

from jetkv_gateway.kv.error_root import GatewayError

__all__ = ["EvaluationFailed", "FlagNotFound"]


class EvaluationFailed(GatewayError):
    """Raised when a flag has no value for a context; the text says why.

    Attributes:
        error_code: OpenFeature's code (https://openfeature.dev/specification/types#error-code).
    """

    status = 400
    code = "invalid_argument"
    text = "the flag cannot be evaluated"
    default_error_code: ClassVar[str] = "GENERAL"

    def __init__(
        self,
        message: str | None = None,
        *,
        error_code: str | None = None,
        hint: str | None = None,
    ) -> None:
        super().__init__(message, hint=hint)
        self.error_code = error_code or self.default_error_code


class FlagNotFound(EvaluationFailed):
    """Raised when no flag has the name, or there is no bucket of flags."""

    status = 404
    code = "not_found"
    text = "flag not found"
    default_error_code = "FLAG_NOT_FOUND"
